//! Matches, actions and flows → text, in the order in which Open vSwitch prints them.

use std::fmt;

use super::DEFAULT_PRIORITY;
use super::parse::{PACKETS, promised};
use super::value;
use crate::action::{Action, OfPort};
use crate::field::Field;
use crate::key::FlowMask;
use crate::matches::Match;
use crate::rule::{FlowFlags, FlowRule};

/// The order of fields in a match, and the name of each where it is not the table's.
const ORDER: [(Field, &str); 40] = [
    (Field::RecircId, "recirc_id"),
    (Field::Metadata, "metadata"),
    (Field::InPort, "in_port"),
    (Field::VlanTci, "vlan_tci"),
    (Field::VlanTpid, "vlan_tpid"),
    (Field::InnerVlanTci, "inner_vlan_tci"),
    (Field::InnerVlanTpid, "inner_vlan_tpid"),
    (Field::EthSrc, "dl_src"),
    (Field::EthDst, "dl_dst"),
    (Field::EthType, "dl_type"),
    (Field::Ipv4Src, "nw_src"),
    (Field::Ipv4Dst, "nw_dst"),
    (Field::Ipv6Src, "ipv6_src"),
    (Field::Ipv6Dst, "ipv6_dst"),
    (Field::Ipv6Label, "ipv6_label"),
    (Field::ArpSpa, "arp_spa"),
    (Field::ArpTpa, "arp_tpa"),
    (Field::IpProto, "nw_proto"),
    (Field::ArpOp, "arp_op"),
    (Field::ArpSha, "arp_sha"),
    (Field::ArpTha, "arp_tha"),
    (Field::IpDscp, "nw_tos"),
    (Field::IpEcn, "nw_ecn"),
    (Field::IpTtl, "nw_ttl"),
    (Field::MplsLabel, "mpls_label"),
    (Field::MplsTc, "mpls_tc"),
    (Field::MplsTtl, "mpls_ttl"),
    (Field::MplsBos, "mpls_bos"),
    (Field::IpFrag, "nw_frag"),
    (Field::TcpSrc, "tp_src"),
    (Field::TcpDst, "tp_dst"),
    (Field::UdpSrc, "tp_src"),
    (Field::UdpDst, "tp_dst"),
    (Field::SctpSrc, "tp_src"),
    (Field::SctpDst, "tp_dst"),
    (Field::IcmpType, "icmp_type"),
    (Field::IcmpCode, "icmp_code"),
    (Field::Icmp6Type, "icmp_type"),
    (Field::Icmp6Code, "icmp_code"),
    (Field::TcpFlags, "tcp_flags"),
];

/// Fields of neighbour discovery, printed after the ICMP ones.
const NEIGHBOUR: [(Field, &str); 3] = [
    (Field::NdTarget, "nd_target"),
    (Field::NdSll, "nd_sll"),
    (Field::NdTll, "nd_tll"),
];

/// Puts a comma between the parts of a list.
pub(super) struct List<'a, 'b> {
    pub(super) f: &'a mut fmt::Formatter<'b>,
    pub(super) first: bool,
}

impl<'b> List<'_, 'b> {
    /// The place of the next part.
    pub(super) fn next(&mut self) -> Result<&mut fmt::Formatter<'b>, fmt::Error> {
        if !self.first {
            self.f.write_str(",")?;
        }
        self.first = false;
        Ok(self.f)
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_match(self, &mut List { f, first: true })
    }
}

fn print_match(found: &Match, list: &mut List<'_, '_>) -> fmt::Result {
    // What is printed is taken out here; what is left has no name that the match promises.
    let mut left = found.mask();
    if let Some((name, protocol)) = packet(found) {
        list.next()?.write_str(name)?;
        left.set(Field::EthType, 0);
        if protocol {
            left.set(Field::IpProto, 0);
        }
    }
    for (field, name) in ORDER.iter().chain(&NEIGHBOUR) {
        let (field, row) = (*field, field.info());
        let (value, mask) = (found.key().field(field), left.field(field));
        if mask == 0 || !promised(field, found) {
            continue;
        }
        left.set(field, 0);
        match field {
            Field::VlanTci => print_vlan(value, mask, list)?,
            Field::IpDscp if mask == row.max() => write!(list.next()?, "nw_tos={}", value << 2)?,
            Field::IpDscp => {
                let f = list.next()?;
                f.write_str("ip_dscp=")?;
                value::print(row, value, mask, f)?;
            }
            _ => {
                let f = list.next()?;
                write!(f, "{name}=")?;
                value::print(row, value, mask, f)?;
            }
        }
    }
    print_unpromised(found, &mut left, list)
}

