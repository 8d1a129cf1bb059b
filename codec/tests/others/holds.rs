//! What holds for whatever bytes the codec is given; shared by the fuzz target and the replay of its corpus.

use std::cell::RefCell;

use codec::{Decoder, Encoder, Level};

use super::{framed, raw_by_zlib};

const MOST: usize = 1 << 14;

/// Reused, as the workers do.
struct Codecs {
    encoders: [Encoder; 3],
    decoder: Decoder,
}

thread_local! {
    static CODECS: RefCell<Codecs> = RefCell::new(Codecs {
        encoders: [Level::Stored, Level::Fast, Level::Best].map(Encoder::new),
        decoder: Decoder::new(),
    });
}

impl Codecs {
    fn read(&mut self, member: &[u8], size: usize) -> Option<Vec<u8>> {
        let mut output = vec![0; size];
        self.decoder.member(member, &mut output).ok().map(|()| output)
    }

    /// As a deflate stream it holds what zlib finds in it, or nothing.
    fn is_read_as_zlib_reads_it(&mut self, data: &[u8]) {
        let mut inflate = zlib_rs::Inflate::new(false, 15);
        let mut output = vec![0; MOST];
        let status = inflate.decompress(data, &mut output, zlib_rs::InflateFlush::Finish);
        output.truncate(inflate.total_out() as usize);
        let is_whole = status == Ok(zlib_rs::Status::StreamEnd) && inflate.total_in() as usize == data.len();
        let ours = self.read(&framed(data, &output), output.len());
        assert!(ours == is_whole.then_some(output));
    }

    fn comes_back(&mut self, data: &[u8]) {
        for level in 0..self.encoders.len() {
            let mut member = Vec::new();
            self.encoders[level].member(data, &mut member);
            assert!(self.read(&member, data.len()).as_deref() == Some(data));
            let deflated = &member[10..member.len() - 8];
            assert!(raw_by_zlib(deflated, data.len()) == Ok((data.to_vec(), deflated.len())));
        }
    }
}

pub fn codec(data: &[u8]) {
    CODECS.with_borrow_mut(|codecs| {
        codecs.is_read_as_zlib_reads_it(data);
        codecs.comes_back(data);
        // As a whole member, with whatever header and hints it has.
        let _ = codecs.read(data, MOST);
    });
}
