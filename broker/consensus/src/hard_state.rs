//! What a node must never forget, besides its log: the highest epoch it has granted.

use bytes::{BufMut, Bytes, BytesMut};
use mainstay_record::Epoch;

/// Stored durably before anything that depends on it leaves the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// Every older epoch is refused.
    pub granted: Epoch,
}

/// Bytes that are no hard state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HardStateError {
    #[error("hard state: format version {0} is unknown")]
    UnknownFormat(u8),
    #[error("hard state: {0} bytes, expected {LEN}")]
    BadLength(usize),
}

const FORMAT: u8 = 1;
const LEN: usize = 17;

impl HardState {
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(LEN);
        bytes.put_u8(FORMAT);
        bytes.put_u64_le(self.granted.number);
        bytes.put_u64_le(self.granted.candidate);
        bytes.freeze()
    }

    /// # Errors
    /// Bytes that [`Self::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, HardStateError> {
        let raw: &[u8; LEN] = bytes.try_into().map_err(|_| HardStateError::BadLength(bytes.len()))?;
        if raw[0] != FORMAT {
            return Err(HardStateError::UnknownFormat(raw[0]));
        }
        let (mut number, mut candidate) = ([0; 8], [0; 8]);
        number.copy_from_slice(&raw[1..9]);
        candidate.copy_from_slice(&raw[9..]);
        let granted = Epoch { number: u64::from_le_bytes(number), candidate: u64::from_le_bytes(candidate) };
        Ok(Self { granted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_round_trips_and_damage_is_refused() {
        let state = HardState { granted: Epoch { number: 7, candidate: 0x1234_5678_9abc_def0 } };
        let bytes = state.encode();
        assert_eq!(HardState::decode(&bytes), Ok(state));
        assert_eq!(HardState::decode(&bytes[..16]), Err(HardStateError::BadLength(16)));
        let mut other = bytes.to_vec();
        other[0] = 2;
        assert_eq!(HardState::decode(&other), Err(HardStateError::UnknownFormat(2)));
    }
}
