//! Why a text is no filter expression, and where.

/// An expression that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {column}: {problem}")]
pub struct SqlError {
    /// In characters from the beginning of the expression, from 1. One more than its length is its end.
    pub column: usize,
    pub problem: SqlProblem,
}

/// What is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlProblem {
    #[error("the expression has {bytes} bytes, at most {limit} are allowed")]
    TooLong { bytes: usize, limit: usize },
    #[error("the expression is nested more than {limit} levels deep")]
    TooDeep { limit: usize },
    #[error("expected {expected}, found {found}")]
    Unexpected { expected: &'static str, found: String },
    #[error("{0} is not ended")]
    Unended(&'static str),
    #[error("a number is out of range")]
    NumberOutOfRange,
    #[error("a whole number begins with 0")]
    LeadingZero,
    #[error("{0}")]
    Mismatch(&'static str),
}
