//! The actions of connection tracking in translation: `ct`, `ct_clear`, and lookups by the tuple of
//! a connection's first packet.
//!
//! Translation only says what is to be asked of tracking: the answer is known when the packet has
//! been tracked, and is in the key with which a copy of it comes again ([`CtAction::table`]). The
//! packet itself goes on with its list of actions, and to these it is untracked and has the
//! addresses that it came with, as in Open vSwitch.
//!
//! Law: zone, mark and label are values when the answer is kept, so what they were read from is in
//! its mask. So is whether the packet is a fragment: a fragment waits at `ct` for the rest of its
//! datagram, so what follows is not in the same list but is gone on with when the datagram is whole
//! ([`CtAction::rest`]).
//!
//! Spec: `ovs-actions(7)` on `ct`, `ct_clear` and `resubmit`; Open vSwitch
//! `ofproto/ofproto-dpif-xlate.c`, `compose_conntrack_action`.

use std::sync::Arc;

use vswitch_flow::action::{Ct, CtZone};
use vswitch_flow::{Action, Field, FlowKey, FlowMask};

use super::trace::Node;
use super::translate::{Task, Visit, Walk};
use super::{DpAction, Frozen};
use crate::conntrack::request::{Request, state};

/// What is done about a packet's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CtAction {
    /// What is asked of tracking.
    pub request: Request,
    /// Where a copy of the tracked packet goes on.
    pub table: Option<Arc<Frozen>>,
    /// Where the packet itself goes on, if it is a fragment; any other does what follows.
    pub rest: Option<Arc<Frozen>>,
}

/// Fields of a packet and of its connection that a lookup by the connection's tuple exchanges.
const EXCHANGED: [(Field, Field); 3] = [
    (Field::IpProto, Field::CtProto),
    (Field::TcpSrc, Field::CtTpSrc),
    (Field::TcpDst, Field::CtTpDst),
];
const EXCHANGED_V4: [(Field, Field); 2] = [
    (Field::Ipv4Src, Field::CtIpv4Src),
    (Field::Ipv4Dst, Field::CtIpv4Dst),
];
const EXCHANGED_V6: [(Field, Field); 2] = [
    (Field::Ipv6Src, Field::CtIpv6Src),
    (Field::Ipv6Dst, Field::CtIpv6Dst),
];

/// Shows the packet with the addresses and ports of its connection, or, done again, with its own.
/// `mask` has the bits that were read of `key` as it is shown.
pub(super) fn swap_tuples(key: &mut FlowKey, mask: &mut FlowMask) {
    let family = match key.field(Field::EthType) {
        0x0800 => EXCHANGED_V4,
        _ => EXCHANGED_V6,
    };
    for (own, other) in EXCHANGED.into_iter().chain(family) {
        let values = (key.field(own), key.field(other));
        key.set(own, values.1);
        key.set(other, values.0);
        let read = (mask.field(own), mask.field(other));
        mask.set(own, read.1);
        mask.set(other, read.0);
    }
}

/// The bits that [`swap_tuples`] shows others in.
pub(super) fn exchanged() -> FlowMask {
    let mut bits = FlowMask::default();
    let pairs = EXCHANGED
        .into_iter()
        .chain(EXCHANGED_V4)
        .chain(EXCHANGED_V6);
    for field in pairs.flat_map(|(own, other)| [own, other]) {
        bits.set(field, field.info().max());
    }
    bits
}

