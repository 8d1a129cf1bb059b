//! Deflate streams read (RFC 1951), by zlib's rules on what is one.

use crate::Damage;
use crate::bits::Reader;
use crate::frame::{Hints, TRAILER};
use crate::header::LENGTHS_ORDER;
use crate::huffman::SYMBOLS;
use crate::lanes::Lanes;
use crate::tables::{self, DISTANCE_SIZE, END, EXCEPTION, LITERAL, LITLEN_SIZE, SUBTABLE, value};

pub const DISTANCES: usize = 32;

pub struct Inflate {
    tables: Tables,
    lanes: Lanes,
}

/// Of the code in hand.
pub struct Tables {
    pub litlens: [u32; LITLEN_SIZE],
    distances: [u32; DISTANCE_SIZE],
    /// The longest code of a literal or length; 0 for the fixed code.
    pub longest: usize,
}

/// What a block is, by its first bits.
pub enum Form {
    Stored,
    Coded,
}

/// The longest match, and the word by which copies may go beyond it.
const ROOM: usize = 258 + 16;

impl Inflate {
    pub fn new() -> Inflate {
        let tables = Tables { litlens: [0; LITLEN_SIZE], distances: [0; DISTANCE_SIZE], longest: usize::MAX };
        Inflate { tables, lanes: Lanes::new() }
    }

    /// Fills `out` exactly; what follows the stream in `data`.
    pub fn inflate<'a>(
        &mut self,
        data: &'a [u8],
        mut hints: Option<Hints>,
        out: &mut [u8],
    ) -> Result<&'a [u8], Damage> {
        let mut reader = Reader::new(data, 0);
        let (mut at, mut last) = (0, false);
        while !last {
            let hinted = hints.and_then(|hints| Lanes::hinted(hints, at, out.len()).zip(Some(hints.size)));
            if let Some((begins, size)) = hinted {
                if let Some(done) = self.lanes.decode(&mut self.tables, &reader, begins, size, out, at) {
                    (at, last) = (done.at, done.last);
                    reader = Reader::new(data, done.position);
                    continue;
                }
                // One that is wrong makes all worthless: nothing is tried more than once.
                hints = None;
            }
            let form;
            (last, form) = self.tables.begin(&mut reader)?;
            at = match form {
                Form::Stored => stored(&mut reader, out, at)?,
                Form::Coded => self.tables.decode(&mut reader, out, at)?,
            };
        }
        if at < out.len() {
            return Err(Damage::TOO_SHORT);
        }
        let used = reader.position().div_ceil(8);
        data.get(used..).ok_or(Damage::TOO_SHORT)
    }
}

fn stored(reader: &mut Reader, out: &mut [u8], at: usize) -> Result<usize, Damage> {
    let sizes = reader.bytes(4)?;
    let size = u16::from_le_bytes([sizes[0], sizes[1]]);
    if size != !u16::from_le_bytes([sizes[2], sizes[3]]) {
        return Err(Damage::CORRUPT);
    }
    let bytes = reader.bytes(size.into())?;
    let end = at + bytes.len();
    out.get_mut(at..end).ok_or(Damage::TOO_LONG)?.copy_from_slice(bytes);
    Ok(end)
}

impl Tables {
    /// Reads a block's head; whether it is the last.
    pub fn begin(&mut self, reader: &mut Reader) -> Result<(bool, Form), Damage> {
        reader.refill();
        let last = reader.take(1) > 0;
        let form = match reader.take(2) {
            0 => Form::Stored,
            1 => {
                self.fixed()?;
                Form::Coded
            }
            2 => {
                self.dynamic(reader)?;
                Form::Coded
            }
            _ => return Err(Damage::CORRUPT),
        };
        reader.check()?;
        Ok((last, form))
    }

    fn fixed(&mut self) -> Result<(), Damage> {
        if self.longest != 0 {
            let mut lengths = [8; SYMBOLS];
            lengths[144..256].fill(9);
            lengths[256..280].fill(7);
            self.build(&lengths, &[5; DISTANCES])?;
            self.longest = 0;
        }
        Ok(())
    }

