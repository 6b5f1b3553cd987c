//! A disk in memory that forgets what was not synced, fails when told to, and does both the same way for the same seed.
//!
//! [`MemFileSystem::crash`] and [`MemFileSystem::kill`] end the life of the file system they are called on: every later
//! use of it fails, so a writer thread that still runs cannot reach what the next start finds.

mod disk;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::disk::{Disk, Ino};
use super::{File, FileLock, FileSystem};

pub use self::disk::Unsynced;

/// Kinds of operations that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Read,
    Write,
    SyncData,
    SyncDir,
    Rename,
    Remove,
}

#[derive(Debug, Clone)]
struct Fault {
    operation: Operation,
    /// Part of the name of the file or folder.
    name: String,
    /// Operations of this kind that still succeed.
    after: u64,
    error: ErrorKind,
}

#[derive(Debug)]
struct Machine {
    disk: Disk,
    rng: StdRng,
    boot: u64,
    locks: BTreeSet<PathBuf>,
    faults: Vec<Fault>,
    changes: u64,
    power_until: u64,
    on: bool,
    nature: Nature,
}

/// What a disk is like, whoever uses it.
#[derive(Debug, Clone, Copy, Default)]
struct Nature {
    /// Takes an fsync of a folder for done and does nothing.
    skips_folder_syncs: bool,
    /// Has no space for anything new.
    full: bool,
    /// Bytes that all files together may have.
    capacity: Option<u64>,
}

/// A simulated disk; clones share it.
#[derive(Debug, Clone)]
pub struct MemFileSystem {
    machine: Arc<Mutex<Machine>>,
}

#[derive(Debug)]
struct MemFile {
    machine: Arc<Mutex<Machine>>,
    ino: Ino,
}

#[derive(Debug)]
struct MemLock {
    machine: Arc<Mutex<Machine>>,
    path: PathBuf,
}

impl MemFileSystem {
    pub fn new(seed: u64) -> Self {
        Self::with(Disk::new(), StdRng::seed_from_u64(seed), 1, Nature::default())
    }

    fn with(disk: Disk, rng: StdRng, boot: u64, nature: Nature) -> Self {
        let machine = Machine {
            disk,
            rng,
            boot,
            locks: BTreeSet::new(),
            faults: Vec::new(),
            changes: 0,
            power_until: u64::MAX,
            on: true,
            nature,
        };
        Self { machine: Arc::new(Mutex::new(machine)) }
    }

    /// Cuts the power and returns what the next boot finds; the seed decides what becomes of unsynced data.
    pub fn crash(&self) -> Self {
        const ALL: [Unsynced; 4] = [Unsynced::Lost, Unsynced::Kept, Unsynced::Scattered, Unsynced::Torn];
        let pick = self.machine.lock().rng.random_range(0..ALL.len());
        self.crash_with(ALL[pick])
    }

    /// Cuts the power and returns what the next boot finds.
    pub fn crash_with(&self, unsynced: Unsynced) -> Self {
        let mut machine = self.machine.lock();
        machine.on = false;
        let mut disk = machine.disk.clone();
        let mut rng = StdRng::seed_from_u64(machine.rng.random());
        disk.cut(unsynced, &mut rng);
        disk.forget_unlinked();
        Self::with(disk, rng, machine.boot + 1, machine.nature)
    }

    /// Kills the process and returns what the next one finds: all that was written, synced or not.
    pub fn kill(&self) -> Self {
        let mut machine = self.machine.lock();
        machine.on = false;
        let rng = StdRng::seed_from_u64(machine.rng.random());
        let mut disk = machine.disk.clone();
        disk.forget_unlinked();
        Self::with(disk, rng, machine.boot, machine.nature)
    }

    /// Lets the power fail during the `change`-th change from now (1 is the next). What that change wrote counts as
    /// unsynced. Call [`MemFileSystem::crash`] afterwards.
    pub fn cut_power_at(&self, change: u64) {
        let mut machine = self.machine.lock();
        machine.power_until = machine.changes + change;
    }

