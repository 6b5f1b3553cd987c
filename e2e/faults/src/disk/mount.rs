//! The tree as a FUSE file system. The kernel caches nothing of it: what a broker reads and writes is the tree itself.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use parking_lot::Mutex;

use super::content::PAGE;
use super::tree::{Kind, Number, Tree};

const NO_CACHING: Duration = Duration::ZERO;
const GENERATION: Generation = Generation(0);
const NO_HANDLE: FileHandle = FileHandle(0);

/// A file system on `tree`, mounted at `folder` until the session is dropped.
pub(super) fn mount(tree: Arc<Mutex<Tree>>, folder: &Path) -> io::Result<BackgroundSession> {
    let mut config = Config::default();
    config.mount_options =
        vec![MountOption::FSName("mainstay-faults".to_owned()), MountOption::NoDev, MountOption::NoSuid];
    fuser::spawn_mount(Mount { tree }, folder, &config)
}

struct Mount {
    tree: Arc<Mutex<Tree>>,
}

impl Mount {
    fn attributes(&self, number: Number) -> Result<FileAttr, Errno> {
        let (kind, length) = self.tree.lock().describe(number).map_err(wire)?;
        let (kind, perm) = match kind {
            Kind::Folder => (FileType::Directory, 0o755),
            Kind::File => (FileType::RegularFile, 0o644),
        };
        Ok(FileAttr {
            ino: INodeNo(number),
            size: length,
            blocks: length.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: PAGE as u32,
            flags: 0,
        })
    }

    fn enter(&self, number: Result<Number, nix::errno::Errno>, reply: ReplyEntry) {
        match number.map_err(wire).and_then(|number| self.attributes(number)) {
            Ok(attributes) => reply.entry(&NO_CACHING, &attributes, GENERATION),
            Err(error) => reply.error(error),
        }
    }

    /// Answers when the disk is done, which may be later: others need not wait for it.
    fn sync(&self, number: Number, reply: ReplyEmpty) {
        let delay = self.tree.lock().faults.delay;
        if delay.is_zero() {
            done(self.tree.lock().sync(number), reply);
            return;
        }
        let tree = Arc::clone(&self.tree);
        std::thread::spawn(move || {
            std::thread::sleep(delay);
            done(tree.lock().sync(number), reply);
        });
    }
}

fn done(result: Result<(), nix::errno::Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(wire(error)),
    }
}

fn wire(error: nix::errno::Errno) -> Errno {
    Errno::from_i32(error as i32)
}

impl Filesystem for Mount {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.tree.lock().lookup(parent.0, name);
        self.enter(found, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino.0) {
            Ok(attributes) => reply.attr(&NO_CACHING, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if let Some(size) = size
            && let Err(error) = self.tree.lock().resize(ino.0, size)
        {
            reply.error(wire(error));
            return;
        }
        self.getattr(request, ino, handle, reply);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let made = self.tree.lock().create(parent.0, name, Kind::Folder);
        self.enter(made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.tree.lock().remove(parent.0, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.tree.lock().remove(parent.0, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        done(self.tree.lock().rename((parent.0, name), (new_parent.0, new_name)), reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let made = self.tree.lock().create(parent.0, name, Kind::File);
        match made.map_err(wire).and_then(|number| Ok((number, self.attributes(number)?))) {
            Ok((number, attributes)) => {
                self.tree.lock().opened(number);
                reply.created(&NO_CACHING, &attributes, GENERATION, NO_HANDLE, FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.tree.lock().opened(ino.0);
        reply.opened(NO_HANDLE, FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.tree.lock().read(ino.0, offset, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(wire(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.tree.lock().write(ino.0, offset, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(wire(error)),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode == 0 {
            done(self.tree.lock().allocate(ino.0, offset.saturating_add(length)), reply);
        } else {
            reply.error(Errno::EOPNOTSUPP);
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.tree.lock().released(ino.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(ino.0, reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(ino.0, reply);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.tree.lock().list(ino.0);
        match listed {
            Ok(names) => {
                for (at, (name, number, kind)) in names.into_iter().enumerate().skip(offset as usize) {
                    let kind = match kind {
                        Kind::Folder => FileType::Directory,
                        Kind::File => FileType::RegularFile,
                    };
                    if reply.add(INodeNo(number), at as u64 + 1, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(wire(error)),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (all, free) = self.tree.lock().space();
        reply.statfs(all as u64, free as u64, free as u64, 1 << 20, 1 << 20, PAGE as u32, 255, PAGE as u32);
    }
}
