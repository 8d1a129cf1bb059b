//! Tar headers: a function of the table of contents and of nothing else.
//!
//! A reader makes each header again from the table and compares bytes, so what `tar` unpacks and what the
//! table says cannot differ.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::archive::toc::{Content, Entry};

pub const BLOCK: usize = 512;

/// Marks the end of a tar stream.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The largest numbers that the fields hold in octal.
const MAX_7_DIGITS: u64 = 0o7777777;
const MAX_11_DIGITS: u64 = 0o77777777777;

/// The bytes before an entry's payload: one block where ustar says it all, else pax records before it.
pub fn of(entry: &Entry) -> Vec<u8> {
    let name = entry.tar_name();
    let (typeflag, size) = match &entry.content {
        Content::Directory => (b'5', 0),
        Content::File { size, .. } => (b'0', *size),
    };
    let (seconds, nanos) = since_epoch(entry.mtime);
    let (uid, gid) = (u64::from(entry.uid), u64::from(entry.gid));

    let mut records = Vec::new();
    if split(&name).is_none() {
        records.extend(record("path", &name));
    }
    if size > MAX_11_DIGITS {
        records.extend(record("size", &size.to_string()));
    }
    if uid > MAX_7_DIGITS {
        records.extend(record("uid", &uid.to_string()));
    }
    if gid > MAX_7_DIGITS {
        records.extend(record("gid", &gid.to_string()));
    }
    if nanos > 0 {
        records.extend(record("mtime", &format!("{seconds}.{nanos:09}")));
    } else if seconds > MAX_11_DIGITS {
        records.extend(record("mtime", &seconds.to_string()));
    }

    let mut bytes = Vec::with_capacity(3 * BLOCK);
    if !records.is_empty() {
        let fields = Fields { mode: 0o644, uid: 0, gid: 0, size: records.len() as u64, seconds: 0 };
        bytes.extend(block("././@PaxHeader", b'x', &fields));
        bytes.extend(&records);
        bytes.resize(bytes.len() + padding(records.len() as u64), 0);
    }
    bytes.extend(block(&name, typeflag, &Fields { mode: entry.mode & 0o7777, uid, gid, size, seconds }));
    bytes
}

/// Zero bytes that fill a payload's last block.
pub fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK as u64) as usize
}

/// The size field of a header, where it is octal.
pub fn size_of(header: &[u8; BLOCK]) -> Option<u64> {
    let digits = std::str::from_utf8(&header[124..135]).ok()?;
    u64::from_str_radix(digits, 8).ok()
}

struct Fields {
    mode: u32,
    uid: u64,
    gid: u64,
    size: u64,
    seconds: u64,
}

fn block(name: &str, typeflag: u8, fields: &Fields) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    // A reader without pax sees what fits of a name that is too long.
    let (prefix, short) = split(name).unwrap_or(("", first_100_bytes(name)));
    put(&mut block, 0, short.as_bytes());
    put(&mut block, 100, format!("{:07o}", fields.mode).as_bytes());
    put(&mut block, 108, format!("{:07o}", limited(fields.uid, MAX_7_DIGITS)).as_bytes());
    put(&mut block, 116, format!("{:07o}", limited(fields.gid, MAX_7_DIGITS)).as_bytes());
    if fields.size <= MAX_11_DIGITS {
        put(&mut block, 124, format!("{:011o}", fields.size).as_bytes());
    } else {
        // Base-256 besides the pax record: busybox knows this one only.
        block[124] = 0x80;
        put(&mut block, 128, &fields.size.to_be_bytes());
    }
    put(&mut block, 136, format!("{:011o}", limited(fields.seconds, MAX_11_DIGITS)).as_bytes());
    block[156] = typeflag;
    put(&mut block, 257, b"ustar\x0000");
    put(&mut block, 329, b"0000000");
    put(&mut block, 337, b"0000000");
    put(&mut block, 345, prefix.as_bytes());
    // The checksum counts its own field as spaces.
    put(&mut block, 148, b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    block
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Zero where a pax record says the number that does not fit.
fn limited(number: u64, max: u64) -> u64 {
    if number <= max { number } else { 0 }
}

/// A name as ustar's prefix and name; `None` where it does not fit.
fn split(name: &str) -> Option<(&str, &str)> {
    if name.len() <= 100 {
        return Some(("", name));
    }
    let first = name.len() - 101;
    let at = first + name.as_bytes().get(first..)?.iter().position(|byte| *byte == b'/')?;
    let (prefix, short) = (&name[..at], &name[at + 1..]);
    (prefix.len() <= 155 && !short.is_empty()).then_some((prefix, short))
}

/// As much of a name as the field holds, cut between two characters.
fn first_100_bytes(name: &str) -> &str {
    let fits = name.char_indices().map(|(at, char)| at + char.len_utf8()).take_while(|end| *end <= 100);
    &name[..fits.last().unwrap_or(0)]
}

/// One pax record; its length counts itself.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}").into_bytes()
}

