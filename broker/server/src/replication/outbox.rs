//! Messages on their way to the other replicas. What is sent to a node that is not connected, or that takes too little,
//! is dropped: the core repeats what matters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mainstay_consensus::Message;
use mainstay_record::{NodeId, Timestamp};
use parking_lot::RwLock;
use tokio::sync::mpsc;

/// Bytes that may wait for one replica.
const MAX_WAITING_BYTES: usize = 32 << 20;
/// What a message costs besides its batches.
const MESSAGE_OVERHEAD: usize = 128;

/// Shared by the driver, which sends, and the links, which take.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outbox {
    links: Arc<RwLock<BTreeMap<NodeId, Lane>>>,
}

#[derive(Debug, Clone)]
struct Lane {
    messages: mpsc::UnboundedSender<(Timestamp, Message)>,
    waiting: Arc<AtomicUsize>,
}

/// The taking end of one connection.
#[derive(Debug)]
pub(crate) struct LaneEnd {
    messages: mpsc::UnboundedReceiver<(Timestamp, Message)>,
    waiting: Arc<AtomicUsize>,
}

impl Outbox {
    /// Opens the way to a node; an earlier one ends.
    pub(crate) fn connect(&self, node: NodeId) -> LaneEnd {
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        self.links.write().insert(node, Lane { messages: sender, waiting: Arc::clone(&waiting) });
        LaneEnd { messages: receiver, waiting }
    }

    pub(crate) fn disconnect(&self, node: NodeId) {
        self.links.write().remove(&node);
    }

    pub(crate) fn is_connected(&self, node: NodeId) -> bool {
        self.links.read().contains_key(&node)
    }

    pub(crate) fn connections(&self) -> usize {
        self.links.read().len()
    }

    pub(crate) fn has_room(&self, to: NodeId) -> bool {
        let links = self.links.read();
        links.get(&to).is_some_and(|lane| lane.waiting.load(Ordering::Relaxed) < MAX_WAITING_BYTES)
    }

    /// Puts a message on its way, with what the own clock shows.
    pub(crate) fn send(&self, to: NodeId, shown: Timestamp, message: Message) {
        let links = self.links.read();
        let Some(lane) = links.get(&to) else { return };
        let size = size_of_message(&message);
        if lane.waiting.fetch_add(size, Ordering::Relaxed) > MAX_WAITING_BYTES
            || lane.messages.send((shown, message)).is_err()
        {
            lane.waiting.fetch_sub(size, Ordering::Relaxed);
        }
    }
}

impl LaneEnd {
    pub(crate) async fn take(&mut self) -> Option<(Timestamp, Message)> {
        let (shown, message) = self.messages.recv().await?;
        self.waiting.fetch_sub(size_of_message(&message), Ordering::Relaxed);
        Some((shown, message))
    }
}

fn size_of_message(message: &Message) -> usize {
    let batches = match message {
        Message::Append(append) => append.batches.iter().map(|batch| batch.bytes().len()).sum(),
        _ => 0,
    };
    MESSAGE_OVERHEAD + batches
}
