//! Names that lead elsewhere, types that have no place in a data directory, and names that are there twice.

use cassandra_backup::archive::toc::NAME;
use serde_json::json;

use super::forge::{Forge, Piece, Tar, seal, tar_header};
use super::{Bench, DIFFERS, Lie, SENSELESS, ToTable, Told, Victim, damaged, without_column};

fn senseless(what: &str) -> Told {
    damaged(&format!("{SENSELESS}{what}"))
}

/// The users' table's directory, of whichever id.
fn table(forge: &Forge) -> String {
    forge.pieces.iter().map(Piece::name).find(|name| name.starts_with("ks1/users-")).unwrap().to_owned()
}

#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    let names = [
        ("../evil", "`..`"),
        ("ks1/../../evil", "`..`"),
        ("ks1/..", "`..`"),
        ("..", "`..`"),
        ("/etc/passwd", "``"),
        ("//etc/passwd", "``"),
        ("ks1//x", "``"),
        ("./x", "`.`"),
        ("ks1/./x", "`.`"),
        (".", "`.`"),
        ("", "``"),
        ("ks1/x/", "``"),
        ("ks1/a\0b", "`a\\0b`"),
        ("\0", "`\\0`"),
    ];
    let (bench, victim) = (Bench::new(), Victim::new());
    for (name, part) in names {
        for is_directory in [false, true] {
            let shown = if is_directory { format!("{name}/") } else { name.to_owned() };
            if name.ends_with('/') && is_directory {
                continue;
            }
            let piece = if is_directory { Piece::directory(&shown) } else { Piece::file(&shown, b"evil") };
            let mut forge = victim.whole.clone();
            forge.pieces.push(piece);
            let expected = senseless(&format!("`{shown}`: {part} is not a single file name"));
            assert_eq!(bench.told(&forge.bytes()), expected, "{shown:?}");
            assert_eq!(victim.refuses(&forge.bytes()), expected, "{shown:?}, in a restore");
        }
    }
}

#[test]
fn a_name_that_no_filesystem_takes_is_refused_before_anything_is_unpacked() {
    let (bench, victim) = (Bench::new(), Victim::new());
    let deep = "d/".repeat(65);
    let too_long = "é".repeat(128);
    let mut all_levels = victim.whole.clone();
    all_levels.pieces.extend((1..=65).map(|depth| Piece::directory(&deep[..2 * depth])));
    let mut long = victim.whole.clone();
    long.pieces.push(Piece::file(&too_long, b""));
    for (forge, expected) in [
        (all_levels, senseless(&format!("`{}` is too deep", &deep[..129]))),
        (long, senseless(&format!("`{too_long}`: `{too_long}` is not a single file name"))),
    ] {
        assert_eq!(bench.told(&forge.bytes()), expected);
        assert_eq!(victim.refuses(&forge.bytes()), expected);
    }
}

#[test]
fn what_is_neither_file_nor_directory_is_refused_by_its_type() {
    let kinds = [
        ("symlink", b'2'),
        ("hardlink", b'1'),
        ("char", b'3'),
        ("block", b'4'),
        ("fifo", b'6'),
        ("socket", b's'),
    ];
    let (bench, victim) = (Bench::new(), Victim::new());
    for (kind, typeflag) in kinds {
        let expected = senseless(&format!("unknown variant `{kind}`, expected one of `dir`, `reg`, `chunk`"));
        for target in ["/etc/passwd", "../../evil", "nb-1-big-Data.db"] {
            let mut forge = victim.whole.clone();
            let name = format!("{}{kind}", victim.table());
            forge.pieces.push(Piece::other(&name, kind, typeflag, target));
            // What a tar would then write through the link.
            forge.pieces.push(Piece::file(&format!("{name}/x"), b"evil"));
            assert_eq!(without_column(&bench.told(&forge.bytes())), expected, "{kind}");
            assert_eq!(without_column(&victim.refuses(&forge.bytes())), expected, "{kind}, in a restore");
        }
    }
}

/// The table says a file, and the tar something else: what another reader would make of it.
#[test]
fn a_type_that_only_the_tar_tells_is_refused() {
    let (bench, victim) = (Bench::new(), Victim::new());
    let name = format!("{}x", victim.table());
    let expected = damaged(&format!("the tar header of `{name}`: {DIFFERS}"));
    for typeflag in *b"12345678xgLKSDMVNA\0" {
        let mut forge = victim.whole.clone();
        let tar = Tar { target: b"/etc/passwd".to_vec(), ..Tar::of(name.as_bytes(), typeflag, 0) };
        forge.pieces.push(Piece { header: tar_header(&tar), ..Piece::file(&name, b"") });
        assert_eq!(bench.told(&forge.bytes()), expected, "type {:?}", char::from(typeflag));
        assert_eq!(victim.refuses(&forge.bytes()), expected, "type {:?}, in a restore", char::from(typeflag));
    }
}

