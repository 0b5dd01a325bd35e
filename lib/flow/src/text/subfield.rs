//! Bits of fields: `NXM_NX_REG0[4..7]`, `reg0[4..7]`, both ways, and the names that fields have in
//! actions.
//!
//! Actions print fields by the long names of `ovs-fields(7)`, the NXM name before the OXM one. The
//! register-like `NXM_OF_IN_PORT` is the low 16 bits of the field that `OXM_OF_IN_PORT` names, as
//! ports have 16 bits in OpenFlow 1.0.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use super::token::Token;
use super::{ParseError, Problem};
use crate::action::Subfield;
use crate::field::Field;

/// The 16-bit number of the port the packet came in by.
const IN_PORT: &str = "NXM_OF_IN_PORT";

/// Long names of fields; the first is printed.
const LONG: [(Field, &[&str]); 96] = [
    (Field::InPort, &["OXM_OF_IN_PORT"]),
    (Field::RecircId, &["NXM_NX_RECIRC_ID"]),
    (Field::PbbIsid, &["OXM_OF_PBB_ISID"]),
    (Field::Ipv6ExtHeaders, &["OXM_OF_IPV6_EXTHDR"]),
    (Field::EthDst, &["NXM_OF_ETH_DST", "OXM_OF_ETH_DST"]),
    (Field::EthType, &["NXM_OF_ETH_TYPE", "OXM_OF_ETH_TYPE"]),
    (Field::EthSrc, &["NXM_OF_ETH_SRC", "OXM_OF_ETH_SRC"]),
    (Field::ArpOp, &["NXM_OF_ARP_OP", "OXM_OF_ARP_OP"]),
    (Field::VlanTci, &["NXM_OF_VLAN_TCI"]),
    (Field::VlanVid, &["OXM_OF_VLAN_VID"]),
    (Field::VlanPcp, &["OXM_OF_VLAN_PCP"]),
    (Field::Ipv4Src, &["NXM_OF_IP_SRC", "OXM_OF_IPV4_SRC"]),
    (Field::Ipv4Dst, &["NXM_OF_IP_DST", "OXM_OF_IPV4_DST"]),
    (Field::ArpSpa, &["NXM_OF_ARP_SPA", "OXM_OF_ARP_SPA"]),
    (Field::ArpTpa, &["NXM_OF_ARP_TPA", "OXM_OF_ARP_TPA"]),
    (Field::Ipv6Src, &["NXM_NX_IPV6_SRC", "OXM_OF_IPV6_SRC"]),
    (Field::Ipv6Dst, &["NXM_NX_IPV6_DST", "OXM_OF_IPV6_DST"]),
    (
        Field::Ipv6Label,
        &["NXM_NX_IPV6_LABEL", "OXM_OF_IPV6_FLABEL"],
    ),
    (Field::IpProto, &["NXM_OF_IP_PROTO", "OXM_OF_IP_PROTO"]),
    (Field::IpTos, &["NXM_OF_IP_TOS"]),
    (Field::IpDscp, &["OXM_OF_IP_DSCP"]),
    (Field::IpEcn, &["NXM_NX_IP_ECN", "OXM_OF_IP_ECN"]),
    (Field::IpTtl, &["NXM_NX_IP_TTL"]),
    (Field::IpFrag, &["NXM_NX_IP_FRAG"]),
    (Field::TcpSrc, &["NXM_OF_TCP_SRC", "OXM_OF_TCP_SRC"]),
    (Field::TcpDst, &["NXM_OF_TCP_DST", "OXM_OF_TCP_DST"]),
    (
        Field::TcpFlags,
        &["NXM_NX_TCP_FLAGS", "ONFOXM_ET_TCP_FLAGS"],
    ),
    (Field::UdpSrc, &["NXM_OF_UDP_SRC", "OXM_OF_UDP_SRC"]),
    (Field::UdpDst, &["NXM_OF_UDP_DST", "OXM_OF_UDP_DST"]),
    (Field::SctpSrc, &["OXM_OF_SCTP_SRC"]),
    (Field::SctpDst, &["OXM_OF_SCTP_DST"]),
    (Field::IcmpType, &["NXM_OF_ICMP_TYPE", "OXM_OF_ICMPV4_TYPE"]),
    (Field::IcmpCode, &["NXM_OF_ICMP_CODE", "OXM_OF_ICMPV4_CODE"]),
    (
        Field::Icmp6Type,
        &["NXM_NX_ICMPV6_TYPE", "OXM_OF_ICMPV6_TYPE"],
    ),
    (
        Field::Icmp6Code,
        &["NXM_NX_ICMPV6_CODE", "OXM_OF_ICMPV6_CODE"],
    ),
    (Field::ArpSha, &["NXM_NX_ARP_SHA", "OXM_OF_ARP_SHA"]),
    (Field::ArpTha, &["NXM_NX_ARP_THA", "OXM_OF_ARP_THA"]),
    (Field::NdSll, &["NXM_NX_ND_SLL", "OXM_OF_IPV6_ND_SLL"]),
    (Field::NdTll, &["NXM_NX_ND_TLL", "OXM_OF_IPV6_ND_TLL"]),
    (
        Field::NdTarget,
        &["NXM_NX_ND_TARGET", "OXM_OF_IPV6_ND_TARGET"],
    ),
    (Field::MplsLabel, &["OXM_OF_MPLS_LABEL"]),
    (Field::MplsTc, &["OXM_OF_MPLS_TC"]),
    (Field::MplsBos, &["OXM_OF_MPLS_BOS"]),
    (Field::MplsTtl, &["NXM_NX_MPLS_TTL"]),
    (Field::TunId, &["NXM_NX_TUN_ID", "OXM_OF_TUNNEL_ID"]),
    (Field::TunSrc, &["NXM_NX_TUN_IPV4_SRC"]),
    (Field::TunDst, &["NXM_NX_TUN_IPV4_DST"]),
    (Field::TunIpv6Src, &["NXM_NX_TUN_IPV6_SRC"]),
    (Field::TunIpv6Dst, &["NXM_NX_TUN_IPV6_DST"]),
    (Field::TunFlags, &["NXM_NX_TUN_FLAGS"]),
    (Field::TunGbpId, &["NXM_NX_TUN_GBP_ID"]),
    (Field::TunGbpFlags, &["NXM_NX_TUN_GBP_FLAGS"]),
    (Field::CtState, &["NXM_NX_CT_STATE"]),
    (Field::CtZone, &["NXM_NX_CT_ZONE"]),
    (Field::CtProto, &["NXM_NX_CT_NW_PROTO"]),
    (Field::CtMark, &["NXM_NX_CT_MARK"]),
    (Field::CtTpSrc, &["NXM_NX_CT_TP_SRC"]),
    (Field::CtTpDst, &["NXM_NX_CT_TP_DST"]),
    (Field::CtLabel, &["NXM_NX_CT_LABEL"]),
    (Field::CtIpv4Src, &["NXM_NX_CT_NW_SRC"]),
    (Field::CtIpv4Dst, &["NXM_NX_CT_NW_DST"]),
    (Field::CtIpv6Src, &["NXM_NX_CT_IPV6_SRC"]),
    (Field::CtIpv6Dst, &["NXM_NX_CT_IPV6_DST"]),
    (Field::Metadata, &["OXM_OF_METADATA"]),
    (Field::Reg0, &["NXM_NX_REG0"]),
    (Field::Reg1, &["NXM_NX_REG1"]),
    (Field::Reg2, &["NXM_NX_REG2"]),
    (Field::Reg3, &["NXM_NX_REG3"]),
    (Field::Reg4, &["NXM_NX_REG4"]),
    (Field::Reg5, &["NXM_NX_REG5"]),
    (Field::Reg6, &["NXM_NX_REG6"]),
    (Field::Reg7, &["NXM_NX_REG7"]),
    (Field::Reg8, &["NXM_NX_REG8"]),
    (Field::Reg9, &["NXM_NX_REG9"]),
    (Field::Reg10, &["NXM_NX_REG10"]),
    (Field::Reg11, &["NXM_NX_REG11"]),
    (Field::Reg12, &["NXM_NX_REG12"]),
    (Field::Reg13, &["NXM_NX_REG13"]),
    (Field::Reg14, &["NXM_NX_REG14"]),
    (Field::Reg15, &["NXM_NX_REG15"]),
    (Field::Xreg0, &["OXM_OF_PKT_REG0"]),
    (Field::Xreg1, &["OXM_OF_PKT_REG1"]),
    (Field::Xreg2, &["OXM_OF_PKT_REG2"]),
    (Field::Xreg3, &["OXM_OF_PKT_REG3"]),
    (Field::Xreg4, &["OXM_OF_PKT_REG4"]),
    (Field::Xreg5, &["OXM_OF_PKT_REG5"]),
    (Field::Xreg6, &["OXM_OF_PKT_REG6"]),
    (Field::Xreg7, &["OXM_OF_PKT_REG7"]),
    (Field::Xxreg0, &["NXM_NX_XXREG0"]),
    (Field::Xxreg1, &["NXM_NX_XXREG1"]),
    (Field::Xxreg2, &["NXM_NX_XXREG2"]),
    (Field::Xxreg3, &["NXM_NX_XXREG3"]),
    (Field::PktMark, &["NXM_NX_PKT_MARK"]),
    (Field::ConjId, &["NXM_NX_CONJ_ID"]),
    (Field::ActsetOutput, &["ONFOXM_ET_ACTSET_OUTPUT"]),
    (Field::DpHash, &["NXM_NX_DP_HASH", "NXOXM_ET_DP_HASH"]),
];

