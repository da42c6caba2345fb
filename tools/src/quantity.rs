//! Sizes, rates and times as users write them: `256M`, `10Gbit`, `90s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A number of bytes. `K`, `M`, `G` and `T` are powers of 1024, as in fio and zstd; `KB` and the like are powers of
/// 1000, `KiB` and the like of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ByteSize(
    /// How many.
    pub u64,
);

/// Bytes a second: a size, with or without `/s`, or bits, as links are sold: `10Gbit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ByteRate(
    /// How many a second.
    pub u64,
);

/// A time, in seconds unless it says `us`, `ms`, `m` or `h`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seconds(
    /// How long.
    pub Duration,
);

/// A share in percent, with or without the sign: `5%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(
    /// How many hundredths.
    pub f64,
);

/// Text that is no quantity of the kind that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantityError {
    /// It is no size.
    #[error("`{0}` is no size: write a number of bytes, or one with K, M, G or T, as in 256M")]
    Size(String),
    /// It is no rate.
    #[error("`{0}` is no rate: write bytes a second as in 100M, or bits a second as in 10Gbit")]
    Rate(String),
    /// It is no time.
    #[error("`{0}` is no time: write seconds as in 10 or 0.5, or a unit as in 500ms or 2m")]
    Time(String),
    /// It is no share.
    #[error("`{0}` is no percentage: write 0 to 100, as in 5%")]
    Percent(String),
    /// It is larger than this program can count.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let none = || QuantityError::Size(text.to_owned());
        let (number, unit) = split(text);
        let factor = byte_unit(unit).ok_or_else(none)?;
        scaled(number, factor, text).map_err(|wrong| wrong.unwrap_or_else(none)).map(Self)
    }
}

impl FromStr for ByteRate {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let none = || QuantityError::Rate(text.to_owned());
        let (number, unit) = split(text);
        let unit = unit.strip_suffix("/s").unwrap_or(unit);
        let (factor, divisor) = match unit.strip_suffix("bit") {
            Some(prefix) => (decimal(prefix).ok_or_else(none)?, 8),
            None => (byte_unit(unit).ok_or_else(none)?, 1),
        };
        let rate = scaled(number, factor, text).map_err(|wrong| wrong.unwrap_or_else(none))? / divisor;
        if rate == 0 { Err(none()) } else { Ok(Self(rate)) }
    }
}

impl FromStr for Seconds {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let none = || QuantityError::Time(text.to_owned());
        let (number, unit) = split(text);
        let seconds = match unit {
            "" | "s" => 1.0,
            "ms" => 0.001,
            "us" => 0.000_001,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(none()),
        };
        let number: f64 = number.parse().map_err(|_| none())?;
        let time = Duration::try_from_secs_f64(number * seconds);
        let time = time.map_err(|_| QuantityError::TooLarge(text.to_owned()))?;
        if time.is_zero() { Err(none()) } else { Ok(Self(time)) }
    }
}

impl FromStr for Percent {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.trim();
        let number = number.strip_suffix('%').unwrap_or(number).trim_end().parse().ok();
        let share = number.filter(|percent| (0.0..=100.0).contains(percent));
        share.map(Self).ok_or_else(|| QuantityError::Percent(text.to_owned()))
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_secs_f64())
    }
}

impl fmt::Display for ByteSize {
    /// In the largest power of 1024 that leaves no fraction, or with one digit behind the point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.into_iter().find(|&(unit, _)| self.0 >= unit) {
            None => write!(f, "{} B", self.0),
            Some((unit, name)) if self.0.is_multiple_of(unit) => write!(f, "{} {name}", self.0 / unit),
            Some((unit, name)) => write!(f, "{:.1} {name}", self.0 as f64 / unit as f64),
        }
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", ByteSize(self.0))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}

/// The digits, and what is behind them.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|character: char| !(character.is_ascii_digit() || character == '.'));
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    (number, unit.trim_start())
}

fn byte_unit(unit: &str) -> Option<u64> {
    let binary = |letter: &str| {
        Some(match letter.to_ascii_uppercase().as_str() {
            "" => 1_u64,
            "K" => 1 << 10,
            "M" => 1 << 20,
            "G" => 1 << 30,
            "T" => 1 << 40,
            _ => return None,
        })
    };
    if let Some(prefix) = unit.strip_suffix("iB") {
        return binary(prefix).filter(|&factor| factor > 1);
    }
    match unit.strip_suffix('B') {
        Some(prefix) => decimal(prefix),
        None => binary(unit),
    }
}

fn decimal(prefix: &str) -> Option<u64> {
    Some(match prefix {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        _ => return None,
    })
}

/// A whole number of units, or one with a fraction that makes whole bytes. `Err(None)`: no number.
fn scaled(number: &str, factor: u64, text: &str) -> Result<u64, Option<QuantityError>> {
    let too_large = || Some(QuantityError::TooLarge(text.to_owned()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || fraction.len() > 9 {
        return Err(None);
    }
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let mut bytes = whole.checked_mul(factor).ok_or_else(too_large)?;
    if !fraction.is_empty() {
        let digits: u64 = fraction.parse().map_err(|_| None)?;
        let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(9));
        let part = u128::from(digits) * u128::from(factor) / scale;
        bytes = bytes.checked_add(u64::try_from(part).map_err(|_| too_large())?).ok_or_else(too_large)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_fio_and_zstd_read_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4k", 4096),
            ("256M", 256 << 20),
            ("1.5G", 3 << 29),
            ("2T", 2 << 40),
            ("1KiB", 1024),
            ("1KB", 1000),
            ("3 MiB", 3 << 20),
            ("7B", 7),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn text_that_is_no_size_is_refused() {
        for text in ["", "M", "-1", "1X", "1.2.3M", "0x10", "1iB", "four", "1MM"] {
            assert_eq!(text.parse::<ByteSize>(), Err(QuantityError::Size(text.to_owned())), "{text}");
        }
        for text in ["99999999999T", "18446744073709551616"] {
            assert_eq!(text.parse::<ByteSize>(), Err(QuantityError::TooLarge(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn rates_are_bytes_unless_they_say_bit() {
        for (text, rate) in [
            ("100M", 100 << 20),
            ("1G/s", 1 << 30),
            ("10Gbit", 1_250_000_000),
            ("8bit/s", 1),
            ("1MB/s", 1_000_000),
        ] {
            assert_eq!(text.parse(), Ok(ByteRate(rate)), "{text}");
        }
        for text in ["0", "7bit", "1Kibit", "fast", "1Mbps"] {
            assert_eq!(text.parse::<ByteRate>(), Err(QuantityError::Rate(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn times_are_seconds_unless_they_say_more() {
        for (text, millis) in
            [("10", 10_000), ("0.5", 500), ("250ms", 250), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(text.parse(), Ok(Seconds(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "0", "-1", "1d", "1m30s", "soon"] {
            assert_eq!(text.parse::<Seconds>(), Err(QuantityError::Time(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn shares_are_percent_with_or_without_the_sign() {
        for (text, percent) in [("5%", 5.0), ("5", 5.0), ("0.5 %", 0.5), ("100%", 100.0)] {
            assert_eq!(text.parse(), Ok(Percent(percent)), "{text}");
        }
        for text in ["", "%", "-1%", "101%", "NaN", "five"] {
            assert_eq!(text.parse::<Percent>(), Err(QuantityError::Percent(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_size_prints_in_the_largest_unit_that_fits() {
        for (bytes, text) in [(17, "17 B"), (4096, "4 KiB"), (3 << 29, "1.5 GiB"), (256 << 20, "256 MiB")] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
