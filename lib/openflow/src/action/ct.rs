//! `ct` and the `nat` within it, both ways.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vswitch_flow::Action;
use vswitch_flow::action::{Ct, CtHelper, CtZone, Nat, NatKind, NatPorts, NatRange};

use super::{Decoder, Encoder, Within, bits_of_u32, check_source, number, ofs_nbits};
use crate::error::{ErrorCode, NICIRA, OfError};
use crate::oxm::Wire;
use crate::wire::{Reader, Writer, require};

const COMMIT: u16 = 1;
const FORCE: u16 = 1 << 1;

const NAT_SRC: u16 = 1;
const NAT_DST: u16 = 1 << 1;
const NAT_PERSISTENT: u16 = 1 << 2;
const NAT_HASH: u16 = 1 << 3;
const NAT_RANDOM: u16 = 1 << 4;

const IPV4_MIN: u16 = 1;
const IPV4_MAX: u16 = 1 << 1;
const IPV6_MIN: u16 = 1 << 2;
const IPV6_MAX: u16 = 1 << 3;
const PROTO_MIN: u16 = 1 << 4;
const PROTO_MAX: u16 = 1 << 5;

/// Helpers are numbered by the well-known port of what they help.
const FTP: u16 = 21;
const TFTP: u16 = 69;

/// `recirc_table` of a `ct` after which nothing goes on.
const NO_TABLE: u8 = 255;

impl Decoder<'_> {
    /// Reads what follows the header.
    pub(super) fn ct(&mut self, from: &mut Reader<'_>) -> Result<Action, OfError> {
        let bad = |about| ErrorCode::BacBadArgument.about(about);
        let flags = from.u16()?;
        let (commit, force) = (flags & COMMIT != 0, flags & FORCE != 0);
        let known = flags & !(COMMIT | FORCE) == 0 && (commit || !force);
        require(known, ErrorCode::BacBadArgument, "ct(flags)")?;
        let (src, zone) = (from.u32()?, from.u16()?);
        let zone = if src == 0 {
            CtZone::Number(zone)
        } else {
            let (bits, wire) = bits_of_u32(src, zone)?;
            check_source(&bits, &wire)?;
            require(bits.bits == 16, ErrorCode::BacBadSetLen, "ct(zone)")?;
            CtZone::Field(bits)
        };
        let table = from.u8()?;
        from.skip(3)?;
        let helper = match from.u16()? {
            0 => None,
            FTP => Some(CtHelper::Ftp),
            TFTP => Some(CtHelper::Tftp),
            _ => return Err(bad("ct(alg)")),
        };
        let nat = self.take_nat(from)?;
        let (nat, mut rest) = match nat {
            Some((nat, rest)) => (Some(nat), rest),
            None => (None, from.take_rest().to_vec()),
        };
        let bad_len = ErrorCode::BacBadLen.about("ct");
        let exec = self.nested(&mut Reader::new(&rest, bad_len), Within::Ct)?;
        rest.clear();
        let kept =
            commit || exec.is_empty() && nat.as_ref().is_none_or(|nat| *nat == Nat::default());
        require(kept, ErrorCode::BacBadArgument, "ct without commit")?;
        Ok(Action::Ct(Box::new(Ct {
            commit,
            force,
            zone,
            table: (table != NO_TABLE).then_some(table),
            helper,
            nat,
            exec,
        })))
    }

    /// Takes the `nat` out of the actions within a `ct`: it and the others' bytes.
    fn take_nat(&self, from: &mut Reader<'_>) -> Result<Option<(Nat, Vec<u8>)>, OfError> {
        let all = from.peek();
        let mut at = 0;
        let mut found: Option<(Nat, Vec<u8>)> = None;
        let mut rest_from = 0;
        while let Some(header) = all.get(at..at + 16) {
            let size = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let [_, _, _, _, a, b, c, d, e, f, ..] = *header else {
                break;
            };
            let nicira = header[..2] == [0xff, 0xff] && u32::from_be_bytes([a, b, c, d]) == NICIRA;
            let right = size >= 8 && size.is_multiple_of(8) && at + size <= all.len();
            if !right {
                // What is wrong with it is said when the others are read.
                break;
            }
            if nicira && u16::from_be_bytes([e, f]) == number::NAT {
                let once = found.is_none() && size >= 16;
                require(once, ErrorCode::BacBadArgument, "nat")?;
                let bad_len = ErrorCode::BacBadLen.about("nat");
                let nat = nat(&mut Reader::new(&all[at + 10..at + size], bad_len))?;
                found = Some((nat, all[rest_from..at].to_vec()));
                rest_from = at + size;
            }
            at += size;
        }
        Ok(found.map(|(nat, mut others)| {
            others.extend_from_slice(&all[rest_from..]);
            from.take_rest();
            (nat, others)
        }))
    }
}

