//! The largest rate at which something still works, where each try may go wrong by chance.

/// How hard is looked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// The first rate that is tried.
    pub start: u64,
    /// No rate above this one is tried, none below [`FLOOR`].
    pub ceiling: u64,
    /// The search ends when a rate that works and one that does not are no further apart than by this factor.
    pub precision: f64,
    /// How often a rate has to work.
    pub successes: u32,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<T> {
    /// The largest rate that works.
    pub rate: u64,
    /// What the tries brought by which that was made sure.
    pub successes: Vec<T>,
    /// The smallest rate found not to work and what its last try brought; none if the ceiling works too.
    pub failure: Option<(u64, T)>,
}

/// The least step up, so that low expectations do not make for many.
const LEAST_STEP: f64 = 1.4;

/// How often it is looked for the limit at most, where bad luck had hidden it.
const LOOKS: u32 = 4;

/// How a try went.
#[derive(Clone, Debug, PartialEq)]
pub enum Tried<T> {
    /// It worked, and is not expected to at this rate.
    Works(T, u64),
    /// It did not, and might have with better luck.
    Misses(T),
    /// It was far from working.
    Fails(T),
}

/// Below this rate nothing is looked for.
pub const FLOOR: u64 = 100;

/// Looks for the largest rate at which `attempt` succeeds: from one success to where it is expected to fail, by no more than
/// twice at a time, then by halving what is between; and makes sure of it.
///
/// On the way a rate that is only just missed is tried again, so that bad luck does not send the search astray. The rate that is
/// found works `successes` times in a row, or once more than that with one failure between; the next one above it that had failed is
/// then tried again, and the search goes on from there if that was bad luck. None if nothing works.
///
/// # Errors
/// Those of `attempt`, which end the search.
pub fn largest<T, E>(
    effort: Effort,
    attempt: impl FnMut(u64) -> Result<Tried<T>, E>,
) -> Result<Option<Found<T>>, E> {
    let mut search = Search { effort, attempt, works: None, expected: 0, fails: None };
    let mut best: Option<Found<T>> = None;
    for look in 0..LOOKS {
        search.bracket()?;
        search.narrow()?;
        let found = search.make_sure()?;
        let is_better = |found: &Found<T>| best.as_ref().is_none_or(|best| best.rate < found.rate);
        best = found.filter(is_better).or(best);
        if best.is_none() || look + 1 == LOOKS || !search.works_after_all()? {
            break;
        }
    }
    Ok(best.map(|found| Found { failure: search.fails.take(), ..found }))
}

struct Search<F, T> {
    effort: Effort,
    attempt: F,
    works: Option<u64>,
    /// Where a failure is expected.
    expected: u64,
    fails: Option<(u64, T)>,
}

impl<T, E, F: FnMut(u64) -> Result<Tried<T>, E>> Search<F, T> {
    /// Finds a rate that works and one that does not, as far as there are such.
    fn bracket(&mut self) -> Result<(), E> {
        if self.works.is_none() {
            self.probe(self.effort.start.min(self.effort.ceiling).max(FLOOR))?;
        }
        while let Some(rate) = self.beyond() {
            self.probe(rate)?;
        }
        Ok(())
    }

    /// The next rate to try while all rates that were tried work, or none does.
    fn beyond(&self) -> Option<u64> {
        match (self.works, &self.fails) {
            (Some(rate), None) if rate < self.effort.ceiling => {
                let least = rate_of(rate as f64 * LEAST_STEP);
                Some(self.expected.clamp(least, rate * 2).min(self.effort.ceiling))
            }
            (None, Some((rate, _))) if *rate > FLOOR => Some((rate / 2).max(FLOOR)),
            _ => None,
        }
    }

    /// Tries the smallest rate that failed once more; says whether it works.
    fn works_after_all(&mut self) -> Result<bool, E> {
        let Some((rate, _)) = self.fails else { return Ok(false) };
        match (self.attempt)(rate)? {
            Tried::Works(_, expected) => {
                (self.works, self.expected, self.fails) = (Some(rate), expected, None);
                Ok(true)
            }
            Tried::Misses(failure) | Tried::Fails(failure) => {
                self.fails = Some((rate, failure));
                Ok(false)
            }
        }
    }

    fn narrow(&mut self) -> Result<(), E> {
        while let (Some(works), Some((fails, _))) = (self.works, &self.fails) {
            if *fails as f64 <= works as f64 * self.effort.precision {
                break;
            }
            let rate = between(works, *fails);
            if rate == works {
                break;
            }
            self.probe(rate)?;
        }
        Ok(())
    }

    /// One try, or two.
    fn probe(&mut self, rate: u64) -> Result<(), E> {
        let mut tried = (self.attempt)(rate)?;
        if let Tried::Misses(_) = tried {
            tried = (self.attempt)(rate)?;
        }
        match tried {
            Tried::Works(_, expected) => (self.works, self.expected) = (Some(rate), expected),
            Tried::Misses(failure) | Tried::Fails(failure) => self.fails = Some((rate, failure)),
        }
        Ok(())
    }

