//! The proof that a packet whose decision is cached needs no allocation, whichever cache has it.
#![forbid(unsafe_code)]

use vswitch_benches::replay::{Kind, Replay};
use vswitch_sys::alloc::{Counting, calls};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Packets without an allocation that count as proof: many times what any vector, histogram or
/// pool of the worker would grow at.
const PACKETS: usize = 100_000;

#[test]
fn a_hit_allocates_nothing() {
    let before = calls();
    drop(std::hint::black_box(vec![0_u8; 64]));
    assert!(calls() > before, "the allocator does not count");
    let hits = Kind::ALL
        .into_iter()
        .filter(|kind| !matches!(kind, Kind::Begin | Kind::New));
    for kind in hits {
        for flows in [1, 4_096] {
            let mut replay = Replay::new(kind, flows).expect("memory");
            replay.warm_up().expect("packets arrive");
            let misses = replay.worker().cache().counters().miss;
            let before = calls();
            replay.run(PACKETS);
            let allocations = calls() - before;
            assert_eq!(
                replay.worker().cache().counters().miss,
                misses,
                "{kind:?} with {flows} flows is not about hits"
            );
            assert_eq!(allocations, 0, "{kind:?} with {flows} flows");
        }
    }
}
