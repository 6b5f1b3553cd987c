//! Durations and sizes as people write them: `100ms`, `3s`, `64MiB`. A bare number is refused, since its unit would
//! be a guess.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A duration written as a number and one of `ms`, `s`, `m`, `h`, `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HumanDuration(pub(super) Duration);

/// A number of bytes written as a number and one of `B`, `KiB`, `MiB`, `GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HumanBytes(pub(super) u64);

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).ok_or_else(|| {
            D::Error::custom(format!("'{text}' is not a duration such as 100ms, 3s, 5m, 1h or 7d"))
        })
    }
}

impl<'de> Deserialize<'de> for HumanBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_bytes(&text)
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("'{text}' is not a size such as 512KiB, 64MiB or 1GiB")))
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let nanos_per_unit: u32 = 1_000_000_000;
    let unit = match unit {
        "ms" => Duration::from_nanos(u64::from(nanos_per_unit / 1000)),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        "d" => Duration::from_secs(86_400),
        _ => return None,
    };
    let (whole, thousandths) = fixed_point(number)?;
    let whole = unit.checked_mul(u32::try_from(whole).ok()?)?;
    whole.checked_add(unit.checked_mul(thousandths)? / 1000)
}

fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let unit: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

fn split_unit(text: &str) -> Option<(&str, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    Some((&text[..at], text[at..].trim_start()))
}

/// `1.6` as (1, 600): at most three digits after the point.
fn fixed_point(number: &str) -> Option<(u64, u32)> {
    let Some((whole, fraction)) = number.split_once('.') else { return Some((number.parse().ok()?, 0)) };
    if fraction.is_empty() || fraction.len() > 3 {
        return None;
    }
    let scale = 10u32.pow(3 - fraction.len() as u32);
    Some((whole.parse().ok()?, fraction.parse::<u32>().ok()? * scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("100ms", Some(Duration::from_millis(100))),
            ("3s", Some(Duration::from_secs(3))),
            ("1.6s", Some(Duration::from_millis(1600))),
            ("2m", Some(Duration::from_secs(120))),
            ("1h", Some(Duration::from_secs(3600))),
            ("8d", Some(Duration::from_secs(8 * 86_400))),
            ("3", None),
            ("", None),
            ("s", None),
            ("-3s", None),
            ("1.2345s", None),
            ("99999999999h", None),
            ("3 weeks", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn sizes() {
        let cases = [
            ("512B", Some(512)),
            ("64MiB", Some(64 << 20)),
            ("1 GiB", Some(1 << 30)),
            ("64MB", None),
            ("64", None),
            ("99999999999GiB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_bytes(text), expected, "{text}");
        }
    }
}
