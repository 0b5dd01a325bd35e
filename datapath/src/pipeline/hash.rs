//! The actions `multipath` and `bundle`: one of several by a hash of the packet.
//!
//! Law: what is chosen depends on the bits that are read from the packet, which are in the answer's
//! mask, on the action, and, for `bundle`, on which ports are up.
//!
//! Spec: `ovs-actions(7)`; the algorithms are those of Open vSwitch's `lib/multipath.c` and
//! `lib/bundle.c`, over a hash of our own.

use vswitch_flow::action::{Bundle, BundleAlgorithm, HashFields, Multilink, Multipath};
use vswitch_flow::{Field, OfPort};

use super::state::Working;

/// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

fn add(hash: u64, value: u128) -> u64 {
    mix(mix(hash ^ value as u64) ^ (value >> 64) as u64)
}

/// A field of the packet, 0 where it has none.
fn read(work: &mut Working, field: Field) -> u128 {
    if work.has(field) {
        work.field(field)
    } else {
        0
    }
}

/// Two fields, so that their order does not matter.
fn both(work: &mut Working, hash: u64, a: Field, b: Field) -> u64 {
    let (a, b) = (read(work, a), read(work, b));
    add(add(hash, a.min(b)), a.max(b))
}

fn one(work: &mut Working, hash: u64, field: Field) -> u64 {
    let value = read(work, field);
    add(hash, value)
}

fn addresses(work: &mut Working, hash: u64) -> u64 {
    let hash = both(work, hash, Field::Ipv4Src, Field::Ipv4Dst);
    both(work, hash, Field::Ipv6Src, Field::Ipv6Dst)
}

fn ports(work: &mut Working, hash: u64, udp: bool) -> u64 {
    let hash = both(work, hash, Field::TcpSrc, Field::TcpDst);
    let hash = both(work, hash, Field::SctpSrc, Field::SctpDst);
    if udp {
        both(work, hash, Field::UdpSrc, Field::UdpDst)
    } else {
        hash
    }
}

/// The hash of what `fields` names.
fn hash(fields: HashFields, basis: u16, work: &mut Working) -> u64 {
    let hash = mix(basis.into());
    match fields {
        HashFields::EthSrc => one(work, hash, Field::EthSrc),
        HashFields::NetworkSrc => {
            let hash = one(work, hash, Field::Ipv4Src);
            one(work, hash, Field::Ipv6Src)
        }
        HashFields::NetworkDst => {
            let hash = one(work, hash, Field::Ipv4Dst);
            one(work, hash, Field::Ipv6Dst)
        }
        HashFields::SymmetricL3 => addresses(work, hash),
        HashFields::SymmetricL3L4 | HashFields::SymmetricL3L4Udp => {
            let hash = addresses(work, hash);
            let hash = one(work, hash, Field::IpProto);
            ports(work, hash, fields == HashFields::SymmetricL3L4Udp)
        }
        HashFields::SymmetricL4 => {
            let hash = both(work, hash, Field::EthSrc, Field::EthDst);
            let hash = add(hash, work.bits(Field::VlanVid, 0xfff));
            let hash = one(work, hash, Field::EthType);
            let hash = addresses(work, hash);
            let hash = one(work, hash, Field::IpProto);
            ports(work, hash, true)
        }
    }
}

/// The hash of a connection, the same in both directions: of the addresses and, but for fragments, which
/// all go one way, of the ports.
pub(super) fn of_connection(work: &mut Working) -> u32 {
    let hash = addresses(work, mix(0));
    let hash = one(work, hash, Field::IpProto);
    let hash = match work.is_fragment() {
        true => hash,
        false => ports(work, hash, true),
    };
    (hash >> 32) as u32
}

/// How well a link suits a hash (highest random weight).
fn weight(hash: u64, link: u32) -> u64 {
    mix(hash ^ mix(u64::from(link) + 1))
}

/// The number that a `multipath` writes.
pub(super) fn multipath(multipath: &Multipath, work: &mut Working) -> u16 {
    let hash = hash(multipath.fields, multipath.basis, work);
    let links = u32::from(multipath.max_link) + 1;
    let link = match multipath.algorithm {
        Multilink::ModuloN => (hash % u64::from(links)) as u32,
        Multilink::HashThreshold => (((hash >> 32) * u64::from(links)) >> 32) as u32,
        Multilink::Hrw => (0..links)
            .max_by_key(|&link| weight(hash, link))
            .unwrap_or(0),
        Multilink::IterHash => {
            // The first of a row of hashes, with as many values as `arg` or the next power of two
            // has, that is a link.
            let modulo = multipath.arg.max(links).next_power_of_two();
            let mut row = (0..64_u64).map(|turn| (mix(hash ^ turn) % u64::from(modulo)) as u32);
            row.find(|&link| link < links)
                .unwrap_or((hash % u64::from(links)) as u32)
        }
    };
    link as u16
}

/// The member that a `bundle` chooses among those that are `live`.
pub(super) fn bundle(
    bundle: &Bundle,
    work: &mut Working,
    live: impl Fn(OfPort) -> bool,
) -> Option<OfPort> {
    let mut members = bundle.members.iter().copied().filter(|port| live(*port));
    match bundle.algorithm {
        BundleAlgorithm::ActiveBackup => members.next(),
        BundleAlgorithm::Hrw => {
            let hash = hash(bundle.fields, bundle.basis, work);
            members.max_by_key(|port| weight(hash, port.0))
        }
    }
}
