//! Message groups as the indexes know them: by a stable 64-bit hash.
//!
//! Two message groups with the same hash wait for each other, which is in order as well.

use std::hash::Hasher;
use std::num::NonZeroU64;

use siphasher::sip::SipHasher13;

/// A message group of FIFO messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lane(NonZeroU64);

impl Lane {
    pub(crate) fn of(message_group: &str) -> Self {
        Self(NonZeroU64::new(hash(message_group)).unwrap_or(NonZeroU64::MIN))
    }

    pub(crate) const fn get(self) -> u64 {
        self.0.get()
    }

    /// Zero stands for none.
    pub(crate) fn from_raw(raw: u64) -> Option<Self> {
        NonZeroU64::new(raw).map(Self)
    }
}

/// The same in every version and on every machine: what is in the log depends on it.
pub(crate) fn hash(text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_text_is_the_same_for_ever() {
        assert_eq!(hash("orders-1"), HASH_OF_ORDERS_1);
        assert_ne!(Lane::of("a"), Lane::of("b"));
        assert_eq!(Lane::from_raw(Lane::of("a").get()), Some(Lane::of("a")));
        assert_eq!(Lane::from_raw(0), None);
    }

    const HASH_OF_ORDERS_1: u64 = 669_524_575_141_477_102;
}
