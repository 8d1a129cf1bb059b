//! The head of a dynamic block: its codes' lengths, themselves in a code.

use crate::bits::Writer;
use crate::block::{DISTANCES, END, LITLENS};
use crate::huffman;

/// The order in which the lengths of the code for code lengths are written.
pub const LENGTHS_ORDER: [u8; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// How a dynamic block's code lengths are written.
pub struct Header {
    litlens: usize,
    distances: usize,
    order: usize,
    /// A symbol of the code for code lengths each; above bit 8 what the extra bits say.
    items: [u16; LITLENS + DISTANCES],
    count: usize,
    lengths: [u8; 19],
}

impl Header {
    pub fn new() -> Header {
        Header {
            litlens: 0,
            distances: 0,
            order: 0,
            items: [0; LITLENS + DISTANCES],
            count: 0,
            lengths: [0; 19],
        }
    }

    /// How to write these lengths.
    pub fn plan(&mut self, lengths: &[u8; LITLENS + DISTANCES]) {
        let used = |lengths: &[u8]| lengths.iter().rposition(|&length| length > 0).map_or(0, |last| last + 1);
        self.litlens = used(&lengths[..LITLENS]).max(END + 1);
        self.distances = used(&lengths[LITLENS..]).max(1);
        let mut counts = [0; 19];
        self.count = 0;
        let mut left = lengths[..self.litlens].iter().chain(&lengths[LITLENS..][..self.distances]).peekable();
        let mut before = None;
        while let Some(&length) = left.next() {
            let longest = match (length == 0, before == Some(length)) {
                (true, _) => 138,
                (false, true) => 6,
                (false, false) => 1,
            };
            let mut run = 1;
            while run < longest && left.next_if(|&&next| next == length).is_some() {
                run += 1;
            }
            before = Some(length);
            match (length, run) {
                (0, 11..) => self.item(18, run - 11, &mut counts),
                (0, 3..) => self.item(17, run - 3, &mut counts),
                (_, 3..) => self.item(16, run - 3, &mut counts),
                _ => (0..run).for_each(|_| self.item(length, 0, &mut counts)),
            }
        }
        huffman::lengths(&counts, 7, &mut self.lengths);
        let is_used = |&symbol: &u8| self.lengths[symbol as usize] > 0;
        self.order = LENGTHS_ORDER.iter().rposition(is_used).map_or(4, |last| (last + 1).max(4));
    }

    fn item(&mut self, symbol: u8, extra: u16, counts: &mut [u32; 19]) {
        self.items[self.count] = u16::from(symbol) | extra << 8;
        self.count += 1;
        counts[symbol as usize] += 1;
    }

    pub fn cost(&self) -> usize {
        let items = self.items[..self.count].iter().map(|item| {
            let symbol = (item & 255) as usize;
            self.lengths[symbol] as usize + item_extra(symbol) as usize
        });
        3 + 14 + 3 * self.order + items.sum::<usize>()
    }

    pub fn write(&self, writer: &mut Writer, last: bool) {
        writer.put(u64::from(last) | 2 << 1, 3);
        writer.put((self.litlens - 257) as u64, 5);
        writer.put((self.distances - 1) as u64, 5);
        writer.put((self.order - 4) as u64, 4);
        for &symbol in &LENGTHS_ORDER[..self.order] {
            writer.put(self.lengths[symbol as usize].into(), 3);
        }
        let mut codes = [0; 19];
        huffman::codes(&self.lengths, &mut codes);
        for item in &self.items[..self.count] {
            let symbol = (item & 255) as usize;
            writer.add((codes[symbol] & 0xff_ffff).into(), codes[symbol] >> 24);
            writer.put((item >> 8).into(), item_extra(symbol));
        }
    }
}

fn item_extra(symbol: usize) -> u32 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}
