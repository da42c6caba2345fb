//! Several sources of dirty pages as one: the vCPUs, and each device that writes to guest memory by itself.

use super::{DirtyBitmap, DirtyError, DirtySource};

/// Sources that start, collect and stop together. A page is dirty if any of them says so.
#[derive(Default)]
pub struct MergedSources {
    sources: Vec<Box<dyn DirtySource>>,
}

impl MergedSources {
    /// All of `sources`; each is stopped at first.
    #[must_use]
    pub fn new(sources: Vec<Box<dyn DirtySource>>) -> Self {
        Self { sources }
    }
}

impl DirtySource for MergedSources {
    /// Starts all of them, in order, or leaves none started.
    fn start(&mut self) -> Result<(), DirtyError> {
        for index in 0..self.sources.len() {
            if let Err(error) = self.sources[index].start() {
                // The reason of the failed start is worth more than that of a stop which fails too.
                let _ = stop_all(&mut self.sources[..index]);
                return Err(error);
            }
        }
        Ok(())
    }

    fn collect(&mut self, dirty: &mut DirtyBitmap) -> Result<(), DirtyError> {
        self.sources.iter_mut().try_for_each(|source| source.collect(dirty))
    }

    /// Stops all of them, the last first, also if one of them fails; answers with the first failure.
    fn stop(&mut self) -> Result<(), DirtyError> {
        stop_all(&mut self.sources)
    }
}

fn stop_all(sources: &mut [Box<dyn DirtySource>]) -> Result<(), DirtyError> {
    let mut all = Ok(());
    for source in sources.iter_mut().rev() {
        all = all.and(source.stop());
    }
    all
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use pageferry_accel::guest::{AnonymousMemory, GuestRam};
    use pageferry_accel::units::{Gpa, PageIndex, PageSize};

    use super::*;
    use crate::dirty::DirtyRun;

    /// A source that finds its own page dirty, says what was done to it, and fails when asked to.
    struct Fake {
        page: u64,
        fails: Option<&'static str>,
        calls: Arc<Mutex<Vec<String>>>,
    }

    impl Fake {
        fn call(&self, name: &'static str) -> Result<(), DirtyError> {
            self.calls.lock().unwrap().push(format!("{name} {}", self.page));
            if self.fails == Some(name) { Err(DirtyError::NotStarted) } else { Ok(()) }
        }
    }

    impl DirtySource for Fake {
        fn start(&mut self) -> Result<(), DirtyError> {
            self.call("start")
        }
        fn collect(&mut self, dirty: &mut DirtyBitmap) -> Result<(), DirtyError> {
            dirty.set(PageIndex(self.page));
            self.call("collect")
        }
        fn stop(&mut self) -> Result<(), DirtyError> {
            self.call("stop")
        }
    }

    fn merged(fails: [Option<&'static str>; 3]) -> (MergedSources, Arc<Mutex<Vec<String>>>) {
        let calls = Arc::<Mutex<Vec<String>>>::default();
        let fake = |(page, fails)| -> Box<dyn DirtySource> {
            Box::new(Fake { page, fails, calls: Arc::clone(&calls) })
        };
        (MergedSources::new((0..).step_by(2).zip(fails).map(fake).collect()), calls)
    }

    fn clean() -> DirtyBitmap {
        let memory = AnonymousMemory::new(&[(Gpa(0), 1 << 20)]).unwrap();
        DirtyBitmap::clean(&GuestRam::new(Arc::new(memory), PageSize::Kib4).unwrap())
    }

    #[test]
    fn what_any_source_found_is_dirty() {
        let (mut merged, _) = merged([None; 3]);
        let mut dirty = clean();
        dirty.set(PageIndex(9));
        merged.start().unwrap();
        merged.collect(&mut dirty).unwrap();
        let runs: Vec<_> = dirty.runs().collect();
        assert_eq!(runs, [0, 2, 4, 9].map(|page| DirtyRun { first: PageIndex(page), pages: 1 }));
    }

    #[test]
    fn where_one_source_does_not_start_none_is_left_started() {
        let (mut merged, calls) = merged([None, None, Some("start")]);
        assert!(merged.start().is_err());
        assert_eq!(*calls.lock().unwrap(), ["start 0", "start 2", "start 4", "stop 2", "stop 0"]);
    }

    #[test]
    fn a_source_that_cannot_stop_keeps_no_other_from_stopping() {
        let (mut merged, calls) = merged([None, Some("stop"), None]);
        merged.start().unwrap();
        calls.lock().unwrap().clear();
        assert!(merged.stop().is_err());
        assert_eq!(*calls.lock().unwrap(), ["stop 4", "stop 2", "stop 0"]);
    }

    #[test]
    fn a_collection_that_one_source_fails_has_failed() {
        let (mut merged, _) = merged([None, Some("collect"), None]);
        merged.start().unwrap();
        assert!(merged.collect(&mut clean()).is_err());
    }
}
