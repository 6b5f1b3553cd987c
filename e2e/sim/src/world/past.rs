//! The whole past of a group, from the very first batch, however little of it the replicas still keep: what every
//! replica must agree with, and what retention may have taken.

use std::collections::BTreeSet;

use mainstay_messaging::{Command, State};
use mainstay_record::{Batch, BatchKind, EntryId, GroupId, LogIndex, RecordId, Timestamp};

use super::World;
use crate::broker::Broker;
use crate::client::Subscribed;

/// Batches between the proposal of a trim and its place in the log, at most: what was not consumed by then may be what a
/// group has begun to ask for meanwhile.
const UNDER_WAY: usize = 64;

/// What the log made of the state, batch by batch.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) log: Vec<Batch>,
    state: State,
    /// Messages that retention has taken although not every group has had them, which it may.
    pub(super) expired: BTreeSet<String>,
    /// After each batch, from where on something is not consumed.
    unconsumed: Vec<LogIndex>,
    subscribed: BTreeSet<(String, String)>,
    /// A trim that took more than it may.
    wrong: Option<String>,
}

impl World {
    /// The log that all replicas agree on, and the state that it gives.
    pub(super) fn past(&mut self) -> Result<Past, String> {
        let last = self.brokers().map(|(_, broker)| broker.last()).max().ok_or("no replica is left")?;
        let mut past = Past::new(self.oracle.history(last)?);
        past.replay(self.plan.retention.max_age_ms, &self.subscriptions())?;
        if let Some(what) = past.wrong.take() {
            self.oracle.violated("trims-what-may-go", what);
        }
        for (node, broker) in self.brokers() {
            match broker.batches() {
                // It has not noticed yet what was done to its disk.
                Err(_) if self.machines[node].damaged => {}
                read => past.agrees(node, broker, &read?)?,
            }
        }
        Ok(past)
    }
}

impl Past {
    fn new(log: Vec<Batch>) -> Self {
        let state = State::new(GroupId::METADATA, 1);
        Self {
            log,
            state,
            expired: BTreeSet::new(),
            unconsumed: Vec::new(),
            subscribed: BTreeSet::new(),
            wrong: None,
        }
    }

    fn agrees(&self, node: usize, broker: &Broker, log: &[Batch]) -> Result<(), String> {
        let base = broker.base().index.0 as usize;
        let rest = self.log.get(base..).unwrap_or_default();
        if rest != log {
            let at = rest.iter().zip(log).position(|(a, b)| a != b).unwrap_or(rest.len().min(log.len()));
            let (one, two) = (rest.len(), log.len());
            return Err(format!(
                "the log of node {node} begins after {base}, holds {two} batches instead of {one} and parts after {at}"
            ));
        }
        if *broker.state() != self.state {
            return Err(format!("node {node} has the state of another log"));
        }
        if broker.state().first_needed().is_some_and(|needed| needed <= broker.base().index) {
            return Err(format!("node {node} has lost messages that it should keep"));
        }
        Ok(())
    }

    fn replay(&mut self, max_age_ms: Option<u64>, all: &[Subscribed]) -> Result<(), String> {
        for at in 0..self.log.len() {
            let batch = self.log[at].clone();
            let header = batch.header();
            let records = batch.records().filter(|_| header.kind == BatchKind::Data);
            for (slot, record) in (0..).zip(records) {
                let command = Command::decode(&record).map_err(|error| format!("{}: {error}", header.id))?;
                match &command {
                    Command::Receive(receive) => {
                        let (group, topic) = (receive.group.to_string(), receive.topic.to_string());
                        self.subscribed.insert((group, topic));
                    }
                    Command::Trim(trim) => {
                        self.judge(header.id, trim.through, header.timestamp, max_age_ms, all)
                    }
                    _ => {}
                }
                self.state.apply(RecordId { index: header.id.index, slot }, header.timestamp, &command);
            }
            self.unconsumed.push(self.state.unconsumed_from().unwrap_or(LogIndex(u64::MAX)));
        }
        Ok(())
    }

    /// Only what every group has consumed goes, or what is older than the limit.
    fn judge(
        &mut self,
        id: EntryId,
        through: LogIndex,
        now: Timestamp,
        max_age_ms: Option<u64>,
        all: &[Subscribed],
    ) {
        let Some(from) = self.state.first_needed().filter(|from| *from <= through) else { return };
        // From when all of it was in the log.
        let since = self.unconsumed.len().saturating_sub(UNDER_WAY).max(through.0 as usize - 1);
        let seen = self.unconsumed.get(since..).unwrap_or_default();
        let consumed = seen.iter().any(|from| *from > through);
        let gone = &self.log[from.prev().0 as usize..through.0 as usize];
        let newest = gone.last().map(|batch| batch.header().timestamp).unwrap_or_default();
        let old = max_age_ms.is_some_and(|max_age| now.millis_since(newest) > max_age);
        if !consumed && !old {
            let what =
                format!("{id} takes the messages through {through}, which are neither consumed nor old");
            self.wrong.get_or_insert(what);
        }
        // Dead letters are asked for when there are some; until then they count as unconsumed.
        let asked = |one: &Subscribed| {
            one.is_undertaker || self.subscribed.contains(&(one.group.name.to_owned(), one.topic.clone()))
        };
        // A group that began to ask when the trim was under way has not had them either.
        let had = self.state.unconsumed_from().is_none_or(|from| from > through);
        if !had || !all.iter().all(asked) {
            self.expired.extend(super::healing::message_ids(gone));
        }
    }
}