/// The long name that is printed for each field, by the field's number.
static PRINTED: LazyLock<Vec<Option<&'static str>>> = LazyLock::new(|| {
    let name = |field| {
        let row = LONG.iter().find(|(other, _)| *other == field);
        row.and_then(|(_, names)| names.first().copied())
    };
    Field::all().map(name).collect()
});

/// Fields by all their names.
static FIELDS: LazyLock<HashMap<&'static str, Field>> = LazyLock::new(|| {
    let mut names = HashMap::new();
    for field in Field::all() {
        let row = field.info();
        names.insert(row.name, field);
        names.extend(row.aliases.iter().map(|name| (*name, field)));
    }
    for (field, long) in LONG {
        names.extend(long.iter().map(|name| (*name, field)));
    }
    names.insert(IN_PORT, Field::InPort);
    names
});

/// The field of that name, short or long.
pub(super) fn field(name: &str) -> Option<Field> {
    FIELDS.get(name).copied()
}

/// The name of a field where a whole value is given to it, which is OpenFlow's and not the one that
/// a match prints.
pub(super) fn name_in_action(field: Field) -> &'static str {
    match field {
        Field::EthSrc => "eth_src",
        Field::EthDst => "eth_dst",
        Field::EthType => "eth_type",
        Field::Ipv4Src => "ip_src",
        Field::Ipv4Dst => "ip_dst",
        Field::VlanPcp => "vlan_pcp",
        _ => field.info().name,
    }
}

