//! Deflate blocks written: of literals and matches, of literals only, stored.

use crate::bits::{Carry, Writer, append};
use crate::header::Header;
use crate::huffman;

/// A match with the literals before it; a length of 0 for literals with no match behind.
#[derive(Clone, Copy)]
struct Token {
    literals: u32,
    length: u16,
    distance: u16,
}

/// The last two are in the fixed code only, and never used.
pub const LITLENS: usize = 288;
pub const DISTANCES: usize = 30;
pub const END: usize = 256;

/// Four literals, or a match, then fit between two flushes.
const LIMIT: usize = 14;
/// Five literals do.
const LITERAL_LIMIT: usize = 11;

/// What a symbol may cost that the block before had no code for.
const UNUSED: u32 = 12;

/// One block at a time: what it is made of, and the scratch to write it.
pub struct Blocks {
    tokens: Vec<Token>,
    /// Since the last match.
    literals: u32,
    litlen_counts: [u32; LITLENS],
    distance_counts: [u32; DISTANCES],
    /// Of literals and lengths, then of distances.
    lengths: [u8; LITLENS + DISTANCES],
    header: Header,
}

impl Blocks {
    pub fn new() -> Blocks {
        Blocks {
            tokens: Vec::new(),
            literals: 0,
            litlen_counts: [0; LITLENS],
            distance_counts: [0; DISTANCES],
            lengths: [0; LITLENS + DISTANCES],
            header: Header::new(),
        }
    }

    /// The bits of these literals in the code of the block before.
    pub fn cost_of_literals(&self, literals: &[u8]) -> u32 {
        literals.iter().map(|&literal| self.likely(literal.into())).sum()
    }

    /// The bits of a match in the code of the block before.
    pub fn cost_of_match(&self, length: usize, distance: usize) -> u32 {
        let (length, distance) = (length_symbol(length as u16), distance_symbol(distance as u16));
        self.likely(length)
            + length_extra(length)
            + self.likely(LITLENS + distance)
            + distance_extra(distance)
    }

    fn likely(&self, symbol: usize) -> u32 {
        match self.lengths[symbol] {
            0 => UNUSED,
            length => length.into(),
        }
    }

    #[inline(always)]
    pub fn literal(&mut self, literal: u8) {
        self.literals += 1;
        self.litlen_counts[literal as usize] += 1;
    }

    #[inline(always)]
    pub fn matched(&mut self, length: usize, distance: usize) {
        let (length, distance) = (length as u16, distance as u16);
        self.litlen_counts[length_symbol(length)] += 1;
        self.distance_counts[distance_symbol(distance)] += 1;
        self.tokens.push(Token { literals: std::mem::take(&mut self.literals), length, distance });
    }

    /// `data`, of which this block is made, in the smallest form of block there is for it.
    pub fn write(&mut self, out: &mut Vec<u8>, carry: &mut Carry, data: &[u8], last: bool) {
        self.tokens.push(Token { literals: std::mem::take(&mut self.literals), length: 0, distance: 0 });
        self.litlen_counts[END] = 1;
        self.write_counted(out, carry, data, last);
        self.tokens.clear();
        self.litlen_counts.fill(0);
        self.distance_counts.fill(0);
    }

    fn write_counted(&mut self, out: &mut Vec<u8>, carry: &mut Carry, data: &[u8], last: bool) {
        let fixed = 3 + self.cost(&fixed_lengths());
        self.plan(LIMIT);
        let dynamic = self.header.cost() + self.cost(&self.lengths);
        let stored = stored_cost(data.len(), carry);
        if stored <= fixed.min(dynamic) {
            return store(out, carry, data, last);
        }
        let is_fixed = fixed <= dynamic;
        if is_fixed {
            self.lengths = fixed_lengths();
        }
        append(out, carry, fixed.min(dynamic), |mut writer| {
            if is_fixed {
                writer.put(u64::from(last) | 1 << 1, 3);
            } else {
                self.header.write(&mut writer, last);
            }
            write_tokens(writer, &Codes::new(&self.lengths), data, &self.tokens)
        });
    }

