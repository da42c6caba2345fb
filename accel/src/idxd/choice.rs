//! What to do about a page fault: have the device go on, or do its work on the CPU. Whichever was quicker so far.

use std::time::Duration;

/// What is done about a page fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Touch the page, and have the device go on: where it stopped, or from the beginning if it can do no better.
    Resume,
    /// Do what is left of the descriptor on the CPU.
    Finish,
}

/// What both ways cost lately on one queue, from the fault being seen to its descriptor going on.
#[derive(Debug, Default)]
pub(super) struct Choice {
    resume: Cost,
    finish: Cost,
    /// Faults since the dearer way was last tried.
    since_other: u32,
}

#[derive(Debug, Default)]
struct Cost {
    known: u32,
    average_ns: u64,
}

/// How often each way is tried before they are compared.
const FIRST: u32 = 4;
/// Every so many faults the dearer way is tried again: times change.
const OTHER: u32 = 64;
/// How many samples the average remembers, about.
const WEIGHT: u64 = 8;

impl Choice {
    /// The way for the next fault.
    pub(super) fn way(&mut self) -> Way {
        if self.resume.known < FIRST {
            return Way::Resume;
        }
        if self.finish.known < FIRST {
            return Way::Finish;
        }
        self.since_other += 1;
        let finish_is_cheaper = self.finish.average_ns < self.resume.average_ns;
        let other = self.since_other == OTHER;
        if other {
            self.since_other = 0;
        }
        if finish_is_cheaper == other { Way::Resume } else { Way::Finish }
    }

    /// States what a way cost.
    pub(super) fn took(&mut self, way: Way, time: Duration) {
        let cost = match way {
            Way::Resume => &mut self.resume,
            Way::Finish => &mut self.finish,
        };
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / WEIGHT).min(u64::MAX / WEIGHT);
        cost.average_ns = match cost.known {
            0 => ns,
            _ => (cost.average_ns * (WEIGHT - 1) + ns) / WEIGHT,
        };
        cost.known = cost.known.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `faults` ways that cost so much, and says how often each was taken.
    fn run(choice: &mut Choice, faults: u32, resume_us: u64, finish_us: u64) -> (u32, u32) {
        let (mut resumed, mut finished) = (0, 0);
        for _ in 0..faults {
            let way = choice.way();
            let (count, us) = match way {
                Way::Resume => (&mut resumed, resume_us),
                Way::Finish => (&mut finished, finish_us),
            };
            *count += 1;
            choice.took(way, Duration::from_micros(us));
        }
        (resumed, finished)
    }

    #[test]
    fn both_ways_are_tried_and_then_the_cheaper_one_is_taken() {
        assert_eq!(run(&mut Choice::default(), 8, 5, 50), (4, 4));
        assert_eq!(run(&mut Choice::default(), 71, 5, 50), (4 + 63, 4));
        assert_eq!(run(&mut Choice::default(), 71, 50, 5), (4, 4 + 63));
    }

    #[test]
    fn the_dearer_way_is_tried_seldom_and_taken_when_it_became_the_cheaper() {
        let mut choice = Choice::default();
        run(&mut choice, 8, 5, 50);
        assert_eq!(run(&mut choice, 640, 5, 50), (630, 10));
        // The device became slow: its average passes the other's within a few samples.
        let (resumed, finished) = run(&mut choice, 640, 5000, 50);
        assert!(resumed < 20 && finished > 600, "{resumed} resumed, {finished} finished");
    }
}
