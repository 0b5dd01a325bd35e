use std::sync::Arc;

use vswitch_dpapi::TunnelKind;
use vswitch_flow::action::{Nat, NatKind, NatRange};
use vswitch_flow::{Field, OfPort};
use vswitch_packet::build::Builder;
use vswitch_packet::checksum::Sum;
use vswitch_packet::{MacAddr, ipv4, tcp, udp, vxlan};

use super::*;
use crate::buffer::{HEADROOM, Segment, SharedFrames};
use crate::conntrack::request::Request;
use crate::extract::extract;
use crate::offload::{Checksum, Offload};
use crate::pipeline::CtAction;
use crate::tunnel::template::{Headers, Template};

const SRC: [u8; 4] = [10, 0, 0, 1];
const DST: [u8; 4] = [10, 0, 0, 2];

/// A worker's end of things: what went out, and where the frames are.
struct Bench {
    shared: Arc<SharedFrames>,
    pool: FramePool,
    sink: Sink,
    drops: Drops,
    conntrack: Conntrack,
    fragments: FragmentCounts,
}

impl Bench {
    fn new(chunks: u32) -> Self {
        let shared = SharedFrames::new(chunks, 2).expect("memory");
        Self {
            pool: FramePool::new(Arc::clone(&shared)),
            shared,
            sink: Sink::default(),
            drops: Drops::default(),
            conntrack: Conntrack::new(3),
            fragments: FragmentCounts::default(),
        }
    }

    fn packet(&mut self, bytes: &[u8], offload: Offload) -> Packet {
        let mut frame = self.pool.chunk().expect("free");
        let range = HEADROOM..HEADROOM + bytes.len();
        frame.bytes_mut()[range.clone()].copy_from_slice(bytes);
        Packet::new(frame, range, PortIndex(1), offload)
    }

    fn run(&mut self, packet: Packet, actions: &[DpAction]) {
        let extracted = extract(packet.head(), packet.len(), OfPort(1)).expect("long enough");
        let tools = Tools {
            pool: &mut self.pool,
            sink: &mut self.sink,
            drops: &mut self.drops,
            now: Moment(0),
            conntrack: &self.conntrack,
            fragments: &mut self.fragments,
        };
        execute(packet, &extracted, actions, DropReason::RuleDrop, tools);
    }

    /// What went out: port and bytes. All frames are free afterwards.
    fn take(mut self) -> Vec<(u32, Vec<u8>)> {
        let out = std::mem::take(&mut self.sink.outputs);
        let out = out
            .into_iter()
            .map(|(port, packet)| {
                let bytes = packet.to_vec();
                self.pool.drop_packet(packet);
                (port.0, bytes)
            })
            .collect();
        self.pool.drain();
        let (chunks, larges) = self.shared.region().len();
        assert_eq!(
            self.shared.free_len(),
            (chunks as usize, larges as usize),
            "a frame is lost"
        );
        out
    }
}

fn set(field: Field, value: u128) -> DpAction {
    DpAction::SetField {
        field,
        value,
        mask: field.info().max(),
    }
}

const fn to(port: u32) -> DpAction {
    DpAction::Output(PortIndex(port))
}

fn tcp4() -> Builder {
    Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ipv4(SRC, DST)
}

/// What goes out when one packet comes in.
fn one(bytes: &[u8], actions: &[DpAction]) -> Vec<(u32, Vec<u8>)> {
    let mut bench = Bench::new(80);
    let packet = bench.packet(bytes, Offload::default());
    bench.run(packet, actions);
    let out = bench.take();
    if is_straight(actions) {
        assert_eq!(straight(bytes, actions), out);
    }
    out
}

/// The same by the short way.
fn straight(bytes: &[u8], actions: &[DpAction]) -> Vec<(u32, Vec<u8>)> {
    let mut bench = Bench::new(80);
    let packet = bench.packet(bytes, Offload::default());
    let extracted = extract(packet.head(), packet.len(), OfPort(1)).expect("long enough");
    let straight = Straight::new(actions).expect("it ends with a way out");
    let Bench {
        pool, sink, drops, ..
    } = &mut bench;
    if let Some(packet) = straight.change(packet, extracted.layout, pool, sink, drops) {
        sink.outputs.push((straight.port, packet));
    }
    bench.take()
}

