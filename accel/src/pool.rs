//! The pool that requests come from and go back to.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::dma::Arena;
use crate::request::Request;
use crate::units::{PageCount, PageSize};

/// How many requests a pool makes, and of what size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSize {
    /// Pages a request has room for.
    pub max_pages: PageCount,
    /// The guest's page size.
    pub page_size: PageSize,
    /// Requests made at once.
    pub initial: usize,
    /// Requests made at most, when more are asked for than are free.
    pub bound: usize,
    /// Buffers of a payload's size that queues may take for themselves.
    pub spare: usize,
}

/// Requests, made once and used again and again.
///
/// The one that came back last goes out first, since its buffers are the ones that are still in the CPU's cache.
#[derive(Debug)]
pub struct Pool {
    size: PoolSize,
    arena: Arc<Arena>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    #[expect(clippy::vec_box, reason = "a request keeps its place in memory and moves as one pointer")]
    free: Vec<Box<Request>>,
    made: usize,
    returns: u64,
    /// How many threads sleep until something changes.
    waiters: usize,
    closed: bool,
}

/// The pool was closed: the migration ended or failed while somebody waited for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request pool is closed")]
pub struct Closed;

impl Pool {
    /// A pool with `size.initial` requests in it.
    ///
    /// # Errors
    /// If the memory for all payloads cannot be mapped. It is allocated as it is used.
    pub fn new(size: PoolSize) -> io::Result<Self> {
        let bound = size.bound.max(size.initial).max(1);
        let arena = Arena::new(bound + size.spare, size.page_size.bytes_of(size.max_pages))?;
        let mut free = Vec::with_capacity(bound);
        free.resize_with(size.initial, || make(&arena, size));
        let state = State { free, made: size.initial, returns: 0, waiters: 0, closed: false };
        let (size, state) = (PoolSize { bound, ..size }, Mutex::new(state));
        Ok(Self { size, arena: Arc::new(arena), state, changed: Condvar::new() })
    }

    /// The memory of all payloads, and the spare buffers.
    #[must_use]
    pub fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// What the pool was set up with.
    #[must_use]
    pub fn size(&self) -> PoolSize {
        self.size
    }

    /// How many requests were made so far.
    #[must_use]
    pub fn made(&self) -> usize {
        self.lock().made
    }

    /// A free request; made now, if none is free and the bound allows; else waited for.
    ///
    /// # Errors
    /// [`Closed`] when the pool was closed, even if requests are free.
    pub fn take(&self) -> Result<Box<Request>, Closed> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(Closed);
            }
            if let Some(request) = state.free.pop() {
                return Ok(request);
            }
            if state.made < self.size.bound {
                state.made += 1;
                drop(state);
                return Ok(make(&self.arena, self.size));
            }
            state = self.wait(state);
        }
    }

    /// Gives a request back.
    pub fn put(&self, request: Box<Request>) {
        self.put_quietly(request);
        self.announce();
    }

    /// Gives one of several requests back, for [`announce`](Self::announce) to follow the last: waking a thread for each
    /// would cost more than most of them do.
    pub fn put_quietly(&self, request: Box<Request>) {
        let mut state = self.lock();
        state.free.push(request);
        state.returns += 1;
    }

    /// Wakes whoever waits for what has come back.
    pub fn announce(&self) {
        // Nobody is woken where nobody sleeps: that would be a system call all the same.
        if self.lock().waiters > 0 {
            self.changed.notify_all();
        }
    }

    /// How many requests ever came back: the mark for [`wait_for_return`](Self::wait_for_return).
    #[must_use]
    pub fn returns(&self) -> u64 {
        self.lock().returns
    }

    /// Waits until a request has come back since `mark`: with it, there is room in some queue again.
    ///
    /// # Errors
    /// [`Closed`] when the pool was closed.
    pub fn wait_for_return(&self, mark: u64) -> Result<(), Closed> {
        let mut state = self.lock();
        while state.returns == mark && !state.closed {
            state = self.wait(state);
        }
        if state.closed { Err(Closed) } else { Ok(()) }
    }

    /// Waits until every request is back, so that nothing is in flight.
    ///
    /// # Errors
    /// [`Closed`] when the pool was closed.
    pub fn wait_for_all(&self) -> Result<(), Closed> {
        let mut state = self.lock();
        while state.free.len() < state.made && !state.closed {
            state = self.wait(state);
        }
        if state.closed { Err(Closed) } else { Ok(()) }
    }

    /// Shows every free request to `look`, for what it may still hold.
    pub fn for_each_free(&self, mut look: impl FnMut(&mut Request)) {
        self.lock().free.iter_mut().for_each(|request| look(request));
    }

    /// Whether every wait has ended, for those who wait for something else.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Ends every wait, now and later.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.waiters += 1;
        let mut state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.waiters -= 1;
        state
    }
}

fn make(arena: &Arena, size: PoolSize) -> Box<Request> {
    Box::new(match arena.take(size.page_size.bytes_of(size.max_pages)) {
        Some(buffer) => Request::new(size.max_pages, buffer),
        // Queues took more than was spared for them: devices will not reach it, and say so.
        None => Request::with_capacity(size.max_pages, size.page_size),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn pool(initial: usize, bound: usize) -> Arc<Pool> {
        let max_pages = PageCount(4);
        Arc::new(
            Pool::new(PoolSize { max_pages, page_size: PageSize::Kib4, initial, bound, spare: 0 }).unwrap(),
        )
    }

    #[test]
    fn it_grows_to_its_bound_and_then_waits_for_what_comes_back() {
        let pool = pool(1, 2);
        let first = pool.take().unwrap();
        let _second = pool.take().unwrap();
        assert_eq!(pool.made(), 2);
        let waiter = Arc::clone(&pool);
        let waiting = thread::spawn(move || waiter.take().map(|request| request.sequence));
        pool.put(Box::new(Request { sequence: 7, ..*first }));
        assert_eq!(waiting.join().unwrap(), Ok(7));
        assert_eq!(pool.made(), 2);
    }

    #[test]
    fn the_last_one_back_is_the_first_one_out() {
        let pool = pool(2, 2);
        let (mut first, second) = (pool.take().unwrap(), pool.take().unwrap());
        first.sequence = 9;
        pool.put(second);
        pool.put(first);
        assert_eq!(pool.take().unwrap().sequence, 9);
    }

    #[test]
    fn closing_ends_every_kind_of_wait() {
        let pool = pool(1, 1);
        let _out = pool.take().unwrap();
        thread::scope(|scope| {
            let taking = scope.spawn(|| pool.take().map(drop));
            let draining = scope.spawn(|| pool.wait_for_all());
            let retrying = scope.spawn(|| pool.wait_for_return(0));
            pool.close();
            for wait in [taking, draining, retrying] {
                assert_eq!(wait.join().unwrap(), Err(Closed));
            }
        });
    }
}
