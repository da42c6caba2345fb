//! A guest as large as those that take time to migrate, made of one whose pages were measured.

use pageferry_accel::method::Method;

use crate::page_costs::{PageCosts, RoundCosts};

/// So many rounds are kept: the first, and two that take turns from then on. A large guest's costs take memory.
const ROUNDS: usize = 3;

/// The costs of a guest of `pages` pages: those of `guest` again and again. A guest that is that large already stays as it is.
pub(crate) fn enlarged(guest: &PageCosts, pages: u32) -> PageCosts {
    let copies = pages / guest.pages().max(1);
    if copies < 2 {
        return guest.clone();
    }
    let rounds = guest
        .rounds()
        .iter()
        .take(ROUNDS)
        .zip(0..)
        .map(|(round, number)| repeated(guest, round, number, copies));
    PageCosts::new(guest.page_bytes(), rounds.collect(), guest.zero(), guest.keep_ns())
}

fn repeated(guest: &PageCosts, round: &RoundCosts, number: u32, copies: u32) -> RoundCosts {
    let dirty = round.dirty();
    let again = (0..copies).flat_map(|copy| dirty.iter().map(move |page| copy * guest.pages() + page));
    let zero: Vec<bool> = dirty.iter().map(|&page| guest.is_zero(number, page)).collect();
    let mut large = RoundCosts::new(copies * guest.pages(), again.collect(), zero.repeat(copies as usize));
    for method in Method::ALL {
        let costs = round.of(method);
        if !costs.is_empty() {
            large.set(method, costs.repeat(copies as usize));
        }
    }
    large
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page_costs::Cost;

    fn guest() -> PageCosts {
        let cost = |bytes: f32| Cost { payload_bytes: bytes, encode_ns: bytes, decode_ns: bytes };
        let mut first = RoundCosts::new(3, vec![0, 1, 2], vec![false, true, false]);
        first.set(Method::Raw, vec![cost(1.0), cost(2.0), cost(3.0)]);
        let mut second = RoundCosts::new(3, vec![2], vec![false]);
        second.set(Method::Raw, vec![cost(4.0)]);
        PageCosts::new(4096, vec![first, second], Cost::default(), 5.0)
    }

    #[test]
    fn every_copy_of_a_guest_costs_what_the_guest_costs() {
        let large = enlarged(&guest(), 8);
        assert_eq!((large.pages(), large.page_bytes(), large.keep_ns()), (6, 4096, 5.0));
        assert_eq!(large.round(0).dirty(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(large.round(1).dirty(), [2, 5]);
        let bytes = |round: u32| -> Vec<f32> {
            large.round(round).of(Method::Raw).iter().map(|cost| cost.payload_bytes).collect()
        };
        assert_eq!((bytes(0), bytes(1)), (vec![1.0, 2.0, 3.0, 1.0, 2.0, 3.0], vec![4.0, 4.0]));
        assert!(large.is_zero(0, 4) && !large.is_zero(0, 3));
    }

    #[test]
    fn a_guest_that_is_large_enough_stays_as_it_is() {
        assert_eq!(enlarged(&guest(), 5), guest());
    }
}
