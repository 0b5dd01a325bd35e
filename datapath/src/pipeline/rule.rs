//! A flow in force, and its counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vswitch_flow::FlowRule;

use crate::tick::Tick;

/// Traffic of a flow. Workers add what they have collected; the sums are exact when every worker
/// has been asked to.
#[derive(Debug, Default)]
pub struct RuleStats {
    packets: AtomicU64,
    bytes: AtomicU64,
    /// The tick of the last packet plus one; 0 before the first.
    used: AtomicU64,
}

impl RuleStats {
    /// Adds traffic, the last of it at `now`.
    pub fn add(&self, packets: u64, bytes: u64, now: Tick) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.used.fetch_max(now.0 + 1, Ordering::Relaxed);
    }

    /// Packets so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// Bytes of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// When the last packet came.
    #[must_use]
    pub fn used(&self) -> Option<Tick> {
        self.used.load(Ordering::Relaxed).checked_sub(1).map(Tick)
    }
}

/// A flow in force.
#[derive(Debug)]
pub struct Rule {
    flow: FlowRule,
    created: Tick,
    /// Shared with the flow that replaces this one, so that what a worker still adds to this one
    /// is not lost (OpenFlow 1.3.5 §6.4: counters are kept unless a reset is asked for).
    stats: Arc<RuleStats>,
}

impl Rule {
    /// A flow added at `created`, which goes on counting where `previous` stopped.
    #[must_use]
    pub fn new(flow: FlowRule, created: Tick, previous: Option<&Self>) -> Self {
        Self {
            flow,
            created,
            stats: previous.map_or_else(Arc::default, |rule| Arc::clone(&rule.stats)),
        }
    }

    /// What was asked for.
    #[must_use]
    pub fn flow(&self) -> &FlowRule {
        &self.flow
    }

    /// When it was added.
    #[must_use]
    pub fn created(&self) -> Tick {
        self.created
    }

    /// Its traffic.
    #[must_use]
    pub fn stats(&self) -> &RuleStats {
        &self.stats
    }
}