impl Walk<'_> {
    /// The action `ct`.
    pub(super) fn track(&mut self, ct: &Ct) {
        let zone = match ct.zone {
            CtZone::Number(zone) => zone,
            CtZone::Field(from) => self.fetch(from) as u16,
        };
        let (mark, label) = self.exec(&ct.exec);
        let request = Request {
            zone,
            commit: ct.commit,
            force: ct.force && ct.commit,
            mark,
            label,
            nat: ct.nat.clone(),
            helper: ct.helper,
        };
        if ct.nat.is_some() {
            // A changed packet is news to the mirrors.
            self.work.state.mirrored = 0;
        }
        let fragment = self.work.is_fragment();
        let table = ct.table.map(|table| self.fork(table));
        if let (Some(frozen), Some(trace)) = (&table, &mut self.trace) {
            let mut key = *self.work.key();
            key.set(Field::CtZone, zone.into());
            let written = key.field(Field::CtMark) as u32 & !mark.1 | mark.0;
            key.set(Field::CtMark, written.into());
            let written = key.field(Field::CtLabel) & !label.1 | label.0;
            key.set(Field::CtLabel, written);
            trace.stops(frozen.id, &key);
        }
        self.work.untrack();
        self.detail(|| {
            "Sets the packet to an untracked state, and clears all the conntrack fields.".to_owned()
        });
        let rest = if fragment {
            self.rest_of_fragment()
        } else {
            None
        };
        self.work.emit_lasting(DpAction::Ct(Arc::new(CtAction {
            request,
            table,
            rest,
        })));
        self.work.emitted.tracked = true;
        if ct.nat.is_some() {
            self.work.translated();
        }
    }

    /// Where a copy of the packet goes on when it has been tracked.
    fn fork(&mut self, table: u8) -> Arc<Frozen> {
        self.detail(|| {
            format!(
                "A clone of the packet is forked to recirculate. The forked pipeline will be \
                 resumed at table {table}."
            )
        });
        let mut state = self.work.state.clone().without_headers().tracked();
        state.depth = 0;
        let look = Task::Look {
            table,
            visit: Visit::Goto,
        };
        self.intern(state, vec![Task::ActionSet(Node::default()), look])
    }

    /// Where a fragment goes on behind `ct`; `None` when nothing is left to be done to it.
    fn rest_of_fragment(&mut self) -> Option<Arc<Frozen>> {
        let tasks = self.rest();
        let nothing_set = super::act::in_order(&self.work.state.set).is_empty();
        let ends = |task: &Task| match task {
            Task::Rise => true,
            Task::ActionSet(_) => nothing_set,
            _ => false,
        };
        if tasks.iter().all(ends) {
            return None;
        }
        self.detail(|| "a fragment goes on when all of them have come".to_owned());
        Some(self.stop(tasks))
    }

    /// What the actions in `ct(exec(...))` write: value and mask of the mark and of the label.
    fn exec(&mut self, actions: &[Action]) -> ((u32, u32), (u128, u128)) {
        let (mut key, mut mask) = (FlowKey::default(), FlowMask::default());
        for action in actions {
            let (to, value, bits) = match action {
                Action::SetField { field, value, mask } => (*field, *value, *mask),
                Action::Load { dst, value } => (dst.field, value << dst.offset, dst.mask()),
                Action::Move { src, dst } => {
                    let written = mask.field(src.field) & src.mask();
                    let mut value = key.field(src.field) & written;
                    if self.work.has(src.field) {
                        value |= self.work.bits(src.field, src.mask() & !written);
                    }
                    (dst.field, value >> src.offset << dst.offset, dst.mask())
                }
                _ => continue,
            };
            if matches!(to, Field::CtMark | Field::CtLabel) {
                key.set(to, key.field(to) & !bits | value & bits);
                mask.set(to, mask.field(to) | bits);
            }
        }
        let [mark, bits] = [key.field(Field::CtMark), mask.field(Field::CtMark)].map(|m| m as u32);
        let label = (key.field(Field::CtLabel), mask.field(Field::CtLabel));
        ((mark, bits), label)
    }

    /// The action `ct_clear`.
    pub(super) fn untrack(&mut self) {
        let tracked = u128::from(state::TRACKED);
        if self.work.bits(Field::CtState, tracked) != 0 || self.work.emitted.tracked {
            self.work.emit_lasting(DpAction::CtClear);
            self.work.emitted.tracked = false;
        }
        self.work.untrack();
    }

    /// Whether the packet's connection has a tuple that a lookup can be done by.
    pub(super) fn has_tuple(&mut self) -> bool {
        self.work.has(Field::IpProto) && self.work.field(Field::CtProto) != 0
    }
}

#[cfg(test)]
mod tests;
