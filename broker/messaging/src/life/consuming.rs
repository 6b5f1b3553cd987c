//! A message in a queue, and one consumer group: delivered, answered, put off, settled.
//!
//! Which handle holds the message is asked of the same rule that the state machine asks: [`held`], with the one lease
//! that there is.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_record::{RecordId, Timestamp};

use super::{Asked, LifeEvent, What, Why};
use crate::command::{Command, Receive, ResetTo};
use crate::delivery::cursor::{Lease, Leases, held};
use crate::delivery::handle::{ReceiptHandle, Token};
use crate::metadata::Revision;
use crate::metadata::names::GroupName;
use crate::metadata::retry::RetryPolicy;
use crate::outcome::AckError;
use crate::query::whereabouts::{Progress, QueuePlace};

/// What was asked of one group, in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Held {
    asked: Vec<(RecordId, Timestamp, Act, String)>,
    /// All handles that were shown, and the last.
    tokens: BTreeSet<(RecordId, Timestamp)>,
    /// As it stands now.
    last: Option<Lease>,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Deliver {
        until: Timestamp,
    },
    Acknowledge(Token),
    Change {
        token: Token,
        invisible_ms: u64,
        at_least_retry_delay: bool,
    },
    GiveUp(Token),
    /// The group was put before the message, or behind it.
    Reset {
        behind: bool,
    },
    /// After its last attempt.
    Bury,
}

/// Takes note of what concerns the message at one of its places.
pub(super) fn look(
    all: &mut BTreeMap<(usize, GroupName, Revision), Held>,
    places: &[QueuePlace],
    record: RecordId,
    at: Timestamp,
    command: &Command,
) {
    let mut shown = |handle: &ReceiptHandle, group: &GroupName, by: &str, act: fn(Token) -> Act| {
        if let Some(place) = places.iter().position(|place| place.gave(handle)) {
            let held = all.entry((place, group.clone(), handle.group)).or_default();
            held.tokens.insert((handle.token.record, handle.token.made_at));
            held.asked.push((record, at, act(handle.token), by.to_owned()));
        }
    };
    match command {
        Command::Ack(ack) => {
            ack.handles.iter().for_each(|handle| shown(handle, &ack.group, &ack.by, Act::Acknowledge));
        }
        Command::DeadLetter(dead) => shown(&dead.handle, &dead.group, &dead.by, Act::GiveUp),
        Command::ChangeInvisible(change) => {
            let place = places.iter().position(|place| place.gave(&change.handle));
            let Some(place) = place else { return };
            let held = all.entry((place, change.group.clone(), change.handle.group)).or_default();
            let token = change.handle.token;
            held.tokens.insert((token.record, token.made_at));
            let act = Act::Change {
                token,
                invisible_ms: change.invisible_ms,
                at_least_retry_delay: change.at_least_retry_delay,
            };
            held.asked.push((record, at, act, change.by.clone()));
        }
        Command::ResetGroup(reset) => {
            for (place, held) in of_group(all, &reset.group) {
                if let Some(place) = places.get(place).filter(|place| place.topic == reset.topic) {
                    let behind = match reset.to {
                        ResetTo::Earliest => false,
                        ResetTo::Latest => true,
                        ResetTo::Time(time) => place.since < time,
                    };
                    held.asked.push((record, at, Act::Reset { behind }, String::new()));
                }
            }
        }
        Command::SetOffset(set) => {
            for (place, held) in of_group(all, &set.group) {
                let here = |place: &&QueuePlace| (&place.topic, place.queue) == (&set.topic, set.queue);
                if let Some(place) = places.get(place).filter(here) {
                    let behind = place.offset < set.offset;
                    held.asked.push((record, at, Act::Reset { behind }, String::new()));
                }
            }
        }
        Command::Receive(receive) => {
            let buried = |place: &QueuePlace| {
                place.record == record && place.topic.dead_letter_group().as_ref() == Some(&receive.group)
            };
            if places.iter().any(buried) {
                for (place, held) in of_group(all, &receive.group) {
                    if places.get(place).is_some_and(|place| place.topic == receive.topic) {
                        held.asked.push((record, at, Act::Bury, String::new()));
                    }
                }
            }
        }
        _ => {}
    }
}

fn of_group<'a>(
    all: &'a mut BTreeMap<(usize, GroupName, Revision), Held>,
    group: &'a GroupName,
) -> impl Iterator<Item = (usize, &'a mut Held)> {
    all.iter_mut().filter(move |((_, name, _), _)| name == group).map(|((place, ..), held)| (*place, held))
}

