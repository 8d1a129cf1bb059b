//! MB/s of CPU time, and the ratio, of members of 1 MiB: `measure [--level LEVEL] FILE...`.

use std::fs;

use codec::{Decoder, Encoder, Level};
use rustix::time::{ClockId, clock_gettime};

const MEMBER: usize = 1 << 20;

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn timed(work: impl FnOnce()) -> f64 {
    let start = cpu_seconds();
    work();
    cpu_seconds() - start
}

fn main() {
    let mut levels = vec![("stored", Level::Stored), ("fast", Level::Fast), ("best", Level::Best)];
    let mut files: Vec<String> = std::env::args().skip(1).collect();
    if files.first().is_some_and(|first| first == "--level") {
        levels.retain(|(name, _)| *name == files[1]);
        files.drain(..2);
    }
    let inputs: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("a file to read")).collect();
    let members: Vec<&[u8]> = inputs.iter().flat_map(|input| input.chunks(MEMBER)).collect();
    let size: usize = members.iter().map(|member| member.len()).sum();
    println!("{:8} {:>12} {:>12} {:>8}", "level", "encode MB/s", "decode MB/s", "ratio");
    for (name, level) in levels {
        let (mut encoder, mut decoder) = (Encoder::new(level), Decoder::new());
        let (mut made, mut encode, mut decode) = (0, 0.0, 0.0);
        let (mut packed, mut unpacked) = (Vec::new(), vec![0; MEMBER]);
        for member in &members {
            packed.clear();
            encode += timed(|| encoder.member(member, &mut packed));
            let unpacked = &mut unpacked[..member.len()];
            decode += timed(|| decoder.member(&packed, unpacked).expect("what was packed"));
            assert!(unpacked == *member, "what was packed is not what is unpacked");
            made += packed.len();
        }
        let speed = |seconds: f64| size as f64 / 1e6 / seconds;
        println!("{name:8} {:12.0} {:12.0} {:8.4}", speed(encode), speed(decode), made as f64 / size as f64);
    }
}
