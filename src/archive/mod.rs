//! The archive: one `.tgz` in eStargz layout that looks like the data directory. See `docs/archive-format.md`.

pub mod gzip;
pub mod header;
pub mod manifest;
pub mod members;
mod pass;
pub mod reader;
pub mod store;
pub mod toc;
mod toc_json;
pub mod unpack;
pub mod writer;
