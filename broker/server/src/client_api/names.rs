//! Names of topics and consumer groups as clients write them.
//!
//! A name that passes here is safe in logs, metrics and handles. A namespace becomes a prefix, `namespace%name`.

use mainstay_proto::rocketmq::{Code, Resource};

use super::refusal::{Checked, Refusal};

const TOPIC_MAX: usize = 127;
const GROUP_MAX: usize = 120;
/// Retry and dead-letter topics carry a group's name behind their prefix.
const DERIVED_TOPIC_MAX: usize = 255;
const DERIVED_PREFIXES: [&str; 2] = ["%RETRY%", "%DLQ%"];
const SYSTEM_PREFIXES: [&str; 2] = ["RMQ_SYS_", "rmq_sys_"];
const SYSTEM_TOPICS: [&str; 6] = [
    "TBW102",
    "SCHEDULE_TOPIC_XXXX",
    "SCHEDULE_TOPIC_XXXX_V2",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
];
const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
const SYSTEM_GROUP: &str = "DEFAULT_CONSUMER";

/// The full name of a topic.
///
/// # Errors
/// `ILLEGAL_TOPIC`, naming what is wrong with it.
pub(crate) fn topic(resource: Option<&Resource>) -> Checked<String> {
    let name = full_name(resource);
    check_topic(&name).map_err(|why| Refusal::new(Code::IllegalTopic, format!("topic {why}")))?;
    Ok(name)
}

/// The full name of a consumer group.
///
/// # Errors
/// `ILLEGAL_CONSUMER_GROUP`, naming what is wrong with it.
pub(crate) fn group(resource: Option<&Resource>) -> Checked<String> {
    let name = full_name(resource);
    check_group(&name)
        .map_err(|why| Refusal::new(Code::IllegalConsumerGroup, format!("consumer group {why}")))?;
    Ok(name)
}

fn full_name(resource: Option<&Resource>) -> String {
    match resource {
        None => String::new(),
        Some(Resource { resource_namespace, name }) if resource_namespace.is_empty() => name.clone(),
        Some(Resource { resource_namespace, name }) => format!("{resource_namespace}%{name}"),
    }
}

fn check_topic(name: &str) -> Result<(), String> {
    let derived = DERIVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    check_text(name, if derived { DERIVED_TOPIC_MAX } else { TOPIC_MAX })?;
    if SYSTEM_TOPICS.contains(&name) || SYSTEM_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(format!("'{name}' is reserved"));
    }
    Ok(())
}

fn check_group(name: &str) -> Result<(), String> {
    check_text(name, GROUP_MAX)?;
    if name == SYSTEM_GROUP || name.starts_with(SYSTEM_GROUP_PREFIX) {
        return Err(format!("'{name}' is reserved"));
    }
    Ok(())
}

fn check_text(name: &str, max: usize) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("is blank".to_owned());
    }
    if name.len() > max {
        return Err(format!("has {} characters, at most {max} are allowed", name.len()));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-');
    if !name.bytes().all(allowed) {
        return Err(format!("'{}' has characters other than letters, digits, %, |, _ and -", name.escape_debug()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str) -> Resource {
        Resource { resource_namespace: String::new(), name: name.to_owned() }
    }

    #[test]
    fn topics() {
        let long = |length: usize| "t".repeat(length);
        for (name, fine) in [
            ("orders", true),
            ("%DLQ%payments", true),
            ("a|b-c_d%e", true),
            (&long(127), true),
            (&long(128), false),
            (&format!("%DLQ%{}", long(250)), true),
            (&format!("%DLQ%{}", long(251)), false),
            ("", false),
            ("  ", false),
            ("with space", false),
            ("dot.ted", false),
            ("ünïcode", false),
            ("TBW102", false),
            ("SCHEDULE_TOPIC_XXXX", false),
            ("RMQ_SYS_TRANS_HALF_TOPIC", false),
            ("rmq_sys_wheel", false),
        ] {
            match topic(Some(&resource(name))) {
                Ok(full) => assert!(fine && full == name, "{name}"),
                Err(refusal) => {
                    assert!(!fine, "{name}: {refusal}");
                    assert_eq!(refusal.code, Code::IllegalTopic);
                    assert!(refusal.message.starts_with("topic "), "{refusal}");
                }
            }
        }
        assert_eq!(topic(None).unwrap_err().code, Code::IllegalTopic);
    }

    #[test]
    fn groups() {
        let long = |length: usize| "g".repeat(length);
        for (name, fine) in [
            ("billing", true),
            (&long(120), true),
            (&long(121), false),
            ("", false),
            ("new\nline", false),
            ("CID_RMQ_SYS_X", false),
            ("DEFAULT_CONSUMER", false),
        ] {
            match group(Some(&resource(name))) {
                Ok(full) => assert!(fine && full == name, "{name}"),
                Err(refusal) => {
                    assert!(!fine, "{name}: {refusal}");
                    assert_eq!(refusal.code, Code::IllegalConsumerGroup);
                    assert!(refusal.message.starts_with("consumer group "), "{refusal}");
                }
            }
        }
    }

    #[test]
    fn a_namespace_is_a_prefix() {
        let namespaced = Resource { resource_namespace: "shop".to_owned(), name: "orders".to_owned() };
        assert_eq!(topic(Some(&namespaced)).unwrap(), "shop%orders");
    }
}
