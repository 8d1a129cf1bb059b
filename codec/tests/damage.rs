//! What is not a gzip member of just that size is damage, whatever hints it has.

mod others;

use codec::{Damage, Decoder, Encoder, Level};
use others::{framed, inflated_by_zlib, made_by_zlib, noise, raw_by_zlib};
use proptest::collection::vec;
use proptest::prelude::*;

fn member(level: Level, input: &[u8]) -> Vec<u8> {
    let mut member = Vec::new();
    Encoder::new(level).member(input, &mut member);
    member
}

fn read(member: &[u8], size: usize) -> Result<Vec<u8>, Damage> {
    let mut output = vec![0; size];
    Decoder::new().member(member, &mut output).map(|()| output)
}

fn samples() -> Vec<(Vec<u8>, Vec<u8>)> {
    let inputs = [noise(700, 60), noise(50, 256), b"an an an an an ant".repeat(20), Vec::new()];
    let mut samples = Vec::new();
    for input in inputs {
        for level in [Level::Stored, Level::Fast, Level::Best] {
            samples.push((member(level, &input), input.clone()));
        }
        samples.push((made_by_zlib(&input, 1), input.clone()));
        samples.push((made_by_zlib(&input, 9), input));
    }
    samples
}

#[test]
fn what_is_wrong_is_said() {
    let input = noise(1000, 60);
    let good = member(Level::Fast, &input);
    assert_eq!(read(&good, 999), Err(Damage("the compressed data holds more than it should")));
    assert_eq!(read(&good, 1001), Err(Damage("the compressed data ends too early")));
    assert_eq!(read(&good[..good.len() - 1], 1000), Err(Damage("the compressed data ends too early")));
    assert_eq!(read(&good[..good.len() / 2], 1000), Err(Damage("the compressed data ends too early")));
    assert_eq!(read(&good[1..], 1000), Err(Damage("no gzip member begins where one should")));
    assert_eq!(
        read(&[good.clone(), good.clone()].concat(), 1000).unwrap_err().0,
        "the gzip member goes on behind its end"
    );
    let mut other_sum = good.clone();
    other_sum[good.len() - 8] ^= 1;
    assert_eq!(read(&other_sum, 1000), Err(Damage("the gzip checksum is wrong")));
    let mut other_size = good.clone();
    other_size[good.len() - 4] ^= 1;
    assert_eq!(read(&other_size, 1000), Err(Damage("the gzip checksum is wrong")));
    let mut other_form = good.clone();
    other_form[10] = 7;
    assert_eq!(read(&other_form, 1000), Err(Damage("the compressed data cannot be decoded")));
}

#[test]
fn every_cut_is_damage() {
    for (member, input) in samples() {
        assert_eq!(read(&member, input.len()).as_ref(), Ok(&input));
        for end in 0..member.len() {
            assert!(read(&member[..end], input.len()).is_err(), "{end} of {}", member.len());
        }
        assert!(read(&[&member[..], &[0]].concat(), input.len()).is_err());
    }
}

#[test]
fn every_flipped_bit_is_damage_or_means_nothing() {
    for (member, input) in samples() {
        for bit in 0..member.len() * 8 {
            let mut flipped = member.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(output) = read(&flipped, input.len()) {
                assert!(output == input, "bit {bit} of {}", member.len());
            }
        }
    }
}

/// A member of literals only, with hints for all its sixteen blocks.
fn hinted() -> (Vec<u8>, Vec<u8>) {
    let input = noise(1 << 20, 150);
    let member = member(Level::Fast, &input);
    assert_eq!(member[3], 4, "hints are in the extra field");
    assert_eq!(member[10..16], [72, 0, b'C', b'B', 68, 0]);
    (member, input)
}

const HINTS: std::ops::Range<usize> = 16..84;

#[test]
fn hints_are_true() {
    let (member, input) = hinted();
    assert_eq!(member[16..20], (1u32 << 16).to_le_bytes());
    let mut last = 0;
    for (block, hint) in member[20..84].chunks(4).enumerate() {
        let hint = u32::from_le_bytes(hint.try_into().unwrap());
        assert_eq!(hint >> 31, 1, "block {block}");
        assert!(block == 0 && hint << 1 == 0 || hint > last, "block {block}");
        last = hint;
    }
    assert_eq!(read(&member, input.len()).as_ref(), Ok(&input));
}

