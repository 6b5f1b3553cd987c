/// Unacknowledged messages of one consumer group in one queue, after which nothing more is delivered from it.
pub const MAX_UNACKED: usize = 10_000;