    /// Changes so far: everything but reading.
    pub fn changes(&self) -> u64 {
        self.machine.lock().changes
    }

    /// Lets one operation of this kind on something with `name` in its name fail, after `after` more that succeed. A
    /// failed write leaves a part of itself behind, a failed sync loses what it was to sync.
    pub fn fail(&self, operation: Operation, name: &str, after: u64, error: ErrorKind) {
        self.machine.lock().faults.push(Fault { operation, name: name.to_owned(), after, error });
    }

    /// Takes back every fault that has not happened yet, and returns how many there were.
    pub fn heal(&self) -> usize {
        std::mem::take(&mut self.machine.lock().faults).len()
    }

    /// From now on an fsync of a folder reports success and does nothing.
    pub fn skip_folder_syncs(&self) {
        self.machine.lock().nature.skips_folder_syncs = true;
    }

    /// While it is full, no file is created and none grows. Stays so over a crash.
    pub fn set_full(&self, full: bool) {
        self.machine.lock().nature.full = full;
    }

    /// Lets writes that make files longer fail with `StorageFull` when all files together would have more bytes. Stays so
    /// over a crash.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.machine.lock().nature.capacity = bytes;
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.machine.lock().disk.used()
    }

    /// Flips one bit of a file on the medium.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        self.corrupt(path, |content| content[offset as usize] ^= 1 << bit)
    }

    /// Changes a file on the medium, after all has been written back to it.
    pub fn corrupt(&self, path: &Path, change: impl Fn(&mut Vec<u8>)) -> io::Result<()> {
        let mut machine = self.machine.lock();
        let ino = machine.disk.lookup(path)?;
        machine.disk.corrupt(ino, change)
    }

    /// What a reader of the file sees.
    pub fn contents(&self, path: &Path) -> io::Result<Vec<u8>> {
        let machine = self.machine.lock();
        Ok(machine.disk.contents(machine.disk.lookup(path)?)?.to_vec())
    }

    fn file(&self, ino: Ino) -> Arc<dyn File> {
        Arc::new(MemFile { machine: Arc::clone(&self.machine), ino })
    }
}

impl Machine {
    fn alive(&self) -> io::Result<()> {
        if self.on { Ok(()) } else { Err(power_is_off()) }
    }

    /// Counts a change. Says whether the power fails during it.
    fn change(&mut self) -> io::Result<bool> {
        self.alive()?;
        self.changes += 1;
        self.on = self.changes < self.power_until;
        Ok(!self.on)
    }

    fn fault(&mut self, operation: Operation, name: Option<&OsStr>) -> Option<io::Error> {
        let name = name.unwrap_or_default().to_string_lossy();
        let mut hit = None;
        for (at, fault) in self.faults.iter_mut().enumerate() {
            if fault.operation != operation || !name.contains(&fault.name) {
                continue;
            }
            match fault.after.checked_sub(1) {
                Some(left) => fault.after = left,
                None => hit = Some(at),
            }
        }
        hit.map(|at| self.faults.remove(at).error.into())
    }

    /// Bytes that files may grow by, where that is limited.
    fn free(&self) -> Option<u64> {
        match self.nature {
            Nature { full: true, .. } => Some(0),
            Nature { capacity, .. } => capacity.map(|capacity| capacity.saturating_sub(self.disk.used())),
        }
    }

    fn file_fault(&mut self, operation: Operation, ino: Ino) -> Option<io::Error> {
        if self.faults.is_empty() {
            return None;
        }
        let name = self.disk.name_of(ino);
        self.fault(operation, name.as_deref())
    }

