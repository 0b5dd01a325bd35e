//! How often something may happen: a bucket of tokens that fills by the switch's own time.
//!
//! Law: at most `rate` a second over any long time, and at most `burst` at once. The same ticks give the
//! same answers.
//!
//! Spec: RFC 4443 §2.4 (f), which asks for token buckets.

use crate::tick::Tick;

/// Thousandths of a token: what one millisecond brings at a rate of one a second.
const TOKEN: u64 = 1000;

/// A bucket of tokens.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: u64,
    burst: u64,
    level: u64,
    at: Tick,
}

impl Bucket {
    /// A full bucket for `rate` a second and `burst` at once.
    #[must_use]
    pub fn new(rate: u32, burst: u32) -> Self {
        let burst = u64::from(burst) * TOKEN;
        Self {
            rate: rate.into(),
            burst,
            level: burst,
            at: Tick(0),
        }
    }

    /// Changes the rate and the burst. As many tokens as were missing are missing afterwards.
    pub fn set(&mut self, rate: u32, burst: u32) {
        self.rate = rate.into();
        let missing = self.burst - self.level;
        self.burst = u64::from(burst) * TOKEN;
        self.level = self.burst.saturating_sub(missing);
    }

    /// Takes a token; false when there is none.
    #[must_use]
    pub fn take(&mut self, now: Tick) -> bool {
        let more = now.since(self.at).saturating_mul(self.rate);
        self.at = self.at.max(now);
        self.level = self.level.saturating_add(more).min(self.burst);
        let left = self.level.checked_sub(TOKEN);
        self.level = left.unwrap_or(self.level);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(10, 3);
        let now = |ms| Tick(ms);
        assert!((0..3).all(|_| bucket.take(now(5000))));
        assert!(!bucket.take(now(5000)));
        assert!(!bucket.take(now(5099)));
        assert!(bucket.take(now(5100)));
        assert!(!bucket.take(now(5100)));
        // However long nobody asks, no more than the burst is there.
        assert_eq!((0..9).filter(|_| bucket.take(now(1 << 40))).count(), 3);
        // Time that goes back brings nothing.
        assert!(!bucket.take(now(0)));
    }

    #[test]
    fn a_bucket_that_grows_is_not_emptied() {
        let mut bucket = Bucket::new(0, 0);
        bucket.set(1, 2);
        assert!(bucket.take(Tick(0)));
        bucket.set(1, 2);
        assert!(bucket.take(Tick(0)));
        bucket.set(1, 2);
        assert!(!bucket.take(Tick(0)));
    }

    #[test]
    fn a_rate_of_nothing_gives_nothing() {
        let mut bucket = Bucket::new(0, 0);
        assert!(!bucket.take(Tick(u64::MAX)));
    }
}
