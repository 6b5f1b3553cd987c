//! The binary form of commands (skeleton).
use crate::command::Command;
use bytes::{Bytes, BytesMut};

/// Why a record is not a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("record ends within {0}")]
    Truncated(&'static str),
    #[error("command format {0} is unknown")]
    UnknownVersion(u8),
    #[error("command {0} is unknown")]
    UnknownCommand(u8),
    #[error("{0} is not valid")]
    Invalid(&'static str),
    #[error("{0} bytes follow the command")]
    Trailing(usize),
}

impl Command {
    /// Appends the record's bytes.
    pub fn encode(&self, _out: &mut BytesMut) {}
    /// Upper bound, roughly, of the bytes that [`Self::encode`] appends.
    pub fn encoded_len_hint(&self) -> usize {
        0
    }
    /// # Errors
    /// When the bytes are no command that this version knows.
    pub fn decode(_record: &Bytes) -> Result<Self, DecodeError> {
        Err(DecodeError::Truncated("version"))
    }
}
