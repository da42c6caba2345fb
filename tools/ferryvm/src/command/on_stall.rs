//! What is done about a guest that writes faster than the link carries, as it is typed.

use std::fmt;
use std::str::FromStr;

use pageferry_engine::migration::OnStall;
use pageferry_engine::migration::convergence::Throttle;
use pageferry_tools::quantity::Seconds;

/// `throttle`, `throttle:INITIAL,STEP,MAX`, `force:TIME` or `give-up`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StallChoice(pub(crate) OnStall);

/// Text that says nothing that could be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is nothing that could be done: write throttle, throttle:INITIAL,STEP,MAX in percent (up to 99, INITIAL no \
     more than MAX), force:TIME or give-up"
)]
pub(crate) struct UnknownChoice(String);

impl FromStr for StallChoice {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = match text.split_once(':') {
            None if text == "throttle" => Some(OnStall::Throttle(Throttle::default())),
            None if text == "give-up" => Some(OnStall::GiveUp),
            Some(("throttle", steps)) => throttle(steps).map(OnStall::Throttle),
            Some(("force", time)) => time.parse().ok().map(|Seconds(downtime)| OnStall::Force { downtime }),
            _ => None,
        };
        found.map(Self).ok_or_else(|| UnknownChoice(text.to_owned()))
    }
}

impl fmt::Display for StallChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            OnStall::Throttle(Throttle { initial, step, max }) => {
                write!(f, "throttle:{initial},{step},{max}")
            }
            OnStall::Force { downtime } => write!(f, "force:{}", downtime.as_secs_f64()),
            OnStall::GiveUp => f.write_str("give-up"),
        }
    }
}

fn throttle(steps: &str) -> Option<Throttle> {
    let steps: Vec<u8> = steps.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[initial, step, max] = &steps[..] else { return None };
    let fits = (1..=max).contains(&initial) && step > 0 && max <= 99;
    fits.then_some(Throttle { initial, step, max })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_choice_prints_as_it_can_be_typed() {
        for (text, choice) in [
            ("throttle:20,10,99", OnStall::default()),
            ("throttle:5,1,50", OnStall::Throttle(Throttle { initial: 5, step: 1, max: 50 })),
            ("force:2", OnStall::Force { downtime: Duration::from_secs(2) }),
            ("give-up", OnStall::GiveUp),
        ] {
            assert_eq!(text.parse(), Ok(StallChoice(choice)), "{text}");
            assert_eq!(StallChoice(choice).to_string(), text);
        }
        assert_eq!("throttle".parse(), Ok(StallChoice(OnStall::default())));
    }

    #[test]
    fn steps_that_throttle_nothing_or_too_much_are_none() {
        for text in
            ["", "stop", "throttle:", "throttle:20", "throttle:0,1,9", "throttle:5,0,9", "throttle:20,10,100"]
        {
            assert_eq!(text.parse::<StallChoice>(), Err(UnknownChoice(text.to_owned())), "{text}");
        }
        for text in ["throttle:50,1,40", "force:", "force:0", "give-up:now", "throttle:300,1,99"] {
            assert!(text.parse::<StallChoice>().is_err(), "{text}");
        }
    }
}
