//! What happens to a packet: flow tables, learning, VLANs, mirrors, patch ports.
//!
//! Not for packets: translation sees a [`FlowKey`](vswitch_flow::FlowKey) and answers with a list
//! of [`DpAction`]s. Not for side effects either: what should be learned is in the answer, and the
//! worker does it.
//!
//! Law (architecture decision 11): an answer's mask has every bit of the key that the decision
//! read. Flip any other bit and the answer is the same. An extra bit costs a cache entry; a
//! missing bit sends packets astray. Bits that an action overwrote before they were read are not
//! read from the packet and are not in the mask.
//!
//! Threads: [`Tables`] never change; a change makes a new value that shares what stayed. Cost: a
//! hash lookup for each distinct mask of the table, and a step for each action and output; only
//! packets that no cache answers pay it.
//!
//! Spec: OpenFlow 1.3.5 §5; Open vSwitch `ofproto/ofproto-dpif-xlate.c` for NORMAL, mirrors and
//! patch ports.

mod change;
mod classifier;
mod evict;
mod group;
mod meter;
mod mirror;
mod normal;
mod rule;
mod shelf;
mod state;
mod tables;
mod trace;
mod translate;
mod vlan;

use std::sync::Arc;

use vswitch_dpapi::BridgeId;
use vswitch_flow::{Field, FlowMask};

use crate::counters::DropReason;
use crate::fdb::{FdbDeps, MacEntry, MacKey};
use crate::port::PortIndex;

pub use change::{Draft, Gone, Log};
pub use classifier::Table;
pub use evict::Evictions;
pub use group::{GROUPS_MAX, GroupEntry, Pick, named_groups};
pub use meter::{METERS_MAX, MeterEntry, Moment, Verdict, remark};
pub use rule::{Rule, RuleStats};
pub use tables::{Bridge, Link, LookupCounters, Port, Refusal, Tables};
pub use trace::{Trace, actions_text, bridge_actions_text, trace};
pub use translate::{MAX_ACTIONS, MAX_DEPTH, MAX_ENTRIES, translate};

/// One thing to do to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DpAction {
    /// Send it, as it is now, by a port.
    Output(PortIndex),
    /// Write the bits `mask` of a field.
    SetField {
        /// Which field.
        field: Field,
        /// Its new value, zero outside `mask`.
        value: u128,
        /// Which bits of it.
        mask: u128,
    },
    /// Put a VLAN tag in front of the others.
    PushVlan {
        /// Tag protocol, 0x8100 or 0x88a8.
        tpid: u16,
        /// VLAN, priority and, in bit 12, 1.
        tci: u16,
    },
    /// Take the outer VLAN tag off.
    PopVlan,
}

/// An address that NORMAL saw where it did not expect it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learn {
    /// On which bridge.
    pub bridge: BridgeId,
    /// The address and its VLAN.
    pub key: MacKey,
    /// Where it is.
    pub port: PortIndex,
}

/// What happens to packets with the same bits under `mask`.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    /// The bits that were read.
    pub mask: FlowMask,
    /// What to do, in order. Without an output the packet is dropped.
    pub actions: Vec<DpAction>,
    /// Why there is no output, when there is none.
    pub drop: Option<DropReason>,
    /// The flows that decided, to be credited with the packet.
    pub rules: Vec<Arc<Rule>>,
    /// What the packet teaches.
    pub learn: Vec<Learn>,
    /// The learned addresses that the packet keeps young.
    pub touch: Vec<Arc<MacEntry>>,
    /// The answer holds while these do.
    pub deps: FdbDeps,
    /// Whether the answer may be kept for further packets. One that teaches may not: it is out of
    /// date as soon as it is learned.
    pub cacheable: bool,
}

#[cfg(test)]
mod tests;
