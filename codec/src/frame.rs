//! What lies around the deflate stream of a gzip member (RFC 1952).

use crate::Damage;

/// Deflate, no name, no time (equal input gives equal bytes), no particular system.
pub const HEADER: [u8; 10] = *b"\x1f\x8b\x08\0\0\0\0\0\0\xff";
pub const TRAILER: usize = 8;

const CHECKSUM: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

/// The extra field's subfield with hints for `Decoder`.
const ID: [u8; 2] = *b"CB";
/// Fewer blocks are not decoded side by side; more are not worth the room.
const HINTED: std::ops::RangeInclusive<usize> = 4..=1100;

/// Where the deflate blocks of a member begin, each of `size` bytes but the last: hints only, that anybody can forge.
#[derive(Clone, Copy)]
pub struct Hints<'a> {
    pub size: usize,
    /// Of each block: its first bit in the deflate stream, and above it whether it is of literals only.
    blocks: &'a [[u8; 4]],
}

const LITERALS: u32 = 1 << 31;

impl<'a> Hints<'a> {
    fn parse(mut extra: &'a [u8]) -> Option<Hints<'a>> {
        while let Some((head, rest)) = extra.split_first_chunk::<4>() {
            let (data, rest) = rest.split_at_checked(u16::from_le_bytes([head[2], head[3]]).into())?;
            if head[..2] == ID {
                let (size, blocks) = data.split_first_chunk::<4>()?;
                let (blocks, _) = blocks.as_chunks();
                return Some(Hints { size: u32::from_le_bytes(*size) as usize, blocks });
            }
            extra = rest;
        }
        None
    }

    /// Where this block begins, if it is said to be one of literals only.
    pub fn literals(&self, block: usize) -> Option<usize> {
        let hint = u32::from_le_bytes(*self.blocks.get(block)?);
        (hint & LITERALS > 0).then_some((hint & !LITERALS) as usize)
    }
}

/// A member under construction, with room for hints if it has blocks enough.
pub fn begin(out: &mut Vec<u8>, blocks: usize, size: usize) -> usize {
    let start = out.len();
    out.extend(HEADER);
    if !HINTED.contains(&blocks) {
        return 0;
    }
    out[start + 3] = EXTRA;
    let length = 4 + 4 * blocks;
    out.extend((length as u16 + 4).to_le_bytes());
    out.extend(ID);
    out.extend((length as u16).to_le_bytes());
    out.extend((size as u32).to_le_bytes());
    let hints = out.len();
    out.resize(hints + 4 * blocks, 0);
    hints
}

/// The hint that a block of literals begins at this bit.
pub fn literals(position: usize) -> [u8; 4] {
    (position as u32 | LITERALS).to_le_bytes()
}

pub fn end(out: &mut Vec<u8>, crc: u32, size: usize) {
    out.extend(crc.to_le_bytes());
    out.extend((size as u32).to_le_bytes());
}

/// The deflate stream and the trailer, undivided, and the hints.
pub fn open(member: &[u8]) -> Result<(&[u8], Option<Hints<'_>>), Damage> {
    let Some((&[a, b, method, flags, ..], mut rest)) = member.split_first_chunk::<10>() else {
        return Err(Damage::TOO_SHORT);
    };
    if [a, b, method] != HEADER[..3] || flags & RESERVED != 0 {
        return Err(Damage::NO_MEMBER);
    }
    let mut hints = None;
    if flags & EXTRA != 0 {
        let (length, after) = rest.split_first_chunk::<2>().ok_or(Damage::TOO_SHORT)?;
        let (extra, after) =
            after.split_at_checked(u16::from_le_bytes(*length).into()).ok_or(Damage::TOO_SHORT)?;
        (hints, rest) = (Hints::parse(extra), after);
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|&byte| byte == 0).ok_or(Damage::TOO_SHORT)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & CHECKSUM != 0 {
        let header = &member[..member.len() - rest.len()];
        let (sum, after) = rest.split_first_chunk::<2>().ok_or(Damage::TOO_SHORT)?;
        if *sum != (crc32fast::hash(header) as u16).to_le_bytes() {
            return Err(Damage::NO_MEMBER);
        }
        rest = after;
    }
    if rest.len() < TRAILER {
        return Err(Damage::TOO_SHORT);
    }
    Ok((rest, hints))
}
