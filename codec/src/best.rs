//! The patient encoder: chains of earlier places, matches put off for better ones, blocks cut where the data change.

use crate::bits::Carry;
use crate::block::{Blocks, count_bytes, store};
use crate::fast::{common, load};

const WINDOW: usize = 32 << 10;
const SHORTEST: usize = 3;
const LONGEST: usize = 258;
const HASH3_BITS: u32 = 14;
const HASH4_BITS: u32 = 16;

/// How many places are looked at for one match.
const DEPTH: u32 = 64;
/// A match so long is taken as it is.
const NICE: usize = 130;
/// As long as no block tells what matches cost, one of three bytes is taken from no farther away.
const NEAR: usize = 512;
/// Longer matches always pay.
const SHORT: usize = 5;

/// A block is not cut to pieces smaller than the first, nor grows beyond the second.
const BLOCK_MIN: usize = 5000;
const BLOCK_MAX: usize = 300_000;

pub struct Best {
    blocks: Blocks,
    finder: Finder,
    scout: Scout,
    split: Split,
}

#[derive(Clone, Copy)]
struct Match {
    length: usize,
    distance: usize,
}

impl Best {
    pub fn new() -> Best {
        Best { blocks: Blocks::new(), finder: Finder::new(), scout: Scout::new(), split: Split::default() }
    }

    pub fn deflate(&mut self, carry: &mut Carry, input: &[u8], last: bool, out: &mut Vec<u8>) {
        self.finder.begin(input.len());
        if input.len() > SCOUTED / 2 {
            self.scout.heads.fill(0);
        }
        let mut start = 0;
        loop {
            let mut end = input.len().min(start + SCOUTED);
            if end - start > SCOUTED / 2 && self.scout.finds_nothing(&input[..end], start) {
                store(out, carry, &input[start..end], last && end == input.len());
            } else {
                end = self.search(input, start);
                self.blocks.write(out, carry, &input[start..end], last && end == input.len());
            }
            start = end;
            if end == input.len() {
                return;
            }
        }
    }

    /// Tokens for a block from `start` on; where it ends.
    fn search(&mut self, input: &[u8], start: usize) -> usize {
        self.split = Split::default();
        let most = input.len().min(start + BLOCK_MAX);
        let shortest = shortest_match(&input[start..input.len().min(start + 4096)]);
        let mut at = start;
        let mut waiting: Option<Match> = None;
        while at < most {
            let found = match waiting.take() {
                Some(found) => found,
                None => self.finder.find(input, at, shortest - 1, DEPTH),
            };
            if found.length < shortest || !self.pays(&input[at..], found, start == 0) {
                self.literal(input[at]);
                at += 1;
            } else {
                // A match one byte further on may be worth a literal.
                if found.length < NICE && at + 1 < most {
                    let next = self.finder.find(input, at + 1, found.length - 1, DEPTH / 2);
                    if gain(found, next) > 2 {
                        self.literal(input[at]);
                        at += 1;
                        waiting = Some(next);
                        continue;
                    }
                    self.finder.skip(input, at + 2, at + found.length);
                } else {
                    self.finder.skip(input, at + 1, at + found.length);
                }
                self.split.matched(found.length);
                self.blocks.matched(found.length, found.distance);
                at += found.length;
            }
            if self.split.is_due(at - start, input.len() - at) {
                break;
            }
        }
        at
    }

    /// Whether a short match takes fewer bits than its literals.
    fn pays(&self, input: &[u8], found: Match, is_first: bool) -> bool {
        if is_first || found.length > SHORT {
            return found.length > SHORTEST || found.distance <= NEAR;
        }
        self.blocks.cost_of_match(found.length, found.distance)
            < self.blocks.cost_of_literals(&input[..found.length])
    }

    fn literal(&mut self, literal: u8) {
        self.split.literal(literal);
        self.blocks.literal(literal);
    }
}

/// What it is worth to take the next match instead, in about a fourth of a byte.
fn gain(found: Match, next: Match) -> i32 {
    if next.length < found.length {
        return 0;
    }
    4 * (next.length - found.length) as i32 + found.distance.ilog2() as i32 - next.distance.ilog2() as i32
}

/// Where few different bytes are used, literals are cheap and short matches no gain.
fn shortest_match(data: &[u8]) -> usize {
    let mut used = [false; 256];
    for &byte in data {
        used[byte as usize] = true;
    }
    match used.iter().filter(|&&used| used).count() {
        ..6 => 9,
        6..8 => 8,
        8..10 => 7,
        10..16 => 6,
        16..45 => 5,
        45..80 => 4,
        _ => 3,
    }
}

/// Earlier places by what is there: modulo 64 KiB; what lies in the window is compared, whatever it was.
struct Finder {
    heads3: Box<[u16; 1 << HASH3_BITS]>,
    heads4: Box<[u16; 1 << HASH4_BITS]>,
    /// The place before with the same hash of four bytes.
    before: Box<[u16; WINDOW]>,
    hash3_bits: u32,
    hash4_bits: u32,
}

impl Finder {
    fn new() -> Finder {
        Finder {
            heads3: Box::new([0; 1 << HASH3_BITS]),
            heads4: Box::new([0; 1 << HASH4_BITS]),
            before: Box::new([0; WINDOW]),
            hash3_bits: 0,
            hash4_bits: 0,
        }
    }

    /// Forgets the member before: a small member clears but small tables.
    fn begin(&mut self, size: usize) {
        let bits = usize::BITS - size.leading_zeros();
        self.hash3_bits = bits.clamp(4, HASH3_BITS);
        self.hash4_bits = bits.clamp(4, HASH4_BITS);
        self.heads3[..1 << self.hash3_bits].fill(0);
        self.heads4[..1 << self.hash4_bits].fill(0);
    }

