//! Packs any directory into an archive, unpacks one, verifies one, without Docker or Ansible: to try the format by hand,
//! and to measure the engine alone.
//!
//! `pack <directory> <archive>`, `unpack <archive> <directory>`, `verify <archive>`; `repack <directory> <archive>` packs
//! what `tar xzf` has made of an archive, with the manifest of that and its counts made right. The variables `THREADS` and
//! `COMPRESSION` (`none`, `fast`, `best`) are what the options of these names are.

use std::path::Path;

use anyhow::{Context, Result, bail};
use cassandra_backup::ansible::request::Compression;
use cassandra_backup::archive::writer::Packing;
use cassandra_backup::effort::Effort;

#[path = "../tests/support/archives.rs"]
mod archives;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let threads = match std::env::var("THREADS") {
        Ok(threads) => threads.parse().context("THREADS is a number")?,
        Err(_) => Effort::default_threads(),
    };
    let compression = match std::env::var("COMPRESSION").as_deref() {
        Ok("none") => Compression::None,
        Ok("fast") | Err(_) => Compression::Fast,
        Ok("best") => Compression::Best,
        Ok(other) => bail!("COMPRESSION is `none`, `fast` or `best`, not `{other}`"),
    };
    match args.as_slice() {
        ["pack", directory, archive] => {
            let packing = Packing { compression, threads };
            let written = archives::pack_as(&[Path::new(directory)], Path::new(archive), packing)?;
            println!("{} bytes, table of contents {}", written.size, written.toc_digest);
            println!("{}  {archive}", written.sha256);
        }
        ["repack", directory, archive] => {
            let written = archives::repack(Path::new(directory), Path::new(archive))?;
            println!("{}  {archive}", written.sha256);
        }
        ["unpack", archive, directory] => {
            let verified = archives::unpack_by(threads, Path::new(archive), &[Path::new(directory)])?;
            println!("{}  {archive}", verified.sha256);
        }
        ["verify", archive] => {
            let verified = archives::verify_by(threads, Path::new(archive))?;
            println!("{}  {archive}", verified.sha256);
        }
        _ => bail!(
            "pack <directory> <archive> | repack <directory> <archive> | unpack <archive> <directory> | verify <archive>"
        ),
    }
    Ok(())
}