impl Held {
    /// With the delivery that `group` holds of what is at `place`, if it does.
    pub(super) fn now(place: &QueuePlace, group: &GroupName) -> Self {
        let mut new = Self::default();
        let progress = place.groups.iter().find(|(name, _)| name == group);
        if let Some((_, Progress::InFlight { record, at, attempt, until })) = progress {
            let token = Token { record: *record, made_at: *at };
            new.tokens.insert((*record, *at));
            new.last = Some(Lease { token, expires_at: *until, attempt: *attempt });
        }
        new
    }

    /// What may be the records of its deliveries.
    pub(super) fn made_by(&self) -> impl Iterator<Item = RecordId> + '_ {
        self.tokens.iter().map(|(record, _)| *record)
    }

    pub(super) fn told(
        mut self,
        place: &QueuePlace,
        group: &GroupName,
        retry: &RetryPolicy,
        receives: &BTreeMap<RecordId, (Timestamp, Receive)>,
    ) -> Vec<LifeEvent> {
        for (record, made_at) in std::mem::take(&mut self.tokens) {
            // After a forced promotion another record can stand at the same place of the log.
            if let Some((at, receive)) = receives.get(&record)
                && *at == made_at
                && (&receive.group, &receive.topic) == (group, &place.topic)
            {
                let until = at.plus_millis(receive.invisible_ms);
                self.asked.push((record, made_at, Act::Deliver { until }, receive.by.clone()));
            }
        }
        self.asked.sort_by_key(|(record, ..)| *record);
        let mut following = Following {
            offset: place.offset.0,
            retry,
            last: self.last,
            leases: Leases::new(),
            settled: false,
            attempt: 0,
        };
        let mut events: Vec<LifeEvent> = Vec::new();
        for (record, at, act, by) in self.asked {
            let token = Token { record, made_at: at };
            let Some(what) = following.follow(token, act) else { continue };
            if let (What::Held { until, .. }, Some(last)) = (what, events.last_mut())
                && let What::Held { times, until: before } = &mut last.what
                && last.by == by
            {
                *times += 1;
                *before = until;
                continue;
            }
            events.push(LifeEvent { record, at, what, group: Some(group.clone()), by });
        }
        events
    }
}

/// The group's cursor, as far as the one message goes.
#[derive(Debug)]
struct Following<'a> {
    offset: u64,
    retry: &'a RetryPolicy,
    /// As the state has it.
    last: Option<Lease>,
    /// One at most.
    leases: Leases,
    /// Behind the message, when there is no lease.
    settled: bool,
    attempt: u32,
}

impl Following<'_> {
    /// What the act of the record `token` names came to; `None` when it is nothing to tell.
    fn follow(&mut self, token: Token, act: Act) -> Option<What> {
        let now = token.made_at;
        Some(match act {
            Act::Deliver { until } => {
                let lease = self.hold(Lease { token, expires_at: until, attempt: self.attempt + 1 });
                self.attempt = lease.attempt;
                What::Delivered { until: lease.expires_at }
            }
            Act::Acknowledge(shown) => self.settle(shown, now, Asked::Acknowledge, What::Acknowledged),
            Act::GiveUp(shown) => self.settle(shown, now, Asked::GiveUp, What::GivenUp),
            Act::Change { token: shown, invisible_ms, at_least_retry_delay } => {
                match held(&self.leases, self.offset, shown, now) {
                    Ok(lease) => self.change(token, lease, invisible_ms, at_least_retry_delay),
                    Err(why) => What::Refused(Asked::ChangeInvisible, Why::Handle(why)),
                }
            }
            Act::Reset { behind } => {
                self.leases.clear();
                self.settled = behind;
                return None;
            }
            Act::Bury => {
                self.leases.clear();
                self.settled = true;
                return None;
            }
        })
    }

    /// As the state has it, where it does.
    fn hold(&mut self, lease: Lease) -> Lease {
        let lease = self.last.filter(|last| last.token == lease.token).unwrap_or(lease);
        self.leases.insert(self.offset, lease);
        lease
    }

    fn settle(&mut self, shown: Token, now: Timestamp, asked: Asked, done: What) -> What {
        match held(&self.leases, self.offset, shown, now) {
            Ok(_) => {
                self.leases.clear();
                self.settled = true;
                done
            }
            Err(AckError::NotInFlight) if self.settled => What::Repeated(asked),
            Err(why) => What::Refused(asked, Why::Handle(why)),
        }
    }

    fn change(&mut self, token: Token, lease: Lease, invisible_ms: u64, failed: bool) -> What {
        let least = if failed { self.retry.delay(lease.attempt).as_millis() as u64 } else { 0 };
        let until = token.made_at.plus_millis(invisible_ms.max(least));
        let until = self.hold(Lease { token, expires_at: until, ..lease }).expires_at;
        if !failed && until > lease.expires_at {
            What::Held { times: 1, until }
        } else {
            What::PutOff { failed, until }
        }
    }
}
