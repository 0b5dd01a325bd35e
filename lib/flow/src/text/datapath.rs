//! Cached flows as `dpctl dump-flows` shows them.
//!
//! One word for each header, fields in parentheses, and only bits that the cached answer depends
//! on. Printed only: nobody types cached flows in. Spec: `lib/odp-util.c` of Open vSwitch.

use std::fmt;

use super::match_print::List;
use super::value;
use crate::field::{Field, Format};
use crate::key::{FlowKey, FlowMask};

/// Prints a key and the bits of it that matter.
#[derive(Clone, Copy, Debug)]
pub struct DatapathFlow<'a> {
    /// The values.
    pub key: &'a FlowKey,
    /// The bits that matter.
    pub mask: &'a FlowMask,
}

impl fmt::Display for DatapathFlow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = List { f, first: true };
        match self.key.field(Field::RecircId) {
            0 => list.next()?.write_str("recirc_id(0)")?,
            number => write!(list.next()?, "recirc_id({number:#x})")?,
        }
        write!(list.next()?, "in_port({})", self.key.field(Field::InPort))?;
        self.tracking(&mut list)?;
        self.group(
            &mut list,
            "eth",
            &[(Field::EthSrc, "src"), (Field::EthDst, "dst")],
        )?;
        let mut tags = 0;
        for (tci, tpid) in [
            (Field::VlanTci, Field::VlanTpid),
            (Field::InnerVlanTci, Field::InnerVlanTpid),
        ] {
            if self.mask.field(tci) != 0 && self.key.field(tci) & 0x1000 != 0 {
                self.tag(&mut list, tci, tpid)?;
                list.f.write_str(",encap(")?;
                list.first = true;
                tags += 1;
            }
        }
        self.below(&mut list)?;
        (0..tags).try_for_each(|_| list.f.write_str(")"))
    }
}

