//! What a user may do: everything, or what its grants say. A grant is written `actions:kind:name`, such as
//! `publish,subscribe:topic:orders-*`.
//!
//! Rights that exist have each pattern once, sorted, with at least one action, so that equal rights are equal values.

use std::fmt;
use std::str::FromStr;

use crate::metadata::names::{DERIVED_TOPIC_PREFIXES, GroupName, MAX_GROUP_LEN, MAX_TOPIC_LEN, TopicName};

/// Grants that one user may have.
pub const MAX_GRANTS: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Send messages to a topic, recall them, end their transactions.
    Publish,
    /// Receive from a topic, or for a consumer group, and acknowledge.
    Subscribe,
    /// Create a topic by its first use, where the broker is configured to do so.
    Manage,
}

impl Action {
    pub const ALL: [Self; 3] = [Self::Publish, Self::Subscribe, Self::Manage];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Manage => "manage",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Publish => 1,
            Self::Subscribe => 2,
            Self::Manage => 4,
        }
    }
}

/// A set of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Actions(u8);

impl Actions {
    pub const NONE: Self = Self(0);

    pub const fn with(self, action: Action) -> Self {
        Self(self.0 | action.bit())
    }

    pub const fn contains(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    /// `None` for bits that stand for no action, or for no bits.
    pub(super) fn from_bits(bits: u8) -> Option<Self> {
        let known = Action::ALL.iter().fold(Self::NONE, |all, action| all.with(*action));
        (bits != 0 && bits & !known.0 == 0).then_some(Self(bits))
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        actions.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Action::ALL.iter().filter(|action| self.contains(**action)).map(|action| action.as_str());
        f.write_str(&names.collect::<Vec<_>>().join(","))
    }
}

/// What an action is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
}

impl<'a> Resource<'a> {
    /// A topic that belongs to a consumer group counts as the group: who may subscribe for the group may subscribe to it,
    /// nobody else.
    #[must_use]
    pub fn owner(self) -> Self {
        match self {
            Self::Topic(name) => DERIVED_TOPIC_PREFIXES
                .iter()
                .find_map(|prefix| name.strip_prefix(prefix))
                .map_or(self, Self::Group),
            Self::Group(_) => self,
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Topic(_) => Kind::Topic,
            Self::Group(_) => Kind::Group,
        }
    }

    const fn name(self) -> &'a str {
        match self {
            Self::Topic(name) | Self::Group(name) => name,
        }
    }
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Topic(_) => "topic",
            Self::Group(_) => "consumer group",
        };
        write!(f, "{what} '{}'", self.name())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Topic,
    Group,
}

/// Topics or consumer groups: the one of a name, or all whose names begin with a text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Whether more may follow the name.
    pub(super) open: bool,
}

impl Pattern {
    /// # Errors
    /// When `name` is neither a legal name nor the beginning of one with a `*` behind it.
    pub fn topic(name: &str) -> Result<Self, GrantError> {
        Self::new(Kind::Topic, name)
    }

    /// # Errors
    /// As [`Self::topic`].
    pub fn group(name: &str) -> Result<Self, GrantError> {
        Self::new(Kind::Group, name)
    }

    fn new(kind: Kind, text: &str) -> Result<Self, GrantError> {
        let (name, open) = text.strip_suffix('*').map_or((text, false), |start| (start, true));
        Self::checked(kind, name, open).ok_or_else(|| GrantError::Name(shown(text)))
    }

    pub(super) fn checked(kind: Kind, name: &str, open: bool) -> Option<Self> {
        let legal = if open {
            // Characters are checked together with some that are legal.
            let max = if kind == Kind::Topic { MAX_TOPIC_LEN } else { MAX_GROUP_LEN };
            name.is_empty() || (name.len() < max && TopicName::new(&format!("{name}x")).is_ok())
        } else {
            match kind {
                Kind::Topic => TopicName::new(name).is_ok(),
                Kind::Group => GroupName::new(name).is_ok(),
            }
        };
        legal.then(|| Self { kind, name: name.to_owned(), open })
    }

    fn covers(&self, resource: Resource<'_>) -> bool {
        let name = resource.name();
        self.kind == resource.kind()
            && if self.open { name.starts_with(&self.name) } else { name == self.name }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Topic => "topic",
            Kind::Group => "group",
        };
        write!(f, "{kind}:{}{}", self.name, if self.open { "*" } else { "" })
    }
}

/// Some actions with what a pattern covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub actions: Actions,
    pub on: Pattern,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.actions, self.on)
    }
}

/// Why a text is no grant, or grants are no rights.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error(
        "grant '{0}' is not actions:topic:name or actions:group:name, such as publish,subscribe:topic:orders-*"
    )]
    Form(String),
    #[error("action '{0}' is not publish, subscribe or manage")]
    Action(String),
    #[error("'{0}' is neither a name nor the beginning of one with * behind it")]
    Name(String),
    #[error("{0} grants are too many, {MAX_GRANTS} are allowed")]
    TooMany(usize),
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let mut parts = text.splitn(3, ':');
        let (Some(actions), Some(kind), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(GrantError::Form(shown(text)));
        };
        let action = |text: &str| {
            let found = Action::ALL.into_iter().find(|action| action.as_str() == text.trim());
            found.ok_or_else(|| GrantError::Action(shown(text)))
        };
        let actions = actions.split(',').map(action).collect::<Result<Actions, _>>()?;
        let on = match kind {
            "topic" => Pattern::topic(name)?,
            "group" => Pattern::group(name)?,
            _ => return Err(GrantError::Form(shown(text))),
        };
        Ok(Self { actions, on })
    }
}

