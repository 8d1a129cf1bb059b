//! What one makes, every other reads.

mod others;

use codec::{Decoder, Encoder, Level};
use others::{ZLIB_LEVELS, inflated_by_miniz, inflated_by_zlib, made_by_miniz, made_by_zlib, noise};
use proptest::collection::vec;
use proptest::prelude::*;

/// Reused over all inputs, as the workers do.
struct Codecs {
    encoders: Vec<(Level, Encoder)>,
    decoder: Decoder,
}

impl Codecs {
    fn new() -> Codecs {
        let encoders = [Level::Stored, Level::Fast, Level::Best].map(|level| (level, Encoder::new(level)));
        Codecs { encoders: encoders.into(), decoder: Decoder::new() }
    }

    fn read(&mut self, member: &[u8], input: &[u8], what: &str) {
        let mut output = vec![0xaa; input.len()];
        assert_eq!(self.decoder.member(member, &mut output), Ok(()), "{what}, {} bytes", input.len());
        assert!(output == input, "{what}, {} bytes: other bytes", input.len());
    }

    fn check(&mut self, input: &[u8]) {
        for index in 0..self.encoders.len() {
            let (level, encoder) = &mut self.encoders[index];
            let what = format!("{level:?}");
            let mut member = b"before".to_vec();
            encoder.member(input, &mut member);
            let mut fresh = b"before".to_vec();
            Encoder::new(*level).member(input, &mut fresh);
            assert!(member == fresh, "{what}, {} bytes: what was made before shows", input.len());
            let member = member.strip_prefix(b"before").unwrap();
            assert!(member.len() <= input.len() + input.len() / 4000 + 40, "{what}: {}", member.len());
            assert!(inflated_by_zlib(member, input.len()).as_deref() == Ok(input), "{what}, {}", input.len());
            assert!(inflated_by_miniz(member).as_deref() == Some(input), "{what}, {}", input.len());
            self.read(member, input, &what);
        }
    }

    fn check_foreign(&mut self, input: &[u8]) {
        for level in ZLIB_LEVELS {
            self.read(&made_by_zlib(input, level), input, "zlib");
            self.read(&made_by_miniz(input, level as u32), input, "miniz");
        }
    }

    fn check_all(&mut self, input: &[u8]) {
        self.check(input);
        self.check_foreign(input);
    }
}

#[test]
fn every_small_length_of_every_kind() {
    let mut codecs = Codecs::new();
    for size in 0..600 {
        let period: Vec<u8> = (0..size).map(|at| (at % 23) as u8).collect();
        for input in [vec![7; size], noise(size, 256), noise(size, 2), noise(size, 17), period] {
            codecs.check(&input);
            if size % 13 == 0 {
                codecs.check_foreign(&input);
            }
        }
    }
}

#[test]
fn every_length_at_which_a_block_more_begins() {
    let mut codecs = Codecs::new();
    let block = 64 << 10;
    for blocks in [1, 2, 4, 8, 16] {
        for border in [blocks * block, blocks * block + block / 2] {
            for size in [border - 1, border, border + 1] {
                codecs.check(&noise(size, 256));
                codecs.check(&noise(size, 150));
                codecs.check(&vec![0; size]);
                codecs.check(&text(size));
            }
        }
    }
}

#[test]
fn a_member_of_pieces_is_as_readable_as_one_of_a_piece() {
    let mut codecs = Codecs::new();
    for input in [Vec::new(), text(300_000), noise(250_001, 256), vec![0; 140_000]] {
        for size in [1 << 20, 131_072, 65_537, 997] {
            for (level, encoder) in &mut codecs.encoders {
                let mut member = Vec::new();
                let mut pieces = encoder.begin(&mut member);
                for piece in input.chunks(size) {
                    encoder.piece(&mut pieces, piece, false, &mut member);
                }
                encoder.piece(&mut pieces, b"", true, &mut member);
                let what = format!("{level:?}, pieces of {size}");
                assert!(inflated_by_zlib(&member, input.len()).as_deref() == Ok(&input), "{what}");
                let mut output = vec![0; input.len()];
                assert_eq!(codecs.decoder.member(&member, &mut output), Ok(()), "{what}");
                assert!(output == input, "{what}");
            }
        }
    }
}