#[test]
fn forged_hints_change_nothing() {
    let (good, input) = hinted();
    let (deflated, mut decoder) = (&good[HINTS.end..], Decoder::new());
    let mut output = vec![0; input.len()];
    let mut check = |member: &[u8]| {
        output.fill(0);
        assert_eq!(decoder.member(member, &mut output), Ok(()));
        assert!(output == input);
    };
    for at in HINTS {
        for flip in [1, 0x80, 0xff] {
            let mut forged = good.clone();
            forged[at] ^= flip;
            check(&forged);
        }
    }
    // All blocks at the place of one, or none, or out of bounds.
    for hint in [0, 1 << 31, u32::MAX, (1 << 31) | (good.len() as u32 * 8)] {
        for size in [0, 1, 5, 4096, 1 << 16, u32::MAX] {
            let mut forged = good.clone();
            forged[16..20].copy_from_slice(&size.to_le_bytes());
            forged[20..84].chunks_mut(4).for_each(|place| place.copy_from_slice(&hint.to_le_bytes()));
            check(&forged);
        }
    }
    // Subfields that are cut, or of others.
    for extra in
        [&b""[..], b"C", b"CB\0\0", b"CB\x04\0\0\0\x01\0", b"CB\xff\xff", b"XX\x01\0yCB\x05\0\0\0\x01\0\0"]
    {
        let mut forged = good[..10].to_vec();
        forged.extend((extra.len() as u16).to_le_bytes());
        forged.extend(extra);
        forged.extend(deflated);
        check(&forged);
    }
}

#[test]
fn a_damaged_block_is_damage_with_hints_too() {
    let (good, input) = hinted();
    let mut decoder = Decoder::new();
    let mut output = vec![0; input.len()];
    for at in (HINTS.end..good.len()).step_by(997) {
        let mut damaged = good.clone();
        damaged[at] ^= 0x10;
        assert!(decoder.member(&damaged, &mut output).is_err(), "byte {at}");
        assert!(decoder.member(&damaged[..at], &mut output).is_err(), "cut at {at}");
    }
}

/// Bits, the first in the lowest place.
fn bits(bits: &[(u32, u32)]) -> Vec<u8> {
    let all: Vec<u8> =
        bits.iter().flat_map(|&(value, count)| (0..count).map(move |at| (value >> at & 1) as u8)).collect();
    all.chunks(8).map(|byte| byte.iter().rev().fold(0, |byte, bit| byte << 1 | bit)).collect()
}

/// The head of a last dynamic block, with these code lengths of the code for code lengths in their order.
fn head(litlens: u32, distances: u32, lengths: &[u32]) -> Vec<(u32, u32)> {
    let mut head =
        vec![(1, 1), (2, 2), (litlens - 257, 5), (distances - 1, 5), (lengths.len() as u32 - 4, 4)];
    head.extend(lengths.iter().map(|&length| (length, 3)));
    head
}

/// What zlib makes of it is what we make of it.
fn agree(deflated: &[u8], size: usize) -> bool {
    let theirs = raw_by_zlib(deflated, size);
    let member = framed(deflated, theirs.as_ref().map_or(&[], |(output, _)| output));
    let theirs = theirs.ok().filter(|(_, used)| *used == deflated.len()).map(|(output, _)| output);
    assert_eq!(read(&member, size).ok(), theirs, "{deflated:02x?}, {size} bytes");
    theirs.is_some()
}

