//! What holds at the end of every case.

use std::time::{Duration, Instant};

use pageferry_engine::migration::{Ended, MigrationError, Whereabouts};
use pageferry_engine::vm::Vm;
use pageferry_tests::guest::first_difference;

use crate::scene::Over;

/// Where the guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// At the destination, whole.
    Moved,
    /// At the source, as if nothing had been.
    Stayed,
    /// Paused, and an operator has to look where it is to run.
    InDoubt,
}

/// Far more than both ends' patience together, as a machine may be busy with other things.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// How long a guest that runs may take to be seen to.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

impl Over {
    /// Where the guest is, or which laws were broken.
    pub fn judge(&self) -> Result<Outcome, String> {
        let mut broken = Vec::new();
        let (here, there) = (self.source.look().running, self.destination.look().running);
        let outcome = match (here, there) {
            (true, false) => Outcome::Stayed,
            (false, true) => Outcome::Moved,
            (false, false) => Outcome::InDoubt,
            (true, true) => return Err(self.tell(&["two guests run".to_owned()])),
        };
        match outcome {
            Outcome::Moved => self.check_moved(&mut broken),
            Outcome::Stayed => self.check_stayed(&mut broken),
            Outcome::InDoubt => self.check_doubt(&mut broken),
        }
        self.check_words(&mut broken);
        if self.took > TIME_LIMIT {
            broken.push(format!("it took longer than {TIME_LIMIT:?}"));
        }
        if broken.is_empty() { Ok(outcome) } else { Err(self.tell(&broken)) }
    }

    fn check_moved(&self, broken: &mut Vec<String>) {
        let (before, after) = (self.source.look(), self.destination.look());
        if let Some(page) = first_difference(&self.source.memory(), &self.destination.memory()) {
            broken.push(format!("page {page:?} of the guest that runs is not what it was"));
        }
        if before.writes != after.writes {
            broken.push(format!("{} writes arrived of {}", after.writes, before.writes));
        }
        if !matches!(self.whereabouts(), (Whereabouts::There | Whereabouts::InDoubt, Some(Whereabouts::Here)))
        {
            broken.push("the ends do not say that the guest moved".to_owned());
        }
        if self.there.as_ref().is_some_and(|there| there.result.is_err()) {
            broken.push("the destination runs the guest, and calls that an error".to_owned());
        }
    }

    fn check_stayed(&self, broken: &mut Vec<String>) {
        let look = self.source.look();
        if look.tracked || look.throttle > 0 {
            broken.push(format!("the guest is not as it was: {look:?}"));
        }
        if self.scene.hot_pages > 0 && !self.writes_on(look.writes) {
            broken.push(format!("the guest writes no more: {look:?}"));
        }
        let (here, there) = self.whereabouts();
        if here != Whereabouts::Here || there == Some(Whereabouts::Here) {
            broken.push("the ends do not say that the guest stayed".to_owned());
        }
        if there == Some(Whereabouts::InDoubt) {
            self.check_cause_of_doubt(broken);
        }
    }

    fn writes_on(&self, writes: u64) -> bool {
        let until = Instant::now() + SIGN_OF_LIFE;
        while self.source.look().writes == writes {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    fn check_doubt(&self, broken: &mut Vec<String>) {
        let look = self.source.look();
        if look.tracked || look.throttle > 0 {
            broken.push(format!("the guest that is paused is not as it was: {look:?}"));
        }
        self.check_cause_of_doubt(broken);
        let (here, there) = self.whereabouts();
        if here != Whereabouts::InDoubt && there != Some(Whereabouts::InDoubt) {
            broken.push("no guest runs, and nobody says so".to_owned());
        }
    }

    /// Only who was ready, or heard so, can be in doubt, and only where nobody arbitrates.
    fn check_cause_of_doubt(&self, broken: &mut Vec<String>) {
        if self.scene.has_arbiter {
            broken.push("somebody is in doubt although there is an arbiter".to_owned());
        }
        if !self.destination.look().calls.contains(&"load") {
            broken.push("somebody is in doubt before the destination could be ready".to_owned());
        }
    }

    /// Each end's word on where the guest is, and on how it went, must be the same word.
    fn check_words(&self, broken: &mut Vec<String>) {
        let ends = [("source", Some(&self.here)), ("destination", self.there.as_ref())];
        for (end, Ended { vm, guest, result }) in
            ends.into_iter().filter_map(|(end, ended)| Some((end, ended?)))
        {
            if vm.is_none() {
                broken.push(format!("the {end} does not give the guest back"));
            }
            let in_doubt = matches!(result, Err(MigrationError::InDoubt { .. }));
            if in_doubt != (*guest == Whereabouts::InDoubt) {
                broken.push(format!("the {end} is in doubt and is not"));
            }
            if let Err(error) = result
                && (error.to_string().contains("defect") || error.to_string().contains("failed before"))
            {
                broken.push(format!("the {end} does not say what broke"));
            }
        }
        if self.here.result.is_ok() && !self.destination.look().running {
            broken.push("the source says that it went well, and no guest runs".to_owned());
        }
    }

    fn whereabouts(&self) -> (Whereabouts, Option<Whereabouts>) {
        (self.here.guest, self.there.as_ref().map(|there| there.guest))
    }

    /// Everything that helps to play the case again.
    fn tell(&self, broken: &[String]) -> String {
        let word = |ended: &Ended| match &ended.result {
            Ok(_) => format!("{:?}, it went well", ended.guest),
            Err(error) => format!("{:?}, {error}", ended.guest),
        };
        format!(
            "- {}\n  {}\n  plan: {}\n  fired: {:?}\n  source after {:?}: {}\n  destination: {}\n  {:?}\n",
            self.scene.name,
            broken.join("\n  "),
            self.scene.plan,
            self.proxy.fired(),
            self.took,
            word(&self.here),
            self.there.as_ref().map_or_else(|| "no migration arrived".to_owned(), word),
            self.scene,
        )
    }
}
