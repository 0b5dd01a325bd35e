use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use vswitch_flow::action::NatRange;

use super::*;
use crate::conntrack::tuple::protocol;

fn tcp(src_port: u16, dst_port: u16) -> Tuple {
    Tuple {
        family: Family::V4,
        protocol: protocol::TCP,
        src: 0x0a01_0101,
        dst: 0x0a01_0102,
        src_port,
        dst_port,
    }
}

fn to(kind: NatKind, addresses: (u8, u8), ports: Option<(u16, u16)>, how: NatPorts) -> Nat {
    let address = |last| IpAddr::V4(Ipv4Addr::new(10, 1, 1, last));
    Nat {
        range: Some(NatRange {
            kind,
            addresses: Some((address(addresses.0), address(addresses.1))),
            ports,
        }),
        persistent: false,
        ports: how,
    }
}

fn snat(addresses: (u8, u8), ports: Option<(u16, u16)>) -> Nat {
    to(NatKind::Source, addresses, ports, NatPorts::Default)
}

fn all(nat: &Nat, tuple: &Tuple, seed: u64) -> Vec<Tuple> {
    candidates(nat, tuple, seed).collect()
}

#[test]
fn one_tuple_is_tried_once() {
    let found = all(&snat((240, 240), Some((34_568, 34_568))), &tcp(123, 80), 1);
    let only = Tuple {
        src: 0x0a01_01f0,
        src_port: 34_568,
        ..tcp(123, 80)
    };
    assert_eq!(found, [only]);
}

#[test]
fn a_small_range_is_walked_to_its_end() {
    for how in [NatPorts::Default, NatPorts::Hash, NatPorts::Random] {
        let nat = to(NatKind::Source, (240, 254), Some((34_567, 34_568)), how);
        for seed in 0..50 {
            let found = all(&nat, &tcp(34_568, 80), seed);
            let ends: HashSet<_> = found.iter().map(|t| (t.src, t.src_port)).collect();
            assert_eq!((found.len(), ends.len()), (30, 30));
            assert!(
                found
                    .iter()
                    .all(|t| (0x0a01_01f0..=0x0a01_01fe).contains(&t.src))
            );
            assert!(
                found
                    .iter()
                    .all(|t| (34_567..=34_568).contains(&t.src_port))
            );
            assert!(
                found
                    .iter()
                    .all(|t| (t.dst, t.dst_port) == (0x0a01_0102, 80))
            );
        }
    }
}

#[test]
fn the_own_port_comes_first_where_it_may() {
    for (own, ports, how, first) in [
        (700, None, NatPorts::Default, Some(700)),
        (550, None, NatPorts::Default, Some(550)),
        (2000, Some((1000, 3000)), NatPorts::Default, Some(2000)),
        (2000, None, NatPorts::Hash, Some(2000)),
    ] {
        let nat = to(NatKind::Source, (240, 240), ports, how);
        let found = all(&nat, &tcp(own, 80), 3);
        assert_eq!(
            found.first().map(|t| t.src_port),
            first,
            "{ports:?} {how:?}"
        );
        let unique: HashSet<_> = found.iter().map(|t| t.src_port).collect();
        assert!(unique.len() > 128, "there is something else to try");
    }
    let nat = to(NatKind::Source, (240, 240), None, NatPorts::Random);
    let firsts = (0..100).filter_map(|seed| candidates(&nat, &tcp(2000, 80), seed).next());
    let firsts: HashSet<_> = firsts.map(|t| t.src_port).collect();
    assert!(firsts.len() > 90, "chance chooses");
}

#[test]
fn without_a_range_a_port_stays_of_its_kind() {
    let nat = snat((240, 240), None);
    for (own, low, high) in [
        (22, 1, 511),
        (600, 600, 1023),
        (700, 600, 1023),
        (5000, 1024, 65535),
    ] {
        let found = all(&nat, &tcp(own, 80), 9);
        assert!(
            found.iter().all(|t| (low..=high).contains(&t.src_port)),
            "{own}"
        );
    }
}

#[test]
fn zeros_leave_the_address() {
    let zero = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let nat = Nat {
        range: Some(NatRange {
            kind: NatKind::Source,
            addresses: Some((zero, zero)),
            ports: None,
        }),
        ..Nat::default()
    };
    let found = all(&nat, &tcp(700, 53), 5);
    assert_eq!(found.first(), Some(&tcp(700, 53)), "nothing changes");
    assert!(found.iter().all(|t| t.src == 0x0a01_0101));
    assert!(found.iter().skip(1).all(|t| t.src_port != 700));
    assert!(found.len() > 128);
}