    fn build(&mut self, litlens: &[u8], distances: &[u8]) -> Result<(), Damage> {
        // Half a table is none.
        self.longest = usize::MAX;
        let longest = tables::build(&mut self.litlens, tables::LITLEN_BITS, litlens, tables::litlen)?;
        tables::build(&mut self.distances, tables::DISTANCE_BITS, distances, tables::distance)?;
        self.longest = longest;
        Ok(())
    }

    fn dynamic(&mut self, reader: &mut Reader) -> Result<(), Damage> {
        let (litlens, distances) = (257 + reader.take(5), 1 + reader.take(5));
        let count = 4 + reader.take(4);
        if litlens > 286 || distances > 30 {
            return Err(Damage::CORRUPT);
        }
        let mut lengths = [0; 19];
        for &symbol in &LENGTHS_ORDER[..count] {
            reader.refill();
            lengths[symbol as usize] = reader.take(3) as u8;
        }
        let mut table = [0; 1 << tables::PRECODE_BITS];
        tables::build(&mut table, tables::PRECODE_BITS, &lengths, tables::precode)?;
        let mut lengths = [0u8; SYMBOLS + DISTANCES];
        let all = litlens + distances;
        let mut at = 0;
        while at < all {
            reader.refill();
            let entry = table[reader.bits as usize % table.len()];
            if entry & EXCEPTION > 0 {
                return Err(Damage::CORRUPT);
            }
            reader.consume(entry & 255);
            let (length, count) = match value(entry) {
                16 if at == 0 => return Err(Damage::CORRUPT),
                16 => (lengths[at - 1], 3 + reader.take(2)),
                17 => (0, 3 + reader.take(3)),
                18 => (0, 11 + reader.take(7)),
                length => (length as u8, 1),
            };
            if at + count > all {
                return Err(Damage::CORRUPT);
            }
            lengths[at..at + count].fill(length);
            at += count;
        }
        reader.check()?;
        if lengths[256] == 0 {
            return Err(Damage::CORRUPT);
        }
        self.build(&lengths[..litlens], &lengths[litlens..all])
    }

    /// Decodes a block into `out[at..]`; where it ends.
    fn decode(&self, reader: &mut Reader, out: &mut [u8], mut at: usize) -> Result<usize, Damage> {
        loop {
            let ended;
            (at, ended) = self.decode_most(reader, out, at)?;
            if ended {
                return Ok(at);
            }
            reader.refill();
            let mut entry = self.litlens[reader.bits as usize % (1 << tables::LITLEN_BITS)];
            if entry & SUBTABLE > 0 {
                reader.consume(entry & 255);
                entry = sub(&self.litlens, entry, reader.bits);
            }
            if entry & EXCEPTION > 0 {
                reader.consume(entry & 255);
                reader.check()?;
                return if entry & END > 0 { Ok(at) } else { Err(Damage::CORRUPT) };
            }
            if entry & LITERAL > 0 {
                reader.consume(entry & 255);
                reader.check()?;
                *out.get_mut(at).ok_or(Damage::TOO_LONG)? = value(entry) as u8;
                at += 1;
                continue;
            }
            let length = value(entry) + extra(entry, reader.bits);
            reader.consume(entry & 255);
            let mut entry = self.distances[reader.bits as usize % (1 << tables::DISTANCE_BITS)];
            if entry & SUBTABLE > 0 {
                reader.consume(entry & 255);
                entry = sub(&self.distances, entry, reader.bits);
            }
            if entry & EXCEPTION > 0 {
                reader.check()?;
                return Err(Damage::CORRUPT);
            }
            let distance = value(entry) + extra(entry, reader.bits);
            reader.consume(entry & 255);
            reader.check()?;
            if distance > at {
                return Err(Damage::CORRUPT);
            }
            if out.len() - at < length {
                return Err(Damage::TOO_LONG);
            }
            for place in at..at + length {
                out[place] = out[place - distance];
            }
            at += length;
        }
    }

