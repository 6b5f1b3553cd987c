//! From what the group's driver and the state machine answer to the protocol's codes.
//!
//! Whatever may have been stored although no success is reported says "outcome unknown".

use mainstay_messaging::{AckError, Refusal as StateRefusal};
use mainstay_proto::rocketmq::{Code, Status};

use super::refusal::Refusal;
use crate::group::{ProposeError, ReceiveError};

/// Nothing was done, since this broker may not act for the group now: to be passed on, or tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotHere;

/// Splits off the errors after which another broker, or this one a little later, can do the same.
pub(crate) fn proposal(error: &ProposeError) -> Result<Refusal, NotHere> {
    let code = match error {
        ProposeError::NotLeader { .. } | ProposeError::NotServing | ProposeError::ShuttingDown => {
            return Err(NotHere);
        }
        ProposeError::FlushTimeout | ProposeError::NotTaken => Code::MasterPersistenceTimeout,
        ProposeError::ReplicaTimeout => Code::SlavePersistenceTimeout,
        ProposeError::TooFewReplicas | ProposeError::NoQuorum => Code::HaNotAvailable,
        ProposeError::Deadline | ProposeError::LeadershipLost => Code::ProxyTimeout,
        ProposeError::Failed(_) => Code::InternalServerError,
        // The one code that makes clients slow down; the protocol has none for a full store.
        ProposeError::Overloaded | ProposeError::NoSpace => Code::TooManyRequests,
        ProposeError::TooLarge => Code::PayloadTooLarge,
    };
    Ok(Refusal::new(code, error.to_string()))
}

/// As [`proposal`], for long polls.
pub(crate) fn receive(error: &ReceiveError) -> Result<Refusal, NotHere> {
    match error {
        ReceiveError::Refused(refusal) => Ok(state(refusal)),
        ReceiveError::Propose(error) => proposal(error),
        ReceiveError::NotJudged => Ok(Refusal::new(Code::InternalServerError, error.to_string())),
    }
}

/// What the state machine refused.
pub(crate) fn state(refusal: &StateRefusal) -> Refusal {
    let code = match refusal {
        StateRefusal::UnknownTopic(_) => Code::TopicNotFound,
        StateRefusal::UnknownGroup(_) => Code::ConsumerGroupNotFound,
        StateRefusal::TopicExistsDifferently { .. } | StateRefusal::GroupExistsDifferently { .. } => {
            Code::PreconditionFailed
        }
        StateRefusal::WrongKind { .. } => Code::MessagePropertyConflictWithType,
        StateRefusal::DerivedTopic(_) => Code::IllegalTopic,
        StateRefusal::TooManyTags { .. } => Code::IllegalMessageTag,
        StateRefusal::UnknownUser(_)
        | StateRefusal::UserExistsDifferently(_)
        | StateRefusal::UnknownQueue { .. }
        | StateRefusal::NotMetadataGroup
        | StateRefusal::DeadLetters { .. }
        | StateRefusal::IsMetadataGroup => Code::InternalServerError,
    };
    Refusal::new(code, refusal.to_string())
}

/// As [`state`], for a command about receipt handles: those of a topic or consumer group that is gone are void.
pub(crate) fn about_handles(refusal: &StateRefusal) -> Refusal {
    match refusal {
        StateRefusal::UnknownTopic(_) | StateRefusal::UnknownGroup(_) => {
            Refusal::new(Code::InvalidReceiptHandle, format!("receipt handle is void: {refusal}"))
        }
        other => state(other),
    }
}

/// A handle that acknowledges or changes nothing. The one code that ends a client's attempts.
pub(crate) fn handle(error: AckError) -> Refusal {
    Refusal::new(Code::InvalidReceiptHandle, error.to_string())
}

/// What another broker answered.
pub(crate) fn elsewhere(status: Status) -> Result<(), Refusal> {
    if status.code == Code::Ok as i32 {
        return Ok(());
    }
    let code = Code::try_from(status.code).unwrap_or(Code::InternalServerError);
    Err(Refusal::new(code, status.message))
}

/// An outcome that does not belong to its command.
pub(crate) fn mismatched() -> Refusal {
    Refusal::new(Code::InternalServerError, "the outcome does not belong to the command; outcome unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_of_what_is_gone_are_void() {
        for (refusal, code) in [
            (StateRefusal::UnknownTopic("t".to_owned()), Code::InvalidReceiptHandle),
            (StateRefusal::UnknownGroup("g".to_owned()), Code::InvalidReceiptHandle),
            (StateRefusal::NotMetadataGroup, Code::InternalServerError),
        ] {
            assert_eq!(about_handles(&refusal).code, code, "{refusal}");
        }
    }

    #[test]
    fn what_may_have_been_stored_says_so_and_what_was_not_does_not() {
        for (error, code) in [
            (ProposeError::FlushTimeout, Some(Code::MasterPersistenceTimeout)),
            (ProposeError::ReplicaTimeout, Some(Code::SlavePersistenceTimeout)),
            (ProposeError::NotTaken, Some(Code::MasterPersistenceTimeout)),
            (ProposeError::TooFewReplicas, Some(Code::HaNotAvailable)),
            (ProposeError::NoQuorum, Some(Code::HaNotAvailable)),
            (ProposeError::Deadline, Some(Code::ProxyTimeout)),
            (ProposeError::LeadershipLost, Some(Code::ProxyTimeout)),
            (ProposeError::Failed("disk".into()), Some(Code::InternalServerError)),
            (ProposeError::Overloaded, Some(Code::TooManyRequests)),
            (ProposeError::NoSpace, Some(Code::TooManyRequests)),
            (ProposeError::TooLarge, Some(Code::PayloadTooLarge)),
            (ProposeError::NotLeader { leader: None }, None),
            (ProposeError::NotServing, None),
            (ProposeError::ShuttingDown, None),
        ] {
            let refusal = proposal(&error).ok();
            assert_eq!(refusal.as_ref().map(|refusal| refusal.code), code, "{error}");
            if let Some(refusal) = refusal {
                assert_eq!(refusal.message.contains("outcome unknown"), error.outcome_unknown(), "{refusal}");
            }
        }
    }
}
