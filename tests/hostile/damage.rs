//! Truncated anywhere, and every bit flipped: in each field of gzip, in deflated data, in tar headers, content,
//! padding, the table and the footer.

use std::fs;

use cassandra_backup::ansible::request::Compression;
use cassandra_backup::archive::toc::FOOTER_SIZE;

use super::forge::Forge;
use super::{Bench, CUT, Victim, damaged};

const ALL: [Compression; 3] = [Compression::None, Compression::Fast, Compression::Best];

#[test]
fn an_archive_cut_after_any_of_its_bytes_is_refused() {
    let bench = Bench::new();
    let mut points = 0;
    for compression in ALL {
        let whole = Forge { compression, ..Forge::small() }.bytes();
        assert_eq!(bench.told(&whole), "whole");
        for end in 0..whole.len() {
            let expected = if end == 0 { damaged("it is empty") } else { damaged(CUT) };
            assert_eq!(
                bench.verified(&whole[..end]),
                expected,
                "{compression:?}: {end} of {} bytes",
                whole.len()
            );
            points += 1;
        }
    }
    assert!(points > 4_000, "{points} points");
}

#[test]
fn a_restore_of_an_archive_cut_at_any_border_or_between_two_is_refused() {
    let victim = Victim::new();
    let (whole, borders) = victim.whole.bytes_and_borders();
    // The first and last members, and every tenth in between: each but the first two begins a file's content.
    let some = borders
        .iter()
        .enumerate()
        .filter(|(index, _)| *index < 3 || index % 10 == 0 || index + 4 > borders.len());
    let mut points = 0;
    for (_, border) in some {
        for end in [border.saturating_sub(1), *border, border + 1, border + 10] {
            let expected = if end == 0 { damaged("it is empty") } else { damaged(CUT) };
            assert_eq!(victim.refuses(&whole[..end]), expected, "{end} of {} bytes", whole.len());
            points += 1;
        }
    }
    assert!(points > 40, "{points} points");
}

/// What cannot be seen without the checksum file means nothing: it unpacks to the same.
#[test]
fn every_flipped_bit_is_found_or_means_nothing() {
    let bench = Bench::new();
    for (compression, most) in [(Compression::None, 90), (Compression::Fast, 250)] {
        let (whole, borders) = Forge { compression, ..Forge::small() }.bytes_and_borders();
        let mut meaningless = 0;
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let told = bench.verified(&flipped);
            if told == "whole" {
                meaningless += 1;
                // Only in the deflated data of a member, of which some bits are unused.
                let start = borders.iter().rev().find(|border| **border <= bit / 8).unwrap();
                let end = borders.iter().copied().find(|border| *border > bit / 8).unwrap_or(whole.len());
                assert!((start + 10..end - 8).contains(&(bit / 8)), "bit {} of byte {}", bit % 8, bit / 8);
                assert_eq!(bench.told(&flipped), "whole");
            } else {
                assert!(told.starts_with("damaged: ") || told.starts_with("foreign: "), "bit {bit}: {told}");
            }
        }
        assert!(meaningless <= most, "{compression:?}: {meaningless} bits mean nothing");
    }
}

/// Those too are found where the file's SHA-256 is recorded.
#[test]
fn with_a_checksum_beside_it_every_flipped_bit_is_found() {
    let bench = Bench::new();
    let (whole, borders) = Forge { compression: Compression::None, ..Forge::small() }.bytes_and_borders();
    super::record(&bench.path(), &whole);
    assert_eq!(bench.told(&whole), "whole");
    // Of every byte one bit; of those between gzip's header and the first byte of content all.
    let plain = (0..whole.len()).map(|at| 8 * at + at % 8);
    let deflated = borders.iter().flat_map(|border| 8 * (border + 10)..8 * (border + 15).min(whole.len()));
    for bit in plain.chain(deflated) {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(bench.verified(&flipped), "whole", "bit {} of byte {}", bit % 8, bit / 8);
    }
    fs::remove_file(bench.path().with_extension("tgz.sha256")).unwrap();
}

/// The first piece of every kind, through a whole restore. The checksum beside it is that of what is there.
#[test]
fn a_restore_of_an_archive_with_a_byte_flipped_in_any_kind_of_place_is_refused() {
    let victim = Victim::new();
    let forge = Forge { compression: Compression::None, ..victim.whole.clone() };
    let (whole, borders) = forge.bytes_and_borders();
    let bench = Bench::new();
    // The manifest's content, a file's somewhere in the middle, the table, the footer.
    let (table, footer) = (borders[borders.len() - 2], whole.len() - FOOTER_SIZE);
    let middle = borders[borders.len() / 2];
    let mut places = 0;
    for (member, end) in
        [(0, borders[1]), (borders[1], borders[2]), (middle, borders[borders.len() / 2 + 1]), (table, footer)]
    {
        // Each byte of gzip's header, of the block's length, of content, of the end, and of the checksum and length.
        let header = (0..10).map(|at| member + at);
        let data = [11, 12, 13, 14, 15, 16, 80].map(|at| member + at);
        let last = (1..=10).map(|at| end - at);
        for at in header.chain(data).chain(last) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x40;
            let told = bench.verified(&flipped);
            assert!(told.starts_with("damaged: "), "byte {at}: {told}");
            assert_eq!(victim.refused_once(&flipped), told, "byte {at}, in a restore");
            places += 1;
        }
    }
    for at in 0..FOOTER_SIZE {
        let mut flipped = whole.clone();
        flipped[footer + at] ^= 0x40;
        let told = bench.verified(&flipped);
        assert!(told.starts_with("damaged: "), "byte {at} of the footer: {told}");
        assert_eq!(victim.refused_once(&flipped), told, "byte {at} of the footer, in a restore");
        places += 1;
    }
    assert_eq!(places, 4 * 27 + FOOTER_SIZE);
}

/// Readers that know them skip names, comments and times in gzip's header; ours has none of them. An extra field, with
/// hints for a decoder, it may have: where the table counts it in.
#[test]
fn a_gzip_header_with_more_in_it_is_refused() {
    let victim = Victim::new();
    let (whole, borders) = victim.whole.bytes_and_borders();
    let bench = Bench::new();
    let (first, last) = (borders[1], victim.whole.manifest_bytes().len() - 1);
    let fields: [(u8, &[u8]); 5] =
        [(0x01, b""), (0x02, b"\0\0"), (0x04, b"\x04\0AB\0\0"), (0x08, b"../evil\0"), (0x10, b"comment\0")];
    for (flag, field) in fields {
        let mut bytes = [&whole[..10], field, &whole[10..]].concat();
        bytes[3] = flag;
        // The table moves with it.
        let at = bytes.len() - FOOTER_SIZE;
        let offset = u64::from_str_radix(std::str::from_utf8(&bytes[at + 16..at + 32]).unwrap(), 16).unwrap();
        bytes.splice(at.., cassandra_backup::archive::toc::footer(offset + field.len() as u64));
        let moved = format!("it begins at byte {} of the archive, not at {}", first + field.len(), first);
        let expected = match flag {
            0x04 => damaged(&format!("bytes 0-{last} of `cassandra_backup.json`: {moved}")),
            _ => damaged("the tar header of `cassandra_backup.json`: no gzip member begins where one should"),
        };
        assert_eq!(bench.told(&bytes), expected, "flag {flag:#x}");
        assert_eq!(victim.refuses(&bytes), expected, "flag {flag:#x}, in a restore");
    }
}
