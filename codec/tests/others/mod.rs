//! Other people's gzip, and input for it.
#![allow(dead_code, reason = "each test uses its part")]

pub mod holds;

use std::io::{Read, Write};

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status};

pub const ZLIB_LEVELS: [i32; 4] = [0, 1, 6, 9];

/// Window bits that mean gzip to zlib are not to be had here: what is around the deflate stream is put there by hand.
const WINDOW_BITS: u8 = 15;

pub fn made_by_zlib(input: &[u8], level: i32) -> Vec<u8> {
    let mut deflate = Deflate::new(level, false, WINDOW_BITS);
    let mut out = vec![0; 2 * input.len() + 1000];
    assert_eq!(deflate.compress(input, &mut out, DeflateFlush::Finish), Ok(Status::StreamEnd));
    out.truncate(deflate.total_out() as usize);
    framed(&out, input)
}

/// A deflate stream as a member that holds `input`.
pub fn framed(deflated: &[u8], input: &[u8]) -> Vec<u8> {
    let mut member = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
    member.extend(deflated);
    member.extend(crc32fast::hash(input).to_le_bytes());
    member.extend((input.len() as u32).to_le_bytes());
    member
}

pub fn made_by_miniz(input: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(input).unwrap();
    encoder.finish().unwrap()
}

pub fn inflated_by_miniz(member: &[u8]) -> Option<Vec<u8>> {
    let mut output = Vec::new();
    let mut decoder = flate2::bufread::GzDecoder::new(member);
    decoder.read_to_end(&mut output).ok()?;
    decoder.into_inner().is_empty().then_some(output)
}

/// What a member with a plain header, or with an extra field only, holds.
pub fn inflated_by_zlib(member: &[u8], size: usize) -> Result<Vec<u8>, &'static str> {
    let extra =
        if member[3] == 4 { 2 + usize::from(u16::from_le_bytes([member[10], member[11]])) } else { 0 };
    let (output, used) = raw_by_zlib(&member[10 + extra..], size)?;
    let trailer = &member[10 + extra + used..];
    let mut expected = crc32fast::hash(&output).to_le_bytes().to_vec();
    expected.extend((size as u32).to_le_bytes());
    if trailer == expected { Ok(output) } else { Err("trailer") }
}

/// What a deflate stream of just this size holds, and how long it is.
pub fn raw_by_zlib(deflated: &[u8], size: usize) -> Result<(Vec<u8>, usize), &'static str> {
    let mut inflate = Inflate::new(false, WINDOW_BITS);
    let mut output = vec![0; size + 1];
    let status = inflate.decompress(deflated, &mut output, InflateFlush::Finish);
    if status != Ok(Status::StreamEnd) || inflate.total_out() as usize != size {
        return Err("stream");
    }
    output.truncate(size);
    Ok((output, inflate.total_in() as usize))
}

/// Bytes below `symbols` without order, the same every time.
pub fn noise(size: usize, symbols: u32) -> Vec<u8> {
    let mut state = 0x2545_f491u32;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state % symbols) as u8
    };
    (0..size).map(next).collect()
}
