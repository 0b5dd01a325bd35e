//! Text → matches.
//!
//! Fields may come in any order. A name that means different fields in different packets (`tp_dst`,
//! `nw_src` in an ARP packet) is read last, when the rest of the match has said which packet it is.
//!
//! Cost: fields are gathered in a key and a mask, of which a match is made once.

use super::names::Lookup;
use super::subfield::{self, similar};
use super::token::{Mark, Part, Token};
use super::value::{self, Bad};
use super::{ParseError, PortNames, Problem};
use crate::check::needs;
use crate::field::{Field, Prerequisite};
use crate::key::{FlowKey, FlowMask};
use crate::matches::Match;

/// `vlan_tci` of a packet with a tag has this bit set.
pub(super) const TAGGED: u128 = 0x1000;

/// Names of packets: the keyword, its Ethernet type and, where it has one, its protocol. The first
/// of several names for the same packet is printed.
pub(super) const PACKETS: [(&str, u128, Option<u128>); 20] = [
    ("tcp", 0x0800, Some(6)),
    ("udp", 0x0800, Some(17)),
    ("icmp", 0x0800, Some(1)),
    ("sctp", 0x0800, Some(132)),
    ("ip", 0x0800, None),
    ("tcp6", 0x86dd, Some(6)),
    ("udp6", 0x86dd, Some(17)),
    ("icmp6", 0x86dd, Some(58)),
    ("sctp6", 0x86dd, Some(132)),
    ("ipv6", 0x86dd, None),
    ("arp", 0x0806, None),
    ("rarp", 0x8035, None),
    ("mpls", 0x8847, None),
    ("mplsm", 0x8848, None),
    ("igmp", 0x0800, Some(2)),
    ("icmp4", 0x0800, Some(1)),
    ("ipv4", 0x0800, None),
    ("ip4", 0x0800, None),
    ("ip6", 0x86dd, None),
    ("icmpv6", 0x86dd, Some(58)),
];

/// Reads a match, such as `tcp,nw_src=10.0.0.0/8,tp_dst=80`. The empty text matches everything.
///
/// # Errors
/// Where the text is wrong, and what is allowed there.
pub fn parse_match(text: &str, names: PortNames<'_>) -> Result<Match, ParseError> {
    let mut reader = Reader::new(Lookup::Ports(names));
    for part in Token::new(text).parts() {
        reader.part(part?)?;
    }
    reader.finish()
}

