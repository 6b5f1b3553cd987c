//! One consumer group on one topic: a cursor for each queue, and whose turn it is.

use mainstay_record::Timestamp;

use crate::command::QueueSelection;
use crate::cursor::{Cursor, Taking};
use crate::index::QueueIndex;
use crate::metadata::QueueId;
use crate::outcome::Delivery;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// One for each local queue.
    cursors: Vec<Cursor>,
    /// The queue that the next receive begins with.
    turn: u32,
}

impl Subscription {
    /// Begins each queue where `start` says.
    pub(crate) fn new(queues: &[QueueIndex], start: impl Fn(&QueueIndex) -> u64) -> Self {
        Self { cursors: queues.iter().map(|index| Cursor::new(start(index))).collect(), turn: 0 }
    }

    /// With these cursors, one for each local queue.
    pub(crate) const fn restored(cursors: Vec<Cursor>, turn: u32) -> Self {
        Self { cursors, turn }
    }

    pub(crate) fn cursors(&self) -> &[Cursor] {
        &self.cursors
    }

    pub(crate) const fn turn(&self) -> u32 {
        self.turn
    }

    pub(crate) fn cursor(&self, queue: u32) -> Option<&Cursor> {
        self.cursors.get(queue as usize)
    }

    pub(crate) fn cursor_mut(&mut self, queue: u32) -> Option<&mut Cursor> {
        self.cursors.get_mut(queue as usize)
    }

    /// Settles what the queues do not keep any more.
    pub(crate) fn trim(&mut self, queues: &[QueueIndex]) {
        for (cursor, index) in self.cursors.iter_mut().zip(queues) {
            cursor.trim(index.start());
        }
    }

    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.cursors.iter().filter_map(|cursor| cursor.next_due(now)).min()
    }

    /// Takes messages: first what has expired in any of the queues, then new ones. Each receive begins with the queue
    /// after the last one that gave something, so that no queue waits for ever.
    pub(crate) fn receive(
        &mut self,
        queues: &[QueueIndex],
        selection: &QueueSelection,
        taking: &Taking,
    ) -> Vec<Delivery> {
        let order = self.order(selection);
        let mut out = Vec::new();
        for take in [Cursor::take_expired, Cursor::take_new] {
            for &queue in &order {
                if let Some(cursor) = self.cursors.get_mut(queue as usize)
                    && let Some(index) = queues.get(queue as usize)
                {
                    take(cursor, QueueId(queue), index, taking, &mut out);
                }
            }
        }
        if let Some(last) = out.last() {
            self.turn = last.queue.0 + 1;
        }
        out
    }

    /// The selected queues in ascending order, beginning with the one whose turn it is.
    fn order(&self, selection: &QueueSelection) -> Vec<u32> {
        let mut order: Vec<u32> = match selection {
            QueueSelection::All => (0..self.cursors.len() as u32).collect(),
            QueueSelection::Only(queues) => queues.iter().map(|queue| queue.0).collect(),
        };
        order.sort_unstable();
        order.dedup();
        let first = order.partition_point(|queue| *queue < self.turn);
        order.rotate_left(first);
        order
    }
}