/// All that a user may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rights {
    /// Everything.
    Admin,
    /// What one of these grants, sorted.
    Granted(Vec<Grant>),
}

impl Rights {
    /// What all of `grants` say.
    ///
    /// # Errors
    /// When there are more than [`MAX_GRANTS`] patterns.
    pub fn granted(mut grants: Vec<Grant>) -> Result<Self, GrantError> {
        grants.sort_by(|a, b| a.on.cmp(&b.on));
        grants.dedup_by(|next, kept| {
            let same = next.on == kept.on;
            if same {
                kept.actions = kept.actions.union(next.actions);
            }
            same
        });
        if grants.len() > MAX_GRANTS {
            return Err(GrantError::TooMany(grants.len()));
        }
        Ok(Self::Granted(grants))
    }

    /// Whether `action` may be done with `resource`.
    pub fn allow(&self, action: Action, resource: Resource<'_>) -> bool {
        let resource = resource.owner();
        match self {
            Self::Admin => true,
            Self::Granted(grants) => {
                grants.iter().any(|grant| grant.actions.contains(action) && grant.on.covers(resource))
            }
        }
    }
}

/// As much of a refused text as an error repeats.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::Action::{Manage, Publish, Subscribe};
    use super::*;

    fn rights(grants: &[&str]) -> Rights {
        Rights::granted(grants.iter().map(|grant| grant.parse().unwrap()).collect()).unwrap()
    }

    #[test]
    fn a_grant_covers_what_it_names_and_nothing_else() {
        let user =
            rights(&["publish:topic:orders-*", "subscribe:topic:orders-eu", "subscribe:group:billing"]);
        for (action, resource, allowed) in [
            (Publish, Resource::Topic("orders-eu"), true),
            (Publish, Resource::Topic("orders-"), true),
            (Publish, Resource::Topic("orders"), false),
            (Publish, Resource::Topic("xorders-eu"), false),
            (Subscribe, Resource::Topic("orders-eu"), true),
            (Subscribe, Resource::Topic("orders-eu2"), false),
            (Manage, Resource::Topic("orders-eu"), false),
            (Subscribe, Resource::Group("billing"), true),
            (Publish, Resource::Group("billing"), false),
            (Publish, Resource::Group("orders-eu"), false),
            (Subscribe, Resource::Topic("billing"), false),
        ] {
            assert_eq!(user.allow(action, resource), allowed, "{action:?} {resource}");
        }
        assert!(rights(&["manage:topic:*"]).allow(Manage, Resource::Topic("any%thing")));
        assert!(!rights(&[]).allow(Publish, Resource::Topic("t")));
        assert!(Rights::Admin.allow(Manage, Resource::Group("g")));
    }

    #[test]
    fn a_dead_letter_topic_belongs_to_its_group() {
        let all_topics = rights(&["publish,subscribe,manage:topic:*"]);
        let group = rights(&["subscribe:group:shop%billing"]);
        for topic in ["%DLQ%shop%billing", "%RETRY%shop%billing"] {
            assert!(!all_topics.allow(Subscribe, Resource::Topic(topic)), "{topic}");
            assert!(group.allow(Subscribe, Resource::Topic(topic)), "{topic}");
            assert!(!group.allow(Publish, Resource::Topic(topic)), "{topic}");
        }
        assert!(!group.allow(Subscribe, Resource::Topic("%DLQ%other")));
    }

    #[test]
    fn grants_are_read_and_written() {
        for text in ["publish:topic:t", "publish,subscribe,manage:topic:*", "subscribe:group:ns%g-*"] {
            assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        }
        assert_eq!("manage, publish:topic:t".parse::<Grant>().unwrap().to_string(), "publish,manage:topic:t");
        for (text, words) in [
            ("", "is not actions:topic:name"),
            ("publish:topic", "is not actions:topic:name"),
            ("publish:queue:t", "is not actions:topic:name"),
            ("write:topic:t", "action 'write'"),
            (":topic:t", "action ''"),
            ("publish:topic:", "'' is neither"),
            ("publish:topic:a b", "'a b' is neither"),
            ("publish:topic:a*b", "'a*b' is neither"),
            ("publish:topic:**", "'**' is neither"),
            ("publish:topic:TBW102", "'TBW102' is neither"),
        ] {
            let error = text.parse::<Grant>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn rights_are_sorted_and_each_pattern_is_there_once() {
        let one = rights(&["publish:topic:b", "subscribe:topic:b", "publish:group:a", "manage:topic:a"]);
        assert_eq!(one, rights(&["manage:topic:a", "publish:group:a", "subscribe,publish:topic:b"]));
        let many = (0..=MAX_GRANTS).map(|n| format!("publish:topic:t{n}").parse().unwrap()).collect();
        assert_eq!(Rights::granted(many), Err(GrantError::TooMany(MAX_GRANTS + 1)));
    }
}
