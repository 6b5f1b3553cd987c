//! Batches, as they lie on the disk and travel between replicas.

use bytes::Bytes;
use mainstay_record::{
    Batch, BatchBuilder, BatchKind, EntryId, Epoch, GroupId, LogIndex, LogPosition, NodeId, Timestamp,
};

use crate::{Input, Script, seal};

/// The first byte: 1 makes the checksum right, 2 the length as well.
pub(super) fn batch(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let flags = input.byte();
    let mut bytes = input.rest().to_vec();
    if flags & 2 != 0 && bytes.len() >= 8 {
        let length = (bytes.len() as u32).to_le_bytes();
        bytes[4..8].copy_from_slice(&length);
    }
    if flags & 1 != 0 {
        seal::batch(&mut bytes);
    }
    let bytes = Bytes::from(bytes);
    let Ok(batch) = Batch::decode(&bytes) else { return };
    check(&batch);
    assert!(bytes.starts_with(batch.bytes()));
}

fn check(batch: &Batch) {
    let header = batch.header();
    assert_eq!(header.length as usize, batch.bytes().len());
    let records: Vec<Bytes> = batch.records().collect();
    assert_eq!(records.len(), header.records as usize);
    let mut builder = BatchBuilder::default();
    for (slot, record) in records.iter().enumerate().take(64) {
        assert_eq!(batch.record(slot as u32).as_ref(), Some(record));
    }
    assert_eq!(batch.record(header.records), None);
    for record in &records {
        builder.push(record);
    }
    let again = builder.seal(header.kind, header.group, header.id, header.position, header.timestamp);
    assert_eq!(again.header(), header);
    assert!(again.records().eq(records));
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let records: [&[&[u8]]; 4] = [&[], &[b""], &[b"one", b"", b"three"], &[&[7; 300]]];
    let kinds = [BatchKind::Data, BatchKind::Epoch, BatchKind::Membership];
    let batches =
        records.iter().enumerate().map(|(at, records)| sealed(kinds[at % 3], at as u64 + 1, records));
    batches
        .flat_map(|batch| (0..4).map(move |flags| Script::new().byte(flags).raw(batch.bytes()).done()))
        .collect()
}

/// A batch of group 0 at `index`, by node 1 in its epoch 1.
pub(super) fn sealed(kind: BatchKind, index: u64, records: &[&[u8]]) -> Batch {
    let mut builder = BatchBuilder::default();
    for record in records {
        builder.push(record);
    }
    let epoch = NodeId::new(1).map(|node| Epoch::new(1, node)).unwrap_or_default();
    let id = EntryId { epoch, index: LogIndex(index) };
    builder.seal(kind, GroupId(0), id, LogPosition(100 * index), Timestamp(1000 + index))
}
