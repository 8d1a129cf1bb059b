//! Numbers of bytes as a person wants to read them.

/// `12.3 GB (12345678901 bytes)`: units of a thousand, as disks are sold.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    // In tenths of a unit, cut and not rounded: what is said to be free is there.
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = None;
    for name in UNITS {
        if tenths < 10_000 {
            break;
        }
        tenths /= 1000;
        unit = Some(name);
    }
    match unit {
        None => format!("{bytes} bytes"),
        Some(unit) => format!("{}.{} {unit} ({bytes} bytes)", tenths / 10, tenths % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        for (bytes, told) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.0 kB (1000 bytes)"),
            (999_999, "999.9 kB (999999 bytes)"),
            (12_345_678_901, "12.3 GB (12345678901 bytes)"),
            (u64::MAX, "18.4 EB (18446744073709551615 bytes)"),
        ] {
            assert_eq!(human(bytes), told);
        }
    }
}
