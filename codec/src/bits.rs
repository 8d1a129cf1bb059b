//! Bits as deflate has them: from the low end of each byte up.

use crate::Damage;

/// The bits at the end of what is written that do not fill a byte yet.
#[derive(Default)]
pub struct Carry {
    bits: u64,
    count: u32,
}

impl Carry {
    pub fn count(&self) -> usize {
        self.count as usize
    }

    pub fn finish(self, out: &mut Vec<u8>) {
        if self.count > 0 {
            out.push(self.bits as u8);
        }
    }
}

/// Appends to `out` what `write` writes, at most so many bits.
pub fn append(
    out: &mut Vec<u8>,
    carry: &mut Carry,
    at_most: usize,
    write: impl for<'a> FnOnce(Writer<'a>) -> Writer<'a>,
) {
    let start = out.len();
    // Every flush writes a whole word.
    out.resize(start + at_most / 8 + 16, 0);
    let writer = write(Writer { out: &mut out[start..], at: 0, bits: carry.bits, count: carry.count });
    (carry.bits, carry.count) = (writer.bits, writer.count);
    let end = start + writer.at;
    out.truncate(end);
}

pub struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
    bits: u64,
    count: u32,
}

impl Writer<'_> {
    /// At most 63 bits may wait for `flush`, which leaves 7.
    #[inline(always)]
    pub fn add(&mut self, value: u64, count: u32) {
        debug_assert!(self.count + count < 64);
        self.bits |= value << self.count;
        self.count += count;
    }

    #[inline(always)]
    pub fn flush(&mut self) {
        self.out[self.at..self.at + 8].copy_from_slice(&self.bits.to_le_bytes());
        self.at += self.count as usize / 8;
        self.bits >>= self.count & !7;
        self.count &= 7;
    }

    pub fn put(&mut self, value: u64, count: u32) {
        self.add(value, count);
        self.flush();
    }

    pub fn align(&mut self) {
        self.count = self.count.next_multiple_of(8);
        self.flush();
    }

    /// Whole bytes, after `align`.
    pub fn bytes(&mut self, bytes: &[u8]) {
        debug_assert!(self.count == 0);
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

pub struct Reader<'a> {
    pub data: &'a [u8],
    /// The next byte to be loaded into `bits`: beyond the end of `data` zeros are.
    pub at: usize,
    pub bits: u64,
    pub count: u32,
}

impl<'a> Reader<'a> {
    pub fn new(data: &'a [u8], position: usize) -> Reader<'a> {
        let mut reader = Reader { data, at: position / 8, bits: 0, count: 0 };
        reader.refill();
        reader.consume(position as u32 % 8);
        reader
    }

    /// How many bits were used.
    pub fn position(&self) -> usize {
        self.at * 8 - self.count as usize
    }

    /// Makes at least 56 bits ready.
    pub fn refill(&mut self) {
        while self.count <= 55 {
            let byte = self.data.get(self.at).copied().unwrap_or(0);
            self.bits |= u64::from(byte) << self.count;
            self.at += 1;
            self.count += 8;
        }
    }

    pub fn consume(&mut self, count: u32) {
        self.bits >>= count;
        self.count -= count;
    }

    pub fn take(&mut self, count: u32) -> usize {
        let value = self.bits & ((1 << count) - 1);
        self.consume(count);
        value as usize
    }

    /// Whether what was used is there.
    pub fn check(&self) -> Result<(), Damage> {
        if self.position() > self.data.len() * 8 {
            return Err(Damage::TOO_SHORT);
        }
        Ok(())
    }

    /// The bytes from the next whole one on; the bits before it are skipped.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let start = self.position().div_ceil(8);
        let bytes = self.data.get(start..start + count).ok_or(Damage::TOO_SHORT)?;
        *self = Reader::new(self.data, (start + count) * 8);
        Ok(bytes)
    }
}
