//! The decoders of the small files beside the log, see [`crate::fuzzing`].

use bytes::Bytes;

use super::identity;
use super::refill::marker;

pub(crate) fn marker(bytes: Bytes) -> Option<()> {
    let begun = marker::decode(bytes)?;
    assert_eq!(marker::decode(marker::encode(&begun).into()).as_ref(), Some(&begun));
    Some(())
}

pub(crate) fn identity(bytes: &[u8]) -> Option<()> {
    let (node, group, cluster) = identity::decode(bytes)?;
    assert_eq!(identity::encode(node, group, cluster), bytes);
    Some(())
}
