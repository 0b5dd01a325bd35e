//! What several benchmarks share: traffic without a cost of its own, and the least that any switch
//! over the same ports would do.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures in wall time, for a given time"
)]

pub mod bare_afxdp;
pub mod bare_tap;
pub mod replay;
pub mod report;
pub mod spread;
pub mod traffic;
pub mod turns;
