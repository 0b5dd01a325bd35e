//! Matches → text, in the order in which Open vSwitch prints them (`match_format`).

use std::fmt;

use super::matches::PACKETS;
use super::names::{Named, Names};
use super::value;
use crate::check::promised;
use crate::field::Field;
use crate::key::{FlowKey, FlowMask};
use crate::matches::Match;

/// Fields before the word for the packet, with the name of each.
const BEFORE: [(Field, &str); 16] = [
    (Field::PktMark, "pkt_mark"),
    (Field::RecircId, "recirc_id"),
    (Field::DpHash, "dp_hash"),
    (Field::ConjId, "conj_id"),
    (Field::ActsetOutput, "actset_output"),
    (Field::CtState, "ct_state"),
    (Field::CtZone, "ct_zone"),
    (Field::CtMark, "ct_mark"),
    (Field::CtLabel, "ct_label"),
    (Field::CtIpv4Src, "ct_nw_src"),
    (Field::CtIpv6Src, "ct_ipv6_src"),
    (Field::CtIpv4Dst, "ct_nw_dst"),
    (Field::CtIpv6Dst, "ct_ipv6_dst"),
    (Field::CtProto, "ct_nw_proto"),
    (Field::CtTpSrc, "ct_tp_src"),
    (Field::CtTpDst, "ct_tp_dst"),
];

/// Fields after it. A name that several have is that of a match.
const AFTER: [(Field, &str); 72] = [
    (Field::Reg0, "reg0"),
    (Field::Reg1, "reg1"),
    (Field::Reg2, "reg2"),
    (Field::Reg3, "reg3"),
    (Field::Reg4, "reg4"),
    (Field::Reg5, "reg5"),
    (Field::Reg6, "reg6"),
    (Field::Reg7, "reg7"),
    (Field::Reg8, "reg8"),
    (Field::Reg9, "reg9"),
    (Field::Reg10, "reg10"),
    (Field::Reg11, "reg11"),
    (Field::Reg12, "reg12"),
    (Field::Reg13, "reg13"),
    (Field::Reg14, "reg14"),
    (Field::Reg15, "reg15"),
    (Field::TunId, "tun_id"),
    (Field::TunSrc, "tun_src"),
    (Field::TunDst, "tun_dst"),
    (Field::TunIpv6Src, "tun_ipv6_src"),
    (Field::TunIpv6Dst, "tun_ipv6_dst"),
    (Field::TunGbpId, "tun_gbp_id"),
    (Field::TunGbpFlags, "tun_gbp_flags"),
    (Field::TunTos, "tun_tos"),
    (Field::TunTtl, "tun_ttl"),
    (Field::TunFlags, "tun_flags"),
    (Field::Metadata, "metadata"),
    (Field::InPort, "in_port"),
    (Field::VlanTci, "vlan_tci"),
    (Field::VlanTpid, "vlan_tpid"),
    (Field::InnerVlanTci, "inner_vlan_tci"),
    (Field::InnerVlanTpid, "inner_vlan_tpid"),
    (Field::EthSrc, "dl_src"),
    (Field::EthDst, "dl_dst"),
    (Field::EthType, "dl_type"),
    (Field::PbbIsid, "pbb_isid"),
    (Field::Ipv4Src, "nw_src"),
    (Field::Ipv4Dst, "nw_dst"),
    (Field::Ipv6Src, "ipv6_src"),
    (Field::Ipv6Dst, "ipv6_dst"),
    (Field::Ipv6Label, "ipv6_label"),
    (Field::Ipv6ExtHeaders, "ipv6_exthdr"),
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
    (Field::MplsLse1, "mpls_lse1"),
    (Field::MplsLse2, "mpls_lse2"),
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
    (Field::NdTarget, "nd_target"),
    (Field::NdSll, "nd_sll"),
    (Field::NdTll, "nd_tll"),
    (Field::TcpFlags, "tcp_flags"),
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
        print_match(self, None, &mut List { f, first: true })
    }
}

impl fmt::Display for Named<'_, Match> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_match(self.0, Some(self.1), &mut List { f, first: true })
    }
}

/// What of a match is still to be printed.
struct Left<'a> {
    key: FlowKey,
    mask: FlowMask,
    left: FlowMask,
    names: Option<&'a Names>,
}

pub(super) fn print_match(
    found: &Match,
    names: Option<&Names>,
    list: &mut List<'_, '_>,
) -> fmt::Result {
    if found.is_any() {
        return Ok(());
    }
    let mask = found.mask();
    let mut left = Left {
        key: found.key(),
        left: mask,
        mask,
        names,
    };
    left.fields(&BEFORE, list)?;
    if let Some((name, protocol)) = packet(found) {
        list.next()?.write_str(name)?;
        left.left.set(Field::EthType, 0);
        if protocol {
            left.left.set(Field::IpProto, 0);
        }
    }
    left.fields(&AFTER, list)?;
    left.unpromised(list)
}

impl Left<'_> {
    fn fields(&mut self, fields: &[(Field, &str)], list: &mut List<'_, '_>) -> fmt::Result {
        for &(field, name) in fields {
            let mask = self.left.field(field);
            if mask == 0 || !promised(field, &self.key, &self.mask) {
                continue;
            }
            self.left.set(field, 0);
            let (row, value) = (field.info(), self.key.field(field));
            match field {
                Field::VlanTci => print_vlan(value, mask, list)?,
                Field::IpDscp if mask == row.max() => {
                    write!(list.next()?, "nw_tos={}", value << 2)?;
                }
                _ => {
                    let f = list.next()?;
                    let name = if field == Field::IpDscp {
                        "ip_dscp"
                    } else {
                        name
                    };
                    write!(f, "{name}=")?;
                    value::print(row, value, mask, self.names, f)?;
                }
            }
        }
        Ok(())
    }

    /// Prints bits that matter though the match does not promise the field they belong to, so that
    /// nothing a match says is hidden. The parser refuses such a match and says what is missing.
    fn unpromised(&mut self, list: &mut List<'_, '_>) -> fmt::Result {
        if self.left.is_empty() {
            return Ok(());
        }
        for field in Field::all() {
            let mask = self.left.field(field);
            if mask != 0 {
                self.left.set(field, 0);
                let f = list.next()?;
                write!(f, "{field}=")?;
                let value = self.key.field(field) & mask;
                value::print(field.info(), value, mask, self.names, f)?;
            }
        }
        Ok(())
    }
}

/// The keyword for the match's packets, and whether it names their protocol as well.
fn packet(found: &Match) -> Option<(&'static str, bool)> {
    let (ethertype, mask) = found.field(Field::EthType);
    if mask != Field::EthType.info().max() {
        return None;
    }
    let ip = matches!(ethertype, 0x0800 | 0x86dd);
    let (protocol, mask) = found.field(Field::IpProto);
    let exact = mask == Field::IpProto.info().max();
    let protocol = (ip && exact).then_some(protocol);
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
