//! Blocks of literals only decoded side by side: while one waits for its table, the others go on.

use crate::bits::Reader;
use crate::frame::Hints;
use crate::inflate::{Form, Tables};
use crate::tables::{END, LITERAL, LITLEN_BITS, LITLEN_SIZE, value};

const LANES: usize = 4;
const CODES: usize = 1 << LITLEN_BITS;
/// The literals that a word of bits is sure to hold.
const ROUND: usize = 5;
/// Smaller blocks do not pay for the tables.
const SMALLEST: usize = 4096;

pub struct Lanes {
    tables: [[Entry; CODES]; LANES],
}

/// In the low byte the bits to consume, above it the literal. What is not a literal consumes nothing, so that a lane
/// which comes to it stays there; of the code that ends the block the length is above instead.
type Entry = u16;

/// How far the blocks went.
pub struct Done {
    pub at: usize,
    /// The first bit behind them.
    pub position: usize,
    pub last: bool,
}

impl Lanes {
    pub fn new() -> Lanes {
        Lanes { tables: [[0; CODES]; LANES] }
    }

    /// Where the next blocks are hinted to begin, if it is as many as there are lanes.
    pub fn hinted(hints: Hints, at: usize, end: usize) -> Option<[usize; LANES]> {
        if hints.size < SMALLEST || !at.is_multiple_of(hints.size) || end - at <= (LANES - 1) * hints.size {
            return None;
        }
        let mut begins = [0; LANES];
        for (lane, begin) in begins.iter_mut().enumerate() {
            *begin = hints.literals(at / hints.size + lane)?;
        }
        Some(begins)
    }

    /// Decodes blocks of so many bytes into `out[at..]`, if each begins where it should: the first at the reader's
    /// place, every other where the one before ends. What this gives is then what decoding them in turn gives; else
    /// it gives nothing.
    pub fn decode(
        &mut self,
        codes: &mut Tables,
        reader: &Reader,
        begins: [usize; LANES],
        size: usize,
        out: &mut [u8],
        at: usize,
    ) -> Option<Done> {
        let data = reader.data;
        let end = out.len().min(at + LANES * size);
        let mut outs = out[at..end].chunks_mut(size);
        let mut outs = [outs.next()?, outs.next()?, outs.next()?, outs.next()?];
        let (mut positions, mut last) = (begins, false);
        for (table, position) in self.tables.iter_mut().zip(&mut positions) {
            if last || *position > data.len() * 8 {
                return None;
            }
            let mut reader = Reader::new(data, *position);
            let form;
            (last, form) = codes.begin(&mut reader).ok()?;
            if !matches!(form, Form::Coded) || codes.longest > LITLEN_BITS as usize {
                return None;
            }
            *position = reader.position();
            narrow(&codes.litlens, table);
        }
        // One literal at least is left for `finish`, which sees a lane that stays where it is.
        let rounds = (outs[LANES - 1].len() - 1) / ROUND;
        decode_most(&self.tables, data, &mut positions, &mut outs, rounds)?;
        for lane in 0..LANES {
            let rest = &mut outs[lane][rounds * ROUND..];
            let position = finish(&self.tables[lane], data, positions[lane], rest)?;
            if begins.get(lane + 1).is_some_and(|&begin| begin != position) {
                return None;
            }
            positions[lane] = position;
        }
        (begins[0] == reader.position()).then_some(Done { at: end, position: positions[LANES - 1], last })
    }
}

fn narrow(litlens: &[u32; LITLEN_SIZE], table: &mut [Entry; CODES]) {
    for (narrow, &entry) in table.iter_mut().zip(litlens) {
        let length = (entry & 255) as u16;
        *narrow = if entry & LITERAL > 0 { (value(entry) as u16) << 8 | length } else { 0 };
        if entry & END > 0 {
            *narrow = length << 8;
        }
    }
}

/// Decodes so many rounds in every lane.
fn decode_most(
    tables: &[[Entry; CODES]; LANES],
    data: &[u8],
    positions: &mut [usize; LANES],
    outs: &mut [&mut [u8]; LANES],
    rounds: usize,
) -> Option<()> {
    let [a, b, c, d] = outs;
    let (a, b) = (a.as_chunks_mut::<ROUND>().0, b.as_chunks_mut::<ROUND>().0);
    let (c, d) = (c.as_chunks_mut::<ROUND>().0, d.as_chunks_mut::<ROUND>().0);
    let places = a.iter_mut().zip(b).zip(c).zip(d).take(rounds);
    let [mut pa, mut pb, mut pc, mut pd] = *positions;
    for (((a, b), c), d) in places {
        let (mut ba, mut bb) = (bits_at(data, pa)?, bits_at(data, pb)?);
        let (mut bc, mut bd) = (bits_at(data, pc)?, bits_at(data, pd)?);
        let (mut ua, mut ub, mut uc, mut ud) = (0, 0, 0, 0);
        for place in 0..ROUND {
            literal(&tables[0], &mut ba, &mut ua, &mut a[place]);
            literal(&tables[1], &mut bb, &mut ub, &mut b[place]);
            literal(&tables[2], &mut bc, &mut uc, &mut c[place]);
            literal(&tables[3], &mut bd, &mut ud, &mut d[place]);
        }
        pa += ua & 63;
        pb += ub & 63;
        pc += uc & 63;
        pd += ud & 63;
    }
    *positions = [pa, pb, pc, pd];
    Some(())
}

/// The low bits of `used` become the bits used: five times 11 at most.
#[inline(always)]
fn literal(table: &[Entry; CODES], bits: &mut u64, used: &mut usize, place: &mut u8) {
    let entry = table[*bits as usize % CODES];
    *bits >>= entry & 63;
    *used += entry as usize;
    *place = (entry >> 8) as u8;
}

/// At least 57 bits from here on.
#[inline(always)]
fn bits_at(data: &[u8], position: usize) -> Option<u64> {
    let word = data.get(position / 8..)?.first_chunk()?;
    Some(u64::from_le_bytes(*word) >> (position % 8))
}

/// Decodes what is left, and the end of the block; the first bit behind it.
fn finish(table: &[Entry; CODES], data: &[u8], mut position: usize, rest: &mut [u8]) -> Option<usize> {
    let entry_at = |position| Some(table[bits_at(data, position)? as usize % CODES]);
    for place in rest {
        let entry = entry_at(position)?;
        if entry & 255 == 0 {
            return None;
        }
        *place = (entry >> 8) as u8;
        position += entry as usize & 255;
    }
    let entry = entry_at(position)?;
    (entry & 255 == 0 && entry > 0).then(|| position + (entry >> 8) as usize)
}
