//! What happens to a packet: flow tables, learning, VLANs, mirrors, patch ports.
//!
//! Not for packets: translation sees a [`FlowKey`] and answers with a list
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

mod act;
mod change;
mod classifier;
mod evict;
mod freeze;
mod group;
mod hash;
mod learn;
mod meter;
mod mirror;
mod nat;
mod normal;
mod punt;
mod recent;
mod router;
mod rule;
mod shards;
mod shelf;
mod state;
mod tables;
mod trace;
mod track;
mod traffic;
mod translate;
mod tunnel;
mod vlan;

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use vswitch_dpapi::{BridgeId, TunnelKind};
use vswitch_flow::action::ToController;
use vswitch_flow::{Field, FlowKey, FlowMask, FlowMod, META_WORD, Match, OfPort, SparseKey};

use crate::counters::DropReason;
use crate::fdb::{FdbDeps, MacEntry, MacKey};
use crate::neigh::Neighbour;
use crate::port::PortIndex;
use crate::tunnel::template;

pub use change::{Draft, Gone, Log};
pub use classifier::Table;
pub use evict::Evictions;
pub use freeze::Frozen;
pub use group::{GROUPS_MAX, GroupEntry, Pick, named_groups};
pub use meter::{METERS_MAX, MeterEntry, Moment, Verdict, remark};
pub use punt::{Punts, Waiting};
pub use recent::{Answer, RECENT_MAX, Recent, Seen};
pub use router::{Errand, Found, Near, Router, RouterPort, Routes, ToRouter, Way};
pub use rule::{Rule, RuleStats};
pub use tables::{Bridge, Link, LookupCounters, Port, Refusal, Tables};
pub use template::Template;
pub use trace::{Start, Stretch, Trace, actions_text, resume_tracked, trace};
pub use track::CtAction;
pub use traffic::{Crossing, Crossings};
pub use translate::{MAX_ACTIONS, MAX_DEPTH, MAX_ENTRIES, resume, translate, translate_out};

/// One thing to do to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DpAction {
    /// Send it, as it is now, by a port.
    Output(PortIndex),
    /// Send it, as it is now, to controllers.
    Controller(Arc<Punt>),
    /// The output that follows sends only so many bytes.
    Truncate(u32),
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
    /// Put an MPLS entry in front of the network header.
    PushMpls {
        /// The packet's Ethernet type then, 0x8847 or 0x8848.
        ethertype: u16,
        /// The entry.
        entry: u32,
    },
    /// Take the outer MPLS entry off; the packet's Ethernet type is this one then.
    PopMpls(u16),
    /// Put a provider backbone header before the packet: its own two addresses, and a service tag.
    PushPbb {
        /// The tag's four bytes after the Ethernet type.
        tag: u32,
    },
    /// Take the provider backbone header off.
    PopPbb,
    /// Copy the TTL of the header behind the outer MPLS entry into the entry.
    CopyTtlOut,
    /// Copy the TTL of the outer MPLS entry into the header behind it.
    CopyTtlIn,
    /// Put a copy of the packet as it is now aside.
    Save,
    /// What is done to the packet ends here: go on with the copy that was put aside last.
    Restore,
    /// Read the packet's headers anew and go on where translation stopped.
    Recirculate(Arc<Frozen>),
    /// The same, in one of two ways, as the packet is larger than so many bytes or not.
    CheckLarger {
        /// So many.
        len: u32,
        /// Where a larger one goes on.
        larger: Arc<Frozen>,
        /// Where another one goes on.
        other: Arc<Frozen>,
    },
    /// Let the meter say whether the packet goes on.
    Meter(Same<MeterEntry>),
    /// Track the packet's connection.
    Ct(Arc<CtAction>),
    /// Forget what tracking found.
    CtClear,
    /// Put the packet into a tunnel.
    Encap(Arc<Template>),
    /// Take the packet out of a tunnel; it comes in again by the port to which it belongs.
    Decap {
        /// The tunnel's protocol.
        kind: TunnelKind,
        /// To which UDP port it came.
        udp_port: u16,
        /// By which port it would have left.
        at: PortIndex,
    },
    /// Bring it, as it is now, to a router.
    Router(Arc<ToRouter>),
    /// Bring it to a router instead of going on if its network packet is larger than so many bytes.
    FitRoute(u32, Arc<ToRouter>),
}

/// Something shared, equal to nothing but itself.
#[derive(Debug)]
pub struct Same<T>(pub Arc<T>);

impl<T> Clone for Same<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> PartialEq for Same<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Eq for Same<T> {}

impl<T> Hash for Same<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl<T> Deref for Same<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What controllers are told of a packet besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Punt {
    /// On which bridge.
    pub bridge: BridgeId,
    /// Which controllers, how much and why.
    pub to: ToController,
    /// No flow matched, not even one for what nothing else matches.
    pub implicit_miss: bool,
    /// Table of the flow that sends it.
    pub table: u8,
    /// Cookie of the flow that sends it; `u64::MAX` without a flow.
    pub cookie: u64,
    /// Where the packet came in, as actions have it.
    pub in_port: OfPort,
    /// What actions wrote into fields that are not in the frame: values, and the bits written. Bits
    /// that they did not write are as the packet's key has them.
    pub fields: (FlowKey, FlowMask),
    /// Where the packet goes on when a controller lets it, if it is paused.
    pub continuation: Option<Arc<Frozen>>,
}

