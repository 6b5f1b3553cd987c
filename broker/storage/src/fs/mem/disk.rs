//! What lies on the simulated disk: contents and names, each with what is durable and what is only in the page cache.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Component, Path};

use rand::Rng;

/// The unit a disk writes as a whole.
const SECTOR: u64 = 512;

pub(super) type Ino = u64;

const ROOT: Ino = 0;

/// What a power cut does to what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// All of it is gone.
    Lost,
    /// All of it happens to have reached the disk.
    Kept,
    /// Each sector reached the disk or not, in no order; names keep their order.
    Scattered,
    /// It reached the disk in order up to some sector, within a write as well.
    Torn,
}

#[derive(Debug, Clone, Default)]
struct FileNode {
    durable: Vec<u8>,
    current: Vec<u8>,
    /// Writes that are in `current` only.
    pending: Vec<(u64, Vec<u8>)>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Link(OsString, Ino),
    Unlink(OsString),
    Rename(OsString, OsString, Ino),
}

impl NameChange {
    const fn leads_to(&self) -> Option<Ino> {
        match self {
            Self::Link(_, ino) | Self::Rename(_, _, ino) => Some(*ino),
            Self::Unlink(_) => None,
        }
    }
}

#[derive(Debug, Clone, Default)]
struct DirNode {
    durable: BTreeMap<OsString, Ino>,
    current: BTreeMap<OsString, Ino>,
    pending: Vec<NameChange>,
}

#[derive(Debug, Clone)]
enum Node {
    File(FileNode),
    Dir(DirNode),
}

/// A file that went from one folder to another, whose new name is not durable.
#[derive(Debug, Clone)]
struct Move {
    ino: Ino,
    from: Ino,
    name: OsString,
    to: Ino,
}

/// All nodes. Nodes that no name leads to are kept while the process lives: open handles may still use them.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    nodes: BTreeMap<Ino, Node>,
    next: Ino,
    /// Files that went from one folder to another: a power cut leaves them the old name where it takes the new one.
    moved: Vec<Move>,
}

