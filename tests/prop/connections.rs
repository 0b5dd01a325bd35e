//! Connections are what a plain model says ([`vswitch_tests::connections`]), whatever the packets.

use std::net::IpAddr;

use proptest::prelude::*;
use vswitch_datapath::conntrack::request::Request;
use vswitch_datapath::conntrack::seen::{TcpSeen, flag};
use vswitch_flow::action::{Nat, NatKind, NatPorts, NatRange};
use vswitch_tests::connections::{Step, Who, check};

fn segment() -> impl Strategy<Value = TcpSeen> {
    use flag::{ACK, FIN, PSH, RST, SYN, URG};
    let flags = prop_oneof![
        4 => Just(SYN),
        4 => Just(SYN | ACK),
        8 => Just(ACK),
        4 => Just(ACK | PSH),
        3 => Just(FIN | ACK),
        1 => Just(RST),
        2 => Just(RST | ACK),
        1 => any::<u16>().prop_map(|bits| bits & (FIN | SYN | RST | PSH | ACK | URG)),
    ];
    let number = || {
        prop_oneof![
            8 => 0..4_u32,
            4 => 0..3000_u32,
            1 => (u32::MAX - 100)..u32::MAX,
            1 => any::<u32>(),
        ]
    };
    let window = prop_oneof![4 => Just(1000_u16), 1 => Just(0), 1 => any::<u16>()];
    let payload = prop_oneof![3 => Just(0_u32), 1 => 1..1500_u32, 1 => Just(60_000)];
    let wscale = prop::option::of(0..16_u8);
    (flags, number(), number(), window, payload, wscale).prop_map(
        |(flags, seq, ack, window, payload, wscale)| TcpSeen {
            flags,
            seq,
            ack,
            window,
            payload,
            wscale,
        },
    )
}

fn nat() -> impl Strategy<Value = Nat> {
    let kind = prop_oneof![Just(NatKind::Source), Just(NatKind::Destination)];
    let chance = prop_oneof![Just(NatPorts::Default), Just(NatPorts::Hash)];
    let ports = prop::option::of((1..4_u16, 0..3_u16).prop_map(|(port, more)| (port, port + more)));
    let range = (kind, 8..10_u8, 0..2_u8, ports, any::<bool>(), chance);
    let some = range.prop_map(|(kind, first, more, ports, persistent, chance)| {
        let address = |last| IpAddr::from([0, 0, 0, last]);
        Nat {
            range: Some(NatRange {
                kind,
                addresses: Some((address(first), address(first + more))),
                ports,
            }),
            // Of several addresses it would try but one.
            persistent: persistent && more == 0,
            ports: chance,
        }
    });
    prop_oneof![Just(Nat::default()), some]
}

fn request() -> impl Strategy<Value = Request> {
    let zone = prop_oneof![3 => Just(0_u16), 1 => Just(7)];
    let force = prop::bool::weighted(0.1);
    let mark = prop_oneof![3 => Just((0, 0)), 1 => any::<(u32, u32)>()];
    let label = prop_oneof![3 => Just((0, 0)), 1 => any::<(u128, u128)>()];
    (
        zone,
        any::<bool>(),
        force,
        mark,
        label,
        prop::option::of(nat()),
    )
        .prop_map(|(zone, commit, force, mark, label, nat)| Request {
            zone,
            commit: commit || force,
            force,
            // Only what is committed is written to.
            mark: if commit { mark } else { (0, 0) },
            label: if commit { label } else { (0, 0) },
            nat,
            helper: None,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<usize>;
    let who = prop_oneof![
        4 => (1..4_u8, 1..4_u8, 1..4_u16, 1..4_u16, 0..6_u8)
            .prop_map(|(src, dst, from, to, kind)| Who::Anybody(src, dst, from, to, kind)),
        3 => index().prop_map(Who::Again),
        5 => index().prop_map(Who::Answer),
        2 => (1..4_u8, index()).prop_map(|(who, about)| Who::Complaint(who, about)),
    ];
    let requests = prop::collection::vec(request(), 1..3);
    prop_oneof![
        30 => (who, segment(), requests).prop_map(|(who, segment, ask)| Step::Packet(who, segment, ask)),
        3 => (0..70_000_u64).prop_map(Step::Advance),
        1 => (0..8_usize).prop_map(Step::Sweep),
        1 => prop_oneof![Just(0_u16), Just(7)].prop_map(Step::Flush),
        1 => any::<bool>().prop_map(Step::Check),
        1 => any::<bool>().prop_map(Step::Loose),
    ]
}

proptest! {
    #[test]
    fn connections_are_what_a_plain_model_says(
        steps in prop::collection::vec(step(), 1..60),
        seed in any::<u64>(),
        limit in prop::option::of(0..5_u32),
    ) {
        check(&steps, seed, limit);
    }
}