#[test]
fn copies_go_out_before_changes_and_the_packet_itself_last() {
    let frame = tcp4().udp(1, 2).payload(b"hello").build();
    let out = one(
        &frame,
        &[
            to(2),
            DpAction::PushVlan {
                tpid: 0x8100,
                tci: 0x100a,
            },
            to(3),
            DpAction::PopVlan,
            to(4),
        ],
    );
    let tagged = [&frame[..12], &[0x81, 0, 0, 10], &frame[12..]].concat();
    assert_eq!(out, [(2, frame.clone()), (3, tagged), (4, frame)]);
}

#[test]
fn tags_are_written_and_taken_off_in_front_of_others() {
    let tagged = Builder::eth([2; 6], [4; 6])
        .vlan(5)
        .ipv4(SRC, DST)
        .udp(1, 2)
        .build();
    let pushed = one(
        &tagged,
        &[
            DpAction::PushVlan {
                tpid: 0x88a8,
                tci: 0xb064,
            },
            to(2),
        ],
    );
    assert_eq!(pushed[0].1[12..18], [0x88, 0xa8, 0xa0, 0x64, 0x81, 0x00]);
    let plain = Builder::eth([2; 6], [4; 6])
        .ipv4(SRC, DST)
        .udp(1, 2)
        .build();
    assert_eq!(one(&tagged, &[DpAction::PopVlan, to(2)])[0].1, plain);
}

#[test]
fn a_packet_without_output_is_counted() {
    let mut bench = Bench::new(80);
    let packet = bench.packet(&tcp4().udp(1, 2).build(), Offload::default());
    bench.run(packet, &[]);
    assert_eq!(bench.drops.of(DropReason::RuleDrop), 1);
    assert!(bench.take().is_empty());
}

#[test]
fn without_free_frames_the_last_output_still_happens() {
    let mut bench = Bench::new(1);
    let packet = bench.packet(&tcp4().udp(1, 2).build(), Offload::default());
    bench.run(packet, &[to(2), to(3), to(4)]);
    assert_eq!(bench.drops.of(DropReason::NoFrames), 2);
    assert_eq!(bench.take().len(), 1);
}

#[test]
fn a_packet_without_headroom_is_counted() {
    let mut bench = Bench::new(80);
    let mut frame = bench.pool.chunk().expect("free");
    let bytes = tcp4().udp(1, 2).build();
    frame.bytes_mut()[2..2 + bytes.len()].copy_from_slice(&bytes);
    let packet = Packet::new(frame, 2..2 + bytes.len(), PortIndex(1), Offload::default());
    bench.run(
        packet,
        &[
            DpAction::PushVlan {
                tpid: 0x8100,
                tci: 0x100a,
            },
            to(2),
        ],
    );
    assert_eq!(bench.drops.of(DropReason::NoHeadroom), 1);
    assert!(bench.take().is_empty());
}

#[test]
fn a_begun_checksum_gets_new_addresses_and_no_new_ports() {
    let mut bytes = tcp4()
        .tcp(1000, 80, tcp::SYN)
        .payload(b"some payload")
        .build();
    let size = (bytes.len() - 34) as u32;
    let begun = Sum::pseudo_v4(SRC, DST, 6, size).folded();
    bytes[50..52].copy_from_slice(&begun.to_be_bytes());
    let mut bench = Bench::new(80);
    let offload = Offload {
        csum: Checksum::Partial {
            start: 34,
            offset: 16,
        },
        gso: None,
    };
    let packet = bench.packet(&bytes, offload);
    bench.run(
        packet,
        &[
            set(Field::Ipv4Dst, 0xc0a8_0107),
            set(Field::TcpDst, 8080),
            DpAction::PushVlan {
                tpid: 0x8100,
                tci: 0x1001,
            },
            to(2),
        ],
    );
    let moved = Checksum::Partial {
        start: 38,
        offset: 16,
    };
    assert_eq!(bench.sink.outputs[0].1.offload.csum, moved);
    let (_, mut bytes) = bench.take().remove(0);
    let wanted = Sum::pseudo_v4(SRC, [192, 168, 1, 7], 6, size).folded();
    assert_eq!(bytes[54..56], wanted.to_be_bytes());
    let mut sum = Sum::new();
    sum.add(&bytes[38..]);
    let finished = sum.finish().to_be_bytes();
    bytes[54..56].copy_from_slice(&finished);
    let segment = tcp::Tcp::new_unchecked(&bytes[38..]);
    assert_eq!(segment.dst_port(), 8080);
    assert!(segment.is_whole(Sum::pseudo_v4(SRC, [192, 168, 1, 7], 6, size)));
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let mut bytes = tcp4().udp(1, 2).payload(b"data").build();
    bytes[40..42].fill(0);
    let out = one(
        &bytes,
        &[set(Field::UdpDst, 53), set(Field::Ipv4Src, 7), to(2)],
    );
    assert_eq!(out[0].1[40..42], [0, 0]);
    assert_eq!(out[0].1[36..38], [0, 53]);
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let mut bytes = tcp4().udp(1, 2).payload(b"data").build();
    bytes[40] ^= 0x10;
    let out = one(
        &bytes,
        &[set(Field::UdpDst, 53), set(Field::Ipv4Src, 7), to(2)],
    );
    let datagram = udp::Udp::new_unchecked(&out[0].1[34..]);
    assert!(!datagram.is_whole(Sum::pseudo_v4([0, 0, 0, 7], DST, 17, 12)));
}

