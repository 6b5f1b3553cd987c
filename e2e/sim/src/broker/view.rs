//! What the world and the oracle may see of a broker.

use mainstay_consensus::{Core, Moment};
use mainstay_messaging::State;
use mainstay_record::{EntryId, LogIndex};

use super::Broker;
use super::disk::Disk;
use super::entries::Entries;

impl Broker {
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Where the log begins: behind this entry.
    pub(crate) fn base(&self) -> EntryId {
        self.disk.as_ref().map_or(EntryId::ZERO, |disk| disk.base().last)
    }

    /// What the log holds, written or not.
    pub(crate) const fn entries(&self) -> &Entries {
        &self.entries
    }

    /// The last entry, written or not.
    pub(crate) fn last(&self) -> EntryId {
        self.tail.id
    }

    /// Whether its word counts in elections.
    pub(crate) fn counts(&self) -> bool {
        self.core.view(Moment(std::time::Duration::ZERO)).standing.caught_up
    }

    /// Whether the log is being taken over from the leader.
    pub(crate) fn is_refilling(&self) -> bool {
        self.taking.is_some()
    }

    pub(crate) fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Whether this node serves clients now.
    pub(crate) fn serves(&self, now: Moment) -> bool {
        self.failed.is_none() && self.core.serving(now)
    }

    /// The batches that this node has put aside.
    pub(crate) fn quarantined_batches(&self) -> Result<Vec<mainstay_record::Batch>, String> {
        let files = self.disk.iter().flat_map(Disk::quarantined);
        let loaded = files.map(|file| file.load(&self.fs).map_err(|error| error.to_string()));
        Ok(loaded.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// The batches of the own log, as a reader finds them.
    pub(crate) fn batches(&self) -> Result<Vec<mainstay_record::Batch>, String> {
        let mut all = Vec::new();
        let (mut next, last) = (self.entries.base().next(), self.tail.id.index);
        while next <= last {
            let part = self.read(next, last)?;
            next =
                part.last().map(mainstay_record::Batch::index).ok_or("the log ends before its end")?.next();
            all.extend(part);
        }
        Ok(all)
    }
}
