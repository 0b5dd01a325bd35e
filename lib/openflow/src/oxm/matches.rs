//! Matches in fields: `OFPMT_OXM` of OpenFlow 1.2 and later, and Nicira's `nx_match` in OpenFlow 1.0.
//!
//! Both are a list of the same entries; they differ in what stands around it, in the codes that are
//! preferred, and in that Nicira's may hold a cookie. Fields are written in the order in which Open
//! vSwitch writes them (`nx_put_raw` in `lib/nx-match.c`), which has every field after its
//! prerequisites and is that of the OXM numbers but for the Ethernet addresses and some of Nicira's.
//!
//! Law: a field is written only where the match promises it, so that what is written can be read
//! again. A match of a VLAN tag that OXM cannot say is written as `NXM_OF_VLAN_TCI`.
//!
//! Spec: OpenFlow 1.3.5 §7.2.3, errors of §7.4.4; Open vSwitch's `lib/nx-match.c`.

use vswitch_flow::field::Prerequisite;
use vswitch_flow::{Field, FlowKey, FlowMask, Match};

use super::{BASIC, Entry, Form, Header, Wire, known, read_payload};
use crate::error::{ErrorCode, OfError};
use crate::header::Version;
use crate::wire::{Reader, Writer, require};

/// `OFPMT_STANDARD`: the fixed match of OpenFlow 1.1, which is not spoken here.
const STANDARD: u16 = 0;
/// `OFPMT_OXM`.
const OXM: u16 = 1;

/// Number of `NXM_NX_COOKIE` in class 1.
const COOKIE: u8 = 30;

/// Number of `OXM_OF_PACKET_TYPE` in the basic class.
const PACKET_TYPE: u8 = 44;

/// `ct_state` that only a packet of a valid connection has: new, established, related, reply, and
/// both translations.
const CT_VALID: u128 = 0xcf;
const CT_INVALID: u128 = 0x10;
const CT_TRACKED: u128 = 0x20;

/// A match in Nicira's form, with the condition on the cookie that requests may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NxMatch {
    /// Which packets.
    pub matches: Match,
    /// Only flows whose cookie agrees with this in the bits of `cookie_mask`.
    pub cookie: u64,
    /// See `cookie`; 0 is any.
    pub cookie_mask: u64,
}

/// Reads an `ofp_match` with its padding.
///
/// # Errors
/// The `OFPBMC_*` error that is due.
pub fn decode_match(from: &mut Reader<'_>) -> Result<Match, OfError> {
    decode_padded(from, &Rules::STRICT)
}

/// Reads an `ofp_match` with its padding that describes a packet and not a flow, as
/// [`decode_metadata`] does.
///
/// # Errors
/// The `OFPBMC_*` error that is due.
pub fn decode_loose_match(from: &mut Reader<'_>) -> Result<Match, OfError> {
    decode_padded(from, &Rules::LOOSE)
}

fn decode_padded(from: &mut Reader<'_>, rules: &Rules) -> Result<Match, OfError> {
    let bad_len = ErrorCode::BmcBadLen.about("the match");
    let mut header = Reader::new(from.peek(), bad_len);
    let (kind, size) = (header.u16()?, usize::from(header.u16()?));
    require(
        kind != STANDARD,
        ErrorCode::BmcBadType,
        "a match of OpenFlow 1.1 (OFPMT_STANDARD)",
    )?;
    require(kind == OXM, ErrorCode::BmcBadType, "the match")?;
    let payload = size.checked_sub(4).ok_or(bad_len)?;
    let padded = from.bytes(size.next_multiple_of(8)).map_err(|_| bad_len)?;
    let fields = &padded[4..4 + payload];
    decode_fields(fields, rules).map(|read| read.matches)
}

/// Writes an `ofp_match` with its padding.
pub fn encode_match(to: &mut Writer, version: Version, matches: &Match) {
    let start = to.size();
    to.u16(OXM);
    let length = to.length();
    encode_fields(to, version, matches);
    to.fill_length(length, start, "the match");
    to.pad8(start);
}

