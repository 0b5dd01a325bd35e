//! The match of OpenFlow 1.0: 40 bytes with a place for each of its twelve fields.
//!
//! A wildcard bit set means that a field does not matter; addresses have a count of bits that do not
//! matter. Fields without their prerequisites are ignored, as OpenFlow 1.0 says: a port without a
//! protocol that has ports matches nothing and is no error.
//!
//! What this match cannot say of a [`Match`] it leaves out; [`fits_match10`] tells, and `nx_match`
//! ([`super::matches`]) says it.
//!
//! Spec: OpenFlow 1.0.1 §5.2.3; Open vSwitch's `lib/ofp-match.c` where the specification is silent
//! (`dl_vlan` 0xffff with a priority is an untagged packet; `tp_src` of ICMP is its type).

use vswitch_flow::{Field, FlowKey, FlowMask, Match};

use crate::error::{ErrorCode, OfError};
use crate::wire::{Reader, Writer, port_to_16};

/// Bytes of the match.
pub const MATCH10_SIZE: usize = 40;

const IN_PORT: u32 = 1;
const DL_VLAN: u32 = 1 << 1;
const DL_SRC: u32 = 1 << 2;
const DL_DST: u32 = 1 << 3;
const DL_TYPE: u32 = 1 << 4;
const NW_PROTO: u32 = 1 << 5;
const TP_SRC: u32 = 1 << 6;
const TP_DST: u32 = 1 << 7;
const NW_SRC_SHIFT: u32 = 8;
const NW_DST_SHIFT: u32 = 14;
const DL_VLAN_PCP: u32 = 1 << 20;
const NW_TOS: u32 = 1 << 21;

/// `dl_vlan` of a packet without a tag.
const VLAN_NONE: u16 = 0xffff;

/// A match that says everything at once.
#[derive(Default)]
struct Match10 {
    wildcards: u32,
    in_port: u16,
    dl_src: [u8; 6],
    dl_dst: [u8; 6],
    dl_vlan: u16,
    dl_vlan_pcp: u8,
    dl_type: u16,
    nw_tos: u8,
    nw_proto: u8,
    nw_src: u32,
    nw_dst: u32,
    tp_src: u16,
    tp_dst: u16,
}

/// Fields that a packet of this type and protocol has in the places of addresses, protocol and
/// ports.
struct Places {
    addresses: Option<(Field, Field)>,
    protocol: Option<Field>,
    /// DSCP is matched in IP packets only.
    ip: bool,
    ports: Option<(Field, Field)>,
}

impl Places {
    fn of(dl_type: u128, nw_proto: u128) -> Self {
        let addresses = match dl_type {
            0x0800 => Some((Field::Ipv4Src, Field::Ipv4Dst)),
            0x0806 | 0x8035 => Some((Field::ArpSpa, Field::ArpTpa)),
            _ => None,
        };
        let ip = matches!(dl_type, 0x0800 | 0x86dd);
        let protocol = match addresses {
            Some((Field::ArpSpa, _)) => Some(Field::ArpOp),
            _ => ip.then_some(Field::IpProto),
        };
        let ports = match (dl_type, nw_proto) {
            (0x0800, 1) => Some((Field::IcmpType, Field::IcmpCode)),
            (0x86dd, 58) => Some((Field::Icmp6Type, Field::Icmp6Code)),
            (0x0800 | 0x86dd, 6) => Some((Field::TcpSrc, Field::TcpDst)),
            (0x0800 | 0x86dd, 17) => Some((Field::UdpSrc, Field::UdpDst)),
            (0x0800 | 0x86dd, 132) => Some((Field::SctpSrc, Field::SctpDst)),
            _ => None,
        };
        Self {
            addresses,
            protocol,
            ip,
            ports,
        }
    }
}

/// The mask of an address of which so many low bits do not matter.
fn address_mask(wildcards: u32, shift: u32) -> u32 {
    u32::MAX.checked_shl(wildcards >> shift & 0x3f).unwrap_or(0)
}

fn address(value: u128) -> [u8; 6] {
    let [_, _, address @ ..] = (value as u64).to_be_bytes();
    address
}