fn since_epoch(time: SystemTime) -> (u64, u32) {
    let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (time.as_secs(), time.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::RelativePath;
    use std::io::Read;
    use std::time::Duration;

    fn entry(name: &str, size: u64) -> Entry {
        Entry {
            name: RelativePath::parse(name).unwrap(),
            mode: 0o640,
            uid: 999,
            gid: 998,
            mtime: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            content: Content::File { size, chunks: Vec::new() },
        }
    }

    /// Path, size, uid and gid as another implementation understands them.
    fn understood(header: Vec<u8>) -> (String, u64, u64, u64) {
        let stream = header.as_slice().chain(std::io::repeat(0));
        let mut archive = tar::Archive::new(stream);
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let owner = (entry.header().uid().unwrap(), entry.header().gid().unwrap());
        (path, entry.size(), owner.0, owner.1)
    }

    #[test]
    fn plain_names_need_one_block() {
        let header = of(&entry("ks1/users-0f/nb-1-big-Data.db", 5));
        assert_eq!(header.len(), BLOCK);
        assert_eq!(understood(header), ("ks1/users-0f/nb-1-big-Data.db".into(), 5, 999, 998));
    }

    #[test]
    fn cassandras_longest_names_fit_into_ustar_which_busybox_can_read() {
        let name =
            format!("data-1/{0}/{0}-{1}/.{0}/nb-123-big-CompressionInfo.db", "k".repeat(48), "0".repeat(32));
        let header = of(&entry(&name, 5));
        assert_eq!(header.len(), BLOCK);
        assert_eq!(understood(header).0, name);
    }

    #[test]
    fn longer_names_and_parts_of_a_second_go_into_pax_records() {
        for name in ["é".repeat(51), format!("{}/{}", "a".repeat(156), "b".repeat(99)), "c".repeat(101)] {
            let header = of(&entry(&name, 7));
            assert_eq!(header.len(), 3 * BLOCK);
            assert_eq!(understood(header), (name, 7, 999, 998));
        }
        let mut late = entry("a", 0);
        late.mtime += Duration::from_nanos(5);
        let header = String::from_utf8(of(&late)).unwrap();
        assert_eq!(&header[BLOCK..BLOCK + 30], "30 mtime=1700000000.000000005\n");
    }

    #[test]
    fn sizes_from_8_gib_on_are_understood_with_and_without_pax() {
        let size = 1 << 33;
        let header = of(&entry("big", size));
        assert_eq!(understood(header[2 * BLOCK..].to_vec()).1, size);
        assert_eq!(understood(header).1, size);
        assert_eq!(of(&entry("big", size - 1)).len(), BLOCK);
    }

    #[test]
    fn large_user_numbers_go_into_pax_records() {
        let mut far = entry("a", 0);
        far.uid = u32::MAX;
        let text = String::from_utf8(of(&far)).unwrap();
        assert!(text[BLOCK..].starts_with("18 uid=4294967295\n"), "{text:?}");
    }

    #[test]
    fn payloads_are_filled_to_whole_blocks() {
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }
}