    /// Puts a place into the tables; those with the same bytes before it.
    fn insert(&mut self, word: u64, at: usize) -> (u16, u16) {
        let hash = |word: u32, bits: u32| (word.wrapping_mul(0x1e35_a7bd) >> (32 - bits)) as usize;
        let head3 = &mut self.heads3[hash((word as u32) << 8, self.hash3_bits) % (1 << HASH3_BITS)];
        let head4 = &mut self.heads4[hash(word as u32, self.hash4_bits) % (1 << HASH4_BITS)];
        let places = (*head3, *head4);
        self.before[at % WINDOW] = *head4;
        (*head3, *head4) = (at as u16, at as u16);
        places
    }

    fn skip(&mut self, input: &[u8], from: usize, to: usize) {
        for at in from..to.min(input.len().saturating_sub(7)) {
            self.insert(load(input, at), at);
        }
    }

    /// The longest match at `at` over `length` bytes long; else one no longer.
    fn find(&mut self, input: &[u8], at: usize, length: usize, depth: u32) -> Match {
        let mut best = Match { length, distance: 1 };
        if at + 8 > input.len() {
            return best;
        }
        let word = load(input, at);
        let (place3, mut place) = self.insert(word, at);
        let input = &input[..input.len().min(at + LONGEST)];
        if length < SHORTEST {
            let distance = (at as u16).wrapping_sub(place3) as usize;
            let is_there = distance > 0 && distance <= WINDOW && distance <= at;
            if is_there && (load(input, at - distance) ^ word) << 40 == 0 {
                best = Match { length: SHORTEST, distance };
            }
        }
        let mut nearest = 0;
        for _ in 0..depth {
            let distance = (at as u16).wrapping_sub(place) as usize;
            // Each is farther away than the one before, or the chain has been overwritten.
            if distance <= nearest || distance > WINDOW || distance > at {
                break;
            }
            nearest = distance;
            let early = at - distance;
            let is_longer =
                at + best.length < input.len() && input[early + best.length] == input[at + best.length];
            if is_longer && load(input, early) as u32 == word as u32 {
                let length = common(input, early, at, 4);
                if length > best.length {
                    best = Match { length, distance };
                    if length >= NICE {
                        break;
                    }
                }
            }
            place = self.before[early % WINDOW];
        }
        best
    }
}

/// What is looked at together for whether there is anything to be gained: noise is not worth a search.
const SCOUTED: usize = 64 << 10;
const RARE: usize = 1024;
const SCOUT_BITS: u32 = 13;

struct Scout {
    /// The last place of a hash, modulo 64 KiB.
    heads: Box<[u16; 1 << SCOUT_BITS]>,
}

impl Scout {
    fn new() -> Scout {
        Scout { heads: Box::new([0; 1 << SCOUT_BITS]) }
    }

    /// Whether in `input[start..]` all bytes are about as frequent, and hardly any eight come again.
    fn finds_nothing(&mut self, input: &[u8], start: usize) -> bool {
        let data = &input[start..];
        let mut counts = [0; 256];
        count_bytes(data, &mut counts);
        let squares: u64 = counts.iter().map(|&count| u64::from(count).pow(2)).sum();
        // Evenly spread, the squares are as small as they can be: 2 % above that a code saves 0.2 %.
        let even = (data.len() as u64).pow(2) / 256;
        squares <= even + even / 50 && self.repeated(input, start) <= data.len() / RARE
    }

    /// How many places begin with eight bytes that were there before.
    fn repeated(&mut self, input: &[u8], start: usize) -> usize {
        let is_repeated = |&at: &usize| {
            let word = load(input, at);
            let hash = (word.wrapping_mul(0x9e37_79b1_85eb_ca87) >> (64 - SCOUT_BITS)) as usize;
            let place = std::mem::replace(&mut self.heads[hash], at as u16);
            let distance = (at as u16).wrapping_sub(place) as usize;
            distance > 0 && distance <= at && load(input, at - distance) == word
        };
        (start..input.len() - 7).filter(is_repeated).count()
    }
}

const KINDS: usize = 10;

/// What a block is made of, to see when that changes.
#[derive(Default)]
struct Split {
    old: [u32; KINDS],
    new: [u32; KINDS],
    old_count: u32,
    new_count: u32,
}

/// So much is looked at together.
const OBSERVED: u32 = 512;

impl Split {
    fn literal(&mut self, byte: u8) {
        self.new[(byte >> 5 & 6 | byte & 1) as usize] += 1;
        self.new_count += 1;
    }

    fn matched(&mut self, length: usize) {
        self.new[8 + usize::from(length >= 9)] += 1;
        self.new_count += 1;
    }

    fn is_due(&mut self, size: usize, left: usize) -> bool {
        if self.new_count < OBSERVED || size < BLOCK_MIN || left < BLOCK_MIN {
            return false;
        }
        if self.old_count > 0 && self.differs(size) {
            return true;
        }
        for (old, new) in self.old.iter_mut().zip(&mut self.new) {
            *old += std::mem::take(new);
        }
        self.old_count += std::mem::take(&mut self.new_count);
        false
    }

    fn differs(&self, size: usize) -> bool {
        let (old_count, new_count) = (u64::from(self.old_count), u64::from(self.new_count));
        let difference: u64 = (self.old.iter().zip(&self.new))
            .map(|(&old, &new)| (u64::from(old) * new_count).abs_diff(u64::from(new) * old_count))
            .sum();
        let mut enough = new_count * 200 / 512 * old_count;
        let count = old_count + new_count;
        if size < 10_000 && count < 8192 {
            enough += enough * (8192 - count) / 8192;
        }
        difference + size as u64 / 4096 * old_count >= enough
    }
}
