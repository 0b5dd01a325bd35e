//! The processor's cycle counter.
//!
//! Stage counters are in cycles because two reads of the time-stamp counter cost about as much as
//! one hash; they are read a few times a round, never per packet. On processors without one the
//! monotonic clock's nanoseconds stand in.

/// A count that rises with time at a constant rate. Only differences mean anything.
#[inline]
#[must_use]
pub fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: `rdtsc` touches no memory and every x86-64 processor has it.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        use std::sync::OnceLock;
        use std::time::Instant;
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn cycles_rise() {
        let before = super::cycles();
        std::hint::black_box((0..1000).sum::<u64>());
        assert!(super::cycles() > before);
    }
}
