//! Which methods a stream uses, what picks among them, and at which levels they work.

use std::fmt;
use std::str::FromStr;

use pageferry_accel::codec::{deflate, zstd};
use pageferry_accel::method::{Method, UnknownMethod};
use pageferry_engine::selector::{NoMethod, Selector, Tracer};
use serde::{Deserialize, Serialize, Serializer};

/// The methods of one stream: one, several in turn, or whatever fits best.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct MethodMix(Mix);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mix {
    InTurn(Vec<Method>),
    Auto,
}

/// The mix that goes by what it sees, as it is typed.
const AUTO: &str = "auto";

/// A name that is no method, nor `auto`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; or auto, alone, for whatever fits best")]
pub struct UnknownMix(UnknownMethod);

impl MethodMix {
    /// Whatever fits best.
    pub const AUTO: Self = Self(Mix::Auto);

    pub(crate) fn of(method: Method) -> Self {
        Self(Mix::InTurn(vec![method]))
    }

    /// The methods that it may pick.
    pub(crate) fn methods(&self) -> &[Method] {
        match &self.0 {
            Mix::InTurn(methods) => methods,
            // Zero pages are found, never picked.
            Mix::Auto => &Method::ALL[1..],
        }
    }

    /// Whether what it picks follows from what it sees.
    #[must_use]
    pub fn is_auto(&self) -> bool {
        self.0 == Mix::Auto
    }

    /// Whether any of them is against a baseline.
    #[must_use]
    pub fn needs_baseline(&self) -> bool {
        self.methods().iter().any(|method| method.needs_baseline())
    }

    /// What picks them. One that goes by what it sees tells `tracer` so.
    ///
    /// # Errors
    /// [`NoMethod`] if the mix is empty, as only a peer's could be.
    pub fn selector(&self, tracer: Option<Tracer>) -> Result<Selector, NoMethod> {
        match &self.0 {
            Mix::InTurn(methods) => Selector::in_turn(methods.clone()),
            Mix::Auto => Ok(Selector::adaptive(tracer)),
        }
    }
}

impl FromStr for MethodMix {
    type Err = UnknownMix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == AUTO {
            return Ok(Self::AUTO);
        }
        let methods = text.split('+').map(str::parse).collect::<Result<_, _>>();
        methods.map(|methods| Self(Mix::InTurn(methods))).map_err(UnknownMix)
    }
}

impl TryFrom<String> for MethodMix {
    type Error = UnknownMix;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for MethodMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Mix::InTurn(methods) => {
                let names: Vec<_> = methods.iter().map(|method| method.name()).collect();
                f.pad(&names.join("+"))
            }
            Mix::Auto => f.pad(AUTO),
        }
    }
}

impl Serialize for MethodMix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Levels as they are typed: one for both codecs that have levels, or one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LevelChoice {
    /// One for both.
    Both(i32),
    /// One each.
    Each {
        /// Deflate's.
        deflate: Option<i32>,
        /// Zstd's.
        zstd: Option<i32>,
    },
}

/// Levels of the two codecs that have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Levels {
    pub(crate) deflate: u32,
    pub(crate) zstd: i32,
}

/// A level that nothing can run at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LevelError {
    /// It is none.
    #[error("`{0}` is no level: write a number, or deflate=N,zstd=N")]
    Text(String),
    /// Deflate has none such.
    #[error("--level {0}: deflate has levels 0 to {max}, as ISA-L has; give zstd its own with zstd=N", max = deflate::MAX_LEVEL)]
    Deflate(i32),
    /// Zstd has none such.
    #[error("--level: {0}")]
    Zstd(zstd::UnknownLevel),
    /// Nothing would run at it.
    #[error("--level has no effect: none of the methods has levels; add deflate or zstd, or leave it out")]
    NoEffect,
}