#[test]
fn a_name_that_is_there_twice_or_where_nothing_can_be_is_refused() {
    let own = "cassandra_backup.json";
    let again = |forge: &mut Forge, at: usize| {
        let piece = forge.pieces[at].clone();
        forge.pieces.push(piece);
    };
    let victim = Victim::new();
    let bench = Bench::new();
    let (table_of, file) = (victim.table(), victim.whole.a_file());
    let twice = |name: &str| senseless(&format!("`{}` is listed twice", name.trim_end_matches('/')));
    let mut cases: Vec<(Forge, Told)> = Vec::new();
    let mut add = |lie: Lie, expected: Told| {
        let mut forge = victim.whole.clone();
        lie(&mut forge);
        cases.push((forge, expected));
    };
    let at = |name: &str| victim.whole.pieces.iter().position(|piece| piece.name() == name).unwrap();
    add(&|forge| again(forge, at(&file)), twice(&file));
    add(&|forge| again(forge, at(&table_of)), twice(&table_of));
    add(&|forge| forge.pieces.push(Piece::file(table_of.trim_end_matches('/'), b"x")), twice(&table_of));
    add(&|forge| forge.pieces.push(Piece::directory(&format!("{file}/"))), twice(&file));
    add(&|forge| forge.pieces.push(Piece::file(own, b"{}")), twice(own));
    add(&|forge| forge.pieces.push(Piece::directory(&format!("{own}/"))), twice(own));
    let reserved = senseless(&format!("`{NAME}` is the name of the table of contents"));
    add(&|forge| forge.pieces.push(Piece::file(NAME, b"{}")), reserved.clone());
    add(&|forge| forge.pieces.push(Piece::directory(&format!("{NAME}/"))), reserved);
    let early = |name: &str| senseless(&format!("`{name}` is listed before its directory"));
    add(
        &|forge| forge.pieces.push(Piece::file(&format!("{file}/below"), b"x")),
        early(&format!("{file}/below")),
    );
    add(&|forge| forge.pieces.push(Piece::file("ks9/t-0f/x", b"x")), early("ks9/t-0f/x"));
    add(&|forge| forge.pieces.insert(0, Piece::file("ks1/users", b"x")), early("ks1/users"));
    add(
        &|forge| {
            forge.pieces.push(Piece { lines: Piece::directory("ks8").lines, ..Piece::directory("ks8/") })
        },
        senseless("`ks8`: a directory's name ends without `/`"),
    );
    for (forge, expected) in cases {
        assert_eq!(bench.told(&forge.bytes()), expected);
        assert_eq!(victim.refuses(&forge.bytes()), expected);
    }
}

/// Two files to this filesystem, one to others: Cassandra's quoted names may differ so.
#[test]
fn names_that_differ_in_case_only_are_two_files() {
    let (bench, victim) = (Bench::new(), Victim::new());
    let mut forge = victim.whole.clone();
    let [lower, upper] = ["case", "CASE"].map(|name| format!("{}{name}", victim.table()));
    forge.pieces.extend([Piece::file(&lower, b"lower"), Piece::file(&upper, b"upper")]);
    assert_eq!(bench.told(&forge.bytes()), "whole");
    victim.restores(&forge.bytes());
    let data = victim.node.dirs().data[0].clone();
    assert_eq!([lower, upper].map(|name| std::fs::read(data.join(name)).unwrap()), [*b"lower", *b"upper"]);
}

#[test]
fn a_name_that_is_not_utf_8_is_refused() {
    fn raw(json: Vec<u8>, bytes: &[u8]) -> Vec<u8> {
        let at = json.windows(7).position(|window| window == b"NOTUTF8").unwrap();
        [&json[..at], bytes, &json[at + 7..]].concat()
    }
    let named = |forge: &mut Forge, bytes: &[u8]| {
        let name = format!("{}NOTUTF8", table(forge));
        let header = [table(forge).as_bytes(), bytes].concat();
        forge
            .pieces
            .push(Piece { header: tar_header(&Tar::of(&header, b'0', 0)), ..Piece::file(&name, b"") });
    };
    let (bench, victim) = (Bench::new(), Victim::new());
    let invalid = senseless("invalid unicode code point");
    let cases: [(&[u8], ToTable, Told); 4] = [
        (b"\xff\xfe", |json| raw(json, b"\xff\xfe"), invalid.clone()),
        // A slash in more bytes than it needs.
        (b"\xc0\xaf..", |json| raw(json, b"\xc0\xaf.."), invalid),
        (b"\xed\xa0\x80", |json| raw(json, b"\\ud800"), senseless("unexpected end of hex escape")),
        // The table's name is a right one, the tar's is not.
        (
            b"\xff",
            |json| raw(json, "\u{fffd}".as_bytes()),
            damaged(&format!("the tar header of `{}\u{fffd}`: {DIFFERS}", victim.table())),
        ),
    ];
    for (header, table, expected) in cases {
        let mut forge = victim.whole.clone();
        named(&mut forge, header);
        forge.table = table;
        assert_eq!(without_column(&bench.told(&forge.bytes())), expected, "{header:?}");
        assert_eq!(without_column(&victim.refuses(&forge.bytes())), expected, "{header:?}, in a restore");
    }
}

