//! SQL92 filter expressions over the properties of a message.
//!
//! An expression is a condition; a message is taken when the condition is true, not when it is false or unknown.
//!
//! - Names are properties: letters, digits, `_` and `$`, not beginning with a digit, and case counts. A property that
//!   a message does not have is `NULL`. Words of the language have no case.
//! - Literals: `'text'` with a quote doubled inside, whole numbers (an `L` may follow), decimals, `TRUE`, `FALSE`.
//! - `=`, `<>` or `!=`, `<`, `<=`, `>`, `>=`, `[NOT] BETWEEN low AND high`, `IS [NOT] NULL`, `[NOT] IN ('a', 'b')`,
//!   `[NOT] LIKE 'a%' [ESCAPE 'c']`, `[NOT] CONTAINS 'a'`, `[NOT] STARTSWITH 'a'`, `[NOT] ENDSWITH 'a'`.
//! - `NOT` binds tighter than `AND`, and that tighter than `OR`; comparisons bind tighter than all three. Parentheses.
//! - Comments are `-- to the end of the line` and `/* between these */`.
//!
//! Property values are text. Compared with a number they are numbers, compared with `TRUE` or `FALSE` they are true when
//! they read `true` in any case and else false, and a property that stands alone is compared with `TRUE`. Whatever
//! `NULL` is compared with, and whatever number is compared with text that is none, the result is unknown; `NOT`,
//! `AND` and `OR` follow three-valued logic. Order is by number, also between two properties; only where a text literal
//! stands on one side is it by text, character by character. Looking for empty text with `CONTAINS` and its like is
//! unknown.
//!
//! Parsing takes no more stack than [`MAX_DEPTH`] levels need, evaluating allocates nothing.

mod error;
mod evaluate;
mod lexer;
mod like;
mod number;
mod parser;
mod predicate;
mod tree;

pub use error::{SqlError, SqlProblem};

use tree::Node;

/// Bytes of an expression at most.
pub const MAX_EXPRESSION_BYTES: usize = 16 * 1024;
/// How deep parentheses, `NOT`, signs and chains of comparisons may be nested.
pub const MAX_DEPTH: usize = 64;

/// What an expression is about: the properties of one message.
pub trait Properties {
    /// The text of a property; `None` when the message does not have it.
    fn property(&self, name: &str) -> Option<&str>;
}

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    condition: Node,
}

impl Expression {
    /// # Errors
    /// When the text is no condition, or longer or deeper than allowed. The error tells where, and what was expected.
    pub fn parse(text: &str) -> Result<Self, SqlError> {
        parser::parse(text).map(|condition| Self { condition })
    }

    /// Whether the condition is true of a message with these properties.
    pub fn matches(&self, properties: &impl Properties) -> bool {
        evaluate::condition(&self.condition, properties) == Some(true)
    }

    /// Whether the condition names this property.
    pub fn names(&self, property: &str) -> bool {
        self.condition.names(property)
    }
}

#[cfg(test)]
mod tests;
