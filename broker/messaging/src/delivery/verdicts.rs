//! Verdicts of the leader on messages that it has looked into, for filters that the state cannot judge itself since it
//! keeps no more of a message than its tag. They travel in the receive's record, so that every replica takes and
//! settles the same.
//!
//! Verdicts are for one topic by its revision, and kept as runs of offsets with one bit each. Runs ascend by queue and
//! offset and never touch, so that equal verdicts are equal bytes.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

use crate::metadata::{QueueId, QueueOffset, Revision};
use crate::wire::{DecodeError, Reader, WriteFields};

const FIELD: &str = "verdicts";
/// Bytes that the numbers of a run take at most.
const RUN_LEN: usize = 5 + 10 + 5;

/// Which messages of a topic a filter takes, as far as they were looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdicts {
    topic: Revision,
    runs: Vec<Run>,
}

/// Messages of one queue in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    queue: u32,
    first: u64,
    /// One at least.
    count: u32,
    /// The lowest bit of the first byte is for the first message; those behind the last are zero.
    taken: Vec<u8>,
}

impl Run {
    /// The place behind the run.
    const fn end(&self) -> (u32, u64) {
        (self.queue, self.first + self.count as u64)
    }

    fn push(&mut self, taken: bool) {
        let bit = self.count % 8;
        if bit == 0 {
            self.taken.push(0);
        }
        if let Some(last) = self.taken.last_mut() {
            *last |= u8::from(taken) << bit;
        }
        self.count += 1;
    }
}

impl Verdicts {
    /// On messages of the topic with this revision, in any order: true for those that are taken.
    pub fn new(topic: Revision, judged: impl IntoIterator<Item = (QueueId, QueueOffset, bool)>) -> Self {
        let judged = judged.into_iter().map(|(queue, offset, taken)| ((queue.0, offset.0), taken));
        let mut runs: Vec<Run> = Vec::new();
        for (place, taken) in judged.collect::<BTreeMap<_, _>>() {
            match runs.last_mut() {
                Some(run) if run.end() == place && run.count < u32::MAX => run.push(taken),
                _ => {
                    let (queue, first) = place;
                    let mut run = Run { queue, first, count: 0, taken: Vec::new() };
                    run.push(taken);
                    runs.push(run);
                }
            }
        }
        Self { topic, runs }
    }

    pub(crate) const fn topic(&self) -> Revision {
        self.topic
    }

    /// `None` for a message that was not looked into.
    pub(crate) fn of(&self, queue: QueueId, offset: u64) -> Option<bool> {
        let after = self.runs.partition_point(|run| (run.queue, run.first) <= (queue.0, offset));
        let run = self.runs.get(after.checked_sub(1)?).filter(|run| run.queue == queue.0)?;
        let at = u32::try_from(offset - run.first).ok().filter(|at| *at < run.count)?;
        run.taken.get(at as usize / 8).map(|bits| bits >> (at % 8) & 1 == 1)
    }

    pub(crate) fn encoded_len_hint(&self) -> usize {
        2 * RUN_LEN + self.runs.iter().map(|run| RUN_LEN + run.taken.len()).sum::<usize>()
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_number(self.topic.0);
        out.put_number(self.runs.len() as u64);
        for run in &self.runs {
            out.put_number(run.queue.into());
            out.put_number(run.first);
            out.put_number(run.count.into());
            out.put_slice(&run.taken);
        }
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let topic = Revision(input.number(FIELD)?);
        let mut end = None;
        let runs = input.list(FIELD, |input| {
            let (queue, first) = (input.number32(FIELD)?, input.number(FIELD)?);
            let count = input.number32(FIELD)?;
            let taken = input.bytes(count.div_ceil(8) as usize, FIELD)?.to_vec();
            let spare = taken.last().is_some_and(|last| !count.is_multiple_of(8) && last >> (count % 8) != 0);
            let apart = end.is_none_or(|end| end < (queue, first));
            if count == 0 || spare || !apart || first.checked_add(count.into()).is_none() {
                return Err(DecodeError::Invalid(FIELD));
            }
            let run = Run { queue, first, count, taken };
            end = Some(run.end());
            Ok(run)
        })?;
        Ok(Self { topic, runs })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn judged(places: &[(u32, u64, bool)]) -> Verdicts {
        let places = places.iter().map(|(queue, at, taken)| (QueueId(*queue), QueueOffset(*at), *taken));
        Verdicts::new(Revision(7), places)
    }

    fn encoded(verdicts: &Verdicts) -> Bytes {
        let mut bytes = BytesMut::new();
        verdicts.encode(&mut bytes);
        bytes.freeze()
    }

    #[test]
    fn each_message_has_its_verdict_and_all_others_none() {
        let place = |n: u32| (n / 20, u64::from(n % 20) * (1 + u64::from(n / 20)), n.is_multiple_of(3));
        let places: Vec<_> = (0..40).map(place).collect();
        let verdicts = judged(&places);
        for queue in 0..3 {
            for offset in 0..50 {
                let expected = places.iter().find(|(q, at, _)| (*q, *at) == (queue, offset)).map(|p| p.2);
                assert_eq!(verdicts.of(QueueId(queue), offset), expected, "{queue} {offset}");
            }
        }
        let turned: Vec<_> = places.iter().rev().copied().collect();
        assert_eq!(judged(&turned), verdicts);
        assert_eq!(judged(&[]).of(QueueId(0), 0), None);
        let far = judged(&[(0, u64::MAX - 1, true)]);
        assert_eq!((far.of(QueueId(0), u64::MAX - 1), far.of(QueueId(0), u64::MAX)), (Some(true), None));
    }

    #[test]
    fn verdicts_in_a_row_take_a_bit_each() {
        let places: Vec<_> = (100..356).map(|at| (3, at, at % 2 == 0)).collect();
        let verdicts = judged(&places);
        let bytes = encoded(&verdicts);
        assert!(bytes.len() <= 256 / 8 + 8 && bytes.len() <= verdicts.encoded_len_hint(), "{}", bytes.len());
        let mut input = Reader::new(&bytes);
        assert_eq!(Verdicts::decode(&mut input), Ok(verdicts));
        assert!(input.is_empty());
    }

    #[test]
    fn only_one_form_is_read() {
        let decode = |bytes: &[u8]| Verdicts::decode(&mut Reader::new(&Bytes::copy_from_slice(bytes)));
        assert_eq!(decode(&[7, 2, 0, 0, 1, 1, 0, 2, 1, 0]), Ok(judged(&[(0, 0, true), (0, 2, false)])));
        for (bytes, why) in [
            (&[7, 1, 0, 0, 0][..], "an empty run"),
            (&[7, 1, 0, 0, 1, 2], "a bit behind the last message"),
            (&[7, 2, 0, 0, 1, 1, 0, 1, 1, 0], "runs that touch"),
            (&[7, 2, 0, 5, 1, 1, 0, 2, 1, 0], "runs in disorder"),
            (&[7, 2, 1, 0, 1, 1, 0, 2, 1, 0], "queues in disorder"),
            (&[7, 1, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1, 1], "an offset too large"),
        ] {
            assert_eq!(decode(bytes), Err(DecodeError::Invalid(FIELD)), "{why}");
        }
        assert_eq!(decode(&[7, 1, 0, 0, 255, 255, 255, 255, 15, 1]), Err(DecodeError::Truncated(FIELD)));
    }
}
