//! A disk that breaks on demand: a FUSE file system kept in memory, with the faults a real disk has.
//!
//! It lives in this process, so a broker that is killed loses nothing of it; only [`Disk::cut_power`] does.

mod content;
mod mount;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use fuser::BackgroundSession;
use nix::mount::{MntFlags, umount2};
use parking_lot::Mutex;
use rand::rngs::StdRng;

pub(crate) use content::{Gone, PAGE};
pub(crate) use tree::{Counts, Syncing};

use tree::Tree;

/// Bytes on a disk unless said otherwise.
const CAPACITY: usize = 2 << 30;

/// One disk, mounted as long as it lives.
#[derive(Debug)]
pub(crate) struct Disk {
    tree: Arc<Mutex<Tree>>,
    folder: PathBuf,
    _session: BackgroundSession,
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A broker that has not ended yet would keep it from going away.
        let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
    }
}

impl Disk {
    /// An empty disk, mounted at `folder`, which is made.
    pub(crate) fn mount(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let tree = Arc::new(Mutex::new(Tree::new(CAPACITY)));
        let session = mount::mount(Arc::clone(&tree), folder)
            .with_context(|| format!("mount a FUSE file system at {}", folder.display()))?;
        Ok(Self { tree, folder: folder.to_owned(), _session: session })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn syncing(&self, syncing: Syncing) {
        self.tree.lock().faults.syncing = syncing;
    }

    pub(crate) fn writes_fail(&self, fail: bool) {
        self.tree.lock().faults.writes_fail = fail;
    }

    /// Every sync takes this much longer.
    pub(crate) fn slow(&self, delay: Duration) {
        self.tree.lock().faults.delay = delay;
    }

    /// Leaves so many bytes free, whatever the disk holds by now.
    pub(crate) fn leave_free(&self, bytes: usize) {
        let mut tree = self.tree.lock();
        let (all, free) = tree.space();
        tree.faults.capacity = all - free + bytes / PAGE;
    }

    /// As much room as in the beginning.
    pub(crate) fn make_room(&self) {
        self.tree.lock().faults.capacity = CAPACITY / PAGE;
    }

    pub(crate) fn free_bytes(&self) -> usize {
        self.tree.lock().space().1 * PAGE
    }

    /// What was not synced is gone, all of it or, with `luck`, any part. The broker must be dead.
    pub(crate) fn cut_power(&self, luck: Option<&mut StdRng>) -> Gone {
        self.tree.lock().cut(luck)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.tree.lock().counts
    }
}
