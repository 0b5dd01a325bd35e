//! Actions, one after the other, against what is known of the packet.

use super::{Fault, check_meter_number, needs};
use crate::action::{
    Action, Bundle, Ct, CtHelper, CtZone, Learn, LearnSource, LearnSpec, Multipath, Nat, NatPorts,
    OfPort, Subfield,
};
use crate::field::{Field, Prerequisite};
use crate::group::GROUP_MAX;
use crate::key::FlowKey;
use crate::matches::Match;

/// Actions within actions go no deeper than this; each level costs stack.
const DEPTH_MAX: u8 = 32;

/// Most ports of a `bundle` (`BUNDLE_MAX_MEMBERS`).
const BUNDLE_MAX: usize = 2048;

/// Most bytes of a `note`: an action's length has 16 bits and is a multiple of 8.
const NOTE_MAX: usize = 0xfff8 - 10;

/// `vlan_tci` of a packet with a tag has this bit set.
const TAGGED: u128 = 0x1000;

/// `ct_state` of a packet that belongs to no connection has this bit set.
const INVALID: u128 = 0x10;

/// What is known of a packet while a list of actions is checked.
#[derive(Clone, Debug)]
pub struct Checker {
    /// What the packet surely is; `None` where nothing is known and everything may be.
    key: Option<FlowKey>,
    /// Whether an action needs what it works on.
    strict: bool,
    /// Whether these are the actions that `ct` does to the connection.
    in_ct: bool,
    depth: u8,
}

impl Checker {
    /// For the packets of a match. See [`super::check_instructions`] for `strict`.
    #[must_use]
    pub fn new(matches: &Match, strict: bool) -> Self {
        Self {
            key: Some(matches.key()),
            strict,
            in_ct: false,
            depth: 0,
        }
    }

