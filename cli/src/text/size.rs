//! Sizes as people write them. The units are those of Redis' own configuration, so that a value can be copied from there:
//! `k`, `m`, `g` are powers of 1000, `kb`, `mb`, `gb` powers of 1024; `KiB`, `MiB`, `GiB` are what this program prints.

/// Bytes of `134217728`, `128mb`, `1.5 GiB`. `None` when it is no size, or no whole number of bytes.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" | "kib" => 1 << 10,
        "m" => 1_000_000,
        "mb" | "mib" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" | "gib" => 1 << 30,
        "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let bytes = number.parse::<f64>().ok()? * factor as f64;
    // Above this not every whole number is a float.
    (bytes.fract() == 0.0 && bytes < (1_u64 << 53) as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_redis_reads_them() {
        for (text, bytes) in [
            ("134217728", 134_217_728),
            ("0", 0),
            ("128mb", 128 << 20),
            ("128 MiB", 128 << 20),
            ("128m", 128_000_000),
            ("1.5gb", 3 << 29),
            ("64KB", 64 << 10),
            ("7b", 7),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_none() {
        let huge = format!("{}tb", u64::MAX);
        for text in ["", "mb", "-1", "1.5", "1..5mb", "12x", "1e3", "NaN", "99999999999.5gb", &huge]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
