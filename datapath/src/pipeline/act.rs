//! What each action does to a packet in translation, and the order of an action set.
//!
//! Law: an action reads the packet through [`Working`](super::state::Working), so that what it
//! looks at is in the answer's mask; one that the packet has no place for does nothing (OpenFlow
//! 1.3.5 §5.12). An action that looks at what the key does not show any more is not begun:
//! [`reads`] says so beforehand.
//!
//! Spec: OpenFlow 1.3.5 §5.10 (order of a set) and §5.12; `ovs-actions(7)`; Open vSwitch
//! `ofproto/ofproto-dpif-xlate.c` where these are silent.

use std::sync::Arc;

use vswitch_flow::action::{Reason, ToController};
use vswitch_flow::field::Prerequisite;
use vswitch_flow::text::IsNow;
use vswitch_flow::{Action, Field, META_WORD, Match, OfPort, Subfield};

use super::hash;
use super::state::Unknown;
use super::translate::{Kind, MAX_VALUES, Place, Task, Visit, Walk};
use super::{DpAction, Effect, Same};
use crate::counters::DropReason;

/// FIN and RST among the TCP flags.
const TCP_ENDS: u128 = 0x005;

/// The least that has to be unknown of a packet for an action not to be possible; `None` when it
/// always is.
pub(super) fn reads(action: &Action) -> Option<Unknown> {
    let sub = |sub: &Subfield| reads_field(sub.field);
    match action {
        Action::Output(OfPort::NORMAL | OfPort::FLOOD | OfPort::ALL)
        | Action::SetVlanVid(_)
        | Action::SetVlanPcp(_)
        | Action::PushVlan(_)
        | Action::PopVlan => Some(Unknown::All),
        Action::SetField { field, .. } => reads_field(*field),
        Action::Load { dst, .. } | Action::StackPop(dst) => sub(dst),
        Action::OutputField { src, .. } | Action::StackPush(src) => sub(src),
        Action::Move { src, dst } => match (sub(src), sub(dst)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        },
        Action::PushMpls(_)
        | Action::PopMpls(_)
        | Action::PushPbb(_)
        | Action::PopPbb
        | Action::CopyTtlOut
        | Action::CopyTtlIn
        | Action::DecTtl(_)
        | Action::DecMplsTtl
        | Action::Group(_)
        | Action::Learn(_)
        | Action::Multipath(_)
        | Action::Bundle(_)
        | Action::Ct(_)
        | Action::FinTimeout { .. } => Some(Unknown::Network),
        _ => None,
    }
}

fn reads_field(field: Field) -> Option<Unknown> {
    match field {
        Field::InPort | Field::RecircId => None,
        Field::EthSrc | Field::EthDst | Field::EthType => Some(Unknown::All),
        Field::VlanTci | Field::VlanVid | Field::VlanPcp => Some(Unknown::All),
        field if usize::from(field.info().word) >= META_WORD => None,
        _ => Some(Unknown::Network),
    }
}

/// An action set's actions in the order in which they are carried out (OpenFlow 1.3.5 §5.10). Of
/// each kind the last counts, but of writes to fields each; without an output or a group there is
/// nothing to do.
pub(super) fn in_order(set: &[Action]) -> Vec<Action> {
    type Test = fn(&Action) -> bool;
    const ONCE: [Test; 10] = [
        |a| matches!(a, Action::CopyTtlIn),
        |a| matches!(a, Action::PopVlan),
        |a| matches!(a, Action::PopMpls(_)),
        |a| matches!(a, Action::PopPbb),
        |a| matches!(a, Action::PushMpls(_)),
        |a| matches!(a, Action::PushPbb(_)),
        |a| matches!(a, Action::PushVlan(_)),
        |a| matches!(a, Action::CopyTtlOut),
        |a| matches!(a, Action::DecTtl(_)),
        |a| matches!(a, Action::DecMplsTtl),
    ];
    const WRITES: Test = |a| {
        matches!(
            a,
            Action::SetField { .. }
                | Action::Load { .. }
                | Action::Move { .. }
                | Action::SetVlanVid(_)
                | Action::SetVlanPcp(_)
        )
    };
    const QUEUE: Test = |a| matches!(a, Action::SetQueue(_));
    // A group goes before any other way out, and only one way is taken.
    const WAYS: [Test; 5] = [
        |a| matches!(a, Action::Group(_)),
        |a| {
            matches!(
                a,
                Action::Output(_) | Action::OutputField { .. } | Action::Controller(_)
            )
        },
        |a| matches!(a, Action::OutputTruncated { .. } | Action::Enqueue { .. }),
        |a| matches!(a, Action::Resubmit { .. } | Action::Bundle(_)),
        |a| matches!(a, Action::Ct(_)),
    ];
    let last = |test: &Test| set.iter().rev().find(|action| test(action));
    let Some(way) = WAYS.iter().find_map(last) else {
        return Vec::new();
    };
    let mut list: Vec<_> = ONCE.iter().filter_map(last).cloned().collect();
    list.extend(set.iter().filter(|action| WRITES(action)).cloned());
    list.extend(last(&QUEUE).cloned());
    list.push(way.clone());
    list
}

