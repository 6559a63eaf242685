//! Durations and sizes as people write them: `"1.5s"`, `"16MiB"`. Bare numbers are refused, because
//! nobody remembers whether a timeout of `30` meant seconds or milliseconds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time with a unit: `ms`, `s`, `m`, `h` or `d`, fractions allowed, at most 10 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

/// A number of bytes with a unit: `B`, `KiB`, `MiB`, `GiB`, or decimal `KB`, `MB`, `GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// Why a text is not a duration or a size. The text is repeated, so that the reader finds it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a number followed by a known unit.
    #[error("`{text}` is not a {what}; write a number and a unit, for example {example}")]
    Malformed {
        /// What was given.
        text: String,
        /// `duration` or `size`.
        what: &'static str,
        /// A text that would have been accepted.
        example: &'static str,
    },
    /// A number with a unit, but past what makes sense.
    #[error("`{text}` is too large for a {what}")]
    TooLarge {
        /// What was given.
        text: String,
        /// `duration` or `size`.
        what: &'static str,
    },
}

/// Ten years: longer waits are typing errors, and everything below fits in signed milliseconds.
const LONGEST_SECONDS: f64 = 10.0 * 366.0 * 86_400.0;

impl Span {
    /// Whether it is no time at all.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.is_zero()
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let malformed = || UnitError::Malformed {
            text: text.to_owned(),
            what: "duration",
            example: "\"500ms\", \"1.5s\", \"10m\", \"24h\", \"7d\"",
        };
        let (number, unit) = split(text).ok_or_else(malformed)?;
        let seconds = match unit {
            "ms" => number / 1_000.0,
            "s" => number,
            "m" => number * 60.0,
            "h" => number * 3_600.0,
            "d" => number * 86_400.0,
            _ => return Err(malformed()),
        };
        if seconds > LONGEST_SECONDS {
            return Err(UnitError::TooLarge { text: text.to_owned(), what: "duration" });
        }
        // Through whole microseconds, so that "0.1s" is 100 ms and not 100.000000001.
        Ok(Self(Duration::from_micros((seconds * 1e6).round() as u64)))
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let malformed = || UnitError::Malformed {
            text: text.to_owned(),
            what: "size",
            example: "\"512B\", \"64KiB\", \"16MiB\"",
        };
        let (number, unit) = split(text).ok_or_else(malformed)?;
        let factor = match unit {
            "B" => 1.0,
            "KiB" => 1_024.0,
            "MiB" => 1_048_576.0,
            "GiB" => 1_073_741_824.0,
            "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            _ => return Err(malformed()),
        };
        let bytes = (number * factor).round();
        if bytes > 1_099_511_627_776.0 {
            return Err(UnitError::TooLarge { text: text.to_owned(), what: "size" });
        }
        Ok(Self(bytes as u64))
    }
}

/// Splits `1.5s` into 1.5 and `s`; `None` without a number, without a unit, or below zero.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..at].parse().ok()?;
    number.is_finite().then_some((number, text[at..].trim_start()))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_micros() as f64 / 1_000.0;
        let (value, unit) = [(86_400_000.0, "d"), (3_600_000.0, "h"), (60_000.0, "m"), (1_000.0, "s")]
            .into_iter()
            .find(|(size, _)| ms >= *size && ms % size == 0.0)
            .map_or(if ms >= 1_000.0 { (ms / 1_000.0, "s") } else { (ms, "ms") }, |(size, unit)| {
                (ms / size, unit)
            });
        write!(f, "{value}{unit}")
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
            .into_iter()
            .find(|(size, _)| self.0 >= *size && self.0.is_multiple_of(*size))
            .map_or((self.0, "B"), |(size, unit)| (self.0 / size, unit));
        write!(f, "{value}{unit}")
    }
}

/// Text both ways, so that TOML, JSON, flags and environment read and show the same.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;

serde_as_text!(Span);
serde_as_text!(ByteSize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, ms) in [
            ("500ms", 500),
            ("1.5s", 1_500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("0s", 0),
            ("1 d", 86_400_000),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().0, Duration::from_millis(ms), "{text}");
        }
    }

    #[test]
    fn a_number_without_unit_or_below_zero_is_refused() {
        for text in ["", "30", "s", "-1s", "1 year", "1e3s", "..s", "NaNs", "1ss"] {
            let error = text.parse::<Span>().expect_err(text).to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
        assert!("99999d".parse::<Span>().is_err());
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for text in ["1ms", "1.5s", "10m", "24h", "7d", "250ms", "90s"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span, "{text}");
        }
        for text in ["0B", "1023B", "64KiB", "16MiB", "3GiB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
    }
}
