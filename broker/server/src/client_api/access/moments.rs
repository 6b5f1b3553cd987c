//! Whether a signed date is believed: it is of now, and was not of now once before.

use std::time::Duration;

use mainstay_messaging::UserName;
use mainstay_proto::signature::DATE_HEADER;

use super::dates::Written;
use super::replays::Replays;
use super::unauthorized;
use crate::client_api::refusal::Checked;
use crate::config::ClientDates;

#[derive(Debug)]
pub(super) struct Moments {
    clock_skew: Duration,
    dates: ClientDates,
    replays: Replays,
}

impl Moments {
    pub(super) fn new(clock_skew: Duration, dates: ClientDates) -> Self {
        Self { clock_skew, dates, replays: Replays::default() }
    }

    /// Of a date that `user` has signed; `now` in seconds since 1970.
    ///
    /// # Errors
    /// `UNAUTHORIZED`.
    pub(super) fn believe(&self, user: &UserName, date: &str, now: i64) -> Checked<()> {
        let written = Written::parse(date)
            .ok_or_else(|| unauthorized(format!("metadata '{DATE_HEADER}' is no date that is known")))?;
        let zone = written
            .zone(now, self.clock_skew, self.dates)
            .map_err(|skewed| unauthorized(skewed.to_string()))?;
        match written {
            Written::Compact(at) if self.dates == ClientDates::AnyZone => {
                if self.replays.show(user, at, zone, now) {
                    return Ok(());
                }
                Err(unauthorized(format!(
                    "this signature was shown before, when its date was of now: a replay, or clients of user '{user}' \
                     in several time zones, which then need UTC or a user for each zone"
                )))
            }
            // Nothing but the present is of now.
            Written::Compact(_) | Written::Exact(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_proto::rocketmq::Code;

    use super::*;

    /// 2023-12-27T19:46:19Z.
    const NOW: i64 = 1_703_706_379;
    const HOUR: i64 = 3600;

    fn moments(dates: ClientDates) -> Moments {
        Moments::new(Duration::from_secs(300), dates)
    }

    fn ann() -> UserName {
        UserName::new("ann").unwrap()
    }

    #[test]
    fn what_is_not_believed_is_unauthorized_with_a_reason() {
        for (dates, date, now, words) in [
            (ClientDates::AnyZone, "yesterday", NOW, "is no date"),
            (ClientDates::AnyZone, "20231227T194619Z", NOW + 400, "400 s behind"),
            (ClientDates::AnyZone, "20231227T194619Z", NOW - 400, "400 s before"),
            (ClientDates::AnyZone, "20231227T194619Z", NOW + 48 * HOUR, "172800 s behind"),
            (ClientDates::AnyZone, "2023-12-27T19:46:19Z", NOW + HOUR, "3600 s behind"),
            (ClientDates::Utc, "20231227T194619Z", NOW + HOUR, "3600 s behind"),
            (ClientDates::Utc, "2023-12-27T21:46:19+02:00", NOW + 301, "301 s behind"),
        ] {
            let refusal = moments(dates).believe(&ann(), date, now).unwrap_err();
            assert_eq!(refusal.code, Code::Unauthorized, "{date}");
            assert!(refusal.message.contains(words), "{date}: {refusal}");
        }
    }

    #[test]
    fn a_header_shown_again_later_is_a_replay() {
        for dates in [ClientDates::AnyZone, ClientDates::Utc] {
            let moments = moments(dates);
            for date in ["20231227T194619Z", "2023-12-27T19:46:19Z"] {
                assert_eq!(moments.believe(&ann(), date, NOW), Ok(()));
                assert_eq!(moments.believe(&ann(), date, NOW + 299), Ok(()), "calls share a second");
                for later in [301, 15 * 60, 30 * 60, 2 * HOUR, 5 * HOUR + 1800, 12 * HOUR] {
                    let refusal = moments.believe(&ann(), date, NOW + later).unwrap_err();
                    assert_eq!(refusal.code, Code::Unauthorized, "{dates:?} {date} {later} s later");
                }
            }
        }
    }

    #[test]
    fn the_clients_of_every_language_are_believed_wherever_they_run() {
        for (written, zone) in [
            ("20231227T194619Z", "UTC"),
            ("20231227T214619Z", "Java in Cairo"),
            ("20231227T144619Z", "Go in New York"),
            ("20231228T013119Z", "Python in Kathmandu"),
            ("20231228T094619Z", "Java on Kiritimati"),
            ("2023-12-27T20:46:19.123456789+01:00", "Rust in Paris"),
        ] {
            assert_eq!(moments(ClientDates::AnyZone).believe(&ann(), written, NOW), Ok(()), "{zone}");
        }
    }
}
