//! One line of a history file, as the client programs write it. `e2e/clients/README.md` describes the format.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Line {
    Start(Start),
    Invoke(Invoke),
    Message(Message),
    Complete(Complete),
    End(End),
}

#[derive(Debug, Deserialize)]
pub(crate) struct Start {
    pub(crate) client: String,
    pub(crate) boot: String,
    pub(crate) topic: String,
    #[serde(default)]
    pub(crate) group: Option<String>,
    #[serde(default)]
    pub(crate) filter: Option<String>,
    #[serde(default)]
    pub(crate) order: Option<OrderName>,
    #[serde(default)]
    pub(crate) max_attempts: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OrderName {
    Concurrent,
    Fifo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    Send,
    Receive,
    Ack,
    /// As an acknowledgement, but the message becomes a dead letter.
    Forward,
    /// Without a place in a queue nothing is made of it: when the message may come again is told with its delivery.
    Change,
    Decide,
    Recall,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VerdictName {
    Commit,
    Rollback,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Invoke {
    pub(crate) op: Operation,
    pub(crate) ts: u64,
    /// Milliseconds since 1970 at that moment.
    #[serde(default)]
    pub(crate) wall: Option<u64>,
    pub(crate) call: u64,
    #[serde(default)]
    pub(crate) id: Option<String>,
    #[serde(default)]
    pub(crate) checksum: Option<String>,
    #[serde(default)]
    pub(crate) tag: Option<String>,
    #[serde(default)]
    pub(crate) queue: Option<String>,
    #[serde(default)]
    pub(crate) offset: Option<u64>,
    #[serde(default)]
    pub(crate) attempt: Option<u32>,
    #[serde(default)]
    pub(crate) message_group: Option<String>,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub(crate) deliver_at: Option<u64>,
    #[serde(default)]
    pub(crate) transaction: bool,
    #[serde(default)]
    pub(crate) priority: Option<u32>,
    #[serde(default)]
    pub(crate) verdict: Option<VerdictName>,
    #[serde(default)]
    pub(crate) invisible_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    pub(crate) ts: u64,
    /// The receive that brought it; push consumers have none.
    #[serde(default)]
    pub(crate) call: Option<u64>,
    pub(crate) id: Option<String>,
    pub(crate) checksum: String,
    pub(crate) message_id: String,
    #[serde(default)]
    pub(crate) queue: Option<String>,
    pub(crate) offset: u64,
    pub(crate) attempt: u32,
    #[serde(default)]
    pub(crate) invisible_ms: Option<u64>,
    #[serde(default)]
    pub(crate) corrupted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ending {
    Ok,
    Fail,
    Unknown,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Complete {
    pub(crate) op: Operation,
    pub(crate) ts: u64,
    pub(crate) call: u64,
    pub(crate) outcome: Ending,
    #[serde(default)]
    pub(crate) error: Option<String>,
    #[serde(default)]
    pub(crate) message_id: Option<String>,
    #[serde(default)]
    pub(crate) offset: Option<u64>,
    #[serde(default)]
    pub(crate) tries: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct End {
    pub(crate) ts: u64,
    pub(crate) reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reason {
    Count,
    Duration,
    Idle,
    Signal,
}