/// Reads an `nx_match` of `size` bytes and the padding after it.
///
/// # Errors
/// The `OFPBMC_*` error that is due.
pub fn decode_nx_match(from: &mut Reader<'_>, size: usize) -> Result<NxMatch, OfError> {
    let bad_len = |_| ErrorCode::BmcBadLen.about("the match");
    let padded = from.bytes(size.next_multiple_of(8)).map_err(bad_len)?;
    let cookie = Rules {
        cookie: true,
        ..Rules::STRICT
    };
    decode_fields(&padded[..size], &cookie)
}

/// Writes an `nx_match` and its padding, and says how many bytes it has without the padding.
pub fn encode_nx_match(to: &mut Writer, matches: &NxMatch) -> usize {
    let start = to.size();
    encode_fields(to, Version::V10, &matches.matches);
    if matches.cookie_mask != 0 {
        let masked = matches.cookie_mask != u64::MAX;
        to.u16(1);
        to.u8(COOKIE << 1 | u8::from(masked));
        to.u8(if masked { 16 } else { 8 });
        to.u64(matches.cookie & matches.cookie_mask);
        if masked {
            to.u64(matches.cookie_mask);
        }
    }
    let size = to.size() - start;
    to.pad8(start);
    size
}

/// Reads fields that describe a packet and not a flow, as packet-ins carry them: unknown fields are
/// passed over and prerequisites need not be there.
///
/// # Errors
/// The `OFPBMC_*` error that is due.
pub fn decode_metadata(fields: &[u8]) -> Result<Match, OfError> {
    decode_fields(fields, &Rules::LOOSE).map(|read| read.matches)
}

/// What a list of fields may hold.
struct Rules {
    /// Unknown fields and missing prerequisites are errors.
    strict: bool,
    /// A cookie may be among the fields.
    cookie: bool,
}

impl Rules {
    const STRICT: Self = Self {
        strict: true,
        cookie: false,
    };
    const LOOSE: Self = Self {
        strict: false,
        cookie: false,
    };
}

/// What is known of the match so far.
struct Builder {
    key: FlowKey,
    mask: FlowMask,
}

fn decode_fields(bytes: &[u8], rules: &Rules) -> Result<NxMatch, OfError> {
    let bad_len = ErrorCode::BmcBadLen.about("a match field");
    let mut from = Reader::new(bytes, bad_len);
    let mut cookie = None;
    let mut builder = Builder {
        key: FlowKey::default(),
        mask: FlowMask::default(),
    };
    while !from.is_empty() {
        let header = Header::read(&mut from)?;
        if rules.cookie && (header.class, header.number, header.width()) == (1, COOKIE, 8) {
            let read = read_cookie(&mut from, header)?;
            let first = cookie.replace(read).is_none_or(|(_, mask)| mask == 0);
            require(first, ErrorCode::BmcDupField, "the cookie")?;
            continue;
        }
        let wire = header.wire();
        let packet_type = (header.class, header.number) == (BASIC, PACKET_TYPE);
        let Some(entry) = read_payload(&mut from, header, wire)? else {
            // Every packet is an Ethernet frame: to match that says nothing.
            let ethernet = packet_type && header.payload == 4 && from_frame(bytes, &from);
            require(
                ethernet || !rules.strict,
                ErrorCode::BmcBadField,
                "a match field",
            )?;
            continue;
        };
        builder.add(&entry, rules.strict)?;
    }
    let (cookie, cookie_mask) = cookie.unwrap_or_default();
    Ok(NxMatch {
        matches: Match::new(&builder.key, &builder.mask),
        cookie,
        cookie_mask,
    })
}

/// Whether the four bytes that were read last are zero: the type of an Ethernet frame.
fn from_frame(all: &[u8], rest: &Reader<'_>) -> bool {
    let read = &all[..all.len() - rest.left()];
    read.ends_with(&[0; 4])
}