impl FromStr for LevelChoice {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| digits.parse().map_err(|_| LevelError::Text(text.to_owned()));
        if !text.contains('=') {
            return number(text).map(Self::Both);
        }
        let (mut deflate, mut zstd) = (None, None);
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("deflate", level)) => deflate = Some(number(level)?),
                Some(("zstd", level)) => zstd = Some(number(level)?),
                _ => return Err(LevelError::Text(text.to_owned())),
            }
        }
        Ok(Self::Each { deflate, zstd })
    }
}

impl Levels {
    /// What a choice means for the methods at hand: a level is held only against the codecs that will run at it.
    ///
    /// # Errors
    /// [`LevelError`] if a codec has no such level, or none of `methods` has levels.
    pub fn resolve(choice: Option<LevelChoice>, methods: &[MethodMix]) -> Result<Self, LevelError> {
        let mut levels = Self { deflate: deflate::DEFAULT_LEVEL, zstd: zstd::DEFAULT_LEVEL };
        let Some(choice) = choice else { return Ok(levels) };
        let runs = |method| methods.iter().any(|mix| mix.methods().contains(&method));
        let (deflate, zstd) = match choice {
            LevelChoice::Both(level) => (Some(level), Some(level)),
            LevelChoice::Each { deflate, zstd } => (deflate, zstd),
        };
        let deflate = deflate.filter(|_| runs(Method::Deflate));
        let zstd = zstd.filter(|_| runs(Method::Zstd));
        if deflate.is_none() && zstd.is_none() {
            return Err(LevelError::NoEffect);
        }
        if let Some(level) = deflate {
            let known = u32::try_from(level).ok().filter(|&level| level <= deflate::MAX_LEVEL);
            levels.deflate = known.ok_or(LevelError::Deflate(level))?;
        }
        if let Some(level) = zstd {
            zstd::Zstd::new(level).map_err(LevelError::Zstd)?;
            levels.zstd = level;
        }
        Ok(levels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(choice: &str, methods: &[&str]) -> Result<Levels, LevelError> {
        let methods: Vec<_> = methods.iter().map(|mix| mix.parse().unwrap()).collect();
        Levels::resolve(Some(choice.parse()?), &methods)
    }

    #[test]
    fn a_mix_prints_as_it_was_typed() {
        for text in ["raw", "deflate+delta", "zstd+zstd+raw", "auto"] {
            assert_eq!(text.parse::<MethodMix>().unwrap().to_string(), text);
        }
        for text in ["", "zero", "raw+", "raw,deflate", "gzip", "auto+raw"] {
            assert!(text.parse::<MethodMix>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_level_is_for_both_codecs_and_two_are_for_one_each() {
        assert_eq!(resolve("3", &["deflate", "zstd"]), Ok(Levels { deflate: 3, zstd: 3 }));
        assert_eq!(resolve("deflate=0,zstd=19", &["deflate+zstd"]), Ok(Levels { deflate: 0, zstd: 19 }));
        assert_eq!(resolve("zstd=-5", &["deflate", "zstd"]), Ok(Levels { deflate: 1, zstd: -5 }));
    }

    #[test]
    fn a_level_is_held_against_the_methods_that_run_at_it() {
        assert_eq!(resolve("19", &["zstd"]), Ok(Levels { deflate: 1, zstd: 19 }));
        assert_eq!(resolve("19", &["zstd", "deflate"]), Err(LevelError::Deflate(19)));
        assert_eq!(resolve("-1", &["deflate"]), Err(LevelError::Deflate(-1)));
        assert!(matches!(resolve("99", &["zstd"]), Err(LevelError::Zstd(_))));
        assert_eq!(resolve("1", &["raw", "lz4"]), Err(LevelError::NoEffect));
        assert_eq!(resolve("deflate=1", &["zstd"]), Err(LevelError::NoEffect));
        for text in ["", "high", "deflate=", "lz4=1", "deflate=1;zstd=2"] {
            assert_eq!(resolve(text, &["deflate"]), Err(LevelError::Text(text.to_owned())), "{text}");
        }
    }
}
