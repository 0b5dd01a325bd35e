//! Repeats of one measurement, summed up.

/// Least, median and most. A median does not care about the repeat that something disturbed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// The smallest.
    pub least: f64,
    /// The middle one; the mean of two when their number is even.
    pub median: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// Sums up; no values make zeros.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(&least), Some(&most)) = (sorted.first(), sorted.last()) else {
            return Self::default();
        };
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Self {
            least,
            median,
            most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_middle_is_the_median() {
        assert_eq!(Spread::of(&[]), Spread::default());
        let odd = Spread::of(&[9.0, 1.0, 2.0]);
        assert_eq!((odd.least, odd.median, odd.most), (1.0, 2.0, 9.0));
        assert!((Spread::of(&[4.0, 1.0, 2.0, 3.0]).median - 2.5).abs() < 1e-9);
    }
}
