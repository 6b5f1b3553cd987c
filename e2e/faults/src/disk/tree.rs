//! Folders and files of one disk, as programs see them and as they would be after a power cut, and the faults in force.
//!
//! A name is durable when its folder was synced, a file's bytes when the file was. Nothing else is promised.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use nix::errno::Errno;
use rand::Rng;
use rand::rngs::StdRng;

use super::content::{Content, Gone, PAGE};

/// Number of a file or folder, never used twice.
pub(crate) type Number = u64;

/// The folder at the top, as FUSE wants it.
pub(crate) const ROOT: Number = 1;

/// What a sync does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syncing {
    Works,
    /// The next one fails with EIO, later ones seem to work.
    FailsOnce,
    /// Every one fails with EIO.
    Fails,
    /// Says that it worked and keeps nothing.
    Lies,
}

/// The faults in force.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) syncing: Syncing,
    /// Every write fails with EIO.
    pub(crate) writes_fail: bool,
    /// Time that every sync takes longer.
    pub(crate) delay: Duration,
    /// Pages that fit on the disk.
    pub(crate) capacity: usize,
}

/// How often things happened.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) syncs: u64,
    pub(crate) failed_syncs: u64,
    pub(crate) failed_writes: u64,
    /// Writes and allocations refused for want of space.
    pub(crate) no_space: u64,
}

#[derive(Debug)]
enum Node {
    Folder { now: BTreeMap<OsString, Number>, durable: BTreeMap<OsString, Number> },
    File(Content),
}

