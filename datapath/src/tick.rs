//! The switch's time: milliseconds since the datapath began.
//!
//! One thread reads the clock once a round and hands the tick down; nothing else in the datapath
//! asks the time (architecture decision 5), so a test can let years pass in a loop.

/// Milliseconds since the datapath began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// The tick after `seconds` whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds from `earlier` until this tick; 0 when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
