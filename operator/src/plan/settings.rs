//! `spec.config`: settings of the broker's configuration file that have no field of their own. Only keys in the table are
//! taken, each with its type, so that no broker is ever given a file that it would refuse.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use serde_json::Value;

use super::{FieldError, duration};

/// A value that has been checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Setting {
    Flag(bool),
    Number(u32),
    Text(String),
}

#[derive(Clone, Copy)]
enum Kind {
    Flag,
    /// At least one.
    Count,
    Span,
    Bytes,
    OneOf(&'static [&'static str]),
}

const TABLE: &[(&str, Kind)] = &[
    ("auth.clock_skew", Kind::Span),
    ("auth.local_time", Kind::Flag),
    ("consumer_groups.auto_create", Kind::Flag),
    ("consumer_groups.max_attempts", Kind::Count),
    ("consumer_groups.start", Kind::OneOf(&["earliest", "latest"])),
    ("replication.election_max", Kind::Span),
    ("replication.election_min", Kind::Span),
    ("replication.heartbeat", Kind::Span),
    ("replication.lease", Kind::Span),
    ("storage.cache_bytes", Kind::Bytes),
    ("storage.segment_bytes", Kind::Bytes),
    ("storage.snapshot_every", Kind::Bytes),
    ("topics.auto_create", Kind::Flag),
    ("topics.queues", Kind::Count),
];

/// Keys that a field of the resource sets.
const FIELDS: &[(&str, &str)] = &[
    ("auth.admin", "spec.auth.administrator"),
    ("auth.admin_file", "spec.auth.administrator"),
    ("auth.admin_secret_file", "spec.auth.administrator"),
    ("auth.enabled", "spec.auth.enabled"),
    ("flush.interval", "spec.flush.interval"),
    ("flush.timeout", "spec.flush.timeout"),
    ("flush.type", "spec.flush.type"),
    ("replication.ack_timeout", "spec.replication.ackTimeout"),
    ("replication.min_in_sync", "spec.replication.minInSync"),
    ("replication.mode", "spec.replication.mode"),
    ("storage.retention.size", "spec.storage.retention.size"),
    ("storage.retention.time", "spec.storage.retention.time"),
];

const OWNED: &[&str] = &["cluster", "group", "member", "data", "listen", "internal", "tls", "groups"];

/// Checks every entry; what is wrong is added to `errors`.
pub(super) fn read(
    config: &BTreeMap<String, Value>,
    errors: &mut Vec<FieldError>,
) -> BTreeMap<String, Setting> {
    let mut settings = BTreeMap::new();
    for (key, value) in config {
        match check(key, value) {
            Ok(setting) => {
                settings.insert(key.clone(), setting);
            }
            Err(problem) => errors.push(FieldError::new(format!("spec.config[\"{key}\"]"), problem)),
        }
    }
    errors.extend(relations(&settings));
    settings
}

fn check(key: &str, value: &Value) -> Result<Setting, String> {
    if let Some((_, field)) = FIELDS.iter().find(|(name, _)| *name == key) {
        return Err(format!("is set by {field}"));
    }
    let section = key.split('.').next().unwrap_or(key);
    if OWNED.contains(&section) {
        return Err("is set by the operator".to_owned());
    }
    let Some((_, kind)) = TABLE.iter().find(|(name, _)| *name == key) else {
        let known: Vec<&str> = TABLE.iter().map(|(name, _)| *name).collect();
        return Err(format!("is not a known setting; there are {}", known.join(", ")));
    };
    let text = value.as_str();
    match kind {
        Kind::Flag => value
            .as_bool()
            .or_else(|| text.and_then(|text| text.parse().ok()))
            .map(Setting::Flag)
            .ok_or_else(|| "must be true or false".to_owned()),
        Kind::Count => value
            .as_u64()
            .or_else(|| text.and_then(|text| text.parse().ok()))
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| *number > 0)
            .map(Setting::Number)
            .ok_or_else(|| "must be a whole number of at least 1".to_owned()),
        Kind::Span => text
            .and_then(duration::parse)
            .filter(|span| !span.is_zero())
            .map(|span| Setting::Text(duration::render(span)))
            .ok_or_else(|| "must be a duration such as 500ms or 3s".to_owned()),
        Kind::Bytes => text
            .filter(|text| bytes(text).is_some())
            .map(|text| Setting::Text(text.to_owned()))
            .ok_or_else(|| "must be a size such as 512KiB, 64MiB or 1GiB".to_owned()),
        Kind::OneOf(values) => text
            .filter(|text| values.contains(text))
            .map(|text| Setting::Text(text.to_owned()))
            .ok_or_else(|| format!("must be one of {}", values.join(", "))),
    }
}

fn bytes(text: &str) -> Option<u64> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let unit: u64 = match &text[at..] {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    text[..at].parse::<u64>().ok()?.checked_mul(unit)
}

/// Bytes of one log file.
pub(super) fn segment_bytes(settings: &BTreeMap<String, Setting>) -> u64 {
    text_bytes(settings, "storage.segment_bytes", "64MiB")
}

fn text_bytes(settings: &BTreeMap<String, Setting>, key: &str, default: &str) -> u64 {
    let text = match settings.get(key) {
        Some(Setting::Text(text)) => text,
        _ => default,
    };
    bytes(text).unwrap_or_default()
}

/// What the broker demands of values that go together, with its own defaults for those that are not given.
fn relations(settings: &BTreeMap<String, Setting>) -> Vec<FieldError> {
    let text = |key: &str, default: &str| match settings.get(key) {
        Some(Setting::Text(text)) => text.clone(),
        _ => default.to_owned(),
    };
    let span = |key: &str, default: &str| duration::parse(&text(key, default)).unwrap_or_default();
    let heartbeat = span("replication.heartbeat", "100ms");
    let lease = span("replication.lease", "1s");
    let election_min = span("replication.election_min", "1s");
    let election_max = span("replication.election_max", "1600ms");
    let local_time = settings.get("auth.local_time") != Some(&Setting::Flag(false));
    let most = Duration::from_secs(60 * if local_time { 7 } else { 60 });
    let skew = span("auth.clock_skew", "5m");
    let skew_limits = if local_time {
        "must be between 1s and 7m with auth.local_time true"
    } else {
        "must be between 1s and 60m with auth.local_time false"
    };
    let segment = segment_bytes(settings);
    let snapshot_every = text_bytes(settings, "storage.snapshot_every", "256MiB");
    let demands = [
        (skew >= Duration::from_secs(1) && skew <= most, "auth.clock_skew", skew_limits),
        (lease >= heartbeat * 3, "replication.lease", "must be at least three times replication.heartbeat"),
        (election_min >= lease, "replication.election_min", "must not be below replication.lease"),
        (election_max > election_min, "replication.election_max", "must be above replication.election_min"),
        ((1 << 20..=1 << 30).contains(&segment), "storage.segment_bytes", "must be between 1MiB and 1GiB"),
        (snapshot_every >= 1 << 20, "storage.snapshot_every", "must be at least 1MiB"),
    ];
    demands
        .into_iter()
        .filter(|(met, ..)| !met)
        .map(|(_, key, problem)| FieldError::new(format!("spec.config[\"{key}\"]"), problem))
        .collect()
}