#[test]
fn code_sets_are_judged_as_zlib_judges_them() {
    // Order: 16 17 18 0 8 7 9 6 10 5 11 4 12 3 13 2 14 1. Codes of 18, 0, 1, with lengths 1, 2, 2.
    let precode = [0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let (zeros, none, one) = ((0, 1), (1, 2), (3, 2));
    let skip = |count: u32| [zeros, (count - 11, 7)];
    // Literal 0 and the end, one distance: "0", then a code for each.
    let with = |litlens: &[(u32, u32)], distances: &[(u32, u32)], data: &[(u32, u32)]| {
        let mut all = head(257, distances.len() as u32, &precode);
        all.extend(litlens);
        all.extend(distances);
        all.extend(data);
        bits(&all)
    };
    let middle = [skip(138), skip(117)].concat();
    let complete = [&[one][..], &middle, &[one]].concat();
    assert!(agree(&with(&complete, &[none], &[(0, 1), (1, 1)]), 1), "no distance code");
    assert!(agree(&with(&complete, &[one], &[(0, 1), (1, 1)]), 1), "one distance code");
    assert!(
        !agree(&with(&complete, &[one, one, one], &[(0, 1), (1, 1)]), 1),
        "three distance codes of one bit"
    );
    let only_end = [&[none][..], &middle, &[one]].concat();
    assert!(agree(&with(&only_end, &[none], &[(0, 1)]), 0), "only the end");
    assert!(!agree(&with(&only_end, &[none], &[(1, 1)]), 0), "a code that is none");
    let no_end = [&[one][..], &middle, &[none]].concat();
    assert!(!agree(&with(&no_end, &[none], &[(0, 1), (1, 1)]), 1), "no end");
    let three = [&[one, one][..], &skip(138), &skip(116), &[one]].concat();
    assert!(!agree(&with(&three, &[none], &[(0, 1), (1, 1)]), 1), "three literal codes of one bit");
    for (litlens, distances) in [(286, 30), (287, 1), (288, 1), (257, 31), (257, 32)] {
        let mut all = head(litlens, distances, &precode);
        all.extend([&[one][..], &middle, &[one]].concat());
        all.extend(vec![none; (litlens - 257 + distances) as usize]);
        all.extend([(0, 1), (1, 1)]);
        assert_eq!(agree(&bits(&all), 1), litlens == 286, "{litlens} and {distances}");
    }
    // The code for code lengths itself: incomplete, over-subscribed, of one code, empty, and a repeat of nothing.
    for lengths in [vec![0, 0, 2, 2], vec![1, 1, 1, 0], vec![0, 0, 1, 0], vec![0, 0, 0, 0], vec![1, 0, 0, 1]]
    {
        for fill in [0x0000_0000, 0xffff_ffff, 0x5555_5555] {
            let mut all = head(257, 1, &lengths);
            all.extend([(fill, 32); 20]);
            assert!(!agree(&bits(&all), 0), "{lengths:?}");
        }
    }
}

#[test]
fn fixed_codes_that_mean_nothing_are_refused() {
    let fixed = [(1, 1), (1, 2)];
    let symbol = |code: u32, count: u32| (code.reverse_bits() >> (32 - count), count);
    let end = symbol(0, 7);
    let literal = symbol(0x30, 8);
    assert!(agree(&bits(&[&fixed[..], &[literal, end]].concat()), 1));
    // Lengths 286 and 287, distances 30 and 31, and a distance from before the beginning.
    for code in [0xc6, 0xc7] {
        assert!(!agree(&bits(&[&fixed[..], &[literal, symbol(code, 8), (0, 5), end]].concat()), 4));
    }
    for (distance, is_good) in [(0, true), (1, false), (30, false), (31, false)] {
        let data = [&fixed[..], &[literal, symbol(1, 7), symbol(distance, 5), end]].concat();
        assert_eq!(agree(&bits(&data), 4), is_good, "distance {distance}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn noise_is_judged_as_zlib_judges_it(form in 0..8u8, mut deflated in vec(any::<u8>(), 1..200), size in 0..300usize) {
        deflated[0] = deflated[0] & 0xf8 | form;
        agree(&deflated, size);
    }

    #[test]
    fn a_damaged_stream_is_judged_as_zlib_judges_it(
        input in vec(0..20u8, 0..2000),
        level in 0..10i32,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut member = made_by_zlib(&input, level);
        let end = member.len() - 8;
        for (place, byte) in changes {
            member[10 + place.index(end - 10)] ^= byte;
        }
        prop_assert_eq!(read(&member, input.len()).ok(), inflated_by_zlib(&member, input.len()).ok());
        agree(&member[10..end], input.len());
    }
}
