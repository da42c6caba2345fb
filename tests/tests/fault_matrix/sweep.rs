//! Faults at random, by seeds.

use pageferry_tests::guest::Noise;
use pageferry_tests::peers::METHODS;
use pageferry_tests::proxy::Plan;

use crate::law::Outcome;
use crate::moments::{Act, Moment, Trap};
use crate::scene::{Scene, Wire};
use crate::{setting, try_all};

/// Enough to meet every fault at every place; the rest is looked for where there is time.
const CASES: usize = 150;

/// About as much as the source sends on one connection.
const BYTES: u64 = 1 << 19;

fn scene(seed: u64) -> Scene {
    let mut noise = Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    noise.next_u64();
    let mut index = |end| usize::try_from(noise.below(end)).unwrap();
    let wire = [Wire::Tcp, Wire::Tcp, Wire::Unix, Wire::Tls][index(4)];
    let connections = [1, 4][index(2)];
    let first = index(6);
    let methods = METHODS.iter().cycle().skip(first).take(1 + index(3)).copied().collect();
    let has_arbiter = index(2) == 1;
    let hot_pages = [0, 5, 30, 100][index(4)];
    let max_bytes_per_s = [None, Some(4_000_000), Some(20_000_000)][index(3)];
    let acts = Act::all();
    let trap = Trap { moment: Moment::ALL[index(9)], act: acts[index(9)] };
    Scene {
        connections,
        methods,
        has_arbiter,
        hot_pages,
        max_bytes_per_s,
        plan: Plan::random(seed, usize::from(connections) + index(3), BYTES),
        trap: (index(3) == 0).then_some(trap),
        ..Scene::plain(format!("seed {seed}"), wire)
    }
}

#[test]
fn whatever_a_network_does_one_guest_is_left_or_somebody_says_who_must_look() {
    let (first, cases) = (setting("PAGEFERRY_MATRIX_SEED", 1), setting("PAGEFERRY_MATRIX", CASES));
    let tally = try_all(cases, |number| scene(u64::try_from(first + number).unwrap()));
    println!("{cases} random cases: {tally:?}");
    let met = |outcome| tally.get(&outcome).copied().unwrap_or_default();
    assert!(
        cases < 100 || met(Outcome::Moved) > cases / 5 && met(Outcome::Stayed) > cases / 5,
        "the cases test little: {tally:?}"
    );
}
