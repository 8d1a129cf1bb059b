//! The quick encoder: no search where a probe finds nothing to be found.

use crate::bits::Carry;
use crate::block::Blocks;
use crate::frame;

/// Data so long is one block, give or take a half.
const BLOCK: usize = 64 << 10;

const HASH_BITS: u32 = 14;
const LONGEST: usize = 258;
const ENOUGH: usize = 32;
const WINDOW: usize = 32 << 10;
/// Below this there is nothing to win by a probe.
const PROBED: usize = 16 << 10;
const PROBE_WINDOW: usize = 2 << 10;
const PROBE_HASH_BITS: u32 = 11;

/// How many blocks so many bytes are, and of which size: of one, so that some can be decoded side by side.
fn divide(length: usize) -> (usize, usize) {
    let blocks = ((length + BLOCK / 2) / BLOCK).max(1);
    (blocks, length.div_ceil(blocks).max(1))
}

pub struct Fast {
    blocks: Blocks,
    /// The last place of a hash, in the low bits of the index.
    heads: Box<[u16; 1 << HASH_BITS]>,
    hash_bits: u32,
    probe: Box<[u16; 1 << PROBE_HASH_BITS]>,
}

impl Fast {
    pub fn new() -> Fast {
        Fast {
            blocks: Blocks::new(),
            heads: Box::new([0; 1 << HASH_BITS]),
            hash_bits: 0,
            probe: Box::new([0; 1 << PROBE_HASH_BITS]),
        }
    }

    pub fn member(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let (blocks, size) = divide(input.len());
        let hints = frame::begin(out, blocks, size);
        let mut carry = Carry::default();
        self.deflate(&mut carry, input, true, hints, out);
        carry.finish(out);
    }

    // Once: it is large, and two callers have it.
    #[inline(never)]
    /// `hints` is where the member has room for them; 0 where it has none.
    pub fn deflate(&mut self, carry: &mut Carry, input: &[u8], last: bool, hints: usize, out: &mut Vec<u8>) {
        // A small member clears but a small table.
        self.hash_bits = (usize::BITS - input.len().leading_zeros()).clamp(4, HASH_BITS);
        self.heads[..1 << self.hash_bits].fill(0);
        let (blocks, size) = divide(input.len());
        let deflated = out.len();
        for block in 0..blocks {
            let position = (out.len() - deflated) * 8 + carry.count();
            let (start, end) = (block * size, input.len().min((block + 1) * size));
            let last = last && end == input.len();
            if self.block(out, carry, &input[..end], start, last) && hints > 0 {
                out[hints + 4 * block..][..4].copy_from_slice(&frame::literals(position));
            }
        }
    }

    /// Writes `input[start..]` as one block; whether as one of literals only.
    fn block(
        &mut self,
        out: &mut Vec<u8>,
        carry: &mut Carry,
        input: &[u8],
        start: usize,
        last: bool,
    ) -> bool {
        let data = &input[start..];
        if data.len() >= PROBED && !self.has_matches(data) {
            return self.blocks.write_literals(out, carry, data, last);
        }
        self.search(input, start);
        self.blocks.write(out, carry, data, last);
        false
    }

    /// Whether a twelfth of some windows is covered by matches.
    fn has_matches(&mut self, data: &[u8]) -> bool {
        let stride = (data.len() - PROBE_WINDOW) / 3;
        let covered: usize =
            (0..4).map(|window| self.covered(&data[window * stride..][..PROBE_WINDOW])).sum();
        covered * 12 > 4 * PROBE_WINDOW
    }

    fn covered(&mut self, window: &[u8]) -> usize {
        self.probe.fill(0);
        let (mut at, mut covered) = (0, 0);
        while at + 8 <= window.len() {
            let word = load(window, at);
            let hash = ((word << 16).wrapping_mul(0x9e37_79b1_85eb_ca87) >> (64 - PROBE_HASH_BITS)) as usize;
            let candidate = std::mem::replace(&mut self.probe[hash], at as u16) as usize;
            // Rarely true where it matters that this is quick; the first place is its own candidate.
            if (load(window, candidate) ^ word) << 16 == 0 && candidate < at {
                let length = common(window, candidate, at, 6);
                covered += length;
                at += length;
            } else {
                at += 1;
            }
        }
        covered
    }

    /// Tokens for `input[start..]`: each match is the nearest of its hash, or that of the next place if it is longer.
    fn search(&mut self, input: &[u8], start: usize) {
        let mut at = start;
        while at + 9 <= input.len() {
            let (mut length, mut distance) = self.find(input, at);
            if length == 0 {
                self.blocks.literal(input[at]);
                at += 1;
                continue;
            }
            if length < ENOUGH {
                let (next_length, next_distance) = self.find(input, at + 1);
                if next_length > length {
                    self.blocks.literal(input[at]);
                    at += 1;
                    (length, distance) = (next_length, next_distance);
                }
            }
            self.blocks.matched(length, distance);
            let done = at + length;
            // As many for a short match as for a long one: what can be foretold is quicker.
            if done + 8 <= input.len() {
                for place in [at + 2, at + 3, done - 2, done - 1] {
                    self.find_head(load(input, place), place);
                }
            }
            at = done;
        }
        for &literal in &input[at..] {
            self.blocks.literal(literal);
        }
    }

    /// The distance modulo 64 KiB of the place before with this hash.
    #[inline(always)]
    fn find_head(&mut self, word: u64, at: usize) -> usize {
        let hash = (word as u32).wrapping_mul(0x9e37_79b1) >> (32 - self.hash_bits);
        let head = &mut self.heads[hash as usize % (1 << HASH_BITS)];
        (at as u16).wrapping_sub(std::mem::replace(head, at as u16)) as usize
    }

    /// Length and distance of the match with the place before that has the same hash.
    #[inline(always)]
    fn find(&mut self, input: &[u8], at: usize) -> (usize, usize) {
        let word = load(input, at);
        let distance = self.find_head(word, at);
        if distance.wrapping_sub(1) >= WINDOW || distance > at {
            return (0, 0);
        }
        // What lies in the window is compared, whatever it was.
        let difference = load(input, at - distance) ^ word;
        if difference as u32 != 0 {
            return (0, 0);
        }
        if difference != 0 {
            return (difference.trailing_zeros() as usize / 8, distance);
        }
        (common(&input[..input.len().min(at + LONGEST)], at - distance, at, 8), distance)
    }
}

#[inline(always)]
pub fn load(data: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&data[at..at + 8]);
    u64::from_le_bytes(word)
}

/// How many bytes at `early` are as those at `late`, of which so many are known to be.
#[inline(always)]
pub fn common(data: &[u8], early: usize, late: usize, mut length: usize) -> usize {
    while late + length + 8 <= data.len() {
        let difference = load(data, early + length) ^ load(data, late + length);
        if difference != 0 {
            return length + difference.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    while late + length < data.len() && data[early + length] == data[late + length] {
        length += 1;
    }
    length
}
