//! The comparisons that are words, each of which may have a NOT before it.

use std::cmp::Ordering;

use super::lexer::Symbol;
use super::like::Pattern;
use super::parser::{Parsed, Parser};
use super::tree::{Kind, Node, Place};

const NEGATABLE: &str = "BETWEEN, IN, LIKE, CONTAINS, STARTSWITH or ENDSWITH";

impl Parser<'_> {
    /// What follows `left`, which began at `at`, if it is such a comparison.
    pub(super) fn worded(&mut self, left: Node, at: usize) -> Parsed {
        let negated = self.take_word("NOT")?;
        let node = if self.take_word("BETWEEN")? {
            self.between(left, at)?
        } else if self.take_word("IN")? {
            self.list(left, at)?
        } else if self.take_word("LIKE")? {
            self.like(left, at)?
        } else if self.take_word("CONTAINS")? {
            self.search(left, at, Place::Anywhere)?
        } else if self.take_word("STARTSWITH")? {
            self.search(left, at, Place::Start)?
        } else if self.take_word("ENDSWITH")? {
            self.search(left, at, Place::End)?
        } else if negated {
            return Err(self.unexpected(NEGATABLE));
        } else {
            return Ok(left);
        };
        Ok(node.negated_if(negated))
    }

    fn between(&mut self, value: Node, at: usize) -> Parsed {
        self.check_ordered(&value, at)?;
        let bounds_at = self.at;
        let low = self.ordered()?;
        if !self.take_word("AND")? {
            return Err(self.unexpected("AND and the upper bound"));
        }
        let high = self.ordered()?;
        let order = match (&low, &high) {
            (Node::Number(low), Node::Number(high)) => low.compare(*high),
            (Node::Text(low), Node::Text(high)) => low.cmp(high),
            (Node::Number(_), Node::Text(_)) | (Node::Text(_), Node::Number(_)) => {
                return Err(self.mismatch(bounds_at, "one bound is a number, the other a text"));
            }
            _ => Ordering::Less,
        };
        if order == Ordering::Greater {
            return Err(self.mismatch(bounds_at, "the lower bound is above the upper one"));
        }
        Ok(Node::Between { value: Box::new(value), low: Box::new(low), high: Box::new(high) })
    }

    fn list(&mut self, value: Node, at: usize) -> Parsed {
        let Node::Property(property) = value else {
            return Err(self.mismatch(at, "IN needs a property before it"));
        };
        self.demand(Symbol::Open, "'('")?;
        let mut texts = vec![self.text("a text between quotes")?.into()];
        while self.take_symbol(Symbol::Comma)? {
            texts.push(self.text("a text between quotes")?.into());
        }
        self.demand(Symbol::Close, "',' or ')'")?;
        texts.sort_unstable();
        texts.dedup();
        Ok(Node::In { property, texts })
    }

    fn like(&mut self, value: Node, at: usize) -> Parsed {
        self.check_text(&value, at)?;
        let pattern_at = self.at;
        let pattern = self.text("a pattern between quotes")?;
        let mut escape = None;
        if self.take_word("ESCAPE")? {
            let escape_at = self.at;
            let text = self.text("one character between quotes")?;
            let mut characters = text.chars();
            escape = characters.next();
            if escape.is_none() || characters.next().is_some() {
                return Err(self.mismatch(escape_at, "ESCAPE takes exactly one character"));
            }
        }
        let pattern = Pattern::new(&pattern, escape).map_err(|_| {
            self.mismatch(pattern_at, "the pattern's escape character is not before '%', '_' or itself")
        })?;
        Ok(Node::Like { value: Box::new(value), pattern })
    }

    fn search(&mut self, value: Node, at: usize, place: Place) -> Parsed {
        self.check_text(&value, at)?;
        let text = self.text("a text between quotes")?.into();
        Ok(Node::Search { value: Box::new(value), place, text })
    }

    fn check_text(&self, node: &Node, at: usize) -> Parsed<()> {
        match node.kind() {
            Kind::Property | Kind::Text => Ok(()),
            _ => Err(self.mismatch(at, "only a property or a text can be searched")),
        }
    }
}
