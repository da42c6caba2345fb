//! What a colour stands for.

use pageferry_accel::method::Method;

/// What a colour stands for: a method, or several in one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// One method.
    Method(Method),
    /// Methods mixed, or something else.
    Mix,
}

impl Slot {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Method(Method::Zero),
        Self::Method(Method::Raw),
        Self::Method(Method::Deflate),
        Self::Method(Method::Zstd),
        Self::Method(Method::Lz4),
        Self::Method(Method::Xbzrle),
        Self::Method(Method::Delta),
        Self::Mix,
    ];

    /// The colour of what is called so: of a method by its name, of a device by what it does.
    #[must_use]
    pub fn of(name: &str) -> Self {
        // Zero is a method that nobody asks for, but pages travel by it.
        let exact = |name: &str| Method::ALL.into_iter().find(|method| method.name() == name);
        if let Some(method) = exact(name) {
            return Self::Method(method);
        }
        let name = name.to_ascii_lowercase();
        let method = |word: &str| match word {
            "none" | "no" | "raw" | "uncompressed" => Some(Method::Raw),
            "zlib" | "deflate" | "qat" | "qatzip" | "iaa" => Some(Method::Deflate),
            "dsa" => Some(Method::Delta),
            other => exact(other),
        };
        let mut found: Vec<Method> =
            name.split(|letter: char| !letter.is_ascii_alphanumeric()).filter_map(method).collect();
        found.dedup();
        match found[..] {
            [one] => Self::Method(one),
            _ => Self::Mix,
        }
    }

    /// As a word in a class.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Method(method) => method.name(),
            Self::Mix => "mix",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_colour_of_its_method() {
        for (name, slot) in [
            ("deflate", Slot::Method(Method::Deflate)),
            ("zlib level 1, 16 CPUs", Slot::Method(Method::Deflate)),
            ("No compression", Slot::Method(Method::Raw)),
            ("QAT", Slot::Method(Method::Deflate)),
            ("DSA", Slot::Method(Method::Delta)),
            ("deflate+delta", Slot::Mix),
            ("selector", Slot::Mix),
            ("", Slot::Mix),
        ] {
            assert_eq!(Slot::of(name), slot, "{name}");
        }
    }
}
