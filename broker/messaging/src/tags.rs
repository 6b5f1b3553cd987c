/// Different tags that the messages of one topic may have.
pub const MAX_TAGS: usize = 1 << 20;
/// Bytes of all different tags of one topic.
pub const MAX_TAG_BYTES: usize = 64 * 1024 * 1024;