/// Prints bits that matter though the match does not promise the field they belong to, so that
/// nothing a match says is hidden. The parser refuses such a match and says what is missing.
fn print_unpromised(found: &Match, left: &mut FlowMask, list: &mut List<'_, '_>) -> fmt::Result {
    for field in Field::all() {
        let mask = left.field(field);
        if mask != 0 {
            left.set(field, 0);
            let f = list.next()?;
            write!(f, "{field}=")?;
            value::print(field.info(), found.key().field(field) & mask, mask, f)?;
        }
    }
    Ok(())
}

/// The keyword for the match's packets, and whether it names their protocol as well.
fn packet(found: &Match) -> Option<(&'static str, bool)> {
    let (key, mask) = (found.key(), found.mask());
    if mask.field(Field::EthType) != Field::EthType.info().max() {
        return None;
    }
    let ethertype = key.field(Field::EthType);
    let ip = matches!(ethertype, 0x0800 | 0x86dd);
    let exact = mask.field(Field::IpProto) == Field::IpProto.info().max();
    let protocol = (ip && exact).then(|| key.field(Field::IpProto));
    PACKETS
        .iter()
        .find(|(_, e, p)| *e == ethertype && (p.is_none() || *p == protocol))
        .map(|(name, _, p)| (*name, p.is_some()))
}

fn print_vlan(tci: u128, mask: u128, list: &mut List<'_, '_>) -> fmt::Result {
    let (vid, pcp) = (mask & 0xfff, mask & 0xe000);
    let tagged = tci & mask & 0x1000 != 0;
    let whole = matches!(vid, 0 | 0xfff) && matches!(pcp, 0 | 0xe000);
    if tagged && whole && (vid | pcp) != 0 {
        if vid != 0 {
            write!(list.next()?, "dl_vlan={}", tci & 0xfff)?;
        }
        if pcp != 0 {
            write!(list.next()?, "dl_vlan_pcp={}", tci >> 13)?;
        }
        Ok(())
    } else if mask == 0xffff {
        write!(list.next()?, "vlan_tci=0x{tci:04x}")
    } else {
        write!(list.next()?, "vlan_tci=0x{tci:04x}/0x{mask:04x}")
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Output(OfPort::CONTROLLER) => f.write_str("CONTROLLER:65535"),
            Self::Output(port) => {
                f.write_str(if port < OfPort::IN_PORT {
                    "output:"
                } else {
                    ""
                })?;
                value::print_port(port, f)
            }
            Self::SetField { field, value, mask } => {
                f.write_str("set_field:")?;
                // A number that is all written is decimal here, also that of a VLAN.
                if field == Field::VlanVid && mask == field.info().max() {
                    write!(f, "{value}")?;
                } else {
                    value::print(field.info(), value, mask, f)?;
                }
                write!(f, "->{}", name_to_set(field))
            }
            Self::PushVlan(tpid) => write!(f, "push_vlan:0x{tpid:04x}"),
            Self::PopVlan => f.write_str("pop_vlan"),
            // Said in full by the grammar of actions.
            ref other => write!(f, "{other:?}"),
        }
    }
}

/// The name of a field in `set_field`, where Open vSwitch uses OpenFlow's names and not its own.
fn name_to_set(field: Field) -> &'static str {
    match field {
        Field::EthSrc => "eth_src",
        Field::EthDst => "eth_dst",
        Field::Ipv4Src => "ip_src",
        Field::Ipv4Dst => "ip_dst",
        Field::VlanPcp => "vlan_pcp",
        _ => field.info().name,
    }
}

/// Prints a list of actions; the empty list is `drop`.
#[derive(Clone, Copy, Debug)]
pub struct Actions<'a>(
    /// The actions, in order.
    pub &'a [Action],
);

impl fmt::Display for Actions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("drop");
        }
        let mut list = List { f, first: true };
        for action in self.0 {
            write!(list.next()?, "{action}")?;
        }
        Ok(())
    }
}

/// `priority=...,match actions=...`: the end of a dump's line.
fn print_body(rule: &FlowRule, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut list = List { f, first: true };
    if rule.priority != DEFAULT_PRIORITY {
        write!(list.next()?, "priority={}", rule.priority)?;
    }
    print_match(&rule.matches, &mut list)?;
    let space = if list.first { "" } else { " " };
    write!(f, "{space}actions={}", Actions(&rule.instructions.apply))
}

impl fmt::Display for FlowRule {
    /// As `dump-flows --no-stats` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cookie={:#x}, table={}, ", self.cookie, self.table)?;
        for (name, value) in [
            ("idle_timeout", self.idle_timeout),
            ("hard_timeout", self.hard_timeout),
            ("importance", self.importance),
        ] {
            if value != 0 {
                write!(f, "{name}={value}, ")?;
            }
        }
        for (name, flag) in [
            ("send_flow_rem", FlowFlags::SEND_FLOW_REM),
            ("check_overlap", FlowFlags::CHECK_OVERLAP),
            ("reset_counts", FlowFlags::RESET_COUNTS),
        ] {
            if self.flags.has(flag) {
                write!(f, "{name} ")?;
            }
        }
        print_body(self, f)
    }
}
