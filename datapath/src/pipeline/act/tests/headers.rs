//! MPLS entries, backbone headers, TTLs, and packets cut short.

use super::*;

#[test]
fn mpls_entries_are_pushed_as_copies_and_popped() {
    let push = tables(vec![flow(
        0,
        1,
        any(),
        vec![Action::PushMpls(0x8847), out(2)],
    )]);
    let came = send(&push, 1, &udp());
    let frame = &came.out[0].1;
    assert_eq!(
        frame[12..18],
        [0x88, 0x47, 0, 0, 1, 64],
        "label 0, bottom, the packet's TTL"
    );
    assert_eq!(frame[18..], udp()[14..]);
    let came = send(&push, 1, &mpls_udp(&[(100, 9)]));
    assert_eq!(came.out[0].1, {
        let mut frame = mpls_udp(&[(100, 9), (100, 9)]);
        frame[16] &= !1;
        frame
    });
    let pop = tables(vec![flow(
        0,
        1,
        any(),
        vec![Action::PopMpls(0x0800), out(2)],
    )]);
    let came = send(&pop, 1, &mpls_udp(&[(100, 9)]));
    assert_eq!(
        (came.out[0].1.as_slice(), came.again),
        (udp().as_slice(), 0)
    );
    assert_eq!(
        send(&pop, 1, &udp()).out[0].1,
        udp(),
        "without an entry nothing happens"
    );
}

#[test]
fn a_popped_entry_shows_what_is_behind_it() {
    let tables = tables(vec![
        flow(
            0,
            1,
            any(),
            vec![
                load(Field::Reg1, 7),
                Action::PopMpls(0x0800),
                resubmit(None, Some(1)),
                out(9),
            ],
        ),
        flow(
            1,
            1,
            any()
                .with(Field::EthType, 0x0800)
                .with(Field::Ipv4Dst, 0x0a00_0002)
                .with(Field::Reg1, 7),
            vec![set(Field::UdpDst, 99), Action::DecTtl(vec![0]), out(2)],
        ),
    ]);
    let came = send(&tables, 1, &mpls_udp(&[(100, 9)]));
    assert_eq!((came.ports(), came.again), (vec![2, 9], 1));
    let frame = &came.out[0].1;
    assert_eq!((frame[22], &frame[36..38]), (63, &[0, 99][..]));
    assert_eq!(frame, &came.out[1].1, "what was written stays");
}

#[test]
fn two_stops_with_the_same_rest_are_one() {
    let tables = tables(vec![
        flow(
            0,
            1,
            any(),
            vec![Action::PopMpls(0x0800), resubmit(None, Some(1))],
        ),
        flow(1, 1, any(), vec![out(2)]),
    ]);
    let stop = |label| {
        let came = send(&tables, 1, &mpls_udp(&[(label, 9)]));
        assert_eq!(came.ports(), [2]);
        came.first.actions
    };
    let (one, other) = (stop(1), stop(2));
    assert_eq!(one, other);
    let id = |actions: &[DpAction]| match actions.last() {
        Some(DpAction::Recirculate(frozen)) => frozen.id,
        other => panic!("{other:?} does not read headers again"),
    };
    assert_eq!(id(&one), id(&other));
    drop((one, other));
    assert_ne!(id(&stop(1)), 0);
}

#[test]
fn three_entries_are_known_without_reading_again() {
    let tables = tables(vec![
        flow(
            0,
            1,
            any(),
            vec![Action::PopMpls(0x8847), resubmit(None, Some(1))],
        ),
        flow(
            1,
            1,
            any().with(Field::EthType, 0x8847).with(Field::MplsLabel, 2),
            vec![Action::PopMpls(0x8847), resubmit(None, Some(2))],
        ),
        flow(
            2,
            1,
            any()
                .with(Field::EthType, 0x8847)
                .with(Field::MplsLabel, 3)
                .with(Field::MplsBos, 1),
            vec![set(Field::MplsTtl, 77), out(2)],
        ),
    ]);
    let came = send(&tables, 1, &mpls_udp(&[(1, 9), (2, 8), (3, 7)]));
    assert_eq!((came.ports(), came.again), (vec![2], 0));
    assert_eq!(came.out[0].1, mpls_udp(&[(3, 77)]));
}

#[test]
fn ttls_are_copied_between_headers() {
    let copy = |action| tables(vec![flow(0, 1, any(), vec![action, out(2)])]);
    let came = send(&copy(Action::CopyTtlOut), 1, &mpls_udp(&[(100, 9)]));
    assert_eq!(came.out[0].1, mpls_udp(&[(100, 64)]));
    let came = send(&copy(Action::CopyTtlIn), 1, &mpls_udp(&[(100, 9)]));
    let frame = &came.out[0].1;
    assert_eq!(frame[26], 9);
    let sum = vswitch_packet::checksum::checksum(&frame[18..38]);
    assert_eq!(sum, 0, "the header's checksum holds");
    let came = send(&copy(Action::CopyTtlIn), 1, &mpls_udp(&[(1, 9), (2, 8)]));
    assert_eq!(came.out[0].1, mpls_udp(&[(1, 9), (2, 9)]));
}

#[test]
fn backbone_headers_are_pushed_and_popped() {
    let push = tables(vec![flow(
        0,
        1,
        any(),
        vec![
            Action::PushPbb(0x88e7),
            set(Field::PbbIsid, 0x12345),
            out(2),
        ],
    )]);
    let tagged = Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .tag(EtherType::VLAN, 0x600a)
        .ipv4(SRC, DST)
        .tcp(1, 2, tcp::SYN)
        .build();
    let came = send(&push, 1, &tagged);
    let frame = came.out[0].1.clone();
    assert_eq!(frame[..12], tagged[..12]);
    assert_eq!(
        frame[12..18],
        [0x88, 0xe7, 0x60, 0x01, 0x23, 0x45],
        "the tag's priority is copied"
    );
    assert_eq!(frame[18..], tagged);
    let pop = tables(vec![
        flow(
            0,
            1,
            any().with(Field::EthType, 0x88e7),
            vec![Action::PopPbb, resubmit(None, Some(1))],
        ),
        flow(
            1,
            1,
            any()
                .with(Field::VlanVid, 0x100a)
                .with(Field::EthType, 0x0800)
                .with(Field::IpProto, 6)
                .with(Field::TcpDst, 2),
            vec![out(3)],
        ),
    ]);
    let came = send(&pop, 1, &frame);
    let mut whole = tagged;
    whole.resize(60, 0);
    assert_eq!(
        (came.out, came.again),
        (vec![(3, whole)], 1),
        "a frame stays one"
    );
}

#[test]
fn truncation_concerns_one_output() {
    let cut = |port, max_len| Action::OutputTruncated {
        port: OfPort(port),
        max_len,
    };
    let tables = tables(vec![flow(
        0,
        1,
        any(),
        vec![cut(2, 20), out(3), cut(2, 9000), cut(4, 30)],
    )]);
    let came = send(&tables, 1, &udp());
    let sizes: Vec<_> = came
        .out
        .iter()
        .map(|(port, frame)| (*port, frame.len()))
        .collect();
    assert_eq!(sizes, [(2, 20), (3, 62), (2, 62), (4, 30)]);
}
