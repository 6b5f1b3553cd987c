//! What an expression is worth for one message, in three-valued logic: `None` is unknown.
//!
//! Nothing is allocated, and the stack is as deep as the tree, which the parser bounds.

use std::cmp::Ordering;

use super::Properties;
use super::number::Number;
use super::tree::{Comparison, Node, Place};

#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Null,
    Boolean(bool),
    Number(Number),
    Text(&'a str),
}

/// What the words for true mean in a property.
fn reads_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

pub(super) fn condition(node: &Node, properties: &impl Properties) -> Option<bool> {
    match node {
        Node::Not(node) => condition(node, properties).map(|met| !met),
        Node::And(nodes) => all(nodes.iter().map(|node| condition(node, properties))),
        Node::Or(nodes) => {
            all(nodes.iter().map(|node| condition(node, properties).map(|met| !met))).map(|met| !met)
        }
        Node::Compare { left, by, right } => compare(left, *by, right, properties),
        Node::Between { value, low, high } => all([
            compare(value, Comparison::GreaterOrEqual, low, properties),
            compare(value, Comparison::LessOrEqual, high, properties),
        ]),
        Node::IsNull(node) => Some(matches!(value(node, properties), Value::Null)),
        Node::In { property, texts } => {
            let text = properties.property(property)?;
            Some(texts.binary_search_by(|candidate| (**candidate).cmp(text)).is_ok())
        }
        Node::Like { value, pattern } => text(value, properties).map(|text| pattern.matches(text)),
        Node::Search { value, place, text: wanted } => {
            let text = text(value, properties).filter(|_| !wanted.is_empty())?;
            Some(match place {
                Place::Anywhere => text.contains(&**wanted),
                Place::Start => text.starts_with(&**wanted),
                Place::End => text.ends_with(&**wanted),
            })
        }
        Node::Property(_)
        | Node::Text(_)
        | Node::Number(_)
        | Node::Boolean(_)
        | Node::Null
        | Node::Negated(_) => match value(node, properties) {
            Value::Boolean(met) => Some(met),
            Value::Text(text) => Some(reads_true(text)),
            Value::Number(_) | Value::Null => None,
        },
    }
}

/// False as soon as one is, else unknown if one is.
fn all(conditions: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut met = Some(true);
    for condition in conditions {
        match condition {
            Some(false) => return Some(false),
            Some(true) => {}
            None => met = None,
        }
    }
    met
}

fn value<'a>(node: &'a Node, properties: &'a impl Properties) -> Value<'a> {
    match node {
        Node::Property(name) => properties.property(name).map_or(Value::Null, Value::Text),
        Node::Text(text) => Value::Text(text),
        Node::Number(number) => Value::Number(*number),
        Node::Boolean(boolean) => Value::Boolean(*boolean),
        Node::Null => Value::Null,
        Node::Negated(node) => match number(value(node, properties)) {
            Some(number) => Value::Number(number.negated()),
            None => Value::Null,
        },
        _ => condition(node, properties).map_or(Value::Null, Value::Boolean),
    }
}

fn text<'a>(node: &'a Node, properties: &'a impl Properties) -> Option<&'a str> {
    match value(node, properties) {
        Value::Text(text) => Some(text),
        Value::Null | Value::Boolean(_) | Value::Number(_) => None,
    }
}

fn number(value: Value<'_>) -> Option<Number> {
    match value {
        Value::Number(number) => Some(number),
        Value::Text(text) => Number::of_text(text),
        Value::Null | Value::Boolean(_) => None,
    }
}

fn compare(left: &Node, by: Comparison, right: &Node, properties: &impl Properties) -> Option<bool> {
    let by_text = matches!(left, Node::Text(_)) || matches!(right, Node::Text(_));
    let (left, right) = (value(left, properties), value(right, properties));
    let order = match (left, right) {
        (Value::Null, _) | (_, Value::Null) => return None,
        (Value::Boolean(left), Value::Boolean(right)) => left.cmp(&right),
        (Value::Boolean(left), Value::Text(right)) => left.cmp(&reads_true(right)),
        (Value::Text(left), Value::Boolean(right)) => reads_true(left).cmp(&right),
        (Value::Text(left), Value::Text(right)) if by_text || by.is_equality() => left.cmp(right),
        (left, right) => number(left)?.compare(number(right)?),
    };
    Some(by.holds(order))
}

impl Comparison {
    const fn is_equality(self) -> bool {
        matches!(self, Self::Equal | Self::Unequal)
    }

    const fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}
