//! Tables to decode Huffman codes with: a root table of so many bits, and subtables for longer codes.

use crate::Damage;
use crate::huffman::{LONGEST, SYMBOLS};

pub const LITLEN_BITS: u32 = 11;
pub const DISTANCE_BITS: u32 = 8;
pub const PRECODE_BITS: u32 = 7;

/// Both have room for every code zlib accepts: 2,342 and 402 entries.
pub const LITLEN_SIZE: usize = 4096;
pub const DISTANCE_SIZE: usize = 512;

// An entry: in the low byte the bits to consume (of the code and the extra bits), above it the length of the code
// alone, above that the value; and what it is.
pub const LITERAL: u32 = 1 << 31;
/// Anything that is neither a literal, nor a length, nor a distance.
pub const EXCEPTION: u32 = 1 << 30;
/// Where a subtable begins (the value), with the bits of its index where the length is else.
pub const SUBTABLE: u32 = 1 << 29;
pub const END: u32 = 1 << 28;

const INVALID: u32 = EXCEPTION;

pub fn value(entry: u32) -> usize {
    (entry >> 12 & 0xffff) as usize
}

/// Fills `table` for a code of these lengths; `symbol` gives the entry of a symbol, with its extra bits in the low
/// byte. The longest length. Refuses what zlib refuses: too many codes of a length, or too few unless there is but
/// one or none.
pub fn build(
    table: &mut [u32],
    root: u32,
    lengths: &[u8],
    symbol: fn(usize) -> u32,
) -> Result<usize, Damage> {
    let mut of_length = [0u16; LONGEST + 1];
    for &length in lengths {
        of_length[length as usize] += 1;
    }
    of_length[0] = 0;
    let longest = of_length.iter().rposition(|&count| count > 0).unwrap_or(0);
    let mut free = 1i32;
    let mut places = [0u16; LONGEST + 2];
    for length in 1..=LONGEST {
        free = free * 2 - i32::from(of_length[length]);
        if free < 0 {
            return Err(Damage::CORRUPT);
        }
        places[length + 1] = places[length] + of_length[length];
    }
    if free > 0 && longest > 1 {
        return Err(Damage::CORRUPT);
    }
    let mut sorted = [0u16; SYMBOLS];
    for (at, &length) in lengths.iter().enumerate() {
        if length > 0 {
            let place = &mut places[length as usize];
            sorted[*place as usize] = at as u16;
            *place += 1;
        }
    }
    let mut sorted = sorted.iter().map(|&at| symbol(at.into()));
    let mut code = 0;
    table[0] = INVALID;
    for length in 1..=root {
        // A table for one bit more is the table twice, and what is new.
        let half = 1 << (length - 1);
        table.copy_within(..half, half);
        code *= 2;
        for entry in sorted.by_ref().take(of_length[length as usize].into()) {
            table[reversed(code, length)] = entry + (length << 8 | length);
            code += 1;
        }
    }
    let (mut prefix, mut start, mut end) = (usize::MAX, 0, 1 << root);
    for length in root + 1..=longest as u32 {
        code *= 2;
        for left in (1..=of_length[length as usize]).rev() {
            let at = reversed(code, length);
            if at & ((1 << root) - 1) != prefix {
                prefix = at & ((1 << root) - 1);
                let bits = subtable_bits(&of_length, length - root, root, left);
                (start, end) = (end, end + (1 << bits));
                table[prefix] = EXCEPTION | SUBTABLE | (start as u32) << 12 | bits << 8 | root;
            }
            let entry = sorted.next().unwrap_or(INVALID) + ((length - root) << 8 | (length - root));
            for place in (start + (at >> root)..end).step_by(1 << (length - root)) {
                table[place] = entry;
            }
            code += 1;
        }
    }
    Ok(longest)
}

/// The bits of a subtable whose first code has so many: it is as large as what shares the code's first bits needs.
fn subtable_bits(of_length: &[u16; LONGEST + 1], first: u32, root: u32, left: u16) -> u32 {
    let mut bits = first;
    let mut used = u32::from(left);
    while used < 1 << bits && ((bits + root) as usize) < LONGEST {
        bits += 1;
        used = used * 2 + u32::from(of_length[(bits + root) as usize]);
    }
    bits
}

fn reversed(code: u32, length: u32) -> usize {
    (code.reverse_bits() >> (32 - length)) as usize
}

pub fn litlen(symbol: usize) -> u32 {
    let value = |value: u32, extra: u32| value << 12 | extra;
    let rest = (symbol as u32).wrapping_sub(257);
    match symbol {
        ..256 => LITERAL | value(symbol as u32, 0),
        256 => EXCEPTION | END,
        257..265 => value(3 + rest, 0),
        265..285 => value(3 + ((4 + rest % 4) << (rest / 4 - 1)), rest / 4 - 1),
        285 => value(258, 0),
        _ => INVALID,
    }
}

pub fn distance(symbol: usize) -> u32 {
    let symbol = symbol as u32;
    match symbol {
        ..4 => (1 + symbol) << 12,
        4..30 => {
            let extra = symbol / 2 - 1;
            (1 + ((2 + symbol % 2) << extra)) << 12 | extra
        }
        _ => INVALID,
    }
}

pub fn precode(symbol: usize) -> u32 {
    (symbol as u32) << 12
}