fn read_cookie(from: &mut Reader<'_>, header: Header) -> Result<(u64, u64), OfError> {
    let cookie = from.u64()?;
    if !header.masked {
        return Ok((cookie, u64::MAX));
    }
    let mask = from.u64()?;
    let within = cookie & !mask == 0;
    require(within, ErrorCode::BmcBadWildcards, "the cookie")?;
    Ok((cookie, mask))
}

impl Builder {
    fn add(&mut self, entry: &Entry, strict: bool) -> Result<(), OfError> {
        let row = entry.wire.field.info();
        let whole = entry.mask == 0 || entry.mask == entry.wire.ones();
        require(row.maskable || whole, ErrorCode::BmcBadMask, row.name)?;
        require(entry.is_value(), ErrorCode::BmcBadValue, row.name)?;
        let (field, value, mask) = match (entry.wire.form, entry.parts()) {
            // A match speaks of the DSCP as a number, however it was said.
            (Form::Tos, (_, value, mask)) => (Field::IpDscp, value >> 2, mask >> 2),
            (_, (field, value, mask)) => (field, value, mask & known(field)),
        };
        let promised = !strict || self.promises(row.prerequisite);
        require(promised, ErrorCode::BmcBadPrereq, row.name)?;
        // Addresses of both families have one place, so that the match must say which it means.
        let family = !strict || family(&self.key, row.prerequisite);
        require(family, ErrorCode::BacMatchInconsistent, row.name)?;
        let new = self.mask.field(field) == 0;
        require(new, ErrorCode::BmcDupField, row.name)?;
        self.key.set(field, value & mask);
        self.mask.set(field, mask);
        if field == Field::VlanPcp && mask != 0 {
            // Only a tag has a priority.
            self.key
                .set(Field::VlanTci, self.key.field(Field::VlanTci) | 0x1000);
            let tci = self.mask.field(Field::VlanTci);
            self.mask.set(Field::VlanTci, tci | 0x1000);
        }
        Ok(())
    }

    fn promises(&self, prerequisite: Prerequisite) -> bool {
        promises(&self.key, &self.mask, prerequisite)
    }
}

/// Whether every packet of a match meets a prerequisite, by the rules of Open vSwitch
/// (`mf_are_match_prereqs_ok`): ports are those of first fragments only, and a connection's first
/// packet is known of valid connections only.
fn promises(key: &FlowKey, mask: &FlowMask, prerequisite: Prerequisite) -> bool {
    match prerequisite {
        Prerequisite::Tcp | Prerequisite::Udp | Prerequisite::Sctp => {
            prerequisite.holds(key) && key.field(Field::IpFrag) & 2 == 0
        }
        Prerequisite::Ct | Prerequisite::Ct4 | Prerequisite::Ct6 => {
            let (state, said) = (key.field(Field::CtState), mask.field(Field::CtState));
            let not_invalid = state & CT_TRACKED != 0 && (said & !state) & CT_INVALID != 0;
            state & CT_VALID != 0 || not_invalid
        }
        _ => prerequisite.holds(key),
    }
}

/// Whether a match says of which family a connection's addresses are.
fn family(key: &FlowKey, prerequisite: Prerequisite) -> bool {
    match prerequisite {
        Prerequisite::Ct4 => Prerequisite::Ipv4.holds(key),
        Prerequisite::Ct6 => Prerequisite::Ipv6.holds(key),
        _ => true,
    }
}

/// The order in which fields are written; those of VLAN tags have a place and a way of their own.
const BEFORE_VLAN: &[Field] = &[
    Field::DpHash,
    Field::RecircId,
    Field::ConjId,
    Field::InPort,
    Field::ActsetOutput,
    Field::EthSrc,
    Field::EthDst,
    Field::EthType,
];

