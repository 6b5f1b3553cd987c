//! Simulated clients: they send and receive as real ones do, do not trust anybody, and write down what they saw for the
//! history checker.

mod admin;
mod consumer;
mod groups;
mod letter;
mod producer;

use std::time::Duration;

use mainstay_checker::{History, Moment};
use mainstay_messaging::{Command, GroupName, TopicName, TransactionId};
use mainstay_record::NodeId;

pub(crate) use self::admin::Admin;
pub(crate) use self::consumer::Consumer;
pub(crate) use self::groups::{Subscribed, groups, subscriptions};
pub(crate) use self::producer::Producer;
use crate::rng::Rng;
use crate::time::{MILLI, SECOND, Time};
use crate::wire::{Reply, RequestId};

/// How long a client waits for an answer.
const TIMEOUT: Time = 4 * SECOND;
/// Pause after an answer that says to ask somebody else.
const PAUSE: Time = 100 * MILLI;
/// The clock of all histories is true time.
const CLOCK: &str = "simulated";

/// What a client may look at and where it puts what it does.
pub(crate) struct Scene<'a> {
    pub(crate) now: Time,
    pub(crate) rng: &'a mut Rng,
    pub(crate) nodes: usize,
    pub(crate) next_request: &'a mut u64,
    pub(crate) effects: &'a mut Vec<Effect>,
}

#[derive(Debug)]
pub(crate) enum Effect {
    Ask {
        node: usize,
        request: RequestId,
        command: Box<Command>,
        wait: Time,
    },
    /// Tell the client when the request has not been answered by then.
    Late {
        request: RequestId,
        after: Time,
    },
    Wake {
        after: Time,
    },
}

#[derive(Debug)]
pub(crate) enum Input {
    Wake,
    Reply {
        request: RequestId,
        reply: Reply,
    },
    Late(RequestId),
    /// A broker asks what became of a half message.
    Check {
        message_id: String,
        transaction: TransactionId,
    },
}

/// Where a client sends its requests, and which of them is open.
#[derive(Debug, Default)]
struct Line {
    node: usize,
    open: Option<RequestId>,
}

impl Line {
    fn ask(&mut self, command: Command, wait: Time, scene: &mut Scene<'_>) {
        *scene.next_request += 1;
        let request = RequestId(*scene.next_request);
        self.open = Some(request);
        self.node %= scene.nodes;
        let command = Box::new(command);
        scene.effects.push(Effect::Ask { node: self.node, request, command, wait });
        scene.effects.push(Effect::Late { request, after: TIMEOUT + wait });
    }

    /// The answer to the open request: `None` inside when it did not come in time.
    fn answer(&mut self, input: Input, scene: &mut Scene<'_>) -> Option<Option<Reply>> {
        let (request, reply) = match input {
            Input::Wake | Input::Check { .. } => return None,
            Input::Reply { request, reply } => (request, Some(reply)),
            Input::Late(request) => (request, None),
        };
        if self.open != Some(request) {
            return None;
        }
        self.open = None;
        match &reply {
            Some(Reply::NotHere { leader: Some(leader) }) => self.node = place_of(*leader),
            Some(Reply::NotHere { leader: None }) | None => self.node = scene.rng.index(scene.nodes),
            Some(_) => {}
        }
        Some(reply)
    }
}

/// Node ids are given out from 1 in order of the members.
pub(crate) fn place_of(node: NodeId) -> usize {
    (node.get() - 1) as usize
}

fn moment(now: Time) -> Moment {
    Moment(now * 1000)
}

pub(crate) fn topic_name(topic: usize) -> String {
    format!("topic-{topic}")
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap_or_else(|error| panic!("{error}"))
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap_or_else(|error| panic!("{error}"))
}

fn checksum(body: &[u8]) -> String {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", body.iter().fold(0xcbf2_9ce4_8422_2325, mix))
}

fn millis(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// Any client.
#[derive(Debug)]
pub(crate) enum Client {
    Admin(Admin),
    Producer(Box<Producer>),
    Consumer(Box<Consumer>),
}

impl Client {
    pub(crate) fn take(&mut self, input: Input, scene: &mut Scene<'_>) {
        match self {
            Self::Admin(admin) => admin.take(input, scene),
            Self::Producer(producer) => producer.take(input, scene),
            Self::Consumer(consumer) => consumer.take(input, scene),
        }
    }

    pub(crate) fn history(&self) -> Option<&History> {
        match self {
            Self::Admin(_) => None,
            Self::Producer(producer) => Some(&producer.history),
            Self::Consumer(consumer) => Some(&consumer.history),
        }
    }
}
