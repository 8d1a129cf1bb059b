//! Memory that is filled again and again, and zeroed once.

use std::ops::{Deref, DerefMut};

/// As a `Vec<u8>`, but that what is added may hold anything until it is written over.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    memory: Vec<u8>,
    filled: usize,
}

impl Bytes {
    /// So many more bytes, to be written over.
    pub fn more(&mut self, count: usize) -> &mut [u8] {
        let begin = self.filled;
        self.filled += count;
        if self.memory.len() < self.filled {
            self.memory.resize(self.filled, 0);
        }
        &mut self.memory[begin..self.filled]
    }

    pub fn extend(&mut self, bytes: &[u8]) {
        self.more(bytes.len()).copy_from_slice(bytes);
    }

    pub fn truncate(&mut self, count: usize) {
        self.filled = self.filled.min(count);
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.filled]
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.filled]
    }
}
