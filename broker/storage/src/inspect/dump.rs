//! The batches of a log that is not open, one after the other.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use mainstay_record::{Batch, LogIndex};

use super::Look;
use crate::error::{OpenError, ReadError};
use crate::fs::FileSystem;
use crate::index::Reader;

/// Bytes read at once, about.
const PIECE: usize = 1024 * 1024;

/// Iterator over the batches of a log, up to its end or to the first damage.
#[derive(Debug)]
pub struct Dump {
    reader: Reader,
    ready: VecDeque<Batch>,
    next: LogIndex,
    through: LogIndex,
}

impl Dump {
    /// The batches from `from` through `through` of the log in the group's folder, as far as there are some. Everything
    /// is verified first; [`super::verify`] tells what is wrong behind the last one.
    pub fn open(
        fs: Arc<dyn FileSystem>,
        directory: &Path,
        from: LogIndex,
        through: LogIndex,
    ) -> Result<Self, OpenError> {
        let look = Look::at(Arc::clone(&fs), directory)?;
        let reader = Reader::new(fs);
        let scan = look.scan(&reader)?;
        let through = through.min(scan.chain.last().index);
        let next = from.max(scan.chain.base().index.next());
        let mut index = reader.index().write();
        for segment in scan.segments {
            index.begin_segment(segment);
        }
        index.set_epochs(scan.chain.epochs());
        drop(index);
        Ok(Self { reader, ready: VecDeque::new(), next, through })
    }
}

impl Iterator for Dump {
    type Item = Result<Batch, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() && self.next <= self.through {
            match self.reader.read(self.next, self.through, PIECE) {
                Ok(batches) => {
                    self.next = LogIndex(self.next.0 + batches.len() as u64);
                    self.ready.extend(batches);
                }
                Err(error) => {
                    self.next = LogIndex(u64::MAX);
                    return Some(Err(error));
                }
            }
        }
        self.ready.pop_front().map(Ok)
    }
}
