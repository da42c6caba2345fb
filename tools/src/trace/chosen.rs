//! Gathers the choices of an adaptive selector while it takes them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pageferry_accel::method::Method;
use pageferry_engine::selector::{Event, Reason};

use super::choices::{Choices, Step};

/// What an adaptive selector has chosen so far. Its copies share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chosen(Arc<Mutex<Gathered>>);

#[derive(Debug, Default)]
struct Gathered {
    region_bytes: u64,
    /// A letter a region.
    now: Vec<char>,
    round: u32,
    /// The sender's time: what the guest does between two rounds is not in it.
    time: Duration,
    steps: Vec<Step>,
    /// How much time lies between two steps at least.
    interval: Duration,
}

/// A region of which no page was sent yet, and what the legend calls it.
const NOTHING: char = '.';
pub(crate) const NOTHING_YET: &str = "nothing yet";

/// How much time lies between two steps at first. When there are more than [`MOST`], every other one goes.
const INTERVAL: Duration = Duration::from_millis(5);
const MOST: usize = 200;

impl Chosen {
    /// Takes an event in.
    pub(crate) fn see(&self, event: &Event) {
        let mut gathered = self.lock();
        match event {
            Event::Began(terms) => {
                let pages = (terms.region_bytes / u64::from(terms.page_bytes.max(1))).max(1);
                let regions = usize::try_from(terms.end.div_ceil(pages)).unwrap_or(usize::MAX);
                gathered.region_bytes = terms.region_bytes;
                gathered.now = vec![NOTHING; regions];
                gathered.interval = INTERVAL;
            }
            Event::Round { .. } => {
                gathered.round = if gathered.steps.is_empty() { 0 } else { gathered.round + 1 };
                gathered.note(true);
            }
            Event::Decided(decision) if !matches!(decision.reason, Reason::Probe | Reason::Look) => {
                if let Some(region) = gathered.now.get_mut(decision.region) {
                    *region = letter(decision.way.method);
                }
            }
            Event::Passed(stretch) => {
                gathered.time += stretch.wall;
                gathered.note(false);
            }
            Event::Decided(_) | Event::Observed(_) | Event::Decoded { .. } => {}
        }
    }

    /// All choices until now; none if no selector took any.
    pub(crate) fn choices(&self) -> Option<Choices> {
        let mut gathered = self.lock();
        if gathered.now.is_empty() {
            return None;
        }
        gathered.note(true);
        let names = Method::ALL.map(|method| (letter(method), method.name().to_owned()));
        let legend: BTreeMap<_, _> = names.into_iter().chain([(NOTHING, NOTHING_YET.to_owned())]).collect();
        let Gathered { region_bytes, now, steps, .. } = &*gathered;
        Some(Choices { region_bytes: *region_bytes, regions: now.len(), steps: steps.clone(), legend })
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gathered {
    /// Notes a step, if it is time for one or it must be.
    fn note(&mut self, must: bool) {
        let seconds = self.time.as_secs_f64();
        let due = self.steps.last().is_none_or(|last| seconds - last.seconds >= self.interval.as_secs_f64());
        if !due && !must {
            return;
        }
        self.steps.push(Step { seconds, round: self.round, methods: self.now.iter().collect() });
        if self.steps.len() > MOST {
            let mut number = 0;
            self.steps.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.interval *= 2;
        }
    }
}

/// The letter that a method has in the map.
fn letter(method: Method) -> char {
    match method {
        Method::Zero => '0',
        Method::Raw => 'r',
        Method::Deflate => 'd',
        Method::Zstd => 'z',
        Method::Lz4 => 'l',
        Method::Xbzrle => 'x',
        Method::Delta => 'e',
    }
}

#[cfg(test)]
mod tests {
    use pageferry_accel::units::PageIndex;
    use pageferry_engine::selector::{Adaptive, LaneTerms, Piece, Stretch, Terms, Tracer, Way};

    use super::*;

    #[test]
    fn the_map_has_a_letter_a_region_for_every_step_and_no_contradiction() {
        let chosen = Chosen::default();
        assert_eq!(chosen.choices(), None, "nobody chose");
        let watching = chosen.clone();
        let terms = Terms {
            ways: vec![Way { method: Method::Raw, lane: 0 }],
            lanes: vec![LaneTerms { on_cpu: true, keeps_copies: true, queues: 1 }],
            end: 2048,
            page_bytes: 4096,
            max_pages: 63,
            region_bytes: 2 << 20,
            cpus: 1.0,
            max_bytes_per_s: None,
            destination_workers: 1,
        };
        let mut adaptive = Adaptive::new(terms, Some(Tracer::new(move |event| watching.see(event))));
        let time = Duration::from_millis(7);
        for round in 0..300 {
            adaptive.begin_round(2048, 2048);
            for region in 0..if round == 0 { 2 } else { 4 } {
                adaptive.choose(Piece { first: PageIndex(512 * region), pages: 63, known: 0 });
            }
            adaptive.observe_stretch(&Stretch { wall: time, ..Stretch::default() });
        }
        let choices = chosen.choices().unwrap();
        assert_eq!(choices.check(), Ok(()));
        assert_eq!((choices.regions, choices.steps[0].methods.as_str()), (4, "...."));
        assert!((100..=MOST).contains(&choices.steps.len()), "{} steps", choices.steps.len());
        let last = choices.steps.last().unwrap();
        assert_eq!((last.methods.as_str(), last.round), ("rrrr", 299));
        assert!((last.seconds - 2.1).abs() < 1e-9, "{}", last.seconds);
    }
}
