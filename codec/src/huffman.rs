//! Huffman codes as deflate has them: canonical, of limited length.

/// The most symbols a deflate alphabet has.
pub const SYMBOLS: usize = 288;

pub const LONGEST: usize = 15;

/// The lengths of a code for symbols that often: complete, no length over `limit`, at least two symbols in it.
pub fn lengths(counts: &[u32], limit: usize, lengths: &mut [u8]) {
    let mut keys = [0; SYMBOLS];
    let mut used = 0;
    for (symbol, &count) in counts.iter().enumerate() {
        if count > 0 {
            keys[used] = count << 9 | symbol as u32;
            used += 1;
        }
    }
    lengths.fill(0);
    if used < 2 {
        let only = keys[..used].first().map_or(0, |key| (key & 511) as usize);
        lengths[only] = 1;
        lengths[usize::from(only == 0)] = 1;
        return;
    }
    let keys = &mut keys[..used];
    sort(keys);
    let of_length = limited(keys, limit);
    let mut rarest_first = keys.iter();
    for length in (1..=limit).rev() {
        for key in rarest_first.by_ref().take(of_length[length] as usize) {
            lengths[(key & 511) as usize] = length as u8;
        }
    }
}

/// Sorts by count; equal counts stay in the order of their symbols.
fn sort(keys: &mut [u32]) {
    let mut other = [0; SYMBOLS];
    let mut other = &mut other[..keys.len()];
    let mut from: &mut [u32] = keys;
    let all = from.iter().fold(0, |all, key| all | key);
    // An even number of passes, so that the sorted keys end where they began.
    let passes = if all >> 25 > 0 { 4 } else { 2 };
    for pass in 0..passes {
        let digit = |key: u32| (key >> (9 + 8 * pass)) as u8 as usize;
        let mut places = [0u32; 256];
        for &key in from.iter() {
            places[digit(key)] += 1;
        }
        let mut sum = 0;
        for place in &mut places {
            sum += std::mem::replace(place, sum);
        }
        for &key in from.iter() {
            let place = &mut places[digit(key)];
            other[*place as usize] = key;
            *place += 1;
        }
        (from, other) = (other, from);
    }
}

/// How many codes of each length an optimal code has for such sorted keys (Moffat and Katajainen, in place); those
/// over the limit are made to fit.
fn limited(keys: &[u32], limit: usize) -> [u32; LONGEST + 1] {
    let n = keys.len();
    let mut nodes = [0; SYMBOLS];
    let nodes = &mut nodes[..n];
    for (node, key) in nodes.iter_mut().zip(keys) {
        *node = key >> 9;
    }
    // Weights become the indices of parents ...
    nodes[0] += nodes[1];
    let (mut root, mut leaf) = (0, 2);
    for next in 1..n - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            if leaf >= n || (root < next && nodes[root] < nodes[leaf]) {
                weight += nodes[root];
                nodes[root] = next as u32;
                root += 1;
            } else {
                weight += nodes[leaf];
                leaf += 1;
            }
        }
        nodes[next] = weight;
    }
    // ... and these become depths, of which the leaves' follow.
    let mut of_length = [0; LONGEST + 1];
    nodes[n - 2] = 0;
    for next in (0..n - 2).rev() {
        nodes[next] = nodes[nodes[next] as usize] + 1;
    }
    let mut inner = nodes[..n - 1].iter().rev().peekable();
    let (mut places, mut depth) = (1, 0);
    while places > 0 {
        let mut taken = 0;
        while inner.next_if(|&&node| node == depth).is_some() {
            taken += 1;
        }
        of_length[(depth as usize).min(limit)] += places - taken;
        places = 2 * taken;
        depth += 1;
    }
    shorten(&mut of_length, limit);
    of_length
}

/// Makes room for codes that were cut down to the limit by lengthening the longest of the others.
fn shorten(of_length: &mut [u32; LONGEST + 1], limit: usize) {
    let space = |of_length: &[u32; LONGEST + 1]| -> u32 {
        (1..=limit).map(|length| of_length[length] << (limit - length)).sum()
    };
    for _ in 1 << limit..space(of_length) {
        of_length[limit] -= 1;
        if let Some(length) = (1..limit).rev().find(|&length| of_length[length] > 0) {
            of_length[length] -= 1;
            of_length[length + 1] += 2;
        }
    }
}

/// A code with the bits in the order they are written in, and its length above bit 24.
pub fn codes(lengths: &[u8], codes: &mut [u32]) {
    let mut next = [0u32; LONGEST + 2];
    for &length in lengths {
        next[length as usize + 1] += 1;
    }
    next[1] = 0;
    let mut code = 0;
    for first in &mut next[1..] {
        code = (code + *first) << 1;
        *first = code;
    }
    for (entry, &length) in codes.iter_mut().zip(lengths) {
        *entry = 0;
        if length > 0 {
            let next = &mut next[length as usize];
            *entry = next.reverse_bits() >> (32 - length) | u32::from(length) << 24;
            *next += 1;
        }
    }
}