/// See [`BEFORE_VLAN`].
const AFTER_VLAN: &[Field] = &[
    Field::MplsTc,
    Field::MplsBos,
    Field::MplsTtl,
    Field::MplsLabel,
    Field::PbbIsid,
    Field::Ipv4Src,
    Field::Ipv4Dst,
    Field::Ipv6Src,
    Field::Ipv6Dst,
    Field::IpFrag,
    Field::IpDscp,
    Field::IpEcn,
    Field::IpTtl,
    Field::Ipv6Label,
    Field::IpProto,
    Field::TcpSrc,
    Field::TcpDst,
    Field::TcpFlags,
    Field::UdpSrc,
    Field::UdpDst,
    Field::SctpSrc,
    Field::SctpDst,
    Field::IcmpType,
    Field::IcmpCode,
    Field::Icmp6Type,
    Field::Icmp6Code,
    Field::NdTarget,
    Field::NdSll,
    Field::NdTll,
    Field::Ipv6ExtHeaders,
    Field::ArpOp,
    Field::ArpSpa,
    Field::ArpTpa,
    Field::ArpSha,
    Field::ArpTha,
    Field::TunId,
    Field::TunFlags,
    Field::TunSrc,
    Field::TunDst,
    Field::TunIpv6Src,
    Field::TunIpv6Dst,
    Field::TunGbpId,
    Field::TunGbpFlags,
    Field::Reg0,
    Field::Reg1,
    Field::Reg2,
    Field::Reg3,
    Field::Reg4,
    Field::Reg5,
    Field::Reg6,
    Field::Reg7,
    Field::Reg8,
    Field::Reg9,
    Field::Reg10,
    Field::Reg11,
    Field::Reg12,
    Field::Reg13,
    Field::Reg14,
    Field::Reg15,
    Field::PktMark,
    Field::CtState,
    Field::CtZone,
    Field::CtMark,
    Field::CtLabel,
    Field::CtIpv4Src,
    Field::CtIpv6Src,
    Field::CtIpv4Dst,
    Field::CtIpv6Dst,
    Field::CtProto,
    Field::CtTpSrc,
    Field::CtTpDst,
    Field::Metadata,
];

/// Writes the fields of a match without header and padding, as packet-ins need them.
pub fn encode_fields(to: &mut Writer, version: Version, matches: &Match) {
    if matches.is_any() {
        return;
    }
    let said = Said {
        key: matches.key(),
        mask: matches.mask(),
        version,
    };
    for &field in BEFORE_VLAN {
        said.put(to, field);
    }
    said.put_vlan(to);
    for &field in AFTER_VLAN {
        said.put(to, field);
    }
}

/// A match to be written.
struct Said {
    key: FlowKey,
    mask: FlowMask,
    version: Version,
}

impl Said {
    fn put(&self, to: &mut Writer, field: Field) {
        let row = field.info();
        let (value, mut mask) = (self.key.field(field), self.mask.field(field));
        let promised = promises(&self.key, &self.mask, row.prerequisite);
        if mask == 0 || !promised || !family(&self.key, row.prerequisite) {
            return;
        }
        if field == Field::IpDscp && self.version == Version::V10 {
            if let Some(wire) = Wire::nicira(Field::IpTos) {
                wire.put(to, value << 2, Field::IpTos.info().max());
            }
            return;
        }
        if !row.maskable {
            mask = row.max();
        }
        if let Some(wire) = Wire::preferred(field, self.version) {
            wire.put(to, value, mask);
        }
    }

    fn put_vlan(&self, to: &mut Writer) {
        let (tci, mask) = (
            self.key.field(Field::VlanTci),
            self.mask.field(Field::VlanTci),
        );
        let priority = mask & 0xe000;
        let tagged = tci & mask & 0x1000 != 0;
        // OXM has a priority only beside a tag, and only whole. Of an untagged packet it need not
        // be said.
        let untagged = mask & 0x1000 != 0 && tci & 0x1fff == 0 && tci & 0xe000 == 0;
        let sayable = priority == 0 || priority == 0xe000 && tagged || untagged;
        if mask == 0 {
        } else if self.version == Version::V10 || !sayable {
            if let Some(wire) = Wire::nicira(Field::VlanTci) {
                wire.put(to, tci, mask);
            }
        } else {
            self.put(to, Field::VlanVid);
            if tagged {
                self.put(to, Field::VlanPcp);
            }
        }
    }
}
