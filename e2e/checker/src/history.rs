//! What one client did and saw, in memory.
//!
//! An operation that was begun but whose end was never written has the outcome `Unknown`, like one that timed out.

use std::time::Duration;

/// Nanoseconds of a machine's monotonic clock since it started. All processes of one machine share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// This machine's clock now: the one the client programs use.
    #[must_use]
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
        Self(seconds * 1_000_000_000 + nanoseconds)
    }

    /// Time from `earlier` until here, zero if it was not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    #[must_use]
    pub(crate) fn minus(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }

    #[must_use]
    pub(crate) fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// From the beginning of a call until its end, where the end was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    pub invoked: Moment,
    pub completed: Option<Moment>,
}

/// How a call ended, as far as its caller can know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    Ok(T),
    /// It certainly had no effect.
    Failed(String),
    /// It may have had its effect, now or later.
    Unknown(String),
}

impl<T> Outcome<T> {
    pub fn ok(&self) -> Option<&T> {
        match self {
            Self::Ok(value) => Some(value),
            Self::Failed(_) | Self::Unknown(_) => None,
        }
    }

    /// It had its effect, or may have had it.
    pub(crate) const fn is_possible(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

/// Which messages of a topic a consumer asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    All,
    Tags(Vec<String>),
}

impl Filter {
    /// Reads a tag expression: `*`, or tags with `||` between them.
    #[must_use]
    pub fn parse(expression: &str) -> Self {
        match expression.trim() {
            "" | "*" => Self::All,
            tags => Self::Tags(tags.split("||").map(|tag| tag.trim().to_owned()).collect()),
        }
    }

    pub(crate) fn accepts(&self, tag: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Tags(tags) => tag.is_some_and(|tag| tags.iter().any(|wanted| wanted == tag)),
        }
    }
}

/// In which order a consumer group is to get the messages of one message group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Concurrent,
    Fifo,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    Producer,
    Consumer {
        group: String,
        filter: Filter,
        order: Order,
        /// Deliveries of a message before it becomes a dead letter, where it is known.
        max_attempts: Option<u32>,
    },
}

/// Who wrote a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub name: String,
    /// Names the clock of its times; moments of different clocks are never compared.
    pub clock: String,
    pub topic: String,
    pub role: Role,
}

/// What the broker said about a message that it accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub message_id: String,
    /// Where in its queue the message is, if the client tells. Which queue that is the protocol does not say.
    pub offset: Option<u64>,
}

/// What sort of message was sent, with what is promised for that sort only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Normal,
    /// Delivered in order within its message group, to groups that ask for order.
    Fifo {
        message_group: String,
    },
    /// Not delivered before, on the client's clock.
    Delay {
        deliver_at: Moment,
    },
    /// Not delivered unless it is committed.
    Transaction,
    /// Delivered before what is less urgent and waits as well.
    Priority {
        priority: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// Written in the body; no two sends share one.
    pub id: String,
    pub checksum: String,
    pub tag: Option<String>,
    pub kind: Kind,
    pub call: Interval,
    pub outcome: Outcome<Receipt>,
    /// How often the client library sent the request, if it can be told.
    pub tries: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receive {
    pub call: Interval,
    pub outcome: Outcome<()>,
}

/// A place in a queue of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Broker and queue number as text; absent where a client library does not tell.
    pub queue: Option<String>,
    pub offset: u64,
}

/// One message handed to a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// From the body; absent when the body is not one that a client program wrote.
    pub id: Option<String>,
    pub checksum: String,
    pub message_id: String,
    pub position: Position,
    pub attempt: u32,
    /// How long the message stays hidden from others, if the consumer asked for a time.
    pub invisible: Option<Duration>,
    pub at: Moment,
    /// The call that brought it, as an index into the receives of the same history; absent for push consumers.
    pub receive: Option<usize>,
    /// The client library found the body and the broker's digest to differ.
    pub corrupted: bool,
}

/// How a consumer is done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settling {
    Acknowledge,
    /// It asks for the message to become a dead letter at once.
    Forward,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    pub how: Settling,
    pub id: Option<String>,
    pub position: Position,
    pub attempt: u32,
    pub call: Interval,
    pub outcome: Outcome<()>,
}

/// A consumer changes how long a message stays hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub id: Option<String>,
    pub position: Position,
    pub attempt: u32,
    /// Counted from the call; the broker may make it longer.
    pub invisible: Duration,
    pub call: Interval,
    pub outcome: Outcome<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Commit,
    Rollback,
}

/// A producer decides about a half message, by itself or because it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Of the send.
    pub id: String,
    pub verdict: Verdict,
    pub call: Interval,
    pub outcome: Outcome<()>,
}

/// A producer takes a delayed message back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// Of the send.
    pub id: String,
    pub call: Interval,
    pub outcome: Outcome<()>,
}

/// Everything one client did and saw, in the order in which it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    pub client: Client,
    pub sends: Vec<Send>,
    pub receives: Vec<Receive>,
    pub deliveries: Vec<Delivery>,
    pub acks: Vec<Ack>,
    pub changes: Vec<Change>,
    pub decisions: Vec<Decision>,
    pub recalls: Vec<Recall>,
    /// When the client stopped because nothing had come for a time longer than the invisible time.
    pub drained: Option<Moment>,
}

impl History {
    /// The empty history of a client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            sends: Vec::new(),
            receives: Vec::new(),
            deliveries: Vec::new(),
            acks: Vec::new(),
            changes: Vec::new(),
            decisions: Vec::new(),
            recalls: Vec::new(),
            drained: None,
        }
    }
}