    /// `data` by its literals only, if that gains anything; whether it did.
    pub fn write_literals(&mut self, out: &mut Vec<u8>, carry: &mut Carry, data: &[u8], last: bool) -> bool {
        count_bytes(data, &mut self.litlen_counts[..END]);
        self.litlen_counts[END] = 1;
        self.plan(LITERAL_LIMIT);
        let cost = self.header.cost() + self.cost(&self.lengths);
        self.litlen_counts.fill(0);
        // What gains less than a fiftieth is not worth the reader's time.
        if cost + data.len() * 8 / 50 >= stored_cost(data.len(), carry) {
            store(out, carry, data, last);
            return false;
        }
        append(out, carry, cost, |mut writer| {
            self.header.write(&mut writer, last);
            write_literals(writer, &Codes::new(&self.lengths), data)
        });
        true
    }

    /// Chooses codes, and how to write them.
    fn plan(&mut self, limit: usize) {
        let (litlens, distances) = self.lengths.split_at_mut(LITLENS);
        huffman::lengths(&self.litlen_counts, limit, litlens);
        huffman::lengths(&self.distance_counts, LIMIT, distances);
        self.header.plan(&self.lengths);
    }

    /// The bits that the symbols counted take.
    fn cost(&self, lengths: &[u8; LITLENS + DISTANCES]) -> usize {
        let (litlens, distances) = lengths.split_at(LITLENS);
        let mut cost = 0;
        for (symbol, (&count, &length)) in self.litlen_counts.iter().zip(litlens).enumerate() {
            let extra = if symbol > END { length_extra(symbol) } else { 0 };
            cost += count as usize * (length as usize + extra as usize);
        }
        for (symbol, (&count, &length)) in self.distance_counts.iter().zip(distances).enumerate() {
            cost += count as usize * (length as usize + distance_extra(symbol) as usize);
        }
        cost
    }
}

/// Codes with their lengths above bit 24.
struct Codes {
    litlens: [u32; LITLENS],
    distances: [u32; DISTANCES],
}

impl Codes {
    fn new(lengths: &[u8; LITLENS + DISTANCES]) -> Codes {
        let mut codes = Codes { litlens: [0; LITLENS], distances: [0; DISTANCES] };
        huffman::codes(&lengths[..LITLENS], &mut codes.litlens);
        huffman::codes(&lengths[LITLENS..], &mut codes.distances);
        codes
    }

    #[inline(always)]
    fn literal(&self, literal: u8) -> (u64, u32) {
        let entry = self.litlens[literal as usize];
        ((entry & 0xff_ffff).into(), entry >> 24)
    }
}

fn write_tokens<'a>(mut writer: Writer<'a>, codes: &Codes, mut data: &[u8], tokens: &[Token]) -> Writer<'a> {
    for token in tokens {
        let mut left = token.literals as usize;
        // Four at once, the unwanted as no bits: how many there are is hard to foretell.
        while let Some(four) = data.first_chunk::<4>().filter(|_| left > 0) {
            for (at, &literal) in four.iter().enumerate() {
                let entry = if at < left { codes.litlens[literal as usize] } else { 0 };
                writer.add((entry & 0xff_ffff).into(), entry >> 24);
            }
            writer.flush();
            let done = left.min(4);
            data = &data[done..];
            left -= done;
        }
        let (literals, rest) = data.split_at(left);
        for &literal in literals {
            let (code, count) = codes.literal(literal);
            writer.put(code, count);
        }
        if token.length > 0 {
            write_match(&mut writer, codes, token);
        }
        data = &rest[token.length as usize..];
    }
    end(writer, codes)
}

#[inline(always)]
fn write_match(writer: &mut Writer, codes: &Codes, token: &Token) {
    let symbol = length_symbol(token.length);
    let (code, extra) = (codes.litlens[symbol], length_extra(symbol));
    writer.add((code & 0xff_ffff).into(), code >> 24);
    writer.add(u64::from(token.length - 3) & ((1 << extra) - 1), extra);
    let symbol = distance_symbol(token.distance);
    let (code, extra) = (codes.distances[symbol], distance_extra(symbol));
    writer.add((code & 0xff_ffff).into(), code >> 24);
    writer.add(u64::from(token.distance - 1) & ((1 << extra) - 1), extra);
    writer.flush();
}

