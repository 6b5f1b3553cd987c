//! A state at one moment, shared rather than copied, and its bytes.

use std::sync::Arc;

use bytes::Bytes;
use mainstay_planted::{Fault, planted};
use mainstay_record::GroupId;

use super::frame::{PART_BYTES, Sealer};
use super::item::{Header, Item, Totals};
use crate::delivery::cursor::Cursor;
use crate::state::{State, TopicState};

/// A state as it was when it was frozen. The state itself goes on: of what both share, it copies a part of at most a
/// chunk before it changes it.
#[derive(Debug)]
pub struct Frozen {
    group: GroupId,
    items: Vec<Item>,
    messages: u64,
}

/// The bytes of a [`Frozen`] state, encoded as they are asked for.
#[derive(Debug)]
pub struct Parts {
    items: std::vec::IntoIter<Item>,
    sealer: Sealer,
}

impl State {
    /// Takes hold of the state as it is now, to be encoded elsewhere. The work grows with the number of topics,
    /// queues, chunks of 1024 messages, consumer groups and cursors, not with that of messages or deliveries in
    /// flight.
    pub fn freeze(&self) -> Frozen {
        let header = Header { group: self.broker_group, groups: self.broker_groups, version: self.version };
        let mut items = vec![Item::Header(header)];
        items.extend(self.users().into_iter().map(|user| Item::User(Box::new(user))));
        let mut groups: Vec<_> = self.groups.values().collect();
        groups.sort_unstable_by(|a, b| a.group.name.cmp(&b.group.name));
        items.extend(groups.into_iter().map(|group| Item::Group(Box::new(group.clone()))));
        let mut topics: Vec<_> = self.topics.values().collect();
        topics.sort_unstable_by(|a, b| a.topic.name.cmp(&b.topic.name));
        for topic in topics {
            freeze_topic(topic, &mut items);
        }
        self.freeze_pending(&mut items);
        let totals = self.totals();
        items.push(Item::End(totals));
        Frozen { group: self.broker_group, items, messages: totals.messages }
    }

    fn freeze_pending(&self, items: &mut Vec<Item>) {
        items.extend(self.timers.runs().cloned().map(Item::Timers));
        items.push(Item::Halves(self.halves.by_record().clone()));
        let skipped = |first: usize, n: usize| if n == 0 { first } else { 0 };
        let (parts, first) = self.ended.parts();
        items.extend(parts.cloned().enumerate().map(|(n, part)| Item::Ended(part, skipped(first, n))));
        let (parts, first) = self.seen.parts();
        items.extend(parts.cloned().enumerate().map(|(n, part)| Item::Seen(part, skipped(first, n))));
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals {
            groups: self.groups.len() as u64,
            topics: self.topics.len() as u64,
            pending: (self.timers.len() + self.half_count()) as u64,
            remembered: (self.ended.len() + self.seen.len()) as u64,
            ..Totals::default()
        };
        for topic in self.topics.values() {
            totals.subscriptions += topic.subscriptions.len() as u64;
            totals.messages += topic.queues.iter().map(|index| index.end() - index.start()).sum::<u64>();
        }
        totals
    }
}

fn freeze_topic(state: &TopicState, items: &mut Vec<Item>) {
    items.push(Item::Topic(Box::new(state.topic.clone())));
    items.extend(state.tags.parts().iter().cloned().map(Item::Tags));
    for index in &state.queues {
        items.push(Item::Queue(index.end()));
        items.extend(index.chunks().iter().cloned().map(Item::Chunk));
    }
    let mut subscriptions: Vec<_> = state.subscriptions.iter().collect();
    subscriptions.sort_unstable_by_key(|(group, _)| **group);
    for (group, subscription) in subscriptions {
        let attempts = subscription.attempts().iter().copied().collect();
        items.push(Item::Subscription(*group, subscription.turn(), attempts));
        let cursors = subscription.cursors().iter();
        let leases = |cursor: &Cursor| match planted(Fault::ForgetInFlight) {
            true => Arc::default(),
            false => cursor.leases().clone(),
        };
        let lanes = |cursor: &Cursor| match planted(Fault::ForgetInFlight) {
            true => Vec::new(),
            false => cursor.lanes(),
        };
        items.extend(cursors.map(|cursor| Item::Cursor(cursor.next(), leases(cursor), lanes(cursor))));
    }
}

impl Frozen {
    /// The broker group whose state it is.
    pub const fn broker_group(&self) -> GroupId {
        self.group
    }

    /// Messages kept.
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// Its bytes, in parts of about 1 MiB.
    pub fn into_parts(self) -> Parts {
        Parts { items: self.items.into_iter(), sealer: Sealer::default() }
    }
}

impl Iterator for Parts {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let first = self.items.next()?;
        let mut part = Sealer::begin();
        first.encode(&mut part);
        while part.len() < PART_BYTES
            && let Some(item) = self.items.next()
        {
            item.encode(&mut part);
        }
        Some(self.sealer.seal(part))
    }
}