/// Whether the bits are those of the 16-bit number of the port the packet came in by.
pub(super) fn is_short_in_port(bits: Subfield) -> bool {
    bits == Subfield {
        field: Field::InPort,
        offset: 0,
        bits: 16,
    }
}

/// Whether the bits are a whole field, as the name says that [`parse`] understands.
pub(super) fn is_whole(bits: Subfield) -> bool {
    bits == Subfield::whole(bits.field) || is_short_in_port(bits)
}

/// Reads `name`, `name[]`, `name[bit]` or `name[first..last]`.
///
/// # Errors
/// No such field, or no such bits.
pub(super) fn parse(token: Token<'_>) -> Result<Subfield, ParseError> {
    let (name, brackets) = match token.split("[") {
        None => (token, None),
        Some((name, rest)) => match rest.text.strip_suffix(']') {
            Some(inner) => (name, Some(rest.slice(0, inner.len()))),
            None => return token.fail(Problem::Bits { bits: None }),
        },
    };
    let long = name.text.strip_suffix("_W").unwrap_or(name.text);
    let Some(field) = field(long) else {
        return name.fail(Problem::UnknownField {
            allowed: similar(name.text),
        });
    };
    let short = long == IN_PORT || long == "in_port";
    let width = if short { 16 } else { field.info().bits };
    let wrong = || Problem::Bits { bits: Some(width) };
    let bit = |text: &str| -> Option<u8> {
        let bit = text.trim().parse().ok()?;
        (bit < width).then_some(bit)
    };
    let (first, last) = match brackets {
        None => (0, width - 1),
        Some(inner) if inner.text.is_empty() => (0, width - 1),
        Some(inner) => {
            let ends = match inner.text.split_once("..") {
                Some((first, last)) => bit(first).zip(bit(last)),
                None => bit(inner.text).map(|bit| (bit, bit)),
            };
            match ends {
                Some((first, last)) if first <= last => (first, last),
                _ => return token.fail(wrong()),
            }
        }
    };
    Ok(Subfield {
        field,
        offset: first,
        bits: last - first + 1,
    })
}