impl Punt {
    /// The fields that are not in the frame, where they are not zero, of a packet that was looked up
    /// with `key`.
    #[must_use]
    pub fn match_of(&self, key: &SparseKey) -> Match {
        let mut all = key.to_dense();
        let pairs = self.fields.0.words.iter().zip(&self.fields.1.words);
        for (word, (value, written)) in all.words.iter_mut().zip(pairs) {
            *word = *word & !written | value & written;
        }
        let mut mask = FlowMask::default();
        for field in Field::all() {
            let row = field.info();
            // Names for several registers together, and what means something to the pipeline only.
            let other = matches!(row.bits, 64 | 128) && field.info().name.starts_with('x')
                || matches!(field, Field::ConjId | Field::ActsetOutput | Field::DpHash);
            if usize::from(row.word) >= META_WORD
                && !other
                && all.field(field) != 0
                && row.prerequisite.holds(&all)
            {
                mask.set(field, row.max());
            }
        }
        Match::new(&all, &mask)
    }
}

impl DpAction {
    /// Whether the packet, or a copy of it, goes somewhere.
    #[must_use]
    pub fn is_way_out(&self) -> bool {
        match self {
            Self::Output(_)
            | Self::Controller(_)
            | Self::Recirculate(_)
            | Self::Router(_)
            | Self::CheckLarger { .. }
            | Self::Decap { .. } => true,
            Self::Ct(ct) => ct.table.is_some() || ct.rest.is_some(),
            _ => false,
        }
    }

    /// Whether it means the same when the tables have changed. Where a packet goes on is kept for the
    /// tables that it was worked out with.
    #[must_use]
    pub fn lasts(&self) -> bool {
        match self {
            Self::Recirculate(_) | Self::CheckLarger { .. } => false,
            Self::Controller(punt) => punt.continuation.is_none(),
            Self::Ct(ct) => ct.table.is_none() && ct.rest.is_none(),
            Self::Output(_)
            | Self::CtClear
            | Self::Truncate(_)
            | Self::SetField { .. }
            | Self::PushVlan { .. }
            | Self::PopVlan
            | Self::PushMpls { .. }
            | Self::PopMpls(_)
            | Self::PushPbb { .. }
            | Self::PopPbb
            | Self::CopyTtlOut
            | Self::CopyTtlIn
            | Self::Save
            | Self::Restore
            | Self::Encap(_)
            | Self::Decap { .. }
            | Self::Router(_)
            | Self::FitRoute(..)
            | Self::Meter(_) => true,
        }
    }

    /// Whether anybody but the packet itself notices the action.
    #[must_use]
    pub fn is_effect(&self) -> bool {
        self.is_way_out() || matches!(self, Self::Meter(_) | Self::Ct(_))
    }
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
    /// The tables that were looked at, to be credited with the packet.
    pub lookups: Vec<Lookup>,
    /// What the lookups saw.
    pub seen: Seen,
    /// The groups that it went by, to be credited with the packet.
    pub groups: Vec<(Arc<GroupEntry>, Pick)>,
    /// The ports without devices that it crosses, to be credited with the packet.
    pub crossings: Vec<(Arc<Crossings>, Crossing)>,
    /// What each packet does to flows.
    pub effects: Vec<Arc<Effect>>,
    /// What the packet teaches.
    pub learn: Vec<Learn>,
    /// The learned addresses that the packet keeps young.
    pub touch: Vec<Arc<MacEntry>>,
    /// The neighbours that the packet goes to.
    pub neighbours: Vec<Arc<Neighbour>>,
    /// The answer holds while these do.
    pub deps: FdbDeps,
    /// Whether the answer may be kept for further packets. One that teaches may not: it is out of
    /// date as soon as it is learned.
    pub cacheable: bool,
}

/// A look at a flow table.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The counters of the bridge's tables.
    pub counters: Arc<LookupCounters>,
    /// Which table.
    pub table: u8,
    /// Whether a flow matched.
    pub matched: bool,
}

/// What a packet does to flows. Control does it, and answers by new tables.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Adds a flow, or keeps the one young that is there already (`learn`).
    Learn {
        /// On which bridge.
        bridge: BridgeId,
        /// The flow to add.
        change: FlowMod,
        /// Most flows with its cookie in its table; 0 is any number.
        limit: u32,
    },
    /// Shortens a flow's life (`fin_timeout`).
    FinTimeout {
        /// On which bridge.
        bridge: BridgeId,
        /// Which flow.
        rule: Arc<Rule>,
        /// New idle timeout, seconds; 0 leaves it.
        idle: u16,
        /// New hard timeout, seconds; 0 leaves it.
        hard: u16,
    },
    /// Asks for a neighbour's Ethernet address, which a tunnel needs.
    Resolve {
        /// The number of the device on which it is.
        device: u32,
        /// Who.
        address: IpAddr,
    },
}

#[cfg(test)]
mod tests;
