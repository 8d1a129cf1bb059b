//! Releases of Cassandra, by the two numbers that count.

/// `(4, 1)` of `4.1.9`, `4.1-beta1` and `4.1-SNAPSHOT`.
pub fn parse(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse::<u32>().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// A release that is not known is none that was long ago.
pub fn is_before(version: &str, release: (u32, u32)) -> bool {
    parse(version).is_some_and(|parsed| parsed < release)
}

/// Why a release is neither backed up nor restored.
pub fn is_out_of_reach(version: &str) -> Option<&'static str> {
    let keeps_a_log = parse(version).is_some_and(|parsed| parsed >= (5, 1));
    keeps_a_log
        .then_some("Cassandra 5.1 and later keep the cluster's metadata in a log that is not restored yet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert!(
            is_before("2.1.20", (2, 2)) && is_before("3.11.5", (4, 0)) && is_before("4.0-alpha2", (4, 1))
        );
        assert!(!is_before("4.0.17", (4, 0)) && !is_before("4.0-alpha2", (4, 0)) && !is_before("x", (4, 0)));
        assert!(is_before("9.10.1", (10, 0)) && !is_before("10.0.1", (9, 10)));
        assert_eq!(["5.0.5", "4.1.9"].map(is_out_of_reach), [None; 2]);
        assert!(["5.1.0", "5.1-alpha1", "6.0.0"].iter().all(|version| is_out_of_reach(version).is_some()));
    }
}