/// Reads an `ofp_match` of OpenFlow 1.0.
///
/// # Errors
/// The reader's error if it has fewer bytes.
pub fn decode_match10(from: &mut Reader<'_>) -> Result<Match, OfError> {
    let bytes = from.array::<MATCH10_SIZE>()?;
    let bad_len = ErrorCode::BrcBadLen.about("the match");
    Match10::read(&mut Reader::new(&bytes, bad_len)).map(|read| read.matches())
}

/// Writes an `ofp_match` of OpenFlow 1.0; what it cannot say is left out.
pub fn encode_match10(to: &mut Writer, matches: &Match) {
    Match10::from(matches).write(to);
}

/// Whether the match of OpenFlow 1.0 says all of it.
#[must_use]
pub fn fits_match10(matches: &Match) -> bool {
    Match10::from(matches).matches() == *matches
}

impl Match10 {
    fn read(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let wildcards = from.u32()?;
        let in_port = from.u16()?;
        let (dl_src, dl_dst) = (from.array()?, from.array()?);
        let dl_vlan = from.u16()?;
        let dl_vlan_pcp = from.u8()?;
        from.skip(1)?;
        let dl_type = from.u16()?;
        let (nw_tos, nw_proto) = (from.u8()?, from.u8()?);
        from.skip(2)?;
        Ok(Self {
            wildcards,
            in_port,
            dl_src,
            dl_dst,
            dl_vlan,
            dl_vlan_pcp,
            dl_type,
            nw_tos,
            nw_proto,
            nw_src: from.u32()?,
            nw_dst: from.u32()?,
            tp_src: from.u16()?,
            tp_dst: from.u16()?,
        })
    }

    fn write(&self, to: &mut Writer) {
        to.u32(self.wildcards);
        to.u16(self.in_port);
        to.bytes(&self.dl_src);
        to.bytes(&self.dl_dst);
        to.u16(self.dl_vlan);
        to.u8(self.dl_vlan_pcp);
        to.zeros(1);
        to.u16(self.dl_type);
        to.u8(self.nw_tos);
        to.u8(self.nw_proto);
        to.zeros(2);
        to.u32(self.nw_src);
        to.u32(self.nw_dst);
        to.u16(self.tp_src);
        to.u16(self.tp_dst);
    }

    fn wild(&self, bit: u32) -> bool {
        self.wildcards & bit != 0
    }

    fn matches(&self) -> Match {
        let (mut key, mut mask) = (FlowKey::default(), FlowMask::default());
        let mut say = |field: Field, value: u128, bits: u128| {
            key.set(field, value & bits);
            mask.set(field, bits);
        };
        let mut all = |wild: u32, field: Field, value: u128| {
            if !self.wild(wild) {
                say(field, value, field.info().max());
            }
        };
        let port = crate::wire::port_from_16(self.in_port);
        all(IN_PORT, Field::InPort, u128::from(port.0));
        all(DL_SRC, Field::EthSrc, super::number(&self.dl_src));
        all(DL_DST, Field::EthDst, super::number(&self.dl_dst));
        all(DL_TYPE, Field::EthType, u128::from(self.dl_type));
        let dl_type = u128::from(if self.wild(DL_TYPE) { 0 } else { self.dl_type });
        let nw_proto = if self.wild(NW_PROTO) {
            0
        } else {
            self.nw_proto
        };
        let places = Places::of(dl_type, u128::from(nw_proto));
        if let Some(field) = places.protocol {
            all(NW_PROTO, field, u128::from(self.nw_proto));
        }
        if places.ip {
            all(NW_TOS, Field::IpDscp, u128::from(self.nw_tos >> 2));
        }
        if let Some((src, dst)) = places.ports {
            for (wild, field, port) in [(TP_SRC, src, self.tp_src), (TP_DST, dst, self.tp_dst)] {
                let port = u128::from(port);
                // An ICMP type above 255 is one that no packet has: the bits around it are zero.
                let wide = if field == src {
                    Field::TcpSrc
                } else {
                    Field::TcpDst
                };
                let fits = port <= field.info().max();
                all(wild, if fits { field } else { wide }, port);
            }
        }
        if let Some((src, dst)) = places.addresses {
            for (shift, field, address) in [
                (NW_SRC_SHIFT, src, self.nw_src),
                (NW_DST_SHIFT, dst, self.nw_dst),
            ] {
                let bits = address_mask(self.wildcards, shift);
                say(field, u128::from(address), u128::from(bits));
            }
        }
        let (tci, bits) = self.tci();
        say(Field::VlanTci, tci, bits);
        Match::new(&key, &mask)
    }

