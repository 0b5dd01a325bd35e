//! What flows see of fragments, as a bridge is set to.

use vswitch_packet::ipv4::{DONT_FRAGMENT, MORE_FRAGMENTS};

use super::*;

/// The UDP packet as a piece of a larger one: with this in the place of flags and offset.
fn piece(flags_and_offset: u16) -> Vec<u8> {
    let mut frame = udp();
    frame[20..22].copy_from_slice(&flags_and_offset.to_be_bytes());
    frame
}

/// The whole packet, its first piece, and a later one.
fn pieces() -> [Vec<u8>; 3] {
    [piece(DONT_FRAGMENT), piece(MORE_FRAGMENTS), piece(100)]
}

fn port_53() -> Match {
    any()
        .with(Field::EthType, 0x0800)
        .with(Field::IpProto, 17)
        .with(Field::UdpDst, 53)
}

fn handling(fragments: Fragments, flows: Vec<FlowRule>) -> Tables {
    let mut desired = desired(30);
    desired.bridges[0].fragments = fragments;
    with_groups(&desired, Vec::new(), flows)
}

fn went(tables: &Tables) -> [Vec<u32>; 3] {
    pieces().map(|frame| send(tables, 1, &frame).ports())
}

#[test]
fn ports_of_a_first_fragment_are_seen_where_the_bridge_is_set_to() {
    let flows = || {
        let first = port_53().with(Field::IpFrag, 1);
        vec![
            flow(0, 30, first, vec![out(2)]),
            flow(0, 20, port_53(), vec![out(3)]),
            flow(0, 10, any(), vec![out(4)]),
        ]
    };
    let normal = handling(Fragments::Normal, flows());
    assert_eq!(went(&normal), [vec![3], vec![4], vec![4]]);
    let nx_match = handling(Fragments::NxMatch, flows());
    assert_eq!(went(&nx_match), [vec![3], vec![2], vec![4]]);
    let drop = handling(Fragments::Drop, flows());
    assert_eq!(went(&drop), [vec![3], vec![], vec![]]);
    for frame in &pieces()[1..] {
        assert_eq!(
            send(&drop, 1, frame).drops.of(DropReason::FragmentConfig),
            1
        );
    }
}

#[test]
fn a_fragment_has_ports_that_are_zero() {
    let zero = any()
        .with(Field::EthType, 0x0800)
        .with(Field::IpProto, 17)
        .with(Field::UdpSrc, 0)
        .with(Field::UdpDst, 0);
    let again = vec![resubmit(None, Some(1))];
    let tables = handling(
        Fragments::Normal,
        vec![
            flow(0, 10, any(), again),
            flow(1, 10, zero, vec![out(2)]),
            flow(1, 0, any(), vec![out(3)]),
        ],
    );
    assert_eq!(went(&tables), [vec![3], vec![2], vec![2]]);
}

#[test]
fn what_depends_on_being_a_fragment_says_so_in_its_mask() {
    let read = |answer: &Translation, field: Field| answer.mask.field(field);
    let flows = vec![flow(0, 10, port_53(), vec![out(2)])];
    let tables = handling(Fragments::Normal, flows);
    let [whole, first, _] = pieces().map(|frame| send(&tables, 1, &frame).first);
    assert_eq!(read(&whole, Field::IpFrag), 3);
    assert_eq!(read(&whole, Field::UdpDst), 0xffff);
    assert_eq!(read(&first, Field::IpFrag), 3);
    assert_eq!(
        read(&first, Field::UdpDst),
        0,
        "its ports were not looked at"
    );

    // Nothing depends on it where no flow asks for ports.
    let tables = handling(Fragments::Normal, vec![flow(0, 10, any(), vec![out(2)])]);
    let [_, first, _] = pieces().map(|frame| send(&tables, 1, &frame).first);
    assert_eq!(read(&first, Field::IpFrag), 0);
    let tables = handling(Fragments::Drop, vec![flow(0, 10, any(), vec![out(2)])]);
    let [whole, ..] = pieces().map(|frame| send(&tables, 1, &frame).first);
    assert_eq!(read(&whole, Field::IpFrag), 3);
}
