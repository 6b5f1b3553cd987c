//! Names of topics and consumer groups. A name that exists obeys the protocol's limits; cloning one is cheap.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Characters of an ordinary topic name.
pub const MAX_TOPIC_LEN: usize = 127;
/// Characters of a consumer group's name: its retry and dead-letter topics put a prefix before it.
pub const MAX_GROUP_LEN: usize = 120;
/// Characters of a topic that belongs to a consumer group.
const MAX_DERIVED_TOPIC_LEN: usize = 255;

const DEAD_LETTER_PREFIX: &str = "%DLQ%";
pub(crate) const DERIVED_TOPIC_PREFIXES: [&str; 2] = ["%RETRY%", DEAD_LETTER_PREFIX];
const SYSTEM_TOPICS: [&str; 5] =
    ["TBW102", "SCHEDULE_TOPIC_XXXX", "SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT", "TRANS_CHECK_MAX_TIME_TOPIC"];
const SYSTEM_TOPIC_PREFIX: &str = "rmq_sys_";
const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
const SYSTEM_GROUPS: [&str; 1] = ["DEFAULT_CONSUMER"];

/// How much of a refused name an error repeats.
const SHOWN_CHARS: usize = 64;

/// Why a text is not a name of that sort.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    #[error("it is empty")]
    Empty,
    #[error("it has {length} characters, at most {max} are allowed")]
    TooLong { length: usize, max: usize },
    #[error("character {character:?} at position {position} is not one of a-z A-Z 0-9 % | _ -")]
    BadCharacter { character: char, position: usize },
    #[error("it is reserved for the system")]
    Reserved,
}

/// A refused name, with the field it stands for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} '{shown}' is illegal: {problem}")]
pub struct NameError {
    /// `topic` or `consumer group`.
    pub field: &'static str,
    pub shown: String,
    pub problem: NameProblem,
}

impl NameError {
    fn new(field: &'static str, name: &str, problem: NameProblem) -> Self {
        let mut shown: String = name.chars().take(SHOWN_CHARS).collect();
        if shown.len() < name.len() {
            shown.push('…');
        }
        Self { field, shown, problem }
    }
}

fn check_characters(name: &str, max: usize) -> Result<(), NameProblem> {
    if name.is_empty() {
        return Err(NameProblem::Empty);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '%' | '|' | '_' | '-');
    if let Some((position, character)) = name.chars().enumerate().find(|(_, c)| !allowed(*c)) {
        return Err(NameProblem::BadCharacter { character, position });
    }
    if name.len() > max {
        return Err(NameProblem::TooLong { length: name.len(), max });
    }
    Ok(())
}

fn starts_with_ignoring_case(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

impl TopicName {
    /// The topic of the dead letters of a consumer group.
    pub fn dead_letters_of(group: &GroupName) -> Self {
        Self(format!("{DEAD_LETTER_PREFIX}{group}").into())
    }

    /// The consumer group whose dead letters are in this topic, if it is such a topic.
    pub fn dead_letter_group(&self) -> Option<GroupName> {
        self.as_str().strip_prefix(DEAD_LETTER_PREFIX)?.parse().ok()
    }

    /// Whether the name belongs to a consumer group: nobody but the broker creates such a topic or publishes into it.
    pub fn is_derived(&self) -> bool {
        DERIVED_TOPIC_PREFIXES.iter().any(|prefix| self.as_str().starts_with(prefix))
    }
}

fn check_topic(name: &str) -> Result<(), NameProblem> {
    let derived = DERIVED_TOPIC_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    check_characters(name, if derived { MAX_DERIVED_TOPIC_LEN } else { MAX_TOPIC_LEN })?;
    if SYSTEM_TOPICS.contains(&name) || starts_with_ignoring_case(name, SYSTEM_TOPIC_PREFIX) {
        return Err(NameProblem::Reserved);
    }
    Ok(())
}

fn check_group(name: &str) -> Result<(), NameProblem> {
    check_characters(name, MAX_GROUP_LEN)?;
    if SYSTEM_GROUPS.contains(&name) || name.starts_with(SYSTEM_GROUP_PREFIX) {
        return Err(NameProblem::Reserved);
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $field:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// # Errors
            /// When the text breaks the limits of such a name.
            pub fn new(name: &str) -> Result<Self, NameError> {
                match $check(name) {
                    Ok(()) => Ok(Self(name.into())),
                    Err(problem) => Err(NameError::new($field, name, problem)),
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name!(
    /// Name of a topic.
    TopicName,
    "topic",
    check_topic
);
name!(
    /// Name of a consumer group.
    GroupName,
    "consumer group",
    check_group
);

#[cfg(test)]
mod tests {
    use super::*;

    fn topic_problem(name: &str) -> NameProblem {
        TopicName::new(name).unwrap_err().problem
    }

    #[test]
    fn limits_of_topics() {
        assert!(TopicName::new(&"t".repeat(127)).is_ok());
        assert_eq!(topic_problem(&"t".repeat(128)), NameProblem::TooLong { length: 128, max: 127 });
        assert!(TopicName::new(&format!("%DLQ%{}", "g".repeat(250))).is_ok());
        assert_eq!(
            topic_problem(&format!("%RETRY%{}", "g".repeat(249))),
            NameProblem::TooLong { length: 256, max: 255 }
        );
        assert!(TopicName::new("a-Z_0%9|").is_ok());
        assert_eq!(topic_problem(""), NameProblem::Empty);
        for reserved in ["TBW102", "SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRACE_TOPIC", "rmq_sys_wheel_timer"] {
            assert_eq!(topic_problem(reserved), NameProblem::Reserved, "{reserved}");
        }
        assert!(TopicName::new("TBW1021").is_ok());
    }

    #[test]
    fn limits_of_groups() {
        assert!(GroupName::new(&"g".repeat(120)).is_ok());
        assert!(GroupName::new(&"g".repeat(121)).is_err());
        for reserved in ["DEFAULT_CONSUMER", "CID_RMQ_SYS_TRANS"] {
            assert_eq!(GroupName::new(reserved).unwrap_err().problem, NameProblem::Reserved);
        }
        assert!(GroupName::new("TBW102").is_ok());
    }

    #[test]
    fn errors_name_the_field_and_the_reason() {
        assert_eq!(
            TopicName::new("größe").unwrap_err().to_string(),
            "topic 'größe' is illegal: character 'ö' at position 2 is not one of a-z A-Z 0-9 % | _ -"
        );
        let long = GroupName::new(&"x".repeat(5000)).unwrap_err().to_string();
        assert!(long.starts_with("consumer group 'xxx"), "{long}");
        assert!(long.contains("it has 5000 characters, at most 120 are allowed"), "{long}");
        assert!(long.len() < 200, "{long}");
    }
}