    /// Decodes while neither input nor room comes near its end; whether the block ended.
    fn decode_most(
        &self,
        reader: &mut Reader,
        out: &mut [u8],
        mut at: usize,
    ) -> Result<(usize, bool), Damage> {
        let data = reader.data;
        let (mut next, mut bits, mut count) = (reader.at, reader.bits, reader.count);
        let input_end = data.len().saturating_sub(16);
        let out_end = out.len().saturating_sub(ROOM);
        let mut ended = false;
        macro_rules! refill {
            () => {
                bits |= word(data, next) << count;
                next += (63 - count as usize) / 8;
                count |= 56;
            };
        }
        macro_rules! consume {
            ($entry:expr) => {
                bits >>= $entry & 63;
                count -= $entry & 63;
            };
        }
        while next < input_end && at < out_end {
            refill!();
            let mut entry = self.litlens[bits as usize % (1 << tables::LITLEN_BITS)];
            if entry & LITERAL > 0 {
                consume!(entry);
                out[at] = value(entry) as u8;
                at += 1;
                entry = self.litlens[bits as usize % (1 << tables::LITLEN_BITS)];
                if entry & LITERAL > 0 {
                    consume!(entry);
                    out[at] = value(entry) as u8;
                    at += 1;
                    entry = self.litlens[bits as usize % (1 << tables::LITLEN_BITS)];
                    if entry & LITERAL > 0 {
                        consume!(entry);
                        out[at] = value(entry) as u8;
                        at += 1;
                        continue;
                    }
                }
                refill!();
            }
            if entry & EXCEPTION > 0 {
                consume!(entry);
                if entry & SUBTABLE > 0 {
                    entry = sub(&self.litlens, entry, bits);
                    if entry & LITERAL > 0 {
                        consume!(entry);
                        out[at] = value(entry) as u8;
                        at += 1;
                        continue;
                    }
                    if entry & EXCEPTION > 0 {
                        consume!(entry);
                    }
                }
                if entry & END > 0 {
                    ended = true;
                    break;
                }
                if entry & EXCEPTION > 0 {
                    return Err(Damage::CORRUPT);
                }
            }
            let length = value(entry) + extra(entry, bits);
            consume!(entry);
            let mut entry = self.distances[bits as usize % (1 << tables::DISTANCE_BITS)];
            if entry & SUBTABLE > 0 {
                consume!(entry);
                entry = sub(&self.distances, entry, bits);
            }
            let distance = value(entry) + extra(entry, bits);
            consume!(entry);
            if entry & EXCEPTION > 0 || distance > at {
                return Err(Damage::CORRUPT);
            }
            copy(out, at, distance, length);
            at += length;
        }
        // What is beyond `count` is loaded again.
        (reader.at, reader.bits, reader.count) = (next, bits & ((1 << count) - 1), count);
        Ok((at, ended))
    }
}

#[inline(always)]
fn sub<const SIZE: usize>(table: &[u32; SIZE], entry: u32, bits: u64) -> u32 {
    let index = bits as usize & ((1 << (entry >> 8 & 15)) - 1);
    table[(value(entry) + index) % SIZE]
}

/// What the extra bits behind a code say.
#[inline(always)]
fn extra(entry: u32, bits: u64) -> usize {
    ((bits & ((1 << (entry & 63)) - 1)) >> (entry >> 8 & 15)) as usize
}

#[inline(always)]
fn word(data: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&data[at..at + 8]);
    u64::from_le_bytes(word)
}

/// Copies a match, and perhaps a word beyond it.
#[inline(always)]
fn copy(out: &mut [u8], at: usize, distance: usize, length: usize) {
    let from = at - distance;
    if distance >= 16 {
        for done in (0..length).step_by(16) {
            out.copy_within(from + done..from + done + 16, at + done);
        }
    } else if distance >= 8 {
        for done in (0..length).step_by(8) {
            out.copy_within(from + done..from + done + 8, at + done);
        }
    } else if distance == 1 {
        let byte = out[from];
        out[at..at + length].fill(byte);
    } else {
        for place in at..at + length {
            out[place] = out[place - distance];
        }
    }
}

const _: () = assert!(TRAILER == 8, "a word can be loaded at every bit of the stream");
