//! Parts of two archives, each of them whole, put together.

use super::forge::{Forge, Piece};
use super::{Bench, CUT, SENSELESS, Told, Victim, damaged};
use cassandra_backup::archive::toc::{FOOTER_SIZE, footer};

/// Two archives of one length, which differ in one file's content, or in one file's name.
fn pairs(victim: &Victim) -> [(Forge, Forge); 2] {
    let name = format!("{}x", victim.table());
    let with = |piece: Piece| {
        let mut forge = victim.whole.clone();
        forge.pieces.push(piece);
        forge
    };
    let other_name = format!("{}y", victim.table());
    [
        (with(Piece::file(&name, b"12345")), with(Piece::file(&name, b"54321"))),
        (with(Piece::file(&name, b"12345")), with(Piece::file(&other_name, b"12345"))),
    ]
}

#[test]
fn members_of_one_archive_under_the_table_of_another_are_refused() {
    let (bench, victim) = (Bench::new(), Victim::new());
    let mut cases = 0;
    for (one, two) in pairs(&victim) {
        let ((one, borders), (two, others)) = (one.bytes_and_borders(), two.bytes_and_borders());
        assert_eq!((bench.told(&one), bench.told(&two)), ("whole".to_owned(), "whole".to_owned()));
        // Up to each border of the one, and from there on the other, its footer pointing to the table that is there.
        for (cut, other) in borders.iter().zip(&others).skip(1) {
            let table = cut + (others[others.len() - 2].max(*other) - other);
            let mixed = [&one[..*cut], &two[*other..two.len() - FOOTER_SIZE], &footer(table as u64)].concat();
            if mixed == one || mixed == two {
                continue; // What was joined is the same in both.
            }
            let told = bench.told(&mixed);
            assert!(told.starts_with("damaged: "), "joined at {cut}: {told}");
            assert_eq!(victim.refuses(&mixed), told, "joined at {cut}");
            cases += 1;
        }
    }
    assert!(cases >= 2, "{cases} cases");
}

#[test]
fn two_archives_in_a_row_are_refused() {
    let (bench, victim) = (Bench::new(), Victim::new());
    let (bytes, borders) = victim.whole.bytes_and_borders();
    let (table, end) = (borders[borders.len() - 2], borders[borders.len() - 1]);
    let footer = &bytes[end..];
    let at = |why: &str| damaged(&format!("the table of contents, at byte {table}: {why}"));
    let between = at("something lies between it and the footer");
    let cases: [(&str, Vec<u8>, Told); 6] = [
        ("itself twice", [&bytes[..], &bytes].concat(), between.clone()),
        ("two footers", [&bytes[..], footer].concat(), between.clone()),
        ("two tables", [&bytes[..end], &bytes[table..]].concat(), between.clone()),
        ("something between", [&bytes[..end], b"x", footer].concat(), between),
        ("something behind", [&bytes[..], b"x"].concat(), damaged(CUT)),
        ("zeros behind", [&bytes[..], &[0; 1024]].concat(), damaged(CUT)),
    ];
    for (name, mixed, expected) in cases {
        assert_eq!(bench.told(&mixed), expected, "{name}");
        assert_eq!(victim.refuses(&mixed), expected, "{name}, in a restore");
    }
}

/// The table is all right, and the members are, but not where it says.
#[test]
fn a_member_that_is_left_out_put_in_or_repeated_is_refused() {
    let (bench, victim) = (Bench::new(), Victim::new());
    let mut forge = victim.whole.clone();
    let (x, y) = (format!("{}x", victim.table()), format!("{}y", victim.table()));
    forge.pieces.extend([Piece::file(&x, b"12345"), Piece::file(&y, b"12345")]);
    let (bytes, borders) = forge.bytes_and_borders();
    let place = |index: usize| borders[borders.len() - index];
    let (of_x, of_y, table, end) = (place(4), place(3), place(2), place(1));
    let joined = |parts: &[&[u8]]| {
        let body = parts.concat();
        let moved = table as u64 + body.len() as u64 - end as u64;
        [&body[..], &footer(moved)].concat()
    };
    let cases: [(&str, Vec<u8>, Told); 3] = [
        (
            "left out",
            joined(&[&bytes[..of_x], &bytes[of_y..end]]),
            damaged(&format!("{SENSELESS}its last chunk begins at byte {of_y}, behind the table itself")),
        ),
        (
            "repeated",
            joined(&[&bytes[..of_y], &bytes[of_x..end]]),
            damaged(&format!(
                "the gzip member that ends with the padding after `{y}`: the compressed data holds more than it should"
            )),
        ),
        (
            "an empty one put in",
            joined(&[&bytes[..of_x], &super::forge::member(b"\x03\0", b""), &bytes[of_x..end]]),
            damaged(&format!("bytes 0-4 of `{x}`: the compressed data ends too early")),
        ),
    ];
    for (name, mixed, expected) in cases {
        assert_eq!(bench.told(&mixed), expected, "{name}");
        assert_eq!(victim.refuses(&mixed), expected, "{name}, in a restore");
    }
}
