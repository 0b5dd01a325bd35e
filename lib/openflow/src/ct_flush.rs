//! `NXT_CT_FLUSH`: forget tracked connections (Open vSwitch's `include/openflow/nicira-ext.h`).

use std::net::{IpAddr, Ipv6Addr};

use vswitch_flow::{CtFilter, CtTupleFilter};

use crate::error::{ErrorCode, OfError};
use crate::property;
use crate::wire::{Reader, Writer, require};

const ORIGINAL: u16 = 0;
const REPLY: u16 = 1;
const ZONE: u16 = 2;
const MARK: u16 = 3;
const MARK_MASK: u16 = 4;
const LABELS: u16 = 5;
const LABELS_MASK: u16 = 6;

const SRC: u16 = 0;
const DST: u16 = 1;
const SRC_PORT: u16 = 2;
const DST_PORT: u16 = 3;
const ICMP_ID: u16 = 4;
const ICMP_TYPE: u16 = 5;
const ICMP_CODE: u16 = 6;

const ABOUT: &str = "connections to forget";

pub(crate) fn decode(from: &mut Reader<'_>) -> Result<CtFilter, OfError> {
    let protocol = from.u8()?;
    let zeros = from.array()? == [0; 7];
    require(zeros, ErrorCode::NxbrcMustBeZero, ABOUT)?;
    let mut flush = CtFilter {
        protocol,
        ..CtFilter::default()
    };
    let (mut mark_mask, mut labels_mask) = (u32::MAX, u128::MAX);
    while !from.is_empty() {
        let (kind, mut value) = property::read(from)?;
        match kind {
            ORIGINAL => flush.original = decode_tuple(property::aligned(value)?)?,
            REPLY => flush.reply = decode_tuple(property::aligned(value)?)?,
            ZONE => flush.zone = Some(value.u16()?),
            MARK => flush.mark = Some((value.u32()?, 0)),
            MARK_MASK => mark_mask = value.u32()?,
            LABELS => flush.labels = Some((property::aligned(value)?.u128()?, 0)),
            LABELS_MASK => labels_mask = property::aligned(value)?.u128()?,
            _ => return Err(property::unknown(kind, ABOUT)),
        }
    }
    flush.mark = flush.mark.map(|(value, _)| (value, mark_mask));
    flush.labels = flush.labels.map(|(value, _)| (value, labels_mask));
    let addresses = [flush.original, flush.reply].map(|tuple| [tuple.src, tuple.dst]);
    let mut families = addresses.iter().flatten().flatten().map(IpAddr::is_ipv4);
    let first = families.next();
    let mixed = families.any(|family| Some(family) != first);
    require(!mixed, ErrorCode::BpcBadValue, "addresses of two families")?;
    Ok(flush)
}

pub(crate) fn encode(flush: &CtFilter, to: &mut Writer) {
    to.u8(flush.protocol);
    to.zeros(7);
    for (kind, tuple) in [(ORIGINAL, &flush.original), (REPLY, &flush.reply)] {
        if *tuple != CtTupleFilter::default() {
            property::write_aligned(to, kind, |to| encode_tuple(tuple, to));
        }
    }
    if let Some(zone) = flush.zone {
        property::write_u16(to, ZONE, zone);
    }
    if let Some((value, mask)) = flush.mark {
        property::write_u32(to, MARK, value);
        if mask != u32::MAX {
            property::write_u32(to, MARK_MASK, mask);
        }
    }
    if let Some((value, mask)) = flush.labels {
        property::write_aligned(to, LABELS, |to| to.u128(value));
        if mask != u128::MAX {
            property::write_aligned(to, LABELS_MASK, |to| to.u128(mask));
        }
    }
}

fn decode_tuple(mut from: Reader<'_>) -> Result<CtTupleFilter, OfError> {
    let mut tuple = CtTupleFilter::default();
    while !from.is_empty() {
        let (kind, mut value) = property::read(&mut from)?;
        match kind {
            SRC => tuple.src = address(value.array()?),
            DST => tuple.dst = address(value.array()?),
            SRC_PORT => tuple.src_port = Some(value.u16()?),
            DST_PORT => tuple.dst_port = Some(value.u16()?),
            ICMP_ID => tuple.icmp_id = Some(value.u16()?),
            ICMP_TYPE => tuple.icmp_type = Some(value.u8()?),
            ICMP_CODE => tuple.icmp_code = Some(value.u8()?),
            _ => return Err(property::unknown(kind, ABOUT)),
        }
    }
    Ok(tuple)
}

fn encode_tuple(tuple: &CtTupleFilter, to: &mut Writer) {
    for (kind, address) in [(SRC, tuple.src), (DST, tuple.dst)] {
        let address = address.map(|address| match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        });
        if let Some(address) = address {
            property::write(to, kind, |to| to.bytes(&address.octets()));
        }
    }
    for (kind, number) in [
        (SRC_PORT, tuple.src_port),
        (DST_PORT, tuple.dst_port),
        (ICMP_ID, tuple.icmp_id),
    ] {
        if let Some(number) = number {
            property::write_u16(to, kind, number);
        }
    }
    for (kind, number) in [(ICMP_TYPE, tuple.icmp_type), (ICMP_CODE, tuple.icmp_code)] {
        if let Some(number) = number {
            property::write_u8(to, kind, number);
        }
    }
}

/// An address: IPv4 within IPv6, or no condition if it is zero.
fn address(bytes: [u8; 16]) -> Option<IpAddr> {
    let address = Ipv6Addr::from(bytes);
    (!address.is_unspecified()).then(|| address.to_canonical())
}