impl Walk<'_> {
    /// Carries one action out. False when the rest of its list is not to be.
    pub(super) fn perform(&mut self, action: &Action, place: &Place) -> bool {
        let (mut changed, mut goes_on) = (true, true);
        let kept = match action {
            Action::SetField { field, value, mask } => {
                self.tell_lacking(*field);
                self.write(*field, *value, *mask)
            }
            Action::Load { dst, value } => {
                self.tell_lacking(dst.field);
                self.store(*dst, *value)
            }
            Action::Move { src, dst } => {
                let value = self.fetch(*src);
                let kept = self.store(*dst, value);
                self.tell_bits(*dst);
                kept
            }
            Action::StackPop(dst) => match Arc::make_mut(&mut self.work.state.values).pop() {
                Some((value, _)) => {
                    let kept = self.store(*dst, value);
                    self.tell_bits(*dst);
                    kept
                }
                None => {
                    self.say(|| "stack underflow".to_owned());
                    true
                }
            },
            Action::SetVlanVid(vid) => {
                let tci = u128::from(super::vlan::PRESENT | vid & super::vlan::VID);
                self.work.set_field(Field::VlanVid, tci, 0x1fff)
            }
            Action::SetVlanPcp(pcp) => {
                let tci = super::vlan::PRESENT | u16::from(pcp & 7) << 13;
                let mask = super::vlan::PRESENT | super::vlan::PRIORITY;
                self.work.set_field(Field::VlanTci, tci.into(), mask.into())
            }
            Action::PushVlan(tpid) => self.work.push_vlan(*tpid),
            Action::PopVlan => self.work.pop_vlan(),
            Action::PushMpls(ethertype) => {
                self.work.push_mpls(*ethertype);
                true
            }
            Action::PopMpls(ethertype) => {
                self.work.pop_mpls(*ethertype);
                true
            }
            Action::PushPbb(_) => {
                self.work.push_pbb();
                true
            }
            Action::PopPbb => {
                self.work.pop_pbb();
                true
            }
            Action::CopyTtlOut => {
                self.work.copy_ttl(false);
                true
            }
            Action::CopyTtlIn => {
                self.work.copy_ttl(true);
                true
            }
            Action::DecTtl(controllers) => {
                // Without numbers it is the one that controllers have who choose none.
                let controllers = match controllers.as_slice() {
                    [] => &[0],
                    numbers => numbers,
                };
                goes_on = self.dec_ttl(Field::IpTtl, controllers, place);
                true
            }
            Action::DecMplsTtl => {
                goes_on = self.dec_ttl(Field::MplsTtl, &[0], place);
                true
            }
            Action::Ct(ct) => {
                changed = ct.nat.is_some();
                self.track(ct);
                true
            }
            other => {
                changed = false;
                self.perform_on_unchanged(other, place);
                true
            }
        };
        if changed {
            // A changed packet is news to the mirrors.
            self.work.state.mirrored = 0;
        }
        if !kept {
            self.give_up(DropReason::VlanDepth);
        }
        goes_on
    }

    /// Actions that leave the packet as it is.
    fn perform_on_unchanged(&mut self, action: &Action, place: &Place) {
        match action {
            Action::Output(OfPort::CONTROLLER) => self.punt_all(u16::MAX, place),
            Action::Output(port) => self.output(*port, None),
            Action::OutputTruncated { port, max_len } => self.output(*port, Some(*max_len)),
            Action::OutputField { src, max_len } => {
                let port = self.fetch(*src);
                self.detail(|| format!("output port is {port}"));
                match port_of(port) {
                    OfPort::CONTROLLER => self.punt_all(*max_len, place),
                    port => self.output(port, None),
                }
            }
            Action::Enqueue { port, .. } => self.output(*port, None),
            Action::Controller(to) => self.controller(to, place),
            Action::Group(id) => self.group(*id, place),
            Action::StackPush(src) => {
                let value = self.fetch(*src);
                if self.work.state.values.len() >= MAX_VALUES {
                    return self.give_up(DropReason::TooMuchWork);
                }
                Arc::make_mut(&mut self.work.state.values).push((value, src.bits));
            }
            Action::Resubmit {
                port,
                table,
                ct_tuple,
            } => self.resubmit(*port, *table, *ct_tuple, place),
            Action::Clone(actions) => {
                let place = Place {
                    node: self.work.state.node,
                    ..place.clone()
                };
                self.detour(actions.as_slice().into(), place, true);
            }
            Action::Learn(learn) => self.learn_flow(learn),
            Action::Exit => self.end_pipeline(true),
            Action::Multipath(multipath) => {
                let link = hash::multipath(multipath, &mut self.work);
                self.store(multipath.dst, link.into());
                self.tell_bits(multipath.dst);
            }
            Action::Bundle(bundle) => {
                let member = self.bundle_member(bundle);
                match (bundle.dst, member) {
                    (Some(dst), member) => {
                        // OpenFlow 1.0 numbers, where 0xffff is none.
                        let port = member.unwrap_or(OfPort::ANY).0 & 0xffff;
                        self.store(dst, port.into());
                        self.tell_bits(dst);
                    }
                    (None, Some(port)) => self.output(port, None),
                    (None, None) => self.note(DropReason::NoBucket),
                }
            }
            Action::CheckPktLarger { len, dst } => self.check_larger(*len, *dst),
            Action::FinTimeout { idle, hard } => self.fin_timeout(*idle, *hard, place),
            Action::Meter(id) => self.pass_meter(*id),
            Action::CtClear => self.untrack(),
            // Queues belong to devices, and ours have none; samples go to nobody; a conjunction's
            // flows are told apart by the table.
            _ => {}
        }
    }

    /// Reads a part of a field.
    pub(super) fn fetch(&mut self, from: Subfield) -> u128 {
        if !self.work.has(from.field) {
            return 0;
        }
        self.work.bits(from.field, from.mask()) >> from.offset
    }

    /// Writes a part of a field. False as for [`Walk::write`].
    pub(super) fn store(&mut self, to: Subfield, value: u128) -> bool {
        let mask = to.mask();
        self.write(to.field, value << to.offset & mask, mask)
    }

    /// Writes bits of a field. False when the packet would have more tags than are kept track of.
    fn write(&mut self, field: Field, value: u128, mask: u128) -> bool {
        let kept = self.work.set_field(field, value, mask);
        if field == Field::InPort {
            let number = OfPort(self.work.key().field(field) as u32);
            self.work.state.in_port = self.bridge().and_then(|b| b.port(number));
        }
        kept
    }

    /// A trace says what bits are now.
    pub(super) fn tell_bits(&mut self, bits: Subfield) {
        if let Some(trace) = &mut self.trace {
            let text = IsNow(bits, self.work.key()).to_string();
            trace.detail(self.work.state.node, text);
        }
    }

    /// A trace says that a packet has no place for what is to be written.
    fn tell_lacking(&mut self, field: Field) {
        let tag = matches!(field, Field::VlanTci | Field::VlanVid | Field::VlanPcp);
        if self.trace.is_some() && !tag && !self.work.has(field) {
            let name = field.info().name;
            self.say(|| format!("unmet prerequisites for {name}, set_field ignored"));
        }
    }

    fn punt_all(&mut self, max_len: u16, place: &Place) {
        let to = ToController {
            max_len,
            id: 0,
            reason: Reason::Action,
            userdata: Vec::new(),
            pause: false,
            meter: None,
        };
        self.controller(&to, place);
    }

    fn controller(&mut self, to: &ToController, place: &Place) {
        let mut to = to.clone();
        if to.reason == Reason::Action {
            to.reason = match place.kind {
                Kind::Apply if place.rule.as_ref().is_some_and(|r| is_table_miss(r)) => {
                    Reason::NoMatch
                }
                Kind::Apply => Reason::Action,
                Kind::Set => Reason::ActionSet,
                Kind::Bucket => Reason::Group,
                Kind::PacketOut => Reason::PacketOut,
            };
        }
        let continuation = to.pause.then(|| self.freeze());
        self.punt(&to, place, false, continuation);
    }

    /// Counts a TTL down. False when it is used up: controllers are told.
    fn dec_ttl(&mut self, field: Field, controllers: &[u16], place: &Place) -> bool {
        if !self.work.has(field) {
            return true;
        }
        let ttl = self.work.field(field);
        if ttl > 1 {
            self.work.set_field(field, ttl - 1, 0xff);
            return true;
        }
        let header = match field {
            Field::MplsTtl => "MPLS",
            _ if Prerequisite::Ipv6.holds(self.work.key()) => "IPv6",
            _ => "IPv4",
        };
        self.say(|| format!("{header} decrement TTL exception"));
        for &id in controllers {
            let to = ToController {
                max_len: u16::MAX,
                id,
                reason: Reason::InvalidTtl,
                userdata: Vec::new(),
                pause: false,
                meter: None,
            };
            self.punt(&to, place, false, None);
        }
        false
    }

    fn resubmit(&mut self, port: Option<OfPort>, table: Option<u8>, ct_tuple: bool, place: &Place) {
        let table = table.unwrap_or(place.table);
        if table <= place.table {
            if !self.deepen() {
                return;
            }
            self.later(Task::Rise);
        }
        // Only the lookup sees the other port; `in_port` and `normal` mean the packet's own.
        let number = match port {
            Some(OfPort::IN_PORT) | None => self.work.key().field(Field::InPort) as u32,
            Some(port) => port.0,
        };
        self.later(Task::Look {
            table,
            visit: Visit::Resubmit {
                port: number,
                ct_tuple,
            },
        });
    }

    fn group(&mut self, id: u32, place: &Place) {
        let Some(bridge) = self.bridge() else { return };
        let Some(group) = bridge.group(id) else {
            self.out.drop.get_or_insert(DropReason::NoBucket);
            return self.say(|| format!("output to nonexistent group {id}"));
        };
        let mut read = vswitch_flow::FlowMask::default();
        let pick = group.pick(self.tables, bridge, self.work.key(), &mut read);
        self.work.read_all(&read);
        self.out.groups.push((Arc::clone(group), pick));
        let place = Place {
            node: self.work.state.node,
            ..place.clone()
        };
        let buckets = match pick {
            super::group::Pick::All => 0..group.group().buckets.len(),
            super::group::Pick::One(at) => {
                let chosen = group.group().buckets.get(at).map_or(0, |bucket| bucket.id);
                self.detail(|| format!("using bucket {chosen}"));
                at..at + 1
            }
            super::group::Pick::Nothing => return self.note(DropReason::NoBucket),
        };
        for at in buckets.rev() {
            self.later(Task::Bucket {
                group: Same(Arc::clone(group)),
                at,
                place: place.clone(),
            });
        }
    }

    /// Goes on in one of two ways, as the packet is larger than `len` or not: its size is not in
    /// its key.
    fn check_larger(&mut self, len: u16, dst: Subfield) {
        let tasks = self.rest();
        let before = self.work.state.clone();
        let [other, larger] = [0, 1].map(|larger| {
            self.store(dst, larger);
            let way = self.stop(tasks.clone());
            self.work.state = before.clone();
            way
        });
        self.work.emit(DpAction::CheckLarger {
            len: len.into(),
            larger,
            other,
        });
    }

    fn fin_timeout(&mut self, idle: u16, hard: u16, place: &Place) {
        let (Some(bridge), Some(rule)) = (self.bridge(), &place.rule) else {
            return;
        };
        if self.work.has(Field::TcpFlags) && self.work.bits(Field::TcpFlags, TCP_ENDS) != 0 {
            self.effect(Effect::FinTimeout {
                bridge: bridge.id,
                rule: Arc::clone(&rule.0),
                idle,
                hard,
            });
        }
    }

    fn bundle_member(&mut self, bundle: &vswitch_flow::action::Bundle) -> Option<OfPort> {
        let bridge = self.bridge()?;
        let tables = self.tables;
        let live = |port: OfPort| {
            let port = bridge.port(port).and_then(|index| tables.port(index));
            port.is_some_and(|port| port.is_live())
        };
        hash::bundle(bundle, &mut self.work, live)
    }
}

/// The port that a number read from a field means: 16 bits with the reserved ports of OpenFlow 1.0,
/// or 32 bits with those of 1.1; any other is no port.
pub(super) fn port_of(number: u128) -> OfPort {
    match u32::try_from(number) {
        Ok(number @ 0xff00..=0xffff) => OfPort(number | 0xffff_0000),
        Ok(number @ (0..0xff00 | 0xffff_ff00..)) => OfPort(number),
        _ => OfPort::ANY,
    }
}

/// Whether a flow is the one for what no other flow of its table matches (OpenFlow 1.3.5 §5.4).
fn is_table_miss(rule: &super::Rule) -> bool {
    rule.flow().priority == 0 && rule.flow().matches == Match::any()
}

#[cfg(test)]
mod tests;