impl Node {
    fn folder() -> Self {
        Self::Folder { now: BTreeMap::new(), durable: BTreeMap::new() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    File,
}

/// Everything on one disk.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: BTreeMap<Number, Node>,
    next: Number,
    open: BTreeMap<Number, u32>,
    pub(crate) faults: Faults,
    pub(crate) counts: Counts,
}

type Answer<T> = Result<T, Errno>;

impl Tree {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::folder())]),
            next: ROOT + 1,
            open: BTreeMap::new(),
            faults: Faults {
                syncing: Syncing::Works,
                writes_fail: false,
                delay: Duration::ZERO,
                capacity: capacity / PAGE,
            },
            counts: Counts::default(),
        }
    }

    pub(crate) fn lookup(&self, folder: Number, name: &OsStr) -> Answer<Number> {
        self.names(folder)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// Kind and length.
    pub(crate) fn describe(&self, number: Number) -> Answer<(Kind, u64)> {
        match self.nodes.get(&number).ok_or(Errno::ENOENT)? {
            Node::Folder { .. } => Ok((Kind::Folder, 0)),
            Node::File(content) => Ok((Kind::File, content.length())),
        }
    }

    pub(crate) fn list(&self, folder: Number) -> Answer<Vec<(OsString, Number, Kind)>> {
        let names = self.names(folder)?.iter();
        names.map(|(name, number)| Ok((name.clone(), *number, self.describe(*number)?.0))).collect()
    }

    pub(crate) fn create(&mut self, folder: Number, name: &OsStr, kind: Kind) -> Answer<Number> {
        if self.faults.writes_fail {
            self.counts.failed_writes += 1;
            return Err(Errno::EIO);
        }
        let number = self.next;
        let names = self.names_mut(folder)?;
        if names.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        names.insert(name.to_owned(), number);
        self.next += 1;
        let node = match kind {
            Kind::Folder => Node::folder(),
            Kind::File => Node::File(Content::new()),
        };
        self.nodes.insert(number, node);
        Ok(number)
    }

    pub(crate) fn remove(&mut self, folder: Number, name: &OsStr) -> Answer<()> {
        let number = self.lookup(folder, name)?;
        if let Some(Node::Folder { now, .. }) = self.nodes.get(&number)
            && !now.is_empty()
        {
            return Err(Errno::ENOTEMPTY);
        }
        self.names_mut(folder)?.remove(name);
        self.sweep();
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: (Number, &OsStr), to: (Number, &OsStr)) -> Answer<()> {
        let number = self.lookup(from.0, from.1)?;
        self.names(to.0)?;
        self.names_mut(from.0)?.remove(from.1);
        self.names_mut(to.0)?.insert(to.1.to_owned(), number);
        self.sweep();
        Ok(())
    }

    pub(crate) fn opened(&mut self, number: Number) {
        *self.open.entry(number).or_default() += 1;
    }

    pub(crate) fn released(&mut self, number: Number) {
        if let Some(count) = self.open.get_mut(&number) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&number);
                self.sweep();
            }
        }
    }

    pub(crate) fn read(&self, number: Number, offset: u64, size: usize) -> Answer<Vec<u8>> {
        Ok(self.content(number)?.read(offset, size))
    }

    pub(crate) fn write(&mut self, number: Number, offset: u64, data: &[u8]) -> Answer<()> {
        if self.faults.writes_fail {
            self.counts.failed_writes += 1;
            return Err(Errno::EIO);
        }
        self.need(number, offset.saturating_add(data.len() as u64))?;
        self.content_mut(number)?.write(offset, data);
        Ok(())
    }

    pub(crate) fn resize(&mut self, number: Number, length: u64) -> Answer<()> {
        self.need(number, length)?;
        self.content_mut(number)?.resize(length);
        Ok(())
    }

    /// Makes sure that the file has this length at least.
    pub(crate) fn allocate(&mut self, number: Number, length: u64) -> Answer<()> {
        if length > self.content(number)?.length() { self.resize(number, length) } else { Ok(()) }
    }

    /// Makes a file's bytes or a folder's names durable, as far as the disk does that at present.
    pub(crate) fn sync(&mut self, number: Number) -> Answer<()> {
        self.counts.syncs += 1;
        let syncing = self.faults.syncing;
        if syncing == Syncing::FailsOnce {
            self.faults.syncing = Syncing::Works;
        }
        let node = self.nodes.get_mut(&number).ok_or(Errno::ENOENT)?;
        match (syncing, node) {
            (Syncing::Works, Node::File(content)) => content.sync(),
            (Syncing::Works, Node::Folder { now, durable }) => {
                durable.clone_from(now);
                self.sweep();
            }
            (Syncing::Lies, _) => {}
            (Syncing::Fails | Syncing::FailsOnce, node) => {
                if let Node::File(content) = node {
                    content.fail_sync();
                }
                self.counts.failed_syncs += 1;
                return Err(Errno::EIO);
            }
        }
        Ok(())
    }

    /// The power fails: see [`Content::cut`]. Nobody may have a file open that is written to afterwards.
    pub(crate) fn cut(&mut self, mut luck: Option<&mut StdRng>) -> Gone {
        let mut gone = Gone::default();
        for node in self.nodes.values_mut() {
            match node {
                Node::File(content) => {
                    let from_file = content.cut(luck.as_deref_mut());
                    gone.pages += from_file.pages;
                    gone.kept += from_file.kept;
                }
                Node::Folder { now, durable } => {
                    if let Some(luck) = luck.as_deref_mut() {
                        keep_some(now, durable, luck);
                    }
                    now.clone_from(durable);
                }
            }
        }
        self.sweep();
        gone
    }

    /// Pages in all, and of these free.
    pub(crate) fn space(&self) -> (usize, usize) {
        let used: usize = self
            .nodes
            .values()
            .map(|node| if let Node::File(content) = node { content.pages() } else { 1 })
            .sum();
        (self.faults.capacity, self.faults.capacity.saturating_sub(used))
    }

    fn need(&mut self, number: Number, length: u64) -> Answer<()> {
        let has = self.content(number)?.pages();
        let more = Content::pages_for(length).saturating_sub(has);
        if more > 0 && more > self.space().1 {
            self.counts.no_space += 1;
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    /// Drops what no name leads to and nobody has open.
    fn sweep(&mut self) {
        let mut named = BTreeSet::from([ROOT]);
        for node in self.nodes.values() {
            if let Node::Folder { now, durable } = node {
                named.extend(now.values().chain(durable.values()));
            }
        }
        self.nodes.retain(|number, _| named.contains(number) || self.open.contains_key(number));
    }

    fn names(&self, folder: Number) -> Answer<&BTreeMap<OsString, Number>> {
        match self.nodes.get(&folder) {
            Some(Node::Folder { now, .. }) => Ok(now),
            Some(Node::File(_)) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn names_mut(&mut self, folder: Number) -> Answer<&mut BTreeMap<OsString, Number>> {
        match self.nodes.get_mut(&folder) {
            Some(Node::Folder { now, .. }) => Ok(now),
            Some(Node::File(_)) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn content(&self, number: Number) -> Answer<&Content> {
        match self.nodes.get(&number) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Folder { .. }) => Err(Errno::EISDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn content_mut(&mut self, number: Number) -> Answer<&mut Content> {
        match self.nodes.get_mut(&number) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Folder { .. }) => Err(Errno::EISDIR),
            None => Err(Errno::ENOENT),
        }
    }
}

/// Each name that differs reached the disk or did not.
fn keep_some(now: &BTreeMap<OsString, Number>, durable: &mut BTreeMap<OsString, Number>, luck: &mut StdRng) {
    let names: BTreeSet<OsString> = now.keys().chain(durable.keys()).cloned().collect();
    // A rename is one change: both of its names or neither.
    let kept: BTreeMap<Number, bool> = names
        .iter()
        .flat_map(|name| [now.get(name), durable.get(name)])
        .flatten()
        .map(|number| (*number, luck.random()))
        .collect();
    for name in names {
        let decided_by = now.get(&name).or(durable.get(&name));
        if decided_by.is_some_and(|number| kept.get(number) == Some(&true)) {
            match now.get(&name) {
                Some(number) => durable.insert(name, *number),
                None => durable.remove(&name),
            };
        }
    }
}

#[cfg(test)]
mod tests;
