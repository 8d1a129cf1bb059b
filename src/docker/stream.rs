//! Docker's frames: a command's two outputs in one stream.

/// Standard output and standard error; `None` where the last frame is not whole, or it is no such stream.
pub fn split(mut frames: &[u8]) -> Option<(String, String)> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while !frames.is_empty() {
        // Which output, three zeros, the length: `docs/api` of moby, "Stream format".
        let (header, rest) = frames.split_first_chunk::<8>()?;
        let [kind @ 0..=2, 0, 0, 0, length @ ..] = *header else { return None };
        let (text, next) = rest.split_at_checked(u32::from_be_bytes(length) as usize)?;
        if kind == 2 { &mut stderr } else { &mut stdout }.extend_from_slice(text);
        frames = next;
    }
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Some((text(stdout), text(stderr)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_outputs_are_told_apart_and_a_cut_one_is_noticed() {
        let frames = b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x03err\x01\0\0\0\0\0\0\x01!";
        assert_eq!(split(frames), Some(("out!".to_owned(), "err".to_owned())));
        assert_eq!(split(b""), Some((String::new(), String::new())));
        for cut in [1, 8, 10, 14, frames.len() - 1] {
            assert_eq!(split(&frames[..cut]), None, "{cut}");
        }
        assert_eq!(split(b"plain text of a terminal"), None);
    }
}
