//! What the tests of killed runs have in common.

#![allow(dead_code)]

pub mod scene;
pub mod world;
