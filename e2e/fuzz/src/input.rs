//! How targets that want more than one thing read their input, and how their seeds are written.

use bytes::Bytes;

/// Reads an input from its beginning; behind its end everything is zero or empty.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.number::<1>() as u8
    }

    pub fn u16(&mut self) -> u16 {
        self.number::<2>() as u16
    }

    pub fn u32(&mut self) -> u32 {
        self.number::<4>() as u32
    }

    pub fn u64(&mut self) -> u64 {
        self.number::<8>()
    }

    fn number<const N: usize>(&mut self) -> u64 {
        let mut raw = [0; 8];
        let bytes = self.take(N);
        raw[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(raw)
    }

    /// So many bytes, or what is left.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Bytes with their number before them, in two bytes.
    pub fn chunk(&mut self) -> Bytes {
        let length = self.u16();
        Bytes::copy_from_slice(self.take(length.into()))
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }
}

/// Writes what [`Input`] reads.
#[derive(Debug, Clone, Default)]
pub struct Script {
    bytes: Vec<u8>,
}

impl Script {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn byte(self, byte: u8) -> Self {
        self.raw(&[byte])
    }

    #[must_use]
    pub fn u16(self, number: u16) -> Self {
        self.raw(&number.to_le_bytes())
    }

    #[must_use]
    pub fn u32(self, number: u32) -> Self {
        self.raw(&number.to_le_bytes())
    }

    #[must_use]
    pub fn u64(self, number: u64) -> Self {
        self.raw(&number.to_le_bytes())
    }

    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// # Panics
    /// When there are more bytes than two bytes can count.
    #[must_use]
    pub fn chunk(self, bytes: &[u8]) -> Self {
        let length = u16::try_from(bytes.len()).expect("a seed is small");
        self.u16(length).raw(bytes)
    }

    pub fn done(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let script = Script::new().byte(7).u16(300).chunk(b"abc").u32(9).u64(u64::MAX).raw(b"end").done();
        let mut input = Input::new(&script);
        assert_eq!((input.byte(), input.u16(), input.chunk()), (7, 300, Bytes::from_static(b"abc")));
        assert_eq!((input.u32(), input.u64(), input.rest()), (9, u64::MAX, &b"end"[..]));
        assert_eq!((input.byte(), input.u64(), input.chunk()), (0, 0, Bytes::new()));
    }
}