#[test]
fn a_later_fragment_has_no_ports_to_write() {
    let repr = |fragment| ipv4::Repr {
        src: SRC.into(),
        dst: DST.into(),
        protocol: vswitch_packet::Protocol::UDP,
        ttl: 64,
        tos: 0,
        ident: 9,
        fragment,
        payload_size: 0,
    };
    let frame = Builder::eth([2; 6], [4; 6])
        .ipv4_with(repr(100), &[])
        .payload(&[7; 64])
        .build();
    let out = one(&frame, &[set(Field::UdpDst, 53), to(2)]);
    assert_eq!(out[0].1, frame);
    let out = one(&frame, &[set(Field::Ipv4Dst, 0x0102_0304), to(2)]);
    assert_eq!(out[0].1[34..], frame[34..], "the payload is not a header");
}

#[test]
fn fields_of_headers_that_lie_are_left_alone() {
    let mut frame = tcp4().udp(1, 2).build();
    frame[14] = 0x41;
    let actions = [
        set(Field::Ipv4Dst, 1),
        set(Field::IpTtl, 1),
        set(Field::ArpOp, 1),
        to(2),
    ];
    assert_eq!(one(&frame, &actions)[0].1, frame);
    let short = &tcp4().build()[..20];
    assert_eq!(one(short, &actions)[0].1, short);
}

#[test]
fn the_sum_of_sctp_covers_the_tail() {
    let whole = tcp4().sctp(1, 2).payload(&[0x5a; 3000]).build();
    let mut bench = Bench::new(80);
    let mut packet = bench.packet(&whole[..100], Offload::default());
    let mut frame = bench.pool.chunk().expect("free");
    frame.bytes_mut()[..whole.len() - 100].copy_from_slice(&whole[100..]);
    let tail = Segment::new(frame, 0..whole.len() - 100);
    packet.push_tail(tail, &mut bench.pool).expect("room");
    let sum = crc32c::crc32c(&whole[34..]);
    packet.head_mut()[42..46].copy_from_slice(&sum.to_le_bytes());
    bench.run(packet, &[set(Field::SctpDst, 99), to(2)]);
    let (_, mut bytes) = bench.take().remove(0);
    let sum: [u8; 4] = bytes[42..46].try_into().expect("four bytes");
    bytes[42..46].fill(0);
    assert_eq!(bytes[36..38], [0, 99]);
    assert_eq!(u32::from_le_bytes(sum), crc32c::crc32c(&bytes[34..]));
}

fn ct(request: Request) -> DpAction {
    DpAction::Ct(Arc::new(CtAction {
        request,
        table: None,
        rest: None,
    }))
}

fn commit() -> Request {
    Request {
        commit: true,
        ..Request::default()
    }
}

#[test]
fn a_packet_is_tracked_after_its_last_output() {
    let mut bench = Bench::new(4);
    let bytes = Builder::eth([2; 6], [4; 6])
        .ipv4(SRC, DST)
        .udp(1, 2)
        .build();
    let packet = bench.packet(&bytes, Offload::default());
    bench.run(packet, &[DpAction::Output(PortIndex(2)), ct(commit())]);
    assert_eq!(bench.conntrack.len(), 1);
    assert_eq!(bench.drops.total(), 0);
    assert_eq!(bench.take(), [(2, bytes)]);
}

