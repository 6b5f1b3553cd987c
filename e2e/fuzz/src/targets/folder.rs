//! Files of a data folder in memory, and edits to them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::IoSlice;
use std::path::{Path, PathBuf};

use mainstay_storage::{FileSystem, MemFileSystem};

use super::reseal::reseal;
use crate::Input;

pub(super) const DIRECTORY: &str = "/data";
/// More edits of one input are not made.
const MAX_EDITS: usize = 32;

/// Files as they lay there.
#[derive(Debug, Clone)]
pub(super) struct Image {
    folders: Vec<PathBuf>,
    files: Vec<(PathBuf, Vec<u8>)>,
    /// Of the files: those that are not there any more.
    removed: BTreeSet<usize>,
}

impl Image {
    pub(super) fn of(fs: &MemFileSystem) -> Self {
        let mut image = Self { folders: Vec::new(), files: Vec::new(), removed: BTreeSet::new() };
        image.walk(fs, Path::new(DIRECTORY));
        image.files.sort();
        image
    }

    fn walk(&mut self, fs: &MemFileSystem, folder: &Path) {
        self.folders.push(folder.to_owned());
        for name in fs.list(folder).expect("listed") {
            let path = folder.join(name);
            match fs.contents(&path) {
                Ok(contents) => self.files.push((path, contents)),
                Err(_) => self.walk(fs, &path),
            }
        }
    }

    pub(super) const fn files(&self) -> usize {
        self.files.len()
    }

    /// One file after the edits.
    pub(super) fn edited_file(&self, edits: &Edits, file: usize) -> Vec<u8> {
        self.after(edits).files.swap_remove(file % self.files.len()).1
    }

    /// A disk with the files after the edits.
    pub(super) fn edited(&self, edits: &Edits) -> MemFileSystem {
        let edited = self.after(edits);
        let fs = MemFileSystem::new(7);
        for folder in &edited.folders {
            fs.create_dir(folder).expect("created");
        }
        let left = edited.files.iter().enumerate().filter(|(at, _)| !edited.removed.contains(at));
        for (_, (path, contents)) in left {
            let file = fs.create(path).expect("created");
            file.write_all_at(&[IoSlice::new(contents)], 0).expect("written");
            file.sync_data().expect("synced");
        }
        edited.folders.iter().for_each(|folder| fs.sync_dir(folder).expect("synced"));
        fs
    }

    fn after(&self, edits: &Edits) -> Self {
        let mut image = self.clone();
        let touched: BTreeSet<usize> = edits.list.iter().map(|edit| image.edit(edit)).collect();
        if edits.reseals {
            // The others' checksums are right.
            for at in touched {
                let (path, contents) = &mut image.files[at];
                reseal(path.file_name().and_then(OsStr::to_str).unwrap_or_default(), contents);
            }
        }
        image
    }

    /// Returns the file that it was done to.
    fn edit(&mut self, edit: &Edit) -> usize {
        let count = self.files.len();
        let piece = match edit {
            Edit::Copy { from, at, length, .. } => {
                let from = &self.files[from % count].1;
                let start = place(from, *at);
                from[start..from.len().min(start + length)].to_vec()
            }
            Edit::Put { bytes, .. } => bytes.clone(),
            _ => Vec::new(),
        };
        let (Edit::Flip { file, .. }
        | Edit::Put { file, .. }
        | Edit::Cut { file, .. }
        | Edit::Grow { file, .. }
        | Edit::Copy { file, .. }
        | Edit::Remove { file }) = edit;
        let edited = file % count;
        let contents = &mut self.files[edited].1;
        match edit {
            Edit::Flip { at, mask, .. } => {
                let at = place(contents, *at);
                if let Some(byte) = contents.get_mut(at) {
                    *byte ^= *mask;
                }
            }
            Edit::Put { at, .. } | Edit::Copy { to: at, .. } => {
                let at = place(contents, *at);
                let length = piece.len().min(contents.len() - at);
                contents[at..at + length].copy_from_slice(&piece[..length]);
            }
            Edit::Cut { at, .. } => contents.truncate(place(contents, *at)),
            Edit::Grow { bytes, .. } => contents.resize(contents.len() + bytes, 0),
            Edit::Remove { .. } => {
                self.removed.insert(edited);
            }
        }
        edited
    }
}

/// An offset within what a file really holds, or a little behind it.
fn place(contents: &[u8], at: usize) -> usize {
    let used = contents.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    (at % (used + 64)).min(contents.len())
}

/// What is done to the files.
#[derive(Debug, Clone)]
pub(super) struct Edits {
    reseals: bool,
    list: Vec<Edit>,
}

#[derive(Debug, Clone)]
enum Edit {
    Flip { file: usize, at: usize, mask: u8 },
    Put { file: usize, at: usize, bytes: Vec<u8> },
    Cut { file: usize, at: usize },
    Grow { file: usize, bytes: usize },
    Copy { from: usize, at: usize, length: usize, file: usize, to: usize },
    Remove { file: usize },
}

impl Edits {
    pub(super) fn read(input: &mut Input<'_>) -> Self {
        let reseals = input.byte() & 1 == 1;
        let mut list = Vec::new();
        while !input.is_empty() && list.len() < MAX_EDITS {
            list.push(Edit::read(input));
        }
        Self { reseals, list }
    }

    /// Whether checksums were made right after the edits.
    pub(super) const fn reseals(&self) -> bool {
        self.reseals
    }
}

impl Edit {
    fn read(input: &mut Input<'_>) -> Self {
        let kind = input.byte();
        let file = usize::from(input.byte());
        if kind % 7 == 6 {
            return Self::Remove { file };
        }
        if kind % 7 == 4 {
            return Self::Grow { file, bytes: input.u16().into() };
        }
        let at = input.u32() as usize;
        match kind % 7 {
            0 => Self::Flip { file, at, mask: input.byte() },
            1 => Self::Put { file, at, bytes: input.u32().to_le_bytes().to_vec() },
            2 => Self::Put { file, at, bytes: input.u64().to_le_bytes().to_vec() },
            3 => Self::Cut { file, at },
            _ => Self::Copy {
                from: file,
                at,
                length: input.u16().into(),
                file: input.byte().into(),
                to: input.u32() as usize,
            },
        }
    }
}