#[inline(always)]
fn write_literals<'a>(mut writer: Writer<'a>, codes: &Codes, data: &[u8]) -> Writer<'a> {
    // The length below the code: as shift counts and summed, entries need not be taken apart.
    let entries: [u64; 256] = std::array::from_fn(|literal| {
        let (code, count) = codes.literal(literal as u8);
        code << 8 | u64::from(count)
    });
    let (fives, others) = data.as_chunks::<5>();
    for five in fives {
        // Five codes are joined before the bits that wait are touched.
        let [a, b, c, d, e] = five.map(|literal| entries[literal as usize]);
        let two = a >> 8 | b >> 8 << (a & 63);
        let next = c >> 8 | d >> 8 << (c & 63);
        let (two_count, next_count) = (a + b, c + d);
        let four = two | next << (two_count & 63);
        let four_count = two_count + next_count;
        writer.add(four | e >> 8 << (four_count & 63), ((four_count + e) & 255) as u32);
        writer.flush();
    }
    for &literal in others {
        let (code, count) = codes.literal(literal);
        writer.put(code, count);
    }
    end(writer, codes)
}

fn end<'a>(mut writer: Writer<'a>, codes: &Codes) -> Writer<'a> {
    writer.put((codes.litlens[END] & 0xff_ffff).into(), codes.litlens[END] >> 24);
    writer
}

/// The most a stored block holds.
const STORED: usize = 65_535;

fn stored_cost(size: usize, carry: &Carry) -> usize {
    let first = (carry.count() + 3).next_multiple_of(8) - carry.count();
    first + 32 + size.saturating_sub(1) / STORED * 40 + size * 8
}

/// `data` as stored blocks.
pub fn store(out: &mut Vec<u8>, carry: &mut Carry, data: &[u8], last: bool) {
    append(out, carry, stored_cost(data.len(), carry), |mut writer| {
        let mut left = data;
        loop {
            let (block, rest) = left.split_at(left.len().min(STORED));
            writer.put(u64::from(last && rest.is_empty()), 3);
            writer.align();
            let size = block.len() as u64;
            writer.put(size | (size ^ 0xffff) << 16, 32);
            writer.bytes(block);
            left = rest;
            if left.is_empty() {
                return writer;
            }
        }
    });
}

/// Counts in four tables, so that a run of one byte does not wait for itself.
pub fn count_bytes(data: &[u8], counts: &mut [u32]) {
    let mut tables = [[0u32; 256]; 4];
    let (eights, others) = data.as_chunks::<8>();
    for eight in eights {
        let word = u64::from_le_bytes(*eight);
        for at in 0..8 {
            tables[at % 4][(word >> (8 * at)) as u8 as usize] += 1;
        }
    }
    for &byte in others {
        tables[0][byte as usize] += 1;
    }
    for (byte, count) in counts.iter_mut().enumerate() {
        *count += tables.iter().map(|table| table[byte]).sum::<u32>();
    }
}

const fn fixed_lengths() -> [u8; LITLENS + DISTANCES] {
    let mut lengths = [8; LITLENS + DISTANCES];
    let mut symbol = 144;
    while symbol < LITLENS + DISTANCES {
        lengths[symbol] = match symbol {
            ..256 => 9,
            256..280 => 7,
            280..LITLENS => 8,
            _ => 5,
        };
        symbol += 1;
    }
    lengths
}

#[inline(always)]
fn length_symbol(length: u16) -> usize {
    let rest = u32::from(length) - 3;
    if length == 258 {
        285
    } else if rest < 4 {
        257 + rest as usize
    } else {
        let log = rest.ilog2();
        (253 + 4 * log + (rest >> (log - 2) & 3)) as usize
    }
}

#[inline(always)]
fn length_extra(symbol: usize) -> u32 {
    if symbol < 265 || symbol == 285 { 0 } else { (symbol as u32 - 261) / 4 }
}

#[inline(always)]
fn distance_symbol(distance: u16) -> usize {
    let rest = u32::from(distance) - 1;
    if rest < 2 {
        rest as usize
    } else {
        let log = rest.ilog2();
        (2 * log + (rest >> (log - 1) & 1)) as usize
    }
}

#[inline(always)]
fn distance_extra(symbol: usize) -> u32 {
    (symbol as u32).saturating_sub(2) / 2
}