/// A long name is in a pax record, which another reader believes before the header behind it.
#[test]
fn pax_records_other_than_the_tables_are_refused() {
    fn pax(forge: &mut Forge, records: &[u8]) {
        let name = format!("{}x", table(forge));
        let mut header = tar_header(&Tar {
            mode: 0o644,
            uid: 0,
            gid: 0,
            seconds: 0,
            ..Tar::of(b"././@PaxHeader", b'x', records.len() as u64)
        });
        header.extend(records);
        header.resize(1024, 0);
        let piece = Piece::file(&name, b"12345");
        header.extend(&piece.header);
        forge.pieces.push(Piece { header, ..piece });
    }
    let victim = Victim::new();
    let expected = damaged(&format!("the tar header of `{}x`: {DIFFERS}", victim.table()));
    victim.all_are_refused(vec![
        ("another name", |forge| pax(forge, b"16 path=../evil\n"), expected.clone()),
        ("another size", |forge| pax(forge, b"13 size=4096\n"), expected.clone()),
        ("a link", |forge| pax(forge, b"24 linkpath=/etc/passwd\n"), expected.clone()),
        ("an owner", |forge| pax(forge, b"9 uid=0\n"), expected.clone()),
        (
            "a capability",
            |forge| pax(forge, b"41 SCHILY.xattr.security.capability=\0\0\0\n"),
            expected.clone(),
        ),
        ("a sparse map", |forge| pax(forge, b"22 GNU.sparse.major=1\n"), expected.clone()),
        ("nothing", |forge| pax(forge, b""), expected.clone()),
        ("no record", |forge| pax(forge, b"999999999999 path=x\n"), expected),
    ]);
}

/// The work directory of a restore may lie beside the keyspaces; `lost+found` is the filesystem's.
#[test]
fn what_is_no_keyspace_is_refused_before_the_node_is_stopped() {
    let (bench, victim) = (Bench::new(), Victim::new());
    for name in [".cassandra_restore-data", "lost+found", ".cassandra_fs_ownership", "a b", "ks-1", "é"] {
        let mut forge = victim.whole.clone();
        forge.pieces.push(Piece::directory(&format!("{name}/")));
        assert_eq!(bench.told(&forge.bytes()), "whole", "{name}");
        let expected = format!("refused: `PATH` holds `{name}`, which is no keyspace: take another archive");
        assert_eq!(victim.refuses(&forge.bytes()), expected);

        // As a keyspace of its own, with a table and a file in it.
        let lie = json!({"keyspace": name, "table": "t", "id": "0f", "sstables": 0, "files": 0, "bytes": 0});
        forge.manifest["tables"].as_array_mut().unwrap().push(lie);
        forge.manifest["keyspaces"].as_array_mut().unwrap().push(json!(name));
        forge.pieces.push(Piece::directory(&format!("{name}/t-0f/")));
        forge.pieces.push(Piece::file(&format!("{name}/t-0f/x"), b"x"));
        assert_eq!(victim.refuses(&forge.bytes()), expected);
    }
    // Where the blocker would be, and beside the keyspaces.
    for name in ["system_x", "x.db"] {
        let mut forge = victim.whole.clone();
        forge.pieces.push(Piece::file(name, b"x"));
        assert_eq!(bench.told(&forge.bytes()), "whole", "{name}");
        let told = victim.refuses(&forge.bytes());
        let own = format!(
            "`PATH` has files in `{name}`, which is no table of its manifest: Cassandra would not read them; take \
             another archive"
        );
        let expected = match name {
            "x.db" => {
                format!(
                    "refused: 2 reasons not to begin: {own}; `PATH` holds `{name}`, which is no keyspace: take \
                     another archive"
                )
            }
            _ => format!("refused: {own}"),
        };
        assert_eq!(told, expected);
    }
}

/// With its checksum made right again.
#[test]
fn a_header_that_was_changed_and_sealed_is_refused_all_the_same() {
    let victim = Victim::new();
    let (bench, file) = (Bench::new(), victim.whole.a_file());
    let expected = damaged(&format!("the tar header of `{file}`: {DIFFERS}"));
    // A byte of each field, and of what lies between them.
    let fields = [
        0, 60, 99, 100, 107, 108, 115, 116, 124, 135, 136, 147, 156, 157, 256, 257, 263, 265, 297, 329, 337,
        345, 499, 500, 511,
    ];
    for at in fields {
        let mut forge = victim.whole.clone();
        let header = &mut forge.piece(&file).header;
        let start = header.len() - 512;
        header[start + at] ^= 0x01;
        seal(&mut header[start..]);
        assert_eq!(bench.told(&forge.bytes()), expected, "byte {at}");
    }
}
