//! The batches that some records are in: from memory, else from the disk on a thread that may block.

use std::fmt;
use std::sync::Arc;

use mainstay_record::{Batch, LogIndex, RecordId};
use mainstay_storage::Log;

use super::error::LoadError;

/// Few enough to be searched one by one.
pub(super) struct Batches {
    read: Vec<(LogIndex, Result<Batch, Arc<str>>)>,
}

impl Batches {
    /// Each batch is read once.
    pub(super) async fn read(log: &Log, records: &[RecordId]) -> Self {
        let mut indexes: Vec<_> = records.iter().map(|record| record.index).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let mut read = Vec::with_capacity(indexes.len());
        indexes.retain(|index| match log.cached(*index) {
            Some(batch) => {
                read.push((*index, Ok(batch)));
                false
            }
            None => true,
        });
        if !indexes.is_empty() {
            read.extend(from_disk(log.clone(), indexes).await);
        }
        Self { read }
    }

    /// Whether a batch could not be read.
    pub(super) fn any_unreadable(&self) -> bool {
        self.read.iter().any(|(_, batch)| batch.is_err())
    }

    /// # Errors
    /// When the batch could not be read.
    pub(super) fn of(&self, record: RecordId) -> Result<&Batch, LoadError> {
        match self.read.iter().find(|(index, _)| *index == record.index) {
            Some((_, Ok(batch))) => Ok(batch),
            Some((_, Err(error))) => Err(LoadError::Unreadable { record, error: Arc::clone(error) }),
            None => Err(LoadError::Missing(record)),
        }
    }
}

async fn from_disk(log: Log, indexes: Vec<LogIndex>) -> Vec<(LogIndex, Result<Batch, Arc<str>>)> {
    let text = |error: &dyn fmt::Display| Arc::from(error.to_string());
    let all = indexes.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let read = |index| (index, log.batch(index).map_err(|error| text(&error)));
        indexes.into_iter().map(read).collect()
    });
    // A reader that panicked has read nothing.
    reading.await.unwrap_or_else(|error| all.into_iter().map(|index| (index, Err(text(&error)))).collect())
}
