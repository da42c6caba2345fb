//! The laws of the two methods that encode against a baseline, which have one shape.

use std::fmt::Debug;

/// An implementation of an encoder and its name.
pub type Encoder<O> = (&'static str, fn(&[u8], &[u8], &mut [u8]) -> Result<usize, O>);

/// A method's encoders, the portable one last, and its decoder.
pub struct Codec<O, D> {
    /// Every implementation that this CPU runs.
    pub encoders: Vec<Encoder<O>>,
    /// The decoder.
    pub decode: fn(&[u8], &mut [u8]) -> Result<(), D>,
    /// Regions have a length that is a multiple of this.
    pub unit_bytes: usize,
}

impl<O: Debug + PartialEq, D: Debug> Codec<O, D> {
    /// Takes an input: its first byte says which law is tried on the rest.
    pub fn hold(&self, data: &[u8]) {
        let Some((&selector, rest)) = data.split_first() else { return };
        match selector % 3 {
            0 => self.decoding_anything_stays_inside(rest),
            1 => self.round_trip_of_halves(rest),
            _ => self.round_trip_of_patches(rest),
        }
    }

    fn decoding_anything_stays_inside(&self, encoded: &[u8]) {
        let _ = super::guard::guarded(4096, |page| (self.decode)(encoded, page));
    }

    /// The input is an output's length, the old page, and as long a new one.
    fn round_trip_of_halves(&self, data: &[u8]) {
        let Some((room, pages)) = super::guard::length_and_input(data) else { return };
        let bytes = pages.len() / 2 / self.unit_bytes * self.unit_bytes;
        let (old, new) = (&pages[..bytes], &pages[bytes..2 * bytes]);
        self.round_trip(old, new, room);
    }

    /// The input is an output's length and changes to a page: where (two bytes), how long, and what with.
    fn round_trip_of_patches(&self, data: &[u8]) {
        let Some((room, patches)) = super::guard::length_and_input(data) else { return };
        let old: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 14).collect();
        let mut new = old.clone();
        for &[low, high, length, value] in patches.as_chunks::<4>().0 {
            let start = usize::from(u16::from_le_bytes([low, high])) % new.len();
            let end = (start + usize::from(length)).min(new.len());
            new[start..end].fill(value);
        }
        self.round_trip(&old, &new, room);
    }

    fn round_trip(&self, old: &[u8], new: &[u8], room: usize) {
        let Some((_, portable)) = self.encoders.last() else { return };
        let mut expected = vec![0; room];
        let expected_result = portable(old, new, &mut expected);
        for (name, encode) in &self.encoders {
            let mut out = vec![0; room];
            let result = encode(old, new, &mut out);
            assert_eq!(result, expected_result, "{name} and the portable encoder return different things");
            if let Ok(bytes) = result {
                assert!(
                    out[..bytes] == expected[..bytes],
                    "{name} and the portable encoder write different bytes"
                );
            }
        }
        if let Ok(bytes) = expected_result {
            let mut page = old.to_vec();
            (self.decode)(&expected[..bytes], &mut page).expect("what was encoded must decode");
            assert!(page == new, "the decoded page is not the new one");
        }
    }
}