/// Reads what follows the header of a `nat`.
pub(super) fn nat(from: &mut Reader<'_>) -> Result<Nat, OfError> {
    let bad = ErrorCode::BacBadArgument.about("nat");
    from.skip(2)?;
    let (flags, present) = (from.u16()?, from.u16()?);
    let known = flags & !(NAT_SRC | NAT_DST | NAT_PERSISTENT | NAT_HASH | NAT_RANDOM) == 0;
    let kind = match flags & (NAT_SRC | NAT_DST) {
        0 => None,
        NAT_SRC => Some(NatKind::Source),
        NAT_DST => Some(NatKind::Destination),
        _ => return Err(bad),
    };
    let ports = match flags & (NAT_HASH | NAT_RANDOM) {
        0 => NatPorts::Default,
        NAT_HASH => NatPorts::Hash,
        NAT_RANDOM => NatPorts::Random,
        _ => return Err(bad),
    };
    let has = |bit: u16| present & bit != 0;
    let both = has(IPV4_MIN | IPV4_MAX) && has(IPV6_MIN | IPV6_MAX);
    let lonely = has(IPV4_MAX) && !has(IPV4_MIN)
        || has(IPV6_MAX) && !has(IPV6_MIN)
        || has(PROTO_MAX) && !has(PROTO_MIN)
        || has(PROTO_MIN) && !has(IPV4_MIN | IPV6_MIN);
    // A range of neither source nor destination translates nothing.
    let right = known && !both && !lonely && (kind.is_some() || present == 0);
    require(right, ErrorCode::BacBadArgument, "nat")?;
    let v4 = |from: &mut Reader<'_>| from.u32().map(|ip| IpAddr::V4(Ipv4Addr::from_bits(ip)));
    let v6 = |from: &mut Reader<'_>| from.u128().map(|ip| IpAddr::V6(Ipv6Addr::from_bits(ip)));
    // What is missing is a wrong argument here, not a wrong length.
    let address = |from: &mut Reader<'_>| if has(IPV4_MIN) { v4(from) } else { v6(from) };
    let mut addresses = None;
    if has(IPV4_MIN | IPV6_MIN) {
        let min = address(from).map_err(|_| bad)?;
        let max = if has(IPV4_MAX | IPV6_MAX) {
            address(from).map_err(|_| bad)?
        } else {
            min
        };
        require(!min.is_unspecified() && min <= max, bad.code, bad.about)?;
        addresses = Some((min, max));
    }
    let mut range = None;
    if has(PROTO_MIN) {
        let min = from.u16().map_err(|_| bad)?;
        let max = if has(PROTO_MAX) {
            from.u16().map_err(|_| bad)?
        } else {
            min
        };
        require(min != 0 && min <= max, bad.code, bad.about)?;
        range = Some((min, max));
    }
    Ok(Nat {
        range: kind.map(|kind| NatRange {
            kind,
            addresses,
            ports: range,
        }),
        persistent: flags & NAT_PERSISTENT != 0,
        ports,
    })
}

impl Encoder<'_> {
    pub(super) fn ct(&self, to: &mut Writer, ct: &Ct) {
        super::encode::nicira(to, number::CT, "ct", |to| {
            to.u16(if ct.commit { COMMIT } else { 0 } | if ct.force { FORCE } else { 0 });
            match &ct.zone {
                CtZone::Number(zone) => {
                    to.u32(0);
                    to.u16(*zone);
                }
                CtZone::Field(bits) => {
                    let wire = Wire::of_bits(bits).filter(Wire::is_short);
                    match wire {
                        Some(wire) => to.u32(wire.header_u32()),
                        None => to.not_in("the field of a ct zone", self.version),
                    }
                    to.u16(ofs_nbits(bits));
                }
            }
            to.u8(ct.table.unwrap_or(NO_TABLE));
            to.zeros(3);
            to.u16(match ct.helper {
                None => 0,
                Some(CtHelper::Ftp) => FTP,
                Some(CtHelper::Tftp) => TFTP,
            });
            if let Some(nat) = &ct.nat {
                encode_nat(to, nat);
            }
            self.list(to, &ct.exec);
        });
    }
}

fn encode_nat(to: &mut Writer, nat: &Nat) {
    super::encode::nicira(to, number::NAT, "nat", |to| {
        let mut flags = match nat.ports {
            NatPorts::Default => 0,
            NatPorts::Hash => NAT_HASH,
            NatPorts::Random => NAT_RANDOM,
        };
        if nat.persistent {
            flags |= NAT_PERSISTENT;
        }
        let range = nat.range.as_ref();
        flags |= match range.map(|range| range.kind) {
            None => 0,
            Some(NatKind::Source) => NAT_SRC,
            Some(NatKind::Destination) => NAT_DST,
        };
        let addresses = range.and_then(|range| range.addresses);
        let ports = range.and_then(|range| range.ports);
        let mut present = match addresses {
            None => 0,
            Some((IpAddr::V4(_), _)) => IPV4_MIN,
            Some((IpAddr::V6(_), _)) => IPV6_MIN,
        };
        // The last one is said where it is not the first one.
        let last = addresses
            .filter(|(min, max)| min != max)
            .map(|(_, max)| max);
        if last.is_some() {
            present |= present << 1;
        }
        let last_port = ports.filter(|(min, max)| min != max).map(|(_, max)| max);
        if ports.is_some() {
            present |= PROTO_MIN;
        }
        if last_port.is_some() {
            present |= PROTO_MAX;
        }
        to.zeros(2);
        to.u16(flags);
        to.u16(present);
        for address in addresses.map(|(min, _)| min).into_iter().chain(last) {
            match address {
                IpAddr::V4(address) => to.bytes(&address.octets()),
                IpAddr::V6(address) => to.bytes(&address.octets()),
            }
        }
        for port in ports.map(|(min, _)| min).into_iter().chain(last_port) {
            to.u16(port);
        }
    });
}
