//! One folder of sysfs, and the forms that its attributes have.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pageferry_bindings::idxd::opcode::OpcodeSet;

use super::SysfsError;

/// The attributes of a device, a work queue or an engine.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(root: &Path, name: &str) -> Self {
        Self(root.join(name))
    }

    /// What it says, without the end of the line.
    pub(super) fn text(&self, attribute: &str) -> Result<String, SysfsError> {
        let path = self.0.join(attribute);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(source) => Err(SysfsError::Unreadable { path, source }),
        }
    }

    /// What `read` reads, or nothing if there is no such attribute, or the device has nothing to say there.
    pub(super) fn optional<T>(
        &self,
        read: impl Fn() -> Result<T, SysfsError>,
    ) -> Result<Option<T>, SysfsError> {
        match read() {
            Ok(value) => Ok(Some(value)),
            Err(SysfsError::Unreadable { source, .. }) if is_absent(&source) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A number, decimal or hexadecimal with `0x`.
    pub(super) fn number<T: TryFrom<u64>>(&self, attribute: &str) -> Result<T, SysfsError> {
        self.parsed(attribute, "a number in range", |text| T::try_from(number(text)?).ok())
    }

    /// A number, or nothing for -1.
    pub(super) fn index(&self, attribute: &str) -> Result<Option<u32>, SysfsError> {
        self.parsed(attribute, "an index or -1", |text| match text {
            "-1" => Some(None),
            _ => text.parse().ok().map(Some),
        })
    }

    /// 0 or 1.
    pub(super) fn flag(&self, attribute: &str) -> Result<bool, SysfsError> {
        self.parsed(attribute, "0 or 1", |text| match text {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        })
    }

    /// One of these words.
    pub(super) fn word<T: Copy>(&self, attribute: &str, words: &[(&str, T)]) -> Result<T, SysfsError> {
        self.parsed(attribute, "one of the words that are documented", |text| {
            words.iter().find(|(word, _)| *word == text).map(|&(_, value)| value)
        })
    }

    /// A set of operations.
    pub(super) fn opcodes(&self, attribute: &str) -> Result<OpcodeSet, SysfsError> {
        self.parsed(attribute, "a bitmap of operations", opcodes)
    }

    fn parsed<T>(
        &self,
        attribute: &str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, SysfsError> {
        let text = self.text(attribute)?;
        parse(&text).ok_or_else(|| SysfsError::Unparsable { path: self.0.join(attribute), text, expected })
    }
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Groups of 32 bits, the highest first, with commas between; before Linux 6.1, words of 64 bits with `0x`, the lowest
/// first, with spaces between.
fn opcodes(text: &str) -> Option<OpcodeSet> {
    let mut words = [0_u64; 4];
    if text.starts_with("0x") {
        for (index, word) in text.split_whitespace().enumerate() {
            *words.get_mut(index)? = number(word)?;
        }
    } else {
        for (index, group) in text.rsplit(',').enumerate() {
            let group = u32::from_str_radix(group, 16).ok()?;
            *words.get_mut(index / 2)? |= u64::from(group) << (32 * (index % 2));
        }
    }
    Some(OpcodeSet(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps_of_operations_are_read_as_every_kernel_writes_them() {
        let zeros = "00000000,00000000,00000000,00000000";
        for (text, words) in [
            (format!("{zeros},00000000,00000000,00000001,003f027d"), [0x1_003f_027d, 0, 0, 0]),
            (format!("{zeros},00000000,007f331c,00000000,0000000d"), [0xd, 0x7f_331c, 0, 0]),
            (
                "80000000,00000000,00000000,00000000,00000000,00000000,00000000,00000001".into(),
                [1, 0, 0, 1 << 63],
            ),
            ("0000007b,00bf067f".into(), [0x7b_00bf_067f, 0, 0, 0]),
            ("0xd 0x7f331c 0 0x1".into(), [0xd, 0x7f_331c, 0, 1]),
            ("0x1003f03ff".into(), [0x1_003f_03ff, 0, 0, 0]),
        ] {
            assert_eq!(opcodes(&text), Some(OpcodeSet(words)), "{text}");
        }
    }

    #[test]
    fn what_is_no_bitmap_is_not_taken_for_one() {
        for text in ["", "yes", "1,,2", "100000000", "0x1 0x2 0x3 0x4 0x5", "0,0,0,0,0,0,0,0,0", "0xg"] {
            assert_eq!(opcodes(text), None, "{text:?}");
        }
    }
}
