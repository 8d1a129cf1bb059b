//! Single gzip members, made and read in memory.

#![forbid(unsafe_code)]

mod best;
mod bits;
mod block;
mod fast;
mod frame;
mod header;
mod huffman;
mod inflate;
mod lanes;
mod tables;

use bits::Carry;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it is: the bytes are only framed.
    Stored,
    /// Searched for repetitions where a probe finds some.
    Fast,
    /// As small as a patient search makes it.
    Best,
}

/// Makes gzip members, one after the other, with tables that are made once.
pub struct Encoder(Kind);

enum Kind {
    Stored,
    Fast(Box<fast::Fast>),
    Best(Box<best::Best>),
}

impl Encoder {
    pub fn new(level: Level) -> Encoder {
        Encoder(match level {
            Level::Stored => Kind::Stored,
            Level::Fast => Kind::Fast(Box::new(fast::Fast::new())),
            Level::Best => Kind::Best(Box::new(best::Best::new())),
        })
    }

    /// Appends one whole gzip member that holds `input`; equal input gives equal bytes.
    pub fn member(&mut self, input: &[u8], out: &mut Vec<u8>) {
        if let Kind::Fast(fast) = &mut self.0 {
            fast.member(input, out);
            return frame::end(out, crc32fast::hash(input), input.len());
        }
        let mut pieces = self.begin(out);
        self.piece(&mut pieces, input, true, out);
    }

    /// Begins a member of pieces, for input that nobody holds as a whole: each is compressed by itself.
    pub fn begin(&self, out: &mut Vec<u8>) -> Pieces {
        frame::begin(out, 1, 0);
        Pieces { carry: Carry::default(), crc: crc32fast::Hasher::new(), size: 0 }
    }

    /// Appends what follows; the member is whole with the last of them.
    pub fn piece(&mut self, pieces: &mut Pieces, input: &[u8], last: bool, out: &mut Vec<u8>) {
        let carry = &mut pieces.carry;
        match &mut self.0 {
            Kind::Stored => block::store(out, carry, input, last),
            Kind::Fast(fast) => fast.deflate(carry, input, last, 0, out),
            Kind::Best(best) => best.deflate(carry, input, last, out),
        }
        pieces.crc.update(input);
        pieces.size += input.len();
        if last {
            std::mem::take(carry).finish(out);
            frame::end(out, pieces.crc.clone().finalize(), pieces.size);
        }
    }
}

/// A member whose input comes piece by piece.
pub struct Pieces {
    carry: Carry,
    crc: crc32fast::Hasher,
    size: usize,
}

/// Why bytes are not the gzip member they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage(pub &'static str);

impl Damage {
    const NO_MEMBER: Damage = Damage("no gzip member begins where one should");
    const TOO_SHORT: Damage = Damage("the compressed data ends too early");
    const TOO_LONG: Damage = Damage("the compressed data holds more than it should");
    const CORRUPT: Damage = Damage("the compressed data cannot be decoded");
    const TRAILING: Damage = Damage("the gzip member goes on behind its end");
    const CHECKSUM: Damage = Damage("the gzip checksum is wrong");
}

/// Reads gzip members of any writer, one after the other, with tables that are made once.
pub struct Decoder(Box<inflate::Inflate>);

impl Decoder {
    #[expect(clippy::new_without_default, reason = "as an encoder is made")]
    pub fn new() -> Decoder {
        Decoder(Box::new(inflate::Inflate::new()))
    }

    /// Fills `out` with what `member`, exactly one whole gzip member, holds. What `out` holds after an error is
    /// nothing to rely on.
    pub fn member(&mut self, member: &[u8], out: &mut [u8]) -> Result<(), Damage> {
        let (data, hints) = frame::open(member)?;
        let trailer = self.0.inflate(data, hints, out)?;
        if trailer.len() < frame::TRAILER {
            return Err(Damage::TOO_SHORT);
        }
        if trailer.len() > frame::TRAILER {
            return Err(Damage::TRAILING);
        }
        let (crc, size) = (crc32fast::hash(out), out.len() as u32);
        if trailer[..4] != crc.to_le_bytes() || trailer[4..] != size.to_le_bytes() {
            return Err(Damage::CHECKSUM);
        }
        Ok(())
    }
}