/// A match that is being read.
pub(super) struct Reader<'a> {
    key: FlowKey,
    mask: FlowMask,
    names: Lookup<'a>,
    /// Parts whose meaning the others decide.
    later: Vec<Part<'a>>,
    /// Fields that need something said elsewhere.
    needy: Vec<(Token<'a>, Field)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(names: Lookup<'a>) -> Self {
        Self {
            key: FlowKey::default(),
            mask: FlowMask::default(),
            names,
            later: Vec::new(),
            needy: Vec::new(),
        }
    }

    /// Reads one part, now or in the end.
    pub(super) fn part(&mut self, part: Part<'a>) -> Result<(), ParseError> {
        match part.name.text {
            "nw_proto" | "ip_proto" | "nw_src" | "nw_dst" | "tp_src" | "tp_dst" | "icmp_type"
            | "icmp_code" => {
                self.later.push(part);
                Ok(())
            }
            _ => self.read(part),
        }
    }

    /// The match of all parts.
    pub(super) fn finish(mut self) -> Result<Match, ParseError> {
        let later = std::mem::take(&mut self.later);
        // The protocol decides about ports.
        let (first, second): (Vec<_>, Vec<_>) = later
            .into_iter()
            .partition(|part| matches!(part.name.text, "nw_proto" | "ip_proto"));
        for part in first.into_iter().chain(second) {
            self.read(part)?;
        }
        for (token, field) in &self.needy {
            let prerequisite = field.info().prerequisite;
            if !prerequisite.holds(&self.key) {
                return token.fail(Problem::Prerequisite {
                    name: token.text.to_owned(),
                    needs: needs(prerequisite),
                });
            }
        }
        Ok(Match::new(&self.key, &self.mask))
    }

    fn read(&mut self, part: Part<'a>) -> Result<(), ParseError> {
        if part.mark == Mark::None {
            // Untagged and tagged Ethernet is all there is, so `eth` says nothing.
            if part.name.text == "eth" {
                return Ok(());
            }
            let packet = PACKETS.iter().find(|(word, ..)| *word == part.name.text);
            if let Some((_, ethertype, protocol)) = packet {
                self.add(part.name, Field::EthType, *ethertype, 0xffff)?;
                if let Some(protocol) = protocol {
                    self.add(part.name, Field::IpProto, *protocol, 0xff)?;
                }
                return Ok(());
            }
        }
        match part.name.text {
            "actions" | "action" => part.name.fail(Problem::Actions),
            "dl_vlan" => self.vlan(&part),
            "dl_vlan_pcp" | "vlan_pcp" => {
                let pcp = u128::from(part.number(0, 7)?);
                self.add(part.name, Field::VlanTci, pcp << 13 | TAGGED, 0xf000)
            }
            "nw_tos" => {
                let tos = u128::from(part.number(0, 0xff)?);
                self.needy.push((part.name, Field::IpDscp));
                self.add(part.name, Field::IpDscp, tos >> 2, 0x3f)
            }
            name if name.contains('[') => self.bits(&part),
            _ => self.field(&part),
        }
    }

    fn vlan(&mut self, part: &Part<'a>) -> Result<(), ParseError> {
        match part.number(0, 0xffff)? {
            // OpenFlow 1.0's number for packets without a tag.
            0xffff => self.add(part.name, Field::VlanTci, 0, 0xffff),
            vid @ 0..=0xfff => {
                self.add(part.name, Field::VlanTci, u128::from(vid) | TAGGED, 0x1fff)
            }
            _ => part.refuse(part.value, "a VLAN number up to 4095, or 0xffff for no tag"),
        }
    }

    /// Reads `field[first..last]=value`.
    fn bits(&mut self, part: &Part<'a>) -> Result<(), ParseError> {
        let bits = subfield::parse(part.name)?;
        let allowed = format!("a number of {} bits", bits.bits);
        let value = part.need(&allowed)?;
        let number = value::number(value.text).filter(|value| subfield::fits(*value, bits));
        let Some(number) = number else {
            return part.refuse(value, allowed);
        };
        let row = bits.field.info();
        let mask = bits.mask();
        if mask != row.max() && !row.maskable {
            return part.name.fail(Problem::Mask {
                name: row.name.to_owned(),
            });
        }
        self.needy.push((part.name, bits.field));
        self.add(part.name, bits.field, number << bits.offset, mask)
    }

    fn field(&mut self, part: &Part<'a>) -> Result<(), ParseError> {
        let name = part.name;
        let Some(field) = self.by_name(name.text) else {
            if matches!(name.text, "tp_src" | "tp_dst") {
                return name.fail(Problem::Prerequisite {
                    name: name.text.to_owned(),
                    needs: "tcp, udp or sctp (or the same with 6)",
                });
            }
            if PACKETS.iter().any(|(word, ..)| *word == name.text) {
                return part.alone();
            }
            return name.fail(Problem::UnknownField {
                allowed: similar(name.text),
            });
        };
        let (value, mask) = read_value(part.whole, name, part.value(), field, self.names)?;
        if mask == 0 {
            return Ok(());
        }
        if field.info().prerequisite != Prerequisite::None {
            self.needy.push((name, field));
        }
        self.add(name, field, value, mask)
    }

    /// The field that a name means in packets of this match.
    fn by_name(&self, name: &str) -> Option<Field> {
        in_packet(name, &self.key).unwrap_or_else(|| subfield::field(name))
    }

    /// Adds what does not contradict the rest.
    fn add(
        &mut self,
        name: Token<'_>,
        field: Field,
        value: u128,
        mask: u128,
    ) -> Result<(), ParseError> {
        let (before, said) = (self.key.field(field), self.mask.field(field));
        if (before ^ value) & said & mask != 0 {
            return name.fail(Problem::Contradiction {
                name: name.text.to_owned(),
            });
        }
        self.key.set(field, before | value & mask);
        self.mask.set(field, said | mask);
        Ok(())
    }
}

/// The field that a name means in such packets, for names that mean several; inside, `None` where
/// the packet has no such field.
pub(super) fn in_packet(name: &str, key: &FlowKey) -> Option<Option<Field>> {
    let arp = || matches!(key.field(Field::EthType), 0x0806 | 0x8035);
    let v6 = || key.field(Field::EthType) == 0x86dd;
    let transport = |tcp, udp, sctp| match key.field(Field::IpProto) {
        6 => Some(tcp),
        17 => Some(udp),
        132 => Some(sctp),
        _ => None,
    };
    Some(match name {
        "tp_src" => transport(Field::TcpSrc, Field::UdpSrc, Field::SctpSrc),
        "tp_dst" => transport(Field::TcpDst, Field::UdpDst, Field::SctpDst),
        "nw_src" if arp() => Some(Field::ArpSpa),
        "nw_dst" if arp() => Some(Field::ArpTpa),
        "nw_proto" if arp() => Some(Field::ArpOp),
        "icmp_type" if v6() => Some(Field::Icmp6Type),
        "icmp_code" if v6() => Some(Field::Icmp6Code),
        _ => return None,
    })
}

/// Reads the value of a field, with its mask.
pub(super) fn read_value(
    whole: Token<'_>,
    name: Token<'_>,
    value: Option<Token<'_>>,
    field: Field,
    names: Lookup<'_>,
) -> Result<(u128, u128), ParseError> {
    let row = field.info();
    let name = || name.text.to_owned();
    let Some(value) = value else {
        return whole.fail(Problem::NoValue {
            name: name(),
            allowed: value::allowed(row),
        });
    };
    match value::parse(row, value.text, names) {
        Ok(read) => Ok(read),
        Err(Bad::Mask) => value.fail(Problem::Mask { name: name() }),
        Err(Bad::Value) => value.fail(Problem::Value {
            name: name(),
            allowed: value::allowed(row),
        }),
    }
}
