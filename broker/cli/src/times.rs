//! Times and durations as people write them: `100ms`, `5s`, `10m`, `2h`, `7d`, and `2026-01-01T00:00:00Z`.

use std::time::{Duration, SystemTime};

/// # Errors
/// A sentence that says what is expected.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    let number = number.parse::<u64>().ok().filter(|_| millis > 0);
    let total = number.and_then(|number| number.checked_mul(millis)).map(Duration::from_millis);
    total.ok_or_else(|| format!("'{text}' is not a duration such as 100ms, 5s, 10m, 2h or 7d"))
}

/// # Errors
/// A sentence that says what is expected.
pub(crate) fn instant(text: &str) -> Result<SystemTime, String> {
    let parsed: Result<jiff::Timestamp, _> = text.trim().parse();
    parsed.map(SystemTime::from).map_err(|_| {
        format!("'{text}' is not a time such as 2026-01-01T00:00:00Z or 2026-01-01T02:00:00+02:00")
    })
}

/// Milliseconds since 1970; what is before that becomes zero.
pub(crate) fn since_1970(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970 as people read them.
pub(crate) fn shown(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// A number of milliseconds in its largest whole unit.
pub(crate) fn length(ms: u64) -> String {
    match ms {
        0 => "0s".to_owned(),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("100ms", 100),
            ("5s", 5000),
            (" 10m", 600_000),
            ("2h", 7_200_000),
            ("0s", 0),
            ("8d", 691_200_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(duration(&length(ms)), Ok(Duration::from_millis(ms)));
        }
        for text in ["", "5", "s", "-1s", "1.5s", "1w", "99999999999999999999h", "18446744073709551615h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times() {
        let at = instant("2026-01-01T02:00:00+02:00").unwrap();
        assert_eq!(since_1970(at), 1_767_225_600_000);
        assert_eq!(shown(1_767_225_600_000), "2026-01-01T00:00:00Z");
        for text in ["", "yesterday", "2026-01-01", "2026-13-01T00:00:00Z"] {
            assert!(instant(text).unwrap_err().contains("2026-01-01T00:00:00Z"), "{text}");
        }
    }
}