    /// For any packets: prerequisites are not looked at.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            key: None,
            strict: false,
            in_ct: false,
            depth: 0,
        }
    }

    /// From here on an action that has nothing to work on comes to nothing.
    pub(crate) fn be_lenient(&mut self) {
        self.strict = false;
    }

    /// From here on the actions are those that `ct` does to the connection.
    pub(crate) fn enter_ct(&mut self) {
        self.in_ct = true;
    }

    /// What the packet surely is, at this point of the list; `None` if nothing is known.
    #[must_use]
    pub fn key(&self) -> Option<&FlowKey> {
        self.key.as_ref()
    }

    /// Whether the packet surely has a VLAN tag at this point of the list.
    #[must_use]
    pub fn is_tagged(&self) -> bool {
        self.key()
            .is_some_and(|key| key.field(Field::VlanTci) & TAGGED != 0)
    }

    /// Checks a list of actions.
    ///
    /// # Errors
    /// The first fault.
    pub fn list(&mut self, actions: &[Action]) -> Result<(), Fault> {
        Self::conjunction(actions)?;
        actions.iter().try_for_each(|action| self.action(action))
    }

    /// Checks a list that joins the action set. What the packet will be then is not known.
    ///
    /// # Errors
    /// The first fault.
    pub fn action_set(&mut self, actions: &[Action]) -> Result<(), Fault> {
        for action in actions {
            if let Some(name) = not_in_set(action) {
                return Err(Fault::NotInActionSet(name));
            }
        }
        let mut checker = self.clone();
        checker.strict = false;
        checker.list(actions)
    }

    /// Conjunctions stand beside notes only.
    pub(crate) fn conjunction(actions: &[Action]) -> Result<(), Fault> {
        let is = |action: &Action| matches!(action, Action::Conjunction { .. });
        let other = |action: &Action| !is(action) && !matches!(action, Action::Note(_));
        if actions.iter().any(is) && actions.iter().any(other) {
            let text = "conjunction stands beside other conjunctions and notes only";
            return Err(Fault::Conjunction(text));
        }
        Ok(())
    }

    /// Checks one action, and takes note of what it makes of the packet.
    ///
    /// # Errors
    /// The fault.
    pub fn action(&mut self, action: &Action) -> Result<(), Fault> {
        if self.in_ct {
            return self.on_connection(action);
        }
        match action {
            Action::Output(port) => out_port(*port),
            Action::OutputTruncated { port, max_len } => {
                if *max_len < 14 {
                    return Err(Fault::Argument(
                        "output with max_len keeps at least the 14 bytes of an Ethernet header",
                    ));
                }
                ordinary(*port)
            }
            Action::OutputField { src, .. } => self.source(*src),
            Action::Enqueue { port, .. } => ordinary(*port),
            Action::Group(id) if *id > GROUP_MAX => Err(Fault::OutGroup(*id)),
            Action::SetField { field, value, mask } => self.set_field(*field, *value, *mask),
            Action::Load { dst, value } => {
                self.destination(*dst)?;
                if dst.bits < 128 && value >> dst.bits != 0 {
                    return Err(Fault::SetArgument {
                        field: dst.field,
                        reason: "cannot hold the value in these bits",
                    });
                }
                outside_ct(dst.field)
            }
            Action::Move { src, dst } => {
                self.source(*src)?;
                self.destination(*dst)?;
                if src.bits != dst.bits {
                    return Err(Fault::SetLength { field: dst.field });
                }
                outside_ct(dst.field)
            }
            Action::StackPush(src) => self.source(*src),
            Action::StackPop(dst) => self.destination(*dst),
            Action::SetVlanVid(vid) => {
                if *vid > 0xfff {
                    return Err(Fault::Argument("a VLAN number is at most 4095"));
                }
                self.set(Field::VlanTci, self.value(Field::VlanTci) | TAGGED);
                Ok(())
            }
            Action::SetVlanPcp(pcp) => {
                if *pcp > 7 {
                    return Err(Fault::Argument("a VLAN priority is at most 7"));
                }
                self.set(Field::VlanTci, self.value(Field::VlanTci) | TAGGED);
                Ok(())
            }
            Action::PushVlan(tpid) => self.push_vlan(*tpid),
            Action::PopVlan => {
                self.require(Prerequisite::Vlan, "pop_vlan")?;
                self.set(Field::VlanTci, self.value(Field::InnerVlanTci));
                self.set(Field::InnerVlanTci, 0);
                Ok(())
            }
            Action::PushMpls(ethertype) => {
                if !matches!(ethertype, 0x8847 | 0x8848) {
                    return Err(Fault::Argument("push_mpls takes 0x8847 or 0x8848"));
                }
                self.becomes(u128::from(*ethertype));
                Ok(())
            }
            Action::PopMpls(ethertype) => {
                self.require(Prerequisite::Mpls, "pop_mpls")?;
                self.becomes(u128::from(*ethertype));
                Ok(())
            }
            Action::PushPbb(ethertype) => {
                if *ethertype != 0x88e7 {
                    return Err(Fault::Argument("push_pbb takes 0x88e7"));
                }
                self.becomes(0x88e7);
                Ok(())
            }
            Action::PopPbb => {
                self.require(Prerequisite::Pbb, "pop_pbb")?;
                self.becomes(0);
                Ok(())
            }
            Action::DecTtl(_) => self.require(Prerequisite::Ip, "dec_ttl"),
            Action::DecMplsTtl => self.require(Prerequisite::Mpls, "dec_mpls_ttl"),
            Action::CopyTtlOut => self.require(Prerequisite::Mpls, "copy_ttl_out"),
            Action::CopyTtlIn => self.require(Prerequisite::Mpls, "copy_ttl_in"),
            Action::Resubmit { ct_tuple: true, .. } => {
                self.demand(Prerequisite::Ct, "resubmit(,,ct)")
            }
            Action::Clone(inner) => self.within(|checker| checker.list(inner)),
            Action::Learn(learn) => self.learn(learn),
            Action::Conjunction {
                clause, clauses, ..
            } => {
                if !(2..=64).contains(clauses) || clause >= clauses {
                    let text = "a conjunction has 2 to 64 clauses, and a clause is one of these";
                    return Err(Fault::Conjunction(text));
                }
                Ok(())
            }
            Action::Note(bytes) if bytes.len() > NOTE_MAX => {
                Err(Fault::Argument("a note has at most 65518 bytes"))
            }
            Action::Multipath(multipath) => self.multipath(multipath),
            Action::Bundle(bundle) => self.bundle(bundle),
            Action::CheckPktLarger { dst, .. } => self.bit(*dst),
            Action::FinTimeout { .. } => self.require(Prerequisite::Tcp, "fin_timeout"),
            Action::Ct(ct) => self.ct(ct),
            Action::Sample(sample) if sample.probability == 0 => {
                Err(Fault::Argument("sample has a probability from 1 to 65535"))
            }
            Action::DeleteField(_) => Err(Fault::Argument(
                "delete_field is for tunnel options (tun_metadata), which this switch has not",
            )),
            Action::Meter(id) => check_meter_number(*id),
            Action::Controller(_)
            | Action::SetQueue(_)
            | Action::PopQueue
            | Action::Group(_)
            | Action::Resubmit { .. }
            | Action::Note(_)
            | Action::Exit
            | Action::CtClear
            | Action::Sample(_) => Ok(()),
        }
    }

    /// What is surely in a field; zero if it is not known.
    fn value(&self, field: Field) -> u128 {
        self.key().map_or(0, |key| key.field(field))
    }

    fn set(&mut self, field: Field, value: u128) {
        if let Some(key) = &mut self.key {
            key.set(field, value);
        }
    }

    /// The packet has another Ethernet type now, and nothing is known of what follows.
    fn becomes(&mut self, ethertype: u128) {
        self.set(Field::EthType, ethertype);
        self.set(Field::IpProto, 0);
    }

    /// An action may come to nothing unless the checker is strict.
    fn require(&self, prerequisite: Prerequisite, what: &'static str) -> Result<(), Fault> {
        if self.strict {
            self.demand(prerequisite, what)
        } else {
            Ok(())
        }
    }

    /// An action that makes no sense without its header, in no version of OpenFlow.
    fn demand(&self, prerequisite: Prerequisite, what: &'static str) -> Result<(), Fault> {
        match self.key() {
            Some(key) if !prerequisite.holds(key) => Err(Fault::Inconsistent {
                what,
                needs: needs(prerequisite),
            }),
            _ => Ok(()),
        }
    }

    /// The packet has the field, as far as the field table says. In the action set, and in OpenFlow
    /// 1.0, an action on a field that is not there does nothing.
    fn has(&self, field: Field) -> Result<(), Fault> {
        let row = field.info();
        let prerequisite = match field {
            Field::VlanVid => Prerequisite::Vlan,
            _ => row.prerequisite,
        };
        let later = self.value(Field::IpFrag) & 2 != 0;
        let ports = matches!(
            prerequisite,
            Prerequisite::Tcp | Prerequisite::Udp | Prerequisite::Sctp
        );
        if self.strict && later && ports {
            return Err(Fault::Inconsistent {
                what: row.name,
                needs: "packets that are no later fragments (nw_frag=not_later)",
            });
        }
        self.require(prerequisite, row.name)
    }

    fn source(&self, src: Subfield) -> Result<(), Fault> {
        if !src.is_valid() {
            return Err(Fault::SetLength { field: src.field });
        }
        match src.field {
            // A packet without a tag reads as zero.
            Field::VlanVid => Ok(()),
            field => self.has(field),
        }
    }

    fn destination(&self, dst: Subfield) -> Result<(), Fault> {
        if !dst.is_valid() {
            return Err(Fault::SetLength { field: dst.field });
        }
        writable(dst.field)?;
        self.has(dst.field)
    }

    /// One bit that can be written.
    fn bit(&self, dst: Subfield) -> Result<(), Fault> {
        self.destination(dst)?;
        if dst.bits == 1 {
            Ok(())
        } else {
            Err(Fault::SetLength { field: dst.field })
        }
    }

    fn set_field(&mut self, field: Field, value: u128, mask: u128) -> Result<(), Fault> {
        let row = field.info();
        writable(field)?;
        outside_ct(field)?;
        if mask & !row.max() != 0 || value & !mask != 0 {
            return Err(Fault::SetArgument {
                field,
                reason: "cannot hold the value, or the value has bits outside its mask",
            });
        }
        if mask != row.max() && !row.maskable {
            return Err(Fault::SetMask { field });
        }
        self.has(field)?;
        if field == Field::VlanTci {
            self.set(field, self.value(field) & !mask | value);
        }
        Ok(())
    }

    fn push_vlan(&mut self, tpid: u16) -> Result<(), Fault> {
        if !matches!(tpid, 0x8100 | 0x88a8) {
            return Err(Fault::Argument("push_vlan takes 0x8100 or 0x88a8"));
        }
        let (outer, inner) = (self.value(Field::VlanTci), self.value(Field::InnerVlanTci));
        if inner & TAGGED != 0 {
            return Err(Fault::Tag);
        }
        self.set(Field::InnerVlanTci, outer);
        self.set(Field::VlanTci, outer | TAGGED);
        Ok(())
    }

    /// Checks what is within an action. What it makes of the packet ends with it.
    fn within(&self, check: impl FnOnce(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        if self.depth >= DEPTH_MAX {
            return Err(Fault::Argument("actions within actions go 32 levels deep"));
        }
        let mut inner = self.clone();
        inner.depth += 1;
        check(&mut inner)
    }

    fn learn(&self, learn: &Learn) -> Result<(), Fault> {
        if learn.table == 0xff {
            return Err(Fault::Argument("learn puts flows into tables 0 to 254"));
        }
        if let Some(dst) = learn.result {
            self.bit(dst)?;
        }
        // What the new flow matches so far.
        let mut made = Self {
            key: Some(FlowKey::default()),
            strict: self.strict,
            in_ct: false,
            depth: 0,
        };
        for spec in &learn.specs {
            let (src, dst) = match spec {
                LearnSpec::Output(src) => {
                    self.source(*src)?;
                    continue;
                }
                LearnSpec::Match { src, dst } => {
                    made.source(*dst)?;
                    (src, dst)
                }
                LearnSpec::Load { src, dst } => {
                    made.destination(*dst)?;
                    (src, dst)
                }
            };
            match src {
                LearnSource::Field(src) => {
                    self.source(*src)?;
                    if src.bits != dst.bits {
                        return Err(Fault::SetLength { field: dst.field });
                    }
                }
                LearnSource::Value(value) => {
                    if dst.bits < 128 && value >> dst.bits != 0 {
                        return Err(Fault::SetArgument {
                            field: dst.field,
                            reason: "cannot hold the value in these bits",
                        });
                    }
                    if matches!(spec, LearnSpec::Match { .. }) {
                        let before = made.value(dst.field) & !dst.mask();
                        made.set(dst.field, before | value << dst.offset);
                    }
                }
            }
        }
        Ok(())
    }

    fn multipath(&self, multipath: &Multipath) -> Result<(), Fault> {
        self.destination(multipath.dst)?;
        let bits = multipath.dst.bits;
        if bits < 16 && multipath.max_link >> bits != 0 {
            return Err(Fault::Argument(
                "multipath writes a number that does not fit into these bits",
            ));
        }
        Ok(())
    }

    fn bundle(&self, bundle: &Bundle) -> Result<(), Fault> {
        if bundle.members.len() > BUNDLE_MAX {
            return Err(Fault::Argument("a bundle has at most 2048 members"));
        }
        for port in &bundle.members {
            match *port {
                OfPort::ANY => {}
                OfPort::CONTROLLER => return Err(Fault::OutPort(*port)),
                port => out_port(port)?,
            }
        }
        match bundle.dst {
            Some(dst) => self.destination(dst),
            None => Ok(()),
        }
    }

    fn ct(&self, ct: &Ct) -> Result<(), Fault> {
        self.demand(Prerequisite::Ip, "ct")?;
        if ct.commit && self.value(Field::CtState) & INVALID != 0 {
            return Err(Fault::Inconsistent {
                what: "ct(commit)",
                needs: "packets whose connection is not invalid (ct_state=-inv)",
            });
        }
        match ct.helper {
            Some(CtHelper::Ftp) => self.demand(Prerequisite::Tcp, "alg=ftp")?,
            Some(CtHelper::Tftp) => self.demand(Prerequisite::Udp, "alg=tftp")?,
            None => {}
        }
        if ct.force && !ct.commit {
            return Err(Fault::Argument("force in ct needs commit"));
        }
        let ranged = ct.nat.as_ref().is_some_and(|nat| nat.range.is_some());
        if !ct.commit && (ranged || !ct.exec.is_empty()) {
            return Err(Fault::Argument(
                "exec and nat with a range need commit: only a kept connection has them",
            ));
        }
        if ct.table == Some(0xff) {
            return Err(Fault::Argument("ct goes on in tables 0 to 254"));
        }
        if let CtZone::Field(src) = ct.zone {
            self.source(src)?;
        }
        if let Some(nat) = &ct.nat {
            self.nat(nat)?;
        }
        let exec = &ct.exec;
        self.within(|checker| {
            checker.enter_ct();
            exec.iter().try_for_each(|action| checker.action(action))
        })
    }

    fn nat(&self, nat: &Nat) -> Result<(), Fault> {
        let Some(range) = &nat.range else {
            if nat.persistent || nat.ports != NatPorts::Default {
                return Err(Fault::Argument("flags of nat need src or dst"));
            }
            return Ok(());
        };
        if let Some((first, last)) = range.addresses {
            if first.is_ipv4() != last.is_ipv4() || first > last {
                return Err(Fault::Argument(
                    "addresses of nat go from the lower to the higher",
                ));
            }
            let prerequisite = match first.is_ipv4() {
                true => Prerequisite::Ipv4,
                false => Prerequisite::Ipv6,
            };
            self.demand(prerequisite, "nat")?;
        }
        match range.ports {
            Some(_) if range.addresses.is_none() => {
                Err(Fault::Argument("ports of nat need an address before them"))
            }
            Some((first, last)) if first > last || first == 0 => Err(Fault::Argument(
                "ports of nat go from the lower to the higher, from 1",
            )),
            _ => Ok(()),
        }
    }

    /// Checks an action within `exec`.
    fn on_connection(&self, action: &Action) -> Result<(), Fault> {
        let (field, dst) = match action {
            Action::SetField { field, value, mask } => {
                let max = field.info().max();
                if mask & !max != 0 || value & !mask != 0 {
                    return Err(Fault::SetArgument {
                        field: *field,
                        reason: "cannot hold the value, or the value has bits outside its mask",
                    });
                }
                (*field, None)
            }
            Action::Load { dst, value } => {
                if dst.bits < 128 && value >> dst.bits != 0 {
                    return Err(Fault::SetArgument {
                        field: dst.field,
                        reason: "cannot hold the value in these bits",
                    });
                }
                (dst.field, Some(*dst))
            }
            Action::Move { src, dst } => {
                self.source(*src)?;
                if src.bits != dst.bits {
                    return Err(Fault::SetLength { field: dst.field });
                }
                (dst.field, Some(*dst))
            }
            _ => {
                return Err(Fault::Argument(
                    "exec in ct takes set_field, load and move only",
                ));
            }
        };
        if let Some(dst) = dst {
            self.destination(dst)?;
        }
        match field {
            Field::CtMark | Field::CtLabel => Ok(()),
            _ => Err(Fault::Argument(
                "exec in ct writes ct_mark and ct_label only",
            )),
        }
    }
}