#[test]
fn a_destination_changes_its_port_and_then_the_sources() {
    let nat = to(
        NatKind::Destination,
        (2, 2),
        Some((8080, 8081)),
        NatPorts::Default,
    );
    let found = all(&nat, &tcp(1234, 80), 5);
    let mut ports: Vec<_> = found[..2].iter().map(|t| t.dst_port).collect();
    ports.sort_unstable();
    assert_eq!(ports, [8080, 8081]);
    assert!(
        found[..2]
            .iter()
            .all(|t| (t.dst, t.src_port) == (0x0a01_0102, 1234))
    );
    assert!(
        found[2..]
            .iter()
            .all(|t| t.dst_port == found[0].dst_port && t.src_port != 1234)
    );
    assert!(found.len() > 128);

    let nat = to(NatKind::Destination, (2, 2), None, NatPorts::Default);
    assert_eq!(
        candidates(&nat, &tcp(1234, 80), 5).next(),
        Some(tcp(1234, 80))
    );
}

#[test]
fn an_identifier_stands_for_a_port() {
    let ping = Tuple {
        protocol: protocol::ICMP,
        src_port: 500,
        dst_port: 0x0800,
        ..tcp(0, 0)
    };
    let nat = snat((201, 201), None);
    let found = all(&nat, &ping, 1);
    assert_eq!((found[0].src_port, found[0].dst_port), (500, 0x0800));
    assert!(found.iter().all(|t| t.dst_port == 0x0800));
    let idents: HashSet<_> = found.iter().map(|t| t.src_port).collect();
    assert!(idents.len() > 128);
}

#[test]
fn protocols_without_ports_have_addresses_only() {
    let gre = Tuple {
        protocol: 47,
        ..tcp(0, 0)
    };
    let found = all(&snat((240, 242), Some((1, 100))), &gre, 1);
    let sources: HashSet<_> = found.iter().map(|t| t.src).collect();
    assert_eq!((found.len(), sources.len()), (3, 3));
    assert!(found.iter().all(|t| (t.src_port, t.dst_port) == (0, 0)));
}

#[test]
fn a_persistent_address_follows_from_the_clients() {
    let nat = Nat {
        persistent: true,
        ..snat((1, 254), None)
    };
    let mut seen = HashSet::new();
    for client in 0..200 {
        let of = |src_port, dst_port, seed| {
            let tuple = Tuple {
                src: 0x0a02_0000 + client,
                ..tcp(src_port, dst_port)
            };
            let found: HashSet<_> = all(&nat, &tuple, seed).iter().map(|t| t.src).collect();
            assert_eq!(found.len(), 1, "only one address is tried");
            found
        };
        let first = of(1000, 80, 1);
        assert_eq!(first, of(2000, 443, 77));
        seen.extend(first);
    }
    assert!(seen.len() > 100, "clients are spread: {}", seen.len());
}

#[test]
fn what_cannot_be_has_no_candidates() {
    assert!(all(&Nat::default(), &tcp(1, 2), 1).is_empty());
    let v6 = Tuple {
        family: Family::V6,
        ..tcp(1, 2)
    };
    assert!(all(&snat((240, 240), None), &v6, 1).is_empty());
}

proptest! {
    #[test]
    fn tries_are_bounded_and_in_range(low in any::<u128>(), span in any::<u128>(), ports in proptest::option::of((any::<u16>(), any::<u16>())), is_source in any::<bool>(), persistent in any::<bool>(), how in 0..3_usize, src_port in any::<u16>(), dst_port in any::<u16>(), protocol in 0..4_usize, seed in any::<u64>()) {
        let high = low.saturating_add(span);
        let protocol = [protocol::TCP, protocol::UDP, protocol::ICMPV6, 50][protocol];
        let tuple = Tuple {
            family: Family::V6,
            protocol,
            src: 1,
            dst: 2,
            src_port,
            dst_port: if protocol == protocol::ICMPV6 { 0x8000 } else { dst_port },
        };
        let nat = Nat {
            range: Some(NatRange {
                kind: if is_source { NatKind::Source } else { NatKind::Destination },
                addresses: Some((Ipv6Addr::from_bits(low).into(), Ipv6Addr::from_bits(high).into())),
                ports,
            }),
            persistent,
            ports: [NatPorts::Default, NatPorts::Hash, NatPorts::Random][how],
        };
        let found = all(&nat, &tuple, seed);
        prop_assert!(!found.is_empty() && found.len() <= 2 * WHOLE as usize);
        for got in found {
            let (moved, still) = if is_source { (got.src, got.dst == 2) } else { (got.dst, got.src == 1) };
            prop_assert!(still);
            prop_assert!(low == 0 || (low..=high).contains(&moved));
            prop_assert!(is_source || !(tuple.is_icmp() && got.dst_port != 0x8000));
        }
    }
}
