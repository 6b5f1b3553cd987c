//! Mutations of inputs that know what encodings are made of: bits, lengths, numbers at their limits, pieces that are
//! missing, doubled, or come from another input. The same seed makes the same inputs.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Inputs grow no further than this.
const MAX_BYTES: usize = 64 << 10;
/// Numbers at which decoders go wrong.
const LIMITS: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX as u64,
    u64::MAX,
];

/// Makes inputs from seeds.
#[derive(Debug)]
pub struct Mutator {
    rng: StdRng,
    seeds: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new(seed: u64, seeds: Vec<Vec<u8>>) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), seeds }
    }

    /// The next input: mostly a seed with a few mutations, now and then bytes of no sense.
    pub fn input(&mut self) -> Vec<u8> {
        let mut bytes = match self.seeds.choose(&mut self.rng) {
            Some(seed) if !self.rng.random_ratio(1, 32) => seed.clone(),
            _ => self.nonsense(),
        };
        for _ in 0..1 << self.rng.random_range(0..4u32) {
            self.mutate(&mut bytes);
        }
        bytes.truncate(MAX_BYTES);
        bytes
    }

    fn nonsense(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.rng.random_range(0..200)];
        self.rng.fill(&mut bytes[..]);
        bytes
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        match self.rng.random_range(0..10) {
            0 | 1 => self.flip(bytes),
            2 => self.set(bytes),
            3 => self.limit(bytes),
            4 => self.step(bytes),
            5 => bytes.truncate(self.rng.random_range(0..=bytes.len())),
            6 => self.remove(bytes),
            7 => self.repeat(bytes),
            8 => self.splice(bytes),
            _ => self.varint(bytes),
        }
    }

    fn flip(&mut self, bytes: &mut [u8]) {
        if let Some(at) = self.place(bytes) {
            bytes[at] ^= 1 << self.rng.random_range(0..8);
        }
    }

    fn set(&mut self, bytes: &mut [u8]) {
        if let Some(at) = self.place(bytes) {
            bytes[at] = self.rng.random();
        }
    }

    /// A number of some width becomes one at a limit, in either order of bytes.
    fn limit(&mut self, bytes: &mut [u8]) {
        let Some(at) = self.place(bytes) else { return };
        let width = [1, 2, 4, 8][self.rng.random_range(0..4)].min(bytes.len() - at);
        let number = LIMITS.choose(&mut self.rng).copied().unwrap_or_default();
        let field = &mut bytes[at..at + width];
        field.copy_from_slice(&number.to_le_bytes()[..width]);
        if self.rng.random_ratio(1, 4) {
            field.reverse();
        }
    }

    /// A length or a count is a little off.
    fn step(&mut self, bytes: &mut [u8]) {
        if let Some(at) = self.place(bytes) {
            bytes[at] = bytes[at].wrapping_add([1, 2, 4, 0xff, 0xfe, 0xfc][self.rng.random_range(0..6)]);
        }
    }

    fn remove(&mut self, bytes: &mut Vec<u8>) {
        let (start, end) = self.range(bytes);
        bytes.drain(start..end);
    }

    fn repeat(&mut self, bytes: &mut Vec<u8>) {
        let (start, end) = self.range(bytes);
        let piece = bytes[start..end].to_vec();
        let at = self.rng.random_range(0..=bytes.len());
        bytes.splice(at..at, piece);
    }

    /// A piece of another seed comes in, in place of as much or in between.
    fn splice(&mut self, bytes: &mut Vec<u8>) {
        let Some(other) = self.seeds.choose(&mut self.rng).cloned() else { return };
        let (start, end) = self.range(&other);
        let at = self.rng.random_range(0..=bytes.len());
        let over = if self.rng.random() { (at + end - start).min(bytes.len()) } else { at };
        bytes.splice(at..over, other[start..end].iter().copied());
    }

    /// A number in as many bytes as it needs becomes one that needs many.
    fn varint(&mut self, bytes: &mut Vec<u8>) {
        let Some(at) = self.place(bytes) else { return };
        let length = self.rng.random_range(1..10);
        let mut number = vec![0xff; length];
        number.push(self.rng.random_range(0..3));
        bytes.splice(at..=at, number);
    }

    fn place(&mut self, bytes: &[u8]) -> Option<usize> {
        (!bytes.is_empty()).then(|| self.rng.random_range(0..bytes.len()))
    }

    fn range(&mut self, bytes: &[u8]) -> (usize, usize) {
        let start = self.rng.random_range(0..=bytes.len());
        let longest = (bytes.len() - start).min(if self.rng.random() { 16 } else { usize::MAX });
        (start, start + self.rng.random_range(0..=longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs() {
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed, vec![b"some seed".to_vec(), b"another one".to_vec()]);
            (0..200).map(|_| mutator.input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert!(Mutator::new(1, Vec::new()).input().len() <= MAX_BYTES, "without seeds as well");
    }
}