    /// A change that is not of a file's content: done or not when the power fails, as the crash decides.
    fn simple<T>(
        &mut self,
        operation: Operation,
        path: &Path,
        change: impl FnOnce(&mut Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        let dark = self.change()?;
        if let Some(error) = self.fault(operation, path.file_name()) {
            return Err(error);
        }
        if operation == Operation::Create && self.nature.full {
            return Err(ErrorKind::StorageFull.into());
        }
        let result = change(&mut self.disk);
        if dark { Err(power_is_off()) } else { result }
    }

    fn write(&mut self, ino: Ino, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let dark = self.change()?;
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if let Some(error) = self.file_fault(Operation::Write, ino) {
            let part = self.rng.random_range(0..=length);
            self.disk.write(ino, parts, offset, part)?;
            return Err(error);
        }
        let growth = (offset + length as u64).saturating_sub(self.disk.file_len(ino)?);
        if growth > 0 && self.free().is_some_and(|free| free < growth) {
            return Err(ErrorKind::StorageFull.into());
        }
        self.disk.write(ino, parts, offset, length)?;
        if dark { Err(power_is_off()) } else { Ok(()) }
    }

    fn sync(&mut self, ino: Ino) -> io::Result<()> {
        if self.change()? {
            return Err(power_is_off());
        }
        if let Some(error) = self.file_fault(Operation::SyncData, ino) {
            self.disk.fail_sync(ino)?;
            return Err(error);
        }
        self.disk.sync(ino)
    }
}

impl FileSystem for MemFileSystem {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.machine.lock().simple(Operation::Create, path, |disk| disk.create_dir(path))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let ino = self.machine.lock().simple(Operation::Create, path, |disk| disk.create_file(path))?;
        Ok(self.file(ino))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let machine = self.machine.lock();
        machine.alive()?;
        let ino = machine.disk.lookup(path)?;
        machine.disk.file_len(ino)?;
        Ok(self.file(ino))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let machine = self.machine.lock();
        machine.alive()?;
        match machine.disk.lookup(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let machine = self.machine.lock();
        machine.alive()?;
        machine.disk.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.machine.lock().simple(Operation::Rename, from, |disk| disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.machine.lock().simple(Operation::Remove, path, |disk| disk.remove(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.machine.lock();
        if machine.change()? {
            return Err(power_is_off());
        }
        match machine.fault(Operation::SyncDir, path.file_name()) {
            Some(error) => Err(error),
            None if machine.nature.skips_folder_syncs => Ok(()),
            None => machine.disk.sync_dir(path),
        }
    }

    fn free_space(&self, _folder: &Path) -> io::Result<Option<u64>> {
        let machine = self.machine.lock();
        machine.alive()?;
        Ok(machine.free())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let mut machine = self.machine.lock();
        machine.alive()?;
        if !machine.locks.insert(path.to_owned()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        if machine.disk.lookup(path).is_err() {
            machine.simple(Operation::Create, path, |disk| disk.create_file(path))?;
        }
        Ok(Box::new(MemLock { machine: Arc::clone(&self.machine), path: path.to_owned() }))
    }

    fn boot_id(&self) -> u64 {
        self.machine.lock().boot
    }

    fn entropy(&self) -> u64 {
        self.machine.lock().rng.random()
    }
}

impl File for MemFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut machine = self.machine.lock();
        machine.alive()?;
        match machine.file_fault(Operation::Read, self.ino) {
            Some(error) => Err(error),
            None => machine.disk.read(self.ino, buffer, offset),
        }
    }

    fn write_all_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.machine.lock().write(self.ino, parts, offset)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let zeros = vec![0; length as usize];
        self.machine.lock().write(self.ino, &[IoSlice::new(&zeros)], 0)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.machine.lock().sync(self.ino)
    }

    fn len(&self) -> io::Result<u64> {
        let machine = self.machine.lock();
        machine.alive()?;
        machine.disk.file_len(self.ino)
    }
}

impl FileLock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.machine.lock().locks.remove(&self.path);
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the simulated power is off")
}
