//! The dates that clients sign, and whether one is of now.
//!
//! Most official clients sign their local time as if it were UTC. Such a date is of now when it differs from the broker's
//! clock by some time zone's whole quarter hours and a little: the zone is what it is taken for.

use std::time::Duration;

use prost_types::Timestamp;

use crate::config::ClientDates;

/// Time zones differ from UTC by whole numbers of this.
pub(super) const QUARTER: i64 = 15 * 60;
/// From 12 hours behind UTC to 14 hours before it.
const ZONES: std::ops::RangeInclusive<i64> = -48..=56;
/// `yyyyMMddTHHmmssZ`.
const COMPACT_LEN: usize = 16;
const LONGEST: usize = 40;

/// How many quarter hours a client's clock is before UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Zone(pub(super) i64);

/// A date as a client wrote it, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Says UTC and may mean local time.
    Compact(i64),
    /// RFC 3339, with its offset.
    Exact(i64),
}

/// A date too far from the broker's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "x-mq-date-time is {} s {} the broker's clock{}; {} s are allowed",
    .off.unsigned_abs(), if *.off < 0 { "behind" } else { "before" },
    if *.zoned { ", apart from the time zone" } else { "" }, .allowed
)]
pub(super) struct Skewed {
    off: i64,
    allowed: u64,
    zoned: bool,
}

impl Written {
    /// `None` for what is no date.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if !text.is_ascii() || text.len() > LONGEST {
            return None;
        }
        let seconds = |text: &str| text.parse::<Timestamp>().ok().map(|stamp| stamp.seconds);
        if text.len() != COMPACT_LEN {
            return text.contains(':').then(|| seconds(text)).flatten().map(Self::Exact);
        }
        let digits = |range: std::ops::Range<usize>| {
            text.get(range).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
        };
        if text.get(8..9) != Some("T") || text.get(15..) != Some("Z") {
            return None;
        }
        let (year, month, day) = (digits(0..4)?, digits(4..6)?, digits(6..8)?);
        let (hour, minute, second) = (digits(9..11)?, digits(11..13)?, digits(13..15)?);
        seconds(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).map(Self::Compact)
    }

    /// The time zone in which the date is of `now`.
    ///
    /// # Errors
    /// When it is none's.
    pub(super) fn zone(self, now: i64, skew: Duration, dates: ClientDates) -> Result<Zone, Skewed> {
        let allowed = skew.as_secs();
        let (off, zoned) = match self {
            Self::Compact(at) => (at.saturating_sub(now), dates == ClientDates::AnyZone),
            Self::Exact(at) => (at.saturating_sub(now), false),
        };
        let zone = if zoned { off.saturating_add(QUARTER / 2).div_euclid(QUARTER) } else { 0 };
        if !ZONES.contains(&zone) {
            return Err(Skewed { off, allowed, zoned: false });
        }
        let rest = off - zone * QUARTER;
        if rest.unsigned_abs() > allowed {
            return Err(Skewed { off: rest, allowed, zoned });
        }
        Ok(Zone(zone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_703_706_379; // 2023-12-27T19:46:19Z
    const SKEW: Duration = Duration::from_secs(300);

    #[test]
    fn every_form_that_clients_write_is_read() {
        for (text, written) in [
            ("20231227T194619Z", Some(Written::Compact(NOW))),
            ("19700101T000000Z", Some(Written::Compact(0))),
            ("2023-12-27T19:46:19Z", Some(Written::Exact(NOW))),
            ("2023-12-27T19:46:19.123456789Z", Some(Written::Exact(NOW))),
            ("2023-12-27T21:46:19.5+02:00", Some(Written::Exact(NOW))),
            ("2023-12-27T10:46:19-09:00", Some(Written::Exact(NOW))),
            ("", None),
            ("now", None),
            ("20231227T194619", None),
            ("20231227 194619Z", None),
            ("20231327T194619Z", None),
            ("20231232T194619Z", None),
            ("20231227T254619Z", None),
            ("20231227T19-619Z", None),
            ("2023122éT194619Z", None),
            ("2023-12-27T99:46:19Z", None),
            ("1703706379", None),
        ] {
            assert_eq!(Written::parse(text), written, "{text}");
        }
    }

    #[test]
    fn no_text_panics() {
        for good in ["20231227T194619Z", "2023-12-27T19:46:19.123456789+02:00"] {
            for at in 0..good.len() {
                for byte in 0x20..=0x7e_u8 {
                    let mut text = good.as_bytes().to_vec();
                    text[at] = byte;
                    let text = String::from_utf8(text).unwrap();
                    if let Some(written) = Written::parse(&text) {
                        let _ = written.zone(NOW, SKEW, ClientDates::AnyZone);
                    }
                    let _ = Written::parse(&text[..at]);
                    let _ = Written::parse(&format!("{text}{text}"));
                }
            }
        }
        for seconds in [i64::MIN, i64::MAX] {
            for dates in [ClientDates::AnyZone, ClientDates::Utc] {
                assert!(Written::Exact(seconds).zone(NOW, SKEW, dates).is_err());
                assert!(Written::Compact(seconds).zone(NOW, SKEW, dates).is_err());
            }
        }
    }

    #[test]
    fn a_local_time_is_of_now_in_its_zone() {
        let zone = |off: i64| Written::Compact(NOW + off).zone(NOW, SKEW, ClientDates::AnyZone).ok();
        const HOUR: i64 = 3600;
        for (off, quarters) in [
            (0, 0),
            (300, 0),
            (-300, 0),
            (2 * HOUR + 299, 8),
            (5 * HOUR + 45 * 60 - 300, 23),
            (-12 * HOUR - 300, -48),
            (14 * HOUR + 300, 56),
        ] {
            assert_eq!(zone(off), Some(Zone(quarters)), "{off}");
        }
        for off in [301, -301, 450, -450, HOUR + 301, -12 * HOUR - 301, 14 * HOUR + 301, 48 * HOUR] {
            assert_eq!(zone(off), None, "{off}");
        }
    }

    #[test]
    fn a_date_that_says_its_zone_has_none_to_choose() {
        for (written, dates) in [
            (Written::Exact as fn(i64) -> Written, ClientDates::AnyZone),
            (Written::Exact, ClientDates::Utc),
            (Written::Compact, ClientDates::Utc),
        ] {
            assert_eq!(written(NOW - 300).zone(NOW, SKEW, dates), Ok(Zone(0)));
            let error = written(NOW - 3600).zone(NOW, SKEW, dates).unwrap_err().to_string();
            assert_eq!(error, "x-mq-date-time is 3600 s behind the broker's clock; 300 s are allowed");
        }
        let error = Written::Compact(NOW + 3600 + 400).zone(NOW, SKEW, ClientDates::AnyZone).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x-mq-date-time is 400 s before the broker's clock, apart from the time zone; 300 s are allowed"
        );
    }
}