    /// Goes down from the rate that worked until one works often enough.
    fn make_sure(&mut self) -> Result<Option<Found<T>>, E> {
        let Some(mut rate) = self.works else { return Ok(None) };
        loop {
            match self.repeat(rate)? {
                Ok(successes) => return Ok(Some(Found { rate, successes, failure: None })),
                Err(failure) => self.fails = Some((rate, failure)),
            }
            let lower = (rate as f64 / self.effort.precision).floor();
            if lower < FLOOR as f64 {
                return Ok(None);
            }
            rate = rate_of(lower);
        }
    }

    /// Whether a rate works often enough.
    fn repeat(&mut self, rate: u64) -> Result<Result<Vec<T>, T>, E> {
        let (mut successes, mut needed, mut failed) = (Vec::new(), self.effort.successes, false);
        while (successes.len() as u64) < u64::from(needed) {
            match (self.attempt)(rate)? {
                Tried::Works(success, _) => successes.push(success),
                Tried::Misses(failure) | Tried::Fails(failure) if failed => return Ok(Err(failure)),
                Tried::Misses(_) | Tried::Fails(_) => (failed, needed) = (true, needed + 1),
            }
        }
        Ok(Ok(successes))
    }
}

/// The geometric mean.
fn between(works: u64, fails: u64) -> u64 {
    rate_of((works as f64 * fails as f64).sqrt())
}

/// A rate in whole pages a second.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounds towards zero, and saturates"
)]
pub(super) fn rate_of(rate: f64) -> u64 {
    rate as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const EFFORT: Effort = Effort { start: 8_000, ceiling: 1_000_000, precision: 1.05, successes: 3 };

    fn search(mut works: impl FnMut(u64) -> bool) -> Option<Found<()>> {
        largest(EFFORT, |rate| {
            Ok::<_, ()>(if works(rate) { Tried::Works((), 40_000) } else { Tried::Misses(()) })
        })
        .unwrap()
    }

    #[test]
    fn the_limit_is_found_to_its_precision_wherever_it_is() {
        for limit in [150, 3_000, 8_000, 30_400, 123_456, 999_999] {
            let found = search(|rate| rate <= limit).unwrap();
            let (fails, ()) = found.failure.unwrap();
            assert!(found.rate <= limit && limit < fails, "{limit}: between {} and {fails}", found.rate);
            assert!(fails as f64 <= found.rate as f64 * 1.06, "{limit}: between {} and {fails}", found.rate);
            assert_eq!(found.successes.len(), 3);
        }
    }

    #[test]
    fn what_always_works_is_found_at_the_ceiling_and_what_never_does_nowhere() {
        let found = search(|_| true).unwrap();
        assert_eq!((found.rate, found.failure), (EFFORT.ceiling, None));
        assert_eq!(search(|_| false), None);
    }

    #[test]
    fn one_try_that_goes_wrong_by_chance_does_not_lower_the_limit() {
        for unlucky in 0..12 {
            let mut tries = 0;
            let found = search(|rate| {
                tries += 1;
                tries - 1 != unlucky && rate <= 30_000
            });
            let rate = found.unwrap().rate;
            assert!((28_571..=30_000).contains(&rate), "{rate}, with try {unlucky} gone wrong");
        }
    }

    #[test]
    fn a_time_of_bad_luck_does_not_keep_the_limit_down() {
        for begin in 0..8 {
            let mut tries = 0;
            let found = search(|rate| {
                tries += 1;
                !(begin..begin + 3).contains(&tries) && rate <= 30_000
            });
            let rate = found.unwrap().rate;
            assert!((28_571..=30_000).contains(&rate), "{rate}, with bad luck from try {begin} on");
        }
    }

    #[test]
    fn a_rate_that_works_now_and_then_is_not_the_limit() {
        let mut tries = 0;
        let found = search(|rate| {
            tries += 1;
            rate <= 20_000 || (rate <= 40_000 && tries % 3 == 0)
        });
        let rate = found.unwrap().rate;
        assert!((19_000..=20_000).contains(&rate), "{rate}");
    }

    #[test]
    fn a_rate_that_is_far_from_working_is_tried_once() {
        let mut tried = Vec::new();
        let found = largest(EFFORT, |rate| {
            tried.push(rate);
            Ok::<_, ()>(if rate <= 30_000 { Tried::Works((), u64::MAX) } else { Tried::Fails(()) })
        });
        assert!(found.unwrap().unwrap().rate <= 30_000);
        // The smallest is tried again, in the end.
        tried.pop();
        let above: Vec<_> = tried.iter().filter(|&&rate| rate > 30_000).collect();
        assert!(!above.is_empty() && above.windows(2).all(|pair| pair[0] != pair[1]), "{tried:?}");
    }

    #[test]
    fn an_error_ends_the_search() {
        let found = largest(EFFORT, |_| Err::<Tried<()>, _>("broken"));
        assert_eq!(found, Err("broken"));
    }
}