fn writable(field: Field) -> Result<(), Fault> {
    if field.info().writable {
        Ok(())
    } else {
        Err(Fault::SetArgument {
            field,
            reason: "cannot be set",
        })
    }
}

/// Mark and label of a connection are written by `ct` only.
fn outside_ct(field: Field) -> Result<(), Fault> {
    match field {
        Field::CtMark | Field::CtLabel => Err(Fault::SetArgument {
            field,
            reason: "is written within ct(exec(...)) only",
        }),
        _ => Ok(()),
    }
}

fn out_port(port: OfPort) -> Result<(), Fault> {
    match port {
        OfPort(0) | OfPort::UNSET | OfPort::ANY => Err(Fault::OutPort(port)),
        port if port > OfPort::MAX && port < OfPort::UNSET => Err(Fault::OutPort(port)),
        _ => Ok(()),
    }
}

/// A port that is one of the bridge's, or where the packet came from.
fn ordinary(port: OfPort) -> Result<(), Fault> {
    match port {
        OfPort::IN_PORT | OfPort::LOCAL => Ok(()),
        port if port >= OfPort::UNSET => Err(Fault::OutPort(port)),
        port => out_port(port),
    }
}

/// The name of an action that an action set cannot hold (OpenFlow 1.3.5 §5.10, and Open vSwitch's
/// `action_set_classify`).
fn not_in_set(action: &Action) -> Option<&'static str> {
    Some(match action {
        Action::OutputTruncated { .. } => "output with max_len",
        Action::OutputField { .. } => "output to a field",
        Action::Controller(to) if !to.is_plain() => "controller with arguments",
        Action::Enqueue { .. } => "enqueue",
        Action::PopQueue => "pop_queue",
        Action::StackPush(_) => "push",
        Action::StackPop(_) => "pop",
        Action::Clone(_) => "clone",
        Action::Learn(_) => "learn",
        Action::Conjunction { .. } => "conjunction",
        Action::Note(_) => "note",
        Action::Exit => "exit",
        Action::Multipath(_) => "multipath",
        Action::Bundle(_) => "bundle",
        Action::CheckPktLarger { .. } => "check_pkt_larger",
        Action::FinTimeout { .. } => "fin_timeout",
        Action::CtClear => "ct_clear",
        Action::Meter(_) => "meter",
        Action::Sample(_) => "sample",
        Action::DeleteField(_) => "delete_field",
        _ => return None,
    })
}
