//! One consumer group on one topic: a cursor for each queue, and whose turn it is.

use std::collections::VecDeque;

use mainstay_record::Timestamp;

use crate::command::QueueSelection;
use crate::delivery::candidates::Candidate;
use crate::delivery::cursor::{Cursor, Taken, Taking, is_due};
use crate::delivery::handle::Token;
use crate::metadata::{DeliveryOrder, QueueId, QueueOffset, TopicKind};
use crate::queue::index::QueueIndex;
use crate::queue::lane;

/// Receives whose attempt ids are remembered.
pub(crate) const MAX_ATTEMPTS: usize = 128;

/// The order in which queues are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precedence {
    /// In turn, so that none waits for ever.
    Equal,
    /// Those of higher numbers before the others.
    Highest,
}

impl Precedence {
    pub(crate) const fn of(topic: TopicKind) -> Self {
        match topic {
            TopicKind::Priority => Self::Highest,
            _ => Self::Equal,
        }
    }
}

/// Tells offsets that a receive would come to, so many at most.
type Look = fn(&Cursor, &QueueIndex, Timestamp, usize) -> Vec<u64>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// One for each local queue.
    cursors: Vec<Cursor>,
    /// The queue that the next receive begins with.
    turn: u32,
    /// The last receives that had an attempt id, by its hash. Only groups that get messages in order have any.
    attempts: VecDeque<(u64, Token)>,
}

impl Subscription {
    /// Begins each queue where `start` says.
    pub(crate) fn new(
        order: DeliveryOrder,
        queues: &[QueueIndex],
        start: impl Fn(&QueueIndex) -> u64,
    ) -> Self {
        let cursors = queues.iter().map(|index| Cursor::new(order, start(index))).collect();
        Self { cursors, turn: 0, attempts: VecDeque::new() }
    }

    /// With these cursors, one for each local queue.
    pub(crate) const fn restored(cursors: Vec<Cursor>, turn: u32, attempts: VecDeque<(u64, Token)>) -> Self {
        Self { cursors, turn, attempts }
    }

    pub(crate) fn cursors(&self) -> &[Cursor] {
        &self.cursors
    }

    pub(crate) const fn turn(&self) -> u32 {
        self.turn
    }

    pub(crate) const fn attempts(&self) -> &VecDeque<(u64, Token)> {
        &self.attempts
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
            cursor.trim(index);
        }
    }

    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.cursors.iter().filter_map(|cursor| cursor.next_due(now)).min()
    }

    /// Takes messages. Where all queues are equal, first what has expired in any of them, then new ones, beginning
    /// with the queue after the last one that gave something.
    pub(crate) fn receive(
        &mut self,
        queues: &[QueueIndex],
        selection: &QueueSelection,
        precedence: Precedence,
        taking: &Taking<'_>,
    ) -> Taken {
        let mut taken = Taken::default();
        let order = self.order(selection);
        match precedence {
            Precedence::Equal => {
                for take in [Cursor::take_due, Cursor::take_new] {
                    for &queue in &order {
                        self.at(queues, queue, |cursor, index| {
                            take(cursor, QueueId(queue), index, taking, &mut taken);
                        });
                    }
                }
                if let Some(last) = taken.deliveries.last() {
                    self.turn = last.queue.0 + 1;
                }
            }
            Precedence::Highest => {
                let mut order = order;
                order.sort_unstable_by_key(|queue| std::cmp::Reverse(*queue));
                for queue in order {
                    self.at(queues, queue, |cursor, index| {
                        cursor.take_due(QueueId(queue), index, taking, &mut taken);
                        cursor.take_new(QueueId(queue), index, taking, &mut taken);
                    });
                }
            }
        }
        taken
    }

    /// What a receive without a filter would come to, in its order: `max` messages at most.
    pub(crate) fn candidates(
        &self,
        queues: &[QueueIndex],
        selection: &QueueSelection,
        precedence: Precedence,
        now: Timestamp,
        max: usize,
    ) -> Vec<Candidate> {
        let order = self.order(selection);
        let looks: Vec<(u32, Look)> = match precedence {
            Precedence::Equal => {
                let each = |look: Look| order.iter().map(move |queue| (*queue, look));
                each(Cursor::due).chain(each(Cursor::unseen)).collect()
            }
            Precedence::Highest => {
                let mut order = order;
                order.sort_unstable_by_key(|queue| std::cmp::Reverse(*queue));
                order
                    .into_iter()
                    .flat_map(|queue| [(queue, Cursor::due as Look), (queue, Cursor::unseen)])
                    .collect()
            }
        };
        let mut candidates = Vec::new();
        for (queue, look) in looks {
            let (Some(cursor), Some(index)) = (self.cursor(queue), queues.get(queue as usize)) else {
                continue;
            };
            let offsets = look(cursor, index, now, max - candidates.len());
            candidates.extend(offsets.into_iter().map(|offset| Candidate {
                queue: QueueId(queue),
                offset: QueueOffset(offset),
                record: index.get(offset).map(|message| message.body),
            }));
        }
        candidates
    }

    /// Takes what an earlier receive with the same attempt id took and still holds. Remembers this one.
    pub(crate) fn repeat(&mut self, queues: &[QueueIndex], attempt_id: &str, taking: &Taking<'_>) -> Taken {
        let hash = lane::hash(attempt_id);
        let mut taken = Taken::default();
        if let Some(at) = self.attempts.iter().position(|(other, _)| *other == hash)
            && let Some((_, before)) = self.attempts.remove(at)
        {
            for queue in 0..self.cursors.len() as u32 {
                self.at(queues, queue, |cursor, index| {
                    cursor.take_again(QueueId(queue), index, before, taking, &mut taken);
                });
            }
        }
        if self.attempts.len() >= MAX_ATTEMPTS {
            self.attempts.pop_front();
        }
        self.attempts.push_back((hash, taking.token));
        taken
    }

    /// Whether something is in flight that an earlier receive with this attempt id took.
    pub(crate) fn holds(&self, attempt_id: &str, now: Timestamp) -> bool {
        let hash = lane::hash(attempt_id);
        let Some((_, before)) = self.attempts.iter().find(|(other, _)| *other == hash) else { return false };
        let mut leases = self.cursors.iter().flat_map(|cursor| cursor.leases().values());
        leases.any(|lease| lease.token == *before && !is_due(lease.expires_at, now))
    }

    fn at(&mut self, queues: &[QueueIndex], queue: u32, act: impl FnOnce(&mut Cursor, &QueueIndex)) {
        if let (Some(cursor), Some(index)) =
            (self.cursors.get_mut(queue as usize), queues.get(queue as usize))
        {
            act(cursor, index);
        }
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
