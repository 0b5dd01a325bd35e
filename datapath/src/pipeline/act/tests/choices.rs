//! What depends on the packet: its size, hashes, and flows that it makes or shortens.

use super::*;

#[test]
fn a_packet_larger_than_so_much_goes_another_way() {
    let tables = tables(vec![
        flow(
            0,
            1,
            any(),
            vec![
                Action::CheckPktLarger {
                    len: 62,
                    dst: part(Field::Reg0, 0, 1),
                },
                resubmit(None, Some(1)),
                out(4),
            ],
        ),
        flow(1, 1, any().with_masked(Field::Reg0, 1, 1), vec![out(2)]),
        flow(1, 0, any(), vec![out(3)]),
    ]);
    assert_eq!(send(&tables, 1, &udp()).ports(), [3, 4]);
    let mut larger = udp();
    larger.push(0);
    assert_eq!(send(&tables, 1, &larger).ports(), [2, 4]);
}

/// The Open vSwitch test "learn - standard VLAN+MAC learning".
#[test]
fn a_packet_makes_the_flow_that_learn_says() {
    let tci = part(Field::VlanTci, 0, 12);
    let learn = Learn {
        idle_timeout: 0,
        hard_timeout: 60,
        fin_idle_timeout: 0,
        fin_hard_timeout: 9,
        priority: 32768,
        cookie: 0x5,
        table: 1,
        send_flow_rem: false,
        delete_learned: false,
        limit: 0,
        result: None,
        specs: vec![
            LearnSpec::Match {
                src: LearnSource::Field(tci),
                dst: tci,
            },
            LearnSpec::Match {
                src: LearnSource::Field(Subfield::whole(Field::EthSrc)),
                dst: Subfield::whole(Field::EthDst),
            },
            LearnSpec::Load {
                src: LearnSource::Value(6),
                dst: part(Field::Reg0, 4, 8),
            },
            LearnSpec::Output(part(Field::InPort, 0, 16)),
        ],
    };
    let tables = tables(vec![flow(
        0,
        1,
        any(),
        vec![Action::Learn(Box::new(learn)), out(2)],
    )]);
    let came = send(&tables, 3, &udp());
    let [effect] = came.first.effects.as_slice() else {
        panic!("one flow is learned");
    };
    let Effect::Learn { change, .. } = &**effect else {
        panic!("{effect:?} is no flow");
    };
    let rule = &change.rule;
    let matches = any()
        .with_masked(Field::VlanTci, 0, 0xfff)
        .with(Field::EthDst, 0x0200_0000_0001);
    assert_eq!(rule.matches, matches);
    assert_eq!((rule.table, rule.hard_timeout, rule.cookie), (1, 60, 5));
    let actions = [
        Action::FinTimeout { idle: 0, hard: 9 },
        Action::Load {
            dst: part(Field::Reg0, 4, 8),
            value: 6,
        },
        out(3),
    ];
    assert_eq!(*rule.instructions.apply, actions);
    let mask = &came.first.mask;
    assert_eq!(mask.field(Field::EthSrc), 0xffff_ffff_ffff);
    assert_eq!(
        mask.field(Field::EthDst),
        0,
        "what is not learned is not read"
    );
}

#[test]
fn only_the_end_of_a_connection_shortens_a_flow() {
    let tables = tables(vec![flow(
        0,
        1,
        any(),
        vec![Action::FinTimeout { idle: 5, hard: 6 }, out(2)],
    )]);
    let frame = |flags| {
        Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4(SRC, DST)
            .tcp(1, 2, flags)
            .build()
    };
    assert!(send(&tables, 1, &frame(tcp::ACK)).first.effects.is_empty());
    assert!(send(&tables, 1, &udp()).first.effects.is_empty());
    let came = send(&tables, 1, &frame(tcp::FIN));
    assert!(matches!(
        *came.first.effects[0],
        Effect::FinTimeout {
            idle: 5,
            hard: 6,
            ..
        }
    ));
}

fn multipath(algorithm: Multilink) -> Action {
    Action::Multipath(Box::new(Multipath {
        fields: HashFields::EthSrc,
        basis: 50,
        algorithm,
        max_link: 3,
        arg: 5,
        dst: Subfield::whole(Field::Reg0),
    }))
}

#[test]
fn multipath_spreads_evenly_and_stays_with_a_flow() {
    for algorithm in [
        Multilink::ModuloN,
        Multilink::HashThreshold,
        Multilink::Hrw,
        Multilink::IterHash,
    ] {
        let mut flows = vec![flow(
            0,
            1,
            any(),
            vec![multipath(algorithm), resubmit(None, Some(1))],
        )];
        flows.extend((0..4).map(|link| {
            flow(
                1,
                1,
                any().with(Field::Reg0, link),
                vec![out(2 + link as u32)],
            )
        }));
        let tables = tables(flows);
        let mut shares = [0; 4];
        for station in 0..400_u16 {
            let mut key = FlowKey::default();
            key.set(Field::EthSrc, u128::from(station) | 0x0200_0000_0000);
            let answer = || translate(&tables, &key, PortIndex(1), None);
            let first = answer();
            assert_eq!(first.actions, answer().actions);
            assert_eq!(first.mask.field(Field::EthSrc), 0xffff_ffff_ffff);
            let [DpAction::Output(PortIndex(port))] = *first.actions else {
                panic!("{algorithm:?} chose no link");
            };
            shares[port as usize - 2] += 1;
        }
        assert!(
            shares.iter().all(|share| (60..=140).contains(share)),
            "{algorithm:?} {shares:?}"
        );
    }
}

#[test]
fn a_bundle_goes_by_members_that_are_up() {
    let bundle = |algorithm, dst| {
        Action::Bundle(Box::new(Bundle {
            fields: HashFields::SymmetricL4,
            basis: 0,
            algorithm,
            members: vec![OfPort(2), OfPort(3)],
            dst,
        }))
    };
    let flows = vec![
        flow(
            0,
            1,
            from(1),
            vec![bundle(BundleAlgorithm::ActiveBackup, None)],
        ),
        flow(
            0,
            1,
            from(4),
            vec![
                bundle(BundleAlgorithm::Hrw, Some(part(Field::Reg0, 0, 16))),
                Action::OutputField {
                    src: part(Field::Reg0, 0, 16),
                    max_len: 0,
                },
            ],
        ),
    ];
    let mut desired = desired(4);
    let ports = |desired: &Desired, port| {
        send(&with_groups(desired, vec![], flows.clone()), port, &udp()).ports()
    };
    assert_eq!(ports(&desired, 1), [2]);
    desired.ports[1].config.down = true;
    assert_eq!(ports(&desired, 1), [3]);
    assert_eq!(ports(&desired, 4), [3]);
    desired.ports[2].up = false;
    assert!(ports(&desired, 1).is_empty());
    assert!(ports(&desired, 4).is_empty());
}