#[test]
fn a_translation_changes_the_packet_and_not_the_copy_that_was_put_aside() {
    let mut bench = Bench::new(4);
    let bytes = Builder::eth([2; 6], [4; 6])
        .ipv4(SRC, DST)
        .udp(1, 2)
        .build();
    let packet = bench.packet(&bytes, Offload::default());
    let to = [10, 9, 9, 9];
    let nat = Nat {
        range: Some(NatRange {
            kind: NatKind::Source,
            addresses: Some((to.into(), to.into())),
            ports: None,
        }),
        ..Nat::default()
    };
    let request = Request {
        nat: Some(nat),
        ..commit()
    };
    bench.run(
        packet,
        &[
            DpAction::Save,
            ct(request),
            DpAction::Output(PortIndex(2)),
            DpAction::Restore,
            DpAction::Output(PortIndex(3)),
        ],
    );
    let translated = Builder::eth([2; 6], [4; 6]).ipv4(to, DST).udp(1, 2).build();
    assert_eq!(bench.take(), [(2, translated), (3, bytes)]);
}

/// Headers of a tunnel whose packets find `mtu` bytes on their way; `whole` if they may not be cut.
fn encap(mtu: u32, whole: bool) -> DpAction {
    let headers = Headers {
        dst_mac: MacAddr([2, 0, 0, 0, 1, 2]),
        src_mac: MacAddr([2, 0, 0, 0, 1, 1]),
        local: SRC.into(),
        remote: DST.into(),
        tos: 0,
        ttl: 64,
        dont_fragment: whole,
        csum: false,
        udp_port: vxlan::PORT,
        kind: TunnelKind::Vxlan,
        key: 7,
        oam: false,
        options: Box::default(),
    };
    DpAction::Encap(Arc::new(Template::new(PortIndex(9), headers, mtu)))
}

#[test]
fn a_second_tunnel_in_which_one_piece_does_not_fit_loses_no_other() {
    let mut frame = tcp4().udp(1, 2).payload(&[7; 2000]).build();
    // It may be cut: into a piece that fills the first tunnel, and one that fits anywhere.
    frame[20] &= !0x40;
    let mut bench = Bench::new(80);
    let packet = bench.packet(&frame, Offload::default());
    bench.run(packet, &[encap(1500, true), encap(1500, true), to(2)]);
    assert_eq!(
        bench.drops.iter().find(|drop| drop.1 > 0),
        Some((DropReason::MtuExceeded, 1))
    );
    for answer in std::mem::take(&mut bench.sink.answers) {
        bench.pool.drop_packet(answer);
    }
    let out = bench.take();
    assert_eq!(out.len(), 1, "the piece that fits goes its way");
}

#[test]
fn packets_of_one_flow_at_one_moment_are_put_together_again_apart() {
    let frame = tcp4().udp(1, 2).payload(&[7; 500]).build();
    let mut bench = Bench::new(80);
    for _ in 0..3 {
        let packet = bench.packet(&frame, Offload::default());
        bench.run(packet, &[encap(1500, false), to(2)]);
    }
    let idents: std::collections::BTreeSet<_> = bench
        .take()
        .iter()
        .map(|(_, bytes)| bytes[18..20].to_vec())
        .collect();
    assert_eq!(idents.len(), 3);
}

#[test]
fn what_an_ip_header_cannot_tell_is_not_put_into_a_tunnel() {
    let mut bench = Bench::new(80);
    let mut packet = bench.packet(&tcp4().udp(1, 2).build(), Offload::default());
    let large = bench.pool.large().expect("free");
    let size = large.size().min(65_521 - 28);
    packet
        .push_tail(Segment::new(large, 0..size), &mut bench.pool)
        .expect("room");
    let bytes = packet.head_mut();
    bytes[16..18].copy_from_slice(&(size as u16 + 28).to_be_bytes());
    bytes[20] |= 0x40;
    bench.run(packet, &[encap(1500, false), to(2)]);
    let drops: Vec<_> = bench.drops.iter().filter(|drop| drop.1 > 0).collect();
    assert_eq!(drops, [(DropReason::MtuExceeded, 1)]);
    for answer in std::mem::take(&mut bench.sink.answers) {
        bench.pool.drop_packet(answer);
    }
    assert!(bench.take().is_empty());
}
