//! The archive: one `.tgz` in eStargz layout that looks like the data directory. See `docs/archive-format.md`.

mod bytes;
pub mod direct;
pub mod gzip;
pub mod header;
pub mod manifest;
pub mod members;
mod opened;
mod pass;
mod pieces;
pub mod plain;
pub mod reader;
pub mod store;
mod table;
pub mod toc;
mod toc_json;
pub mod unpack;
mod workers;
pub mod writer;
