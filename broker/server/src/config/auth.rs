//! `[auth]`: whether clients need credentials, and what of them is accepted.

use std::time::Duration;

use mainstay_messaging::UserName;

use super::administrator::{CurrentAdministrator, Files, NameFrom};
use super::check::ConfigError;
use super::file;

/// Beyond this, dates of neighbouring time zones, a quarter of an hour apart, could not be told apart.
const MAX_SKEW_ANY_ZONE: Duration = Duration::from_secs(7 * 60);
const MAX_SKEW_UTC: Duration = Duration::from_secs(3600);

/// Clients need credentials.
#[derive(Debug, Clone)]
pub struct Auth {
    /// May do everything, besides the users in the log.
    pub admin: Option<CurrentAdministrator>,
    /// How far a client's clock may be from the broker's.
    pub clock_skew: Duration,
    pub dates: ClientDates,
}

/// What the dates that clients sign may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientDates {
    /// Local time of any time zone, written as if it were UTC: what the Java, Go and Python clients sign.
    AnyZone,
    Utc,
}

impl Default for Auth {
    fn default() -> Self {
        Self { admin: None, clock_skew: Duration::from_secs(5 * 60), dates: ClientDates::AnyZone }
    }
}

/// `None` when everybody may call.
pub(super) fn check(file: &file::Auth) -> Result<Option<Auth>, ConfigError> {
    let invalid = |key: &str, problem: String| ConfigError::invalid(format!("auth.{key}"), problem);
    if !file.enabled {
        return Ok(None);
    }
    let (dates, most) = match file.local_time {
        true => (ClientDates::AnyZone, MAX_SKEW_ANY_ZONE),
        false => (ClientDates::Utc, MAX_SKEW_UTC),
    };
    let clock_skew = file.clock_skew.0;
    if clock_skew < Duration::from_secs(1) || clock_skew > most {
        let minutes = most.as_secs() / 60;
        let problem = format!("must be between 1s and {minutes}m with local_time = {}", file.local_time);
        return Err(invalid("clock_skew", problem));
    }
    let name = match &file.admin_file {
        Some(path) => NameFrom::File(path.clone()),
        None => {
            let name = UserName::new(&file.admin);
            NameFrom::Config(name.map_err(|error| invalid("admin", error.to_string()))?)
        }
    };
    let admin = match &file.admin_secret_file {
        Some(secret) => Some(CurrentAdministrator::load(Files { name, secret: secret.clone() })?),
        None => None,
    };
    Ok(Some(Auth { admin, clock_skew, dates }))
}