    /// What is said of the tag: its TCI with the bit that it is there.
    fn tci(&self) -> (u128, u128) {
        if !self.wild(DL_VLAN) && self.dl_vlan == VLAN_NONE {
            return (0, 0xffff);
        }
        let mut bits = 0;
        if !self.wild(DL_VLAN) {
            bits |= 0x1fff;
        }
        if !self.wild(DL_VLAN_PCP) {
            bits |= 0xf000;
        }
        let tci = self.dl_vlan & 0xfff | u16::from(self.dl_vlan_pcp & 7) << 13 | 0x1000;
        (u128::from(tci), bits)
    }
}

impl From<&Match> for Match10 {
    fn from(matches: &Match) -> Self {
        let (key, mask) = (matches.key(), matches.mask());
        let (value, bits) = (|field| key.field(field), |field| mask.field(field));
        let mut wildcards = 0;
        let mut wild = |field: Field, bit: u32| {
            if bits(field) == 0 {
                wildcards |= bit;
            }
        };
        wild(Field::InPort, IN_PORT);
        wild(Field::EthSrc, DL_SRC);
        wild(Field::EthDst, DL_DST);
        wild(Field::EthType, DL_TYPE);
        wild(Field::IpDscp, NW_TOS);
        let mut found = Self {
            in_port: port_to_16(vswitch_flow::OfPort(value(Field::InPort) as u32))
                .unwrap_or(0xffff),
            dl_src: address(value(Field::EthSrc)),
            dl_dst: address(value(Field::EthDst)),
            dl_type: value(Field::EthType) as u16,
            nw_tos: (value(Field::IpDscp) << 2) as u8,
            ..Self::default()
        };
        let places = Places::of(value(Field::EthType), value(Field::IpProto));
        match places.protocol {
            Some(field) if bits(field) != 0 => found.nw_proto = value(field) as u8,
            _ => wildcards |= NW_PROTO,
        }
        match places.ports {
            Some((src, dst)) => {
                // The bits of a type's whole place: see above.
                for (field, wide, bit) in
                    [(src, Field::TcpSrc, TP_SRC), (dst, Field::TcpDst, TP_DST)]
                {
                    let port = value(wide) as u16;
                    match (bits(field), bit) {
                        (0, _) => wildcards |= bit,
                        (_, TP_SRC) => found.tp_src = port,
                        _ => found.tp_dst = port,
                    }
                }
            }
            None => wildcards |= TP_SRC | TP_DST,
        }
        let wild_bits = |field| (bits(field) as u32).leading_ones().abs_diff(32);
        match places.addresses {
            Some((src, dst)) => {
                wildcards |= wild_bits(src) << NW_SRC_SHIFT | wild_bits(dst) << NW_DST_SHIFT;
                found.nw_src = value(src) as u32;
                found.nw_dst = value(dst) as u32;
            }
            None => wildcards |= 32 << NW_SRC_SHIFT | 32 << NW_DST_SHIFT,
        }
        let (tci, said) = (value(Field::VlanTci) as u16, bits(Field::VlanTci));
        if said & 0x1000 != 0 && tci & 0x1000 == 0 {
            found.dl_vlan = VLAN_NONE;
        } else {
            if said & 0xfff == 0 {
                wildcards |= DL_VLAN;
            } else {
                found.dl_vlan = tci & 0xfff;
            }
            if said & 0xe000 == 0 {
                wildcards |= DL_VLAN_PCP;
            } else {
                found.dl_vlan_pcp = (tci >> 13) as u8;
            }
        }
        found.wildcards = wildcards;
        found
    }
}