impl Disk {
    pub(super) fn new() -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::Dir(DirNode::default()))]),
            next: ROOT + 1,
            moved: Vec::new(),
        }
    }

    pub(super) fn lookup(&self, path: &Path) -> io::Result<Ino> {
        let mut at = ROOT;
        for name in names(path) {
            at = *self.dir(at)?.current.get(name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    /// The name that leads to a node now.
    pub(super) fn name_of(&self, ino: Ino) -> Option<OsString> {
        self.nodes.values().find_map(|node| match node {
            Node::Dir(dir) => dir.current.iter().find(|(_, of)| **of == ino).map(|(name, _)| name.clone()),
            Node::File(_) => None,
        })
    }

    fn parent<'a>(&mut self, path: &'a Path) -> io::Result<(&mut DirNode, &'a OsStr)> {
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
        let parent = self.lookup(path.parent().ok_or(ErrorKind::InvalidInput)?)?;
        Ok((self.dir_mut(parent)?, name))
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<Ino> {
        self.link(path, Node::File(FileNode::default()))
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        match self.lookup(path) {
            Ok(ino) => self.dir(ino).map(drop),
            Err(_) => self.link(path, Node::Dir(DirNode::default())).map(drop),
        }
    }

    fn link(&mut self, path: &Path, node: Node) -> io::Result<Ino> {
        let ino = self.next;
        let (dir, name) = self.parent(path)?;
        if dir.current.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        dir.change(NameChange::Link(name.to_owned(), ino));
        self.nodes.insert(ino, node);
        self.next += 1;
        Ok(ino)
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let ino = self.lookup(path)?;
        self.file(ino)?;
        let (dir, name) = self.parent(path)?;
        dir.change(NameChange::Unlink(name.to_owned()));
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let ino = self.lookup(from)?;
        let new = to.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
        if from.parent() == to.parent() {
            let (dir, old) = self.parent(from)?;
            dir.change(NameChange::Rename(old.to_owned(), new, ino));
            return Ok(());
        }
        let target = self.lookup(to.parent().ok_or(ErrorKind::InvalidInput)?)?;
        self.parent(to)?.0.change(NameChange::Link(new, ino));
        let folder = self.lookup(from.parent().ok_or(ErrorKind::InvalidInput)?)?;
        let (dir, old) = self.parent(from)?;
        dir.change(NameChange::Unlink(old.to_owned()));
        let name = old.to_owned();
        self.moved.push(Move { ino, from: folder, name, to: target });
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        Ok(self.dir(self.lookup(path)?)?.current.keys().cloned().collect())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let ino = self.lookup(path)?;
        let dir = self.dir_mut(ino)?;
        dir.durable = dir.current.clone();
        dir.pending.clear();
        self.moved.retain(|moved| moved.to != ino);
        Ok(())
    }

    pub(super) fn read(&self, ino: Ino, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = &self.file(ino)?.current;
        let start = content.len().min(offset as usize);
        let length = buffer.len().min(content.len() - start);
        buffer[..length].copy_from_slice(&content[start..start + length]);
        Ok(length)
    }

    /// Writes the first `limit` bytes of `parts`.
    pub(super) fn write(
        &mut self,
        ino: Ino,
        parts: &[IoSlice<'_>],
        offset: u64,
        limit: usize,
    ) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(limit);
        for part in parts {
            bytes.extend_from_slice(&part[..part.len().min(limit - bytes.len())]);
        }
        let file = self.file_mut(ino)?;
        put(&mut file.current, offset, &bytes);
        file.pending.push((offset, bytes));
        Ok(())
    }

    pub(super) fn sync(&mut self, ino: Ino) -> io::Result<()> {
        let file = self.file_mut(ino)?;
        for (offset, bytes) in file.pending.drain(..) {
            put(&mut file.durable, offset, &bytes);
        }
        Ok(())
    }

    /// What Linux does when writing back fails: the pages count as clean and show the new content, the disk has the
    /// old, and the next sync succeeds.
    pub(super) fn fail_sync(&mut self, ino: Ino) -> io::Result<()> {
        self.file_mut(ino)?.pending.clear();
        Ok(())
    }

    pub(super) fn file_len(&self, ino: Ino) -> io::Result<u64> {
        Ok(self.file(ino)?.current.len() as u64)
    }

    /// Bytes of all files that have a name.
    pub(super) fn used(&self) -> u64 {
        let named = self.nodes.values().filter_map(|node| match node {
            Node::Dir(dir) => Some(dir.current.values()),
            Node::File(_) => None,
        });
        named.flatten().map(|ino| self.file_len(*ino).unwrap_or(0)).sum()
    }

    pub(super) fn contents(&self, ino: Ino) -> io::Result<&[u8]> {
        Ok(&self.file(ino)?.current)
    }

    /// Changes the medium itself, after all has been written back to it.
    pub(super) fn corrupt(&mut self, ino: Ino, change: impl Fn(&mut Vec<u8>)) -> io::Result<()> {
        self.sync(ino)?;
        let file = self.file_mut(ino)?;
        change(&mut file.current);
        change(&mut file.durable);
        Ok(())
    }

    /// What is left after a power cut.
    pub(super) fn cut(&mut self, unsynced: Unsynced, rng: &mut impl Rng) {
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => file.cut(unsynced, rng),
                Node::Dir(dir) => dir.cut(unsynced, rng),
            }
        }
        for Move { ino, from, name, .. } in std::mem::take(&mut self.moved) {
            if self.name_of(ino).is_none()
                && let Ok(dir) = self.dir_mut(from)
            {
                dir.durable.insert(name.clone(), ino);
                dir.current.insert(name, ino);
            }
        }
    }

    /// Drops the nodes that no name leads to, now or after a power cut.
    pub(super) fn forget_unlinked(&mut self) {
        let mut linked = std::collections::BTreeSet::from([ROOT]);
        for node in self.nodes.values() {
            if let Node::Dir(dir) = node {
                linked.extend(dir.durable.values().chain(dir.current.values()));
                linked.extend(dir.pending.iter().filter_map(NameChange::leads_to));
            }
        }
        self.nodes.retain(|ino, _| linked.contains(ino));
    }

    fn file(&self, ino: Ino) -> io::Result<&FileNode> {
        match self.nodes.get(&ino) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn file_mut(&mut self, ino: Ino) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn dir(&self, ino: Ino) -> io::Result<&DirNode> {
        match self.nodes.get(&ino) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn dir_mut(&mut self, ino: Ino) -> io::Result<&mut DirNode> {
        match self.nodes.get_mut(&ino) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }
}

impl FileNode {
    fn cut(&mut self, unsynced: Unsynced, rng: &mut impl Rng) {
        let sectors = self.pending.drain(..).flat_map(|(offset, bytes)| sectors(offset, bytes));
        let sectors: Vec<_> = sectors.collect();
        let keep =
            if unsynced == Unsynced::Torn { rng.random_range(0..=sectors.len()) } else { sectors.len() };
        for (offset, bytes) in sectors.into_iter().take(keep) {
            let survives = match unsynced {
                Unsynced::Lost => false,
                Unsynced::Kept | Unsynced::Torn => true,
                Unsynced::Scattered => rng.random(),
            };
            if survives {
                put(&mut self.durable, offset, &bytes);
            }
        }
        self.current = self.durable.clone();
    }
}

impl DirNode {
    fn change(&mut self, change: NameChange) {
        apply(&mut self.current, &change);
        self.pending.push(change);
    }

    fn cut(&mut self, unsynced: Unsynced, rng: &mut impl Rng) {
        let keep = match unsynced {
            Unsynced::Lost => 0,
            Unsynced::Kept => self.pending.len(),
            Unsynced::Scattered | Unsynced::Torn => rng.random_range(0..=self.pending.len()),
        };
        for change in self.pending.drain(..).take(keep) {
            apply(&mut self.durable, &change);
        }
        self.current = self.durable.clone();
    }
}

fn apply(names: &mut BTreeMap<OsString, Ino>, change: &NameChange) {
    match change {
        NameChange::Link(name, ino) => {
            names.insert(name.clone(), *ino);
        }
        NameChange::Unlink(name) => {
            names.remove(name);
        }
        NameChange::Rename(from, to, ino) => {
            names.remove(from);
            names.insert(to.clone(), *ino);
        }
    }
}

fn names(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    })
}

fn put(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = offset as usize;
    if content.len() < start {
        content.resize(start, 0);
    }
    let over = bytes.len().min(content.len() - start);
    content[start..start + over].copy_from_slice(&bytes[..over]);
    content.extend_from_slice(&bytes[over..]);
}

/// Splits a write where the disk's sectors end.
fn sectors(mut offset: u64, bytes: Vec<u8>) -> Vec<(u64, Vec<u8>)> {
    let mut rest = bytes.as_slice();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let length = rest.len().min((SECTOR - offset % SECTOR) as usize);
        parts.push((offset, rest[..length].to_vec()));
        rest = &rest[length..];
        offset += length as u64;
    }
    parts
}
