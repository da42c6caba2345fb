//! What the selector chose for each region of guest memory, over time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The selector's choices: at each step a letter for every region of guest memory, in the order of their addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Choices {
    pub(crate) region_bytes: u64,
    pub(crate) regions: usize,
    /// In the order of time. A step's choices hold until the next one.
    pub(crate) steps: Vec<Step>,
    /// The method that each letter stands for.
    pub(crate) legend: BTreeMap<char, String>,
}

/// What was chosen at one time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// Since the migration began.
    pub(crate) seconds: f64,
    pub(crate) round: u32,
    /// A letter a region.
    pub(crate) methods: String,
}

/// Choices that contradict themselves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ChoicesError {
    #[error(
        "steps[{step}].methods has {found} letters and regions is {regions}: a step has a letter for every region"
    )]
    Length { step: usize, found: usize, regions: usize },
    #[error("steps[{step}].methods has `{letter}`, which the legend does not name: add it there")]
    Letter { step: usize, letter: char },
    #[error("steps[{step}].seconds is before the step before it: sort the steps by time")]
    Order { step: usize },
    #[error(
        "region_bytes and regions are {region_bytes} and {regions}: a guest has a region at least, of a byte at least"
    )]
    Empty { region_bytes: u64, regions: usize },
}

impl Choices {
    /// Looks for contradictions.
    ///
    /// # Errors
    /// [`ChoicesError`] for the first one.
    pub(crate) fn check(&self) -> Result<(), ChoicesError> {
        let &Self { region_bytes, regions, .. } = self;
        if region_bytes == 0 || regions == 0 {
            return Err(ChoicesError::Empty { region_bytes, regions });
        }
        let mut before = 0.0;
        for (step, Step { seconds, methods, .. }) in self.steps.iter().enumerate() {
            let found = methods.chars().count();
            if found != regions {
                return Err(ChoicesError::Length { step, found, regions });
            }
            if let Some(letter) = methods.chars().find(|letter| !self.legend.contains_key(letter)) {
                return Err(ChoicesError::Letter { step, letter });
            }
            if *seconds < before {
                return Err(ChoicesError::Order { step });
            }
            before = *seconds;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices() -> Choices {
        let step = |seconds, methods: &str| Step { seconds, round: 0, methods: methods.to_owned() };
        Choices {
            region_bytes: 2 << 20,
            regions: 3,
            steps: vec![step(0.0, "rrd"), step(0.5, "rdd")],
            legend: [('r', "raw".to_owned()), ('d', "delta".to_owned())].into(),
        }
    }

    #[test]
    fn choices_come_back_from_json_as_they_were() {
        let text = serde_json::to_string(&choices()).unwrap();
        assert_eq!(serde_json::from_str::<Choices>(&text).unwrap(), choices(), "{text}");
        assert_eq!(choices().check(), Ok(()));
    }

    #[test]
    fn every_contradiction_is_told_by_its_step() {
        let changed = |change: fn(&mut Choices)| {
            let mut choices = choices();
            change(&mut choices);
            choices.check().unwrap_err()
        };
        let short = changed(|choices| choices.steps[1].methods = "rr".to_owned());
        assert_eq!(short, ChoicesError::Length { step: 1, found: 2, regions: 3 });
        let unknown = changed(|choices| choices.steps[0].methods = "rrz".to_owned());
        assert_eq!(unknown, ChoicesError::Letter { step: 0, letter: 'z' });
        assert_eq!(changed(|choices| choices.steps[0].seconds = 2.0), ChoicesError::Order { step: 1 });
        let empty = changed(|choices| choices.region_bytes = 0);
        assert!(matches!(empty, ChoicesError::Empty { region_bytes: 0, .. }));
    }
}