/// Lines that repeat in part.
fn text(size: usize) -> Vec<u8> {
    let digits = noise(size, 10);
    let lines = digits.chunks(3).enumerate().flat_map(|(at, digits)| {
        let digits: String = digits.iter().map(|digit| char::from(b'0' + digit)).collect();
        format!("{{\"id\": {at}, \"name\": \"user {digits}\"}}\n").into_bytes()
    });
    lines.take(size).collect()
}

#[test]
fn runs_and_periods_of_every_length() {
    let mut codecs = Codecs::new();
    for period in (1..40).chain([255, 256, 257, 258, 259, 32767, 32768, 32769]) {
        let pattern = noise(period, 256);
        let input: Vec<u8> = pattern.iter().copied().cycle().take(70_000 + period).collect();
        codecs.check_all(&input);
    }
}

/// Each symbol as often as the two before it together: the longest codes there are.
fn fibonacci(symbols: usize, most: usize) -> Vec<u8> {
    let (mut count, mut next) = (1, 1);
    let mut bytes = Vec::new();
    for symbol in 0..symbols {
        bytes.extend(std::iter::repeat_n(symbol as u8, count.min(most)));
        (count, next) = (next, count + next);
    }
    // Spread, so that no runs are found.
    let order = noise(bytes.len(), 256);
    let mut spread: Vec<(u8, u8)> = order.into_iter().zip(bytes).collect();
    spread.sort_by_key(|&(order, byte)| (order, byte.wrapping_mul(151)));
    spread.into_iter().map(|(_, byte)| byte).collect()
}

#[test]
fn codes_longer_than_allowed_are_shortened() {
    let mut codecs = Codecs::new();
    for symbols in 2..24 {
        codecs.check_all(&fibonacci(symbols, 1 << 20));
    }
    // With all symbols in use, most of them rare.
    let mut input: Vec<u8> = (0..=255).collect();
    input.extend(fibonacci(22, 1 << 20));
    codecs.check_all(&input);
}

#[test]
fn a_large_member_of_all_kinds() {
    let mut codecs = Codecs::new();
    let mut input = noise(300_000, 180);
    input.extend(text(300_000));
    input.extend(noise(200_000, 256));
    input.extend(vec![0; 200_000]);
    input.extend(noise(400_000, 90));
    codecs.check_all(&input);
}

#[test]
fn members_of_other_writers_with_all_a_header_can_have() {
    let mut codecs = Codecs::new();
    let input = text(5000);
    let plain = made_by_miniz(&input, 6);
    let deflated = &plain[10..];
    let mut header = b"\x1f\x8b\x08\x1e\x01\x02\x03\x04\x02\x03".to_vec();
    header.extend(b"\x06\0XY\x02\0ab");
    header.extend(b"a name\0a comment\0");
    let sum = crc32fast::hash(&header) as u16;
    header.extend(sum.to_le_bytes());
    let member = [&header, deflated].concat();
    codecs.read(&member, &input, "a full header");
    assert!(inflated_by_miniz(&member).as_deref() == Some(&input[..]));
    for at in 0..header.len() {
        let cut = &member[..at];
        assert!(codecs.decoder.member(cut, &mut vec![0; input.len()]).is_err(), "cut at {at}");
    }
}

#[derive(Clone, Debug)]
enum Piece {
    Noise(Vec<u8>),
    Run(u8, usize),
    Again(usize, usize),
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        vec(any::<u8>(), 0..300).prop_map(Piece::Noise),
        vec(0..4u8, 0..300).prop_map(Piece::Noise),
        (any::<u8>(), 0..1000usize).prop_map(|(byte, count)| Piece::Run(byte, count)),
        (1..40_000usize, 0..400usize).prop_map(|(distance, length)| Piece::Again(distance, length)),
    ]
}

fn joined(pieces: &[Piece]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Noise(noise) => bytes.extend(noise),
            Piece::Run(byte, count) => bytes.extend(std::iter::repeat_n(byte, *count)),
            Piece::Again(distance, length) => {
                let from = bytes.len().saturating_sub(*distance);
                (from..(from + length).min(bytes.len())).for_each(|at| bytes.push(bytes[at]));
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn anything_comes_back(pieces in vec(piece(), 0..200)) {
        Codecs::new().check_all(&joined(&pieces));
    }
}

#[test]
fn a_worker_can_have_one() {
    fn sent<T: Send>(value: T) -> T {
        value
    }
    let mut member = Vec::new();
    sent(Encoder::new(Level::Best)).member(b"sent", &mut member);
    sent(Codecs::new().decoder).member(&member, &mut [0; 4]).unwrap();
}
