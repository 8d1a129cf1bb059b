//! Packs any directory into an archive, and unpacks or verifies one: to try the format by hand.
//!
//! `pack <directory> <archive>`, `unpack <archive> <directory>`, `verify <archive>`; `repack <directory> <archive>` packs
//! what `tar xzf` has made of an archive, with the manifest of that and its counts made right.

use std::path::Path;

use anyhow::{Result, bail};
use cassandra_backup::ansible::request::Compression;

#[path = "../tests/support/archives.rs"]
mod archives;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["pack", directory, archive] => {
            let written = archives::pack(&[Path::new(directory)], Path::new(archive), Compression::Fast)?;
            println!("{} bytes, table of contents {}", written.size, written.toc_digest);
            println!("{}  {archive}", written.sha256);
        }
        ["repack", directory, archive] => {
            let written = archives::repack(Path::new(directory), Path::new(archive))?;
            println!("{}  {archive}", written.sha256);
        }
        ["unpack", archive, directory] => {
            let verified = archives::unpack(Path::new(archive), &[Path::new(directory)])?;
            println!("{}  {archive}", verified.sha256);
        }
        ["verify", archive] => {
            let verified = archives::verify(Path::new(archive))?;
            println!("{}  {archive}", verified.sha256);
        }
        _ => bail!(
            "pack <directory> <archive> | repack <directory> <archive> | unpack <archive> <directory> | verify <archive>"
        ),
    }
    Ok(())
}
