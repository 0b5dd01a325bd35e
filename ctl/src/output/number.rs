//! Numbers for eyes.

/// A time span in its two largest units: `3d 4h`, `2m 5s`, `7s`.
pub fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = UNITS
        .iter()
        .position(|(size, _)| seconds >= *size)
        .unwrap_or(UNITS.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (size, name) in UNITS.iter().skip(first).take(2) {
        if rest >= *size || parts.is_empty() {
            parts.push(format!("{}{name}", rest / size));
        }
        rest %= size;
    }
    parts.join(" ")
}

/// `part` in percent of `whole`, or a dash when there is no whole.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        "-".into()
    } else {
        format!("{:.1} %", part as f64 * 100.0 / whole as f64)
    }
}

/// `sum` per item with one decimal, or a dash when there are no items.
pub fn per(sum: u64, items: u64) -> String {
    if items == 0 {
        "-".into()
    } else {
        format!("{:.1}", sum as f64 / items as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_their_two_largest_units() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (125, "2m 5s"),
            (3_600, "1h"),
            (3_659, "1h"),
            (90_061, "1d 1h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        assert_eq!(percent(0, 0), "-");
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(per(5, 0), "-");
        assert_eq!(per(5, 2), "2.5");
    }
}
