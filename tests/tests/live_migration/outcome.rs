//! What holds at the end of every migration.

use pageferry_engine::migration::Whereabouts;
use pageferry_engine::vm::Vm;
use pageferry_tests::guest::first_difference;

use crate::Over;

impl Over {
    /// The guest is at the destination, whole, and nowhere else.
    pub fn assert_moved(&self) {
        let Self { source, destination, here, there, .. } = self;
        assert!(
            here.result.is_ok(),
            "the source says: {:?}",
            here.result.as_ref().err().map(ToString::to_string)
        );
        assert!(
            there.result.is_ok(),
            "the destination says: {:?}",
            there.result.as_ref().err().map(ToString::to_string)
        );
        assert_eq!((here.guest, there.guest), (Whereabouts::There, Whereabouts::Here));
        let (before, after) = (source.look(), destination.look());
        assert!(!before.running, "the guest runs on at the source");
        assert!(after.running, "the guest does not run at the destination");
        assert_eq!(first_difference(&source.memory(), &destination.memory()), None, "a page differs");
        assert!(after.writes > 0 && after.writes == before.writes, "its state: {before:?}, {after:?}");
    }

    /// The guest is at the source as if nothing had been, and nowhere else.
    pub fn assert_stayed(&self) -> String {
        let Self { source, destination, here, there, .. } = self;
        let error = here.result.as_ref().expect_err("the guest moved").to_string();
        assert_eq!((here.guest, there.guest), (Whereabouts::Here, Whereabouts::There), "{error}");
        let (before, after) = (source.look(), destination.look());
        assert!(before.running && !before.tracked && before.throttle == 0, "{error}: {before:?}");
        assert!(!after.running, "{error}: the guest runs at the destination");
        error
    }
}
