//! The syntax tree.

use super::like::Pattern;
use super::number::Number;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Property(Box<str>),
    Text(Box<str>),
    Number(Number),
    Boolean(bool),
    Null,
    /// Of a property; literals are negated when they are read.
    Negated(Box<Node>),
    Not(Box<Node>),
    /// Two at least.
    And(Vec<Node>),
    /// Two at least.
    Or(Vec<Node>),
    Compare {
        left: Box<Node>,
        by: Comparison,
        right: Box<Node>,
    },
    Between {
        value: Box<Node>,
        low: Box<Node>,
        high: Box<Node>,
    },
    IsNull(Box<Node>),
    In {
        property: Box<str>,
        /// Sorted.
        texts: Vec<Box<str>>,
    },
    Like {
        value: Box<Node>,
        pattern: Pattern,
    },
    Search {
        value: Box<Node>,
        place: Place,
        text: Box<str>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Where in a property's value text is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Anywhere,
    Start,
    End,
}

/// What a node is worth where it is not `NULL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text that is read as what it is compared with.
    Property,
    Text,
    Number,
    Boolean,
    Null,
}

impl Node {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Property(_) => Kind::Property,
            Self::Text(_) => Kind::Text,
            Self::Number(_) | Self::Negated(_) => Kind::Number,
            Self::Null => Kind::Null,
            Self::Boolean(_)
            | Self::Not(_)
            | Self::And(_)
            | Self::Or(_)
            | Self::Compare { .. }
            | Self::Between { .. }
            | Self::IsNull(_)
            | Self::In { .. }
            | Self::Like { .. }
            | Self::Search { .. } => Kind::Boolean,
        }
    }

    pub(super) fn negated_if(self, negated: bool) -> Self {
        if negated { Self::Not(Box::new(self)) } else { self }
    }

    pub(super) fn names(&self, wanted: &str) -> bool {
        match self {
            Self::Property(name) => **name == *wanted,
            Self::In { property, .. } => **property == *wanted,
            Self::Text(_) | Self::Number(_) | Self::Boolean(_) | Self::Null => false,
            Self::Negated(node) | Self::Not(node) | Self::IsNull(node) => node.names(wanted),
            Self::And(nodes) | Self::Or(nodes) => nodes.iter().any(|node| node.names(wanted)),
            Self::Compare { left, right, .. } => left.names(wanted) || right.names(wanted),
            Self::Between { value, low, high } => [value, low, high].iter().any(|node| node.names(wanted)),
            Self::Like { value, .. } | Self::Search { value, .. } => value.names(wanted),
        }
    }
}