/// Reads `source->destination`, of the same width.
///
/// # Errors
/// No arrow, no such field or bits, or another width.
pub(super) fn parse_move(token: Token<'_>) -> Result<(Subfield, Subfield), ParseError> {
    let Some((from, to)) = token.split("->") else {
        return token.fail(Problem::NoArrow);
    };
    let (src, dst) = (parse(from)?, parse(to)?);
    if src.bits != dst.bits {
        return token.fail(Problem::Widths {
            src: src.bits,
            dst: dst.bits,
        });
    }
    Ok((src, dst))
}

/// The value, if it fits into the bits.
pub(super) fn fits(value: u128, bits: Subfield) -> bool {
    bits.bits >= 128 || value >> bits.bits == 0
}

/// Prints `NXM_NX_REG0[4..7]`.
pub(super) fn print(bits: Subfield, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if is_short_in_port(bits) {
        return write!(f, "{IN_PORT}[]");
    }
    let long = PRINTED.get(bits.field as usize).copied().flatten();
    f.write_str(long.unwrap_or(bits.field.info().name))?;
    let last = u16::from(bits.offset) + u16::from(bits.bits.max(1)) - 1;
    if bits == Subfield::whole(bits.field) {
        f.write_str("[]")
    } else if bits.bits == 1 {
        write!(f, "[{}]", bits.offset)
    } else {
        write!(f, "[{}..{last}]", bits.offset)
    }
}

/// Says which name was probably meant, or where to look.
pub(super) fn similar(name: &str) -> String {
    let near = |other: &&str| {
        let same = name
            .chars()
            .zip(other.chars())
            .take_while(|(a, b)| a == b)
            .count();
        same >= 3 && same * 2 >= name.len()
    };
    let known = Field::all().flat_map(|field| {
        let row = field.info();
        std::iter::once(row.name).chain(row.aliases.iter().copied())
    });
    let names: Vec<_> = known.filter(near).take(4).collect();
    if names.is_empty() {
        "fields are listed in ovs-fields(7), packets are ip, ipv6, tcp, udp, icmp, arp, ...".into()
    } else {
        format!("similar ones are {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Oxm;

    #[test]
    fn long_names_are_those_of_the_codes() {
        for (field, names) in LONG {
            let row = field.info();
            let prefix = |code: Oxm| match (code.class, code.field) {
                (0, _) => "NXM_OF_",
                (1, 35) if !names.iter().any(|name| name.starts_with("NXM")) => "NXOXM_",
                (1, _) => "NXM_NX_",
                (0x8000 | 0x8001, _) => "OXM_OF_",
                _ => "ONFOXM_ET_",
            };
            for code in [row.oxm, row.nxm].into_iter().flatten() {
                let prefix = prefix(code);
                // The NXM code of in_port is that of its 16 bits.
                let short = field == Field::InPort && code.class == 0;
                let has = names.iter().any(|name| name.starts_with(prefix));
                assert!(has || short, "{field} has no name with {prefix}");
            }
            for name in names {
                assert_eq!(parse(Token::new(name)).map(|bits| bits.field), Ok(field));
            }
        }
    }
}
