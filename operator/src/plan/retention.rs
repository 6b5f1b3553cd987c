//! How long brokers keep messages, as their configuration says it.

use std::time::Duration;

use mainstay_crds::cluster::{self, FOREVER};

use super::{FieldError, duration};

/// When brokers delete messages; an absent limit is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    pub time: Option<Duration>,
    pub size: Option<Bytes>,
}

/// A number of bytes with the unit it was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    mebibytes: u64,
}

impl Bytes {
    /// Reads a whole number of `Mi`, `Gi` or `Ti`.
    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(2)?)?;
        let unit = match unit {
            "Mi" => 1,
            "Gi" => 1 << 10,
            "Ti" => 1 << 20,
            _ => return None,
        };
        let mebibytes = number.parse::<u64>().ok()?.checked_mul(unit)?;
        (mebibytes > 0).then_some(Self { mebibytes })
    }

    /// As a broker's configuration takes it.
    pub fn render(self) -> String {
        format!("{}MiB", self.mebibytes)
    }

    pub const fn get(self) -> u64 {
        self.mebibytes << 20
    }
}

pub(super) fn read(spec: &cluster::Retention, errors: &mut Vec<FieldError>) -> Retention {
    let time = (spec.time != FOREVER).then(|| match duration::parse(&spec.time) {
        Some(time) if !time.is_zero() => time,
        _ => {
            let problem = format!("'{}' is neither a duration such as 72h nor {FOREVER}", spec.time);
            errors.push(FieldError::new("spec.storage.retention.time", problem));
            Duration::ZERO
        }
    });
    let size = spec.size.as_deref().and_then(|text| {
        let size = Bytes::parse(text);
        if size.is_none() {
            let problem = format!("'{text}' is not a size such as 512Mi or 15Gi");
            errors.push(FieldError::new("spec.storage.retention.size", problem));
        }
        size
    });
    Retention { time, size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_in_the_brokers_units() {
        for (text, written) in [("512Mi", "512MiB"), ("15Gi", "15360MiB"), ("2Ti", "2097152MiB")] {
            assert_eq!(Bytes::parse(text).map(Bytes::render).as_deref(), Some(written));
        }
        for text in [
            "",
            "Gi",
            "0Gi",
            "15",
            "15G",
            "1.5Gi",
            "-1Gi",
            "99999999999999999999Ti",
            "18446744073709551615Ti",
        ] {
            assert_eq!(Bytes::parse(text), None, "{text}");
        }
    }
}
