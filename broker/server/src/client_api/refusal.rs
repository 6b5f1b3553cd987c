//! Why a call, or one entry of it, is refused: a protocol code and a sentence that names the field or the thing.
//!
//! A refusal always travels as a gRPC OK carrying the code; transport errors stay what they are.

use std::borrow::Cow;

use mainstay_proto::rocketmq::{Code, Status};

use super::caller::Dialect;

/// A protocol code other than OK and the reason in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {message}")]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) message: Cow<'static, str>,
}

pub(crate) type Checked<T> = Result<T, Refusal>;

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn status(&self, dialect: Dialect) -> Status {
        Status { code: dialect.code(self.code) as i32, message: self.message.clone().into_owned() }
    }
}

/// Status of a call, or of one entry, that went well.
pub(crate) fn ok() -> Status {
    Status { code: Code::Ok as i32, message: String::new() }
}

/// The status on top of a call with several entries: the one they share, else MULTIPLE_RESULTS.
pub(crate) fn combined<'a>(mut entries: impl Iterator<Item = &'a Status>) -> Status {
    let Some(first) = entries.next() else { return ok() };
    if entries.all(|entry| entry.code == first.code) {
        first.clone()
    } else {
        Status {
            code: Code::MultipleResults as i32,
            message: "the entries have different results".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_share_their_code_or_are_multiple_results() {
        let fine = ok();
        let bad = Refusal::new(Code::MessageBodyEmpty, "body is empty").status(Dialect::Current);
        assert_eq!(combined([&fine, &fine].into_iter()).code, Code::Ok as i32);
        assert_eq!(combined([&bad, &bad].into_iter()), bad);
        assert_eq!(combined([&fine, &bad].into_iter()).code, Code::MultipleResults as i32);
    }
}