impl DatapathFlow<'_> {
    /// What tracking found.
    fn tracking(&self, list: &mut List<'_, '_>) -> fmt::Result {
        for (field, name) in [
            (Field::CtState, "ct_state"),
            (Field::CtZone, "ct_zone"),
            (Field::CtMark, "ct_mark"),
            (Field::CtLabel, "ct_label"),
        ] {
            let (value, mask) = (self.key.field(field), self.mask.field(field));
            if mask == 0 {
                continue;
            }
            write!(list.next()?, "{name}(")?;
            match field {
                Field::CtState => print_value(field, value, mask, list.f)?,
                _ => {
                    value::hex(value & mask, list.f)?;
                    if mask != field.info().max() {
                        write!(list.f, "/{mask:#x}")?;
                    }
                }
            }
            list.f.write_str(")")?;
        }
        let tuple = |src, dst| {
            [
                (src, "src"),
                (dst, "dst"),
                (Field::CtProto, "proto"),
                (Field::CtTpSrc, "tp_src"),
                (Field::CtTpDst, "tp_dst"),
            ]
        };
        match self.key.field(Field::EthType) {
            0x0800 => {
                let fields = tuple(Field::CtIpv4Src, Field::CtIpv4Dst);
                self.group(list, "ct_tuple4", &fields)
            }
            0x86dd => {
                let fields = tuple(Field::CtIpv6Src, Field::CtIpv6Dst);
                self.group(list, "ct_tuple6", &fields)
            }
            _ => Ok(()),
        }
    }

    fn tag(&self, list: &mut List<'_, '_>, tci: Field, tpid: Field) -> fmt::Result {
        let (value, mask) = (self.key.field(tci), self.mask.field(tci));
        // The tag's own type is what the packet's first type field says.
        let kind = match self.key.field(tpid) {
            0 => 0x8100,
            kind => kind,
        };
        write!(list.next()?, "eth_type(0x{kind:04x}),vlan(")?;
        let mut parts = List {
            f: list.f,
            first: true,
        };
        match mask & 0xfff {
            0 => {}
            0xfff => write!(parts.next()?, "vid={}", value & 0xfff)?,
            part => write!(parts.next()?, "vid={:#x}/{part:#x}", value & 0xfff)?,
        }
        match mask >> 13 {
            0 => {}
            7 => write!(parts.next()?, "pcp={}", value >> 13)?,
            part => write!(parts.next()?, "pcp={:#x}/{part:#x}", value >> 13)?,
        }
        parts.f.write_str(")")
    }

    /// What follows the link layer.
    fn below(&self, list: &mut List<'_, '_>) -> fmt::Result {
        let ethertype = self.key.field(Field::EthType);
        if self.mask.field(Field::EthType) != 0 {
            write!(list.next()?, "eth_type(0x{ethertype:04x})")?;
        }
        match ethertype {
            0x0800 => {
                let fields = [
                    (Field::Ipv4Src, "src"),
                    (Field::Ipv4Dst, "dst"),
                    (Field::IpProto, "proto"),
                    (Field::IpTos, "tos"),
                    (Field::IpTtl, "ttl"),
                    (Field::IpFrag, "frag"),
                ];
                self.group(list, "ipv4", &fields)?;
                self.transport(list, false)
            }
            0x86dd => {
                let fields = [
                    (Field::Ipv6Src, "src"),
                    (Field::Ipv6Dst, "dst"),
                    (Field::Ipv6Label, "label"),
                    (Field::IpProto, "proto"),
                    (Field::IpTos, "tclass"),
                    (Field::IpTtl, "hlimit"),
                    (Field::IpFrag, "frag"),
                ];
                self.group(list, "ipv6", &fields)?;
                self.transport(list, true)
            }
            0x0806 | 0x8035 => {
                let fields = [
                    (Field::ArpSpa, "sip"),
                    (Field::ArpTpa, "tip"),
                    (Field::ArpOp, "op"),
                    (Field::ArpSha, "sha"),
                    (Field::ArpTha, "tha"),
                ];
                self.group(list, "arp", &fields)
            }
            0x8847 | 0x8848 => {
                let fields = [
                    (Field::MplsLabel, "label"),
                    (Field::MplsTc, "tc"),
                    (Field::MplsTtl, "ttl"),
                    (Field::MplsBos, "bos"),
                ];
                self.group(list, "mpls", &fields)
            }
            _ => Ok(()),
        }
    }

    fn transport(&self, list: &mut List<'_, '_>, v6: bool) -> fmt::Result {
        match self.key.field(Field::IpProto) {
            6 => {
                let fields = [(Field::TcpSrc, "src"), (Field::TcpDst, "dst")];
                self.group(list, "tcp", &fields)?;
                self.group(list, "tcp_flags", &[(Field::TcpFlags, "")])
            }
            17 => {
                let fields = [(Field::UdpSrc, "src"), (Field::UdpDst, "dst")];
                self.group(list, "udp", &fields)
            }
            132 => {
                let fields = [(Field::SctpSrc, "src"), (Field::SctpDst, "dst")];
                self.group(list, "sctp", &fields)
            }
            1 if !v6 => {
                let fields = [(Field::IcmpType, "type"), (Field::IcmpCode, "code")];
                self.group(list, "icmp", &fields)
            }
            58 if v6 => {
                let fields = [(Field::Icmp6Type, "type"), (Field::Icmp6Code, "code")];
                self.group(list, "icmpv6", &fields)?;
                let fields = [
                    (Field::NdTarget, "target"),
                    (Field::NdSll, "sll"),
                    (Field::NdTll, "tll"),
                ];
                match self.key.field(Field::Icmp6Type) {
                    135 | 136 => self.group(list, "nd", &fields),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Prints `name(field=value,...)` with the fields that matter, or nothing if none does.
    fn group(&self, list: &mut List<'_, '_>, name: &str, fields: &[(Field, &str)]) -> fmt::Result {
        if fields.iter().all(|(field, _)| self.mask.field(*field) == 0) {
            return Ok(());
        }
        write!(list.next()?, "{name}(")?;
        let mut parts = List {
            f: list.f,
            first: true,
        };
        for (field, name) in fields {
            let (value, mask) = (self.key.field(*field), self.mask.field(*field));
            if mask != 0 {
                let f = parts.next()?;
                if !name.is_empty() {
                    write!(f, "{name}=")?;
                }
                print_value(*field, value, mask, f)?;
            }
        }
        parts.f.write_str(")")
    }
}

/// As in flow text, except that masks are always written out.
fn print_value(field: Field, value: u128, mask: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let row = field.info();
    let value = value & mask;
    match row.format {
        Format::Ipv4 if mask != row.max() => {
            value::address(row, value, f)?;
            f.write_str("/")?;
            value::address(row, mask, f)
        }
        // The kind of a fragment is known whole or, rarely, in one bit; both read alike.
        Format::Frag => f.write_str(match value {
            0 => "no",
            1 => "first",
            _ => "later",
        }),
        _ => value::print(row, value, mask, None, f),
    }
}
