//! No frames make tracking's reading and writing of bytes panic, and none of them is lost.
//!
//! An input is a list of frames: two bytes of length, then the frame. Sums of IPv4 headers are made
//! right and transport sums vouched for, or few inputs would come far.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use vswitch_datapath::buffer::{FramePool, Packet, SharedFrames};
use vswitch_datapath::conntrack::alg;
use vswitch_datapath::conntrack::fragments::{Fragments, Freed, MIN_SIZE_LIMIT, Offer};
use vswitch_datapath::conntrack::parse::parse;
use vswitch_datapath::conntrack::request::{Follow, Handle, Rewrite, Shift};
use vswitch_datapath::conntrack::rewrite::{rewrite, rewrite_pieces};
use vswitch_datapath::conntrack::seen::{Kind, Seen};
use vswitch_datapath::conntrack::tuple::{Direction, Family, Tuple};
use vswitch_datapath::extract::{Layout, extract};
use vswitch_datapath::offload::Checksum;
use vswitch_datapath::port::PortIndex;
use vswitch_datapath::tick::Tick;
use vswitch_flow::OfPort;
use vswitch_flow::action::CtHelper;
use vswitch_packet::ipv4::Ipv4;

/// A region is never unmapped, so there is one for all inputs, to which something leads until the end:
/// else it counts as leaked.
static SHARED: LazyLock<Arc<SharedFrames>> =
    LazyLock::new(|| SharedFrames::new(4096, 64).expect("memory"));

fuzz_target!(|bytes: &[u8]| {
    let shared = Arc::clone(&SHARED);
    let free = shared.free_len();
    let mut pool = FramePool::new(Arc::clone(&shared));
    let fragments = Fragments::new();
    for family in [Family::V4, Family::V6] {
        fragments
            .set_min_size(family, MIN_SIZE_LIMIT)
            .expect("the least");
    }
    let mut freed = Freed::new();
    let mut rest = bytes;
    let mut now = 0;
    while let Some((size, after)) = rest.split_first_chunk::<2>() {
        let size = usize::from(u16::from_be_bytes(*size)) % 4096;
        let (frame, after) = after.split_at(size.min(after.len()));
        rest = after;
        now += 700;
        one(frame, &mut pool, &fragments, Tick(now), &mut freed);
    }
    fragments.clear(&mut freed);
    assert!(fragments.is_empty());
    for (packet, _) in freed {
        pool.drop_packet(packet);
    }
    pool.drain();
    assert_eq!(shared.free_len(), free, "a frame is lost");
});

fn one(frame: &[u8], pool: &mut FramePool, fragments: &Fragments, now: Tick, freed: &mut Freed) {
    let mut frame = frame.to_vec();
    let Ok(extracted) = extract(&frame, frame.len(), OfPort(1)) else {
        return;
    };
    let layout = extracted.layout;
    if let Some(header) = frame.get_mut(usize::from(layout.l3)..)
        && header.first().is_some_and(|byte| byte >> 4 == 4)
    {
        let size = header.len().min(usize::from(header[0] & 0xf) * 4);
        Ipv4::new_unchecked(&mut header[..size]).fill_checksum();
    }
    let Some(mut packet) = pool.packet(&frame, PortIndex(1)) else {
        return;
    };
    packet.offload.csum = Checksum::Valid;
    if let Ok(seen) = parse(&packet, layout) {
        whole(&mut packet, layout, &seen);
    }
    packet.offload.csum = Checksum::Unknown;
    match fragments.offer(packet, layout, &extracted.key, 0, now, freed) {
        Offer::Held => {}
        Offer::Refused(packet, _) => pool.drop_packet(packet),
        Offer::Whole { mut pieces, seen } => {
            assert!(pieces.len() > 1, "one piece is no packet");
            if let Ok(seen) = seen {
                let to = other(&seen.tuple);
                rewrite_pieces(&mut pieces, &seen, &Rewrite { to, inner: None });
            }
            for piece in pieces {
                pool.drop_packet(piece.packet);
            }
        }
    }
}

/// A packet that is not cut: translated, and read by helpers.
fn whole(packet: &mut Packet, layout: Layout, seen: &Seen) {
    let to = other(&seen.tuple);
    let inner = match seen.kind {
        // Who answers is whom the error goes to.
        Kind::IcmpError { inner } => Some(Tuple {
            src: to.dst,
            ..other(&inner)
        }),
        _ => None,
    };
    rewrite(packet, layout, seen, &Rewrite { to, inner });
    let again = parse(packet, layout);
    if seen.kind == Kind::Udp || matches!(seen.kind, Kind::Tcp(_)) {
        assert_eq!(again.map(|seen| seen.tuple), Ok(to));
    }
    let seen = Seen { tuple: to, ..*seen };
    for helper in [CtHelper::Ftp, CtHelper::Tftp] {
        for direction in [Direction::Original, Direction::Reply] {
            let shift = Shift {
                from: 7,
                before: 1,
                after: 9,
            };
            let follow = Follow {
                connection: Handle {
                    slot: 0,
                    generation: 0,
                },
                direction,
                helper: Some(helper),
                original: to,
                reply: other(&to),
                seq: shift,
                ack: shift,
            };
            if let alg::Heard::Call(alg::Call {
                edit: Some(edit), ..
            }) = alg::read(&follow, packet, layout, &seen)
                && alg::write(packet, layout, &seen, &edit)
            {
                parse(packet, layout).expect("what is written can be read");
            }
            alg::shift_numbers(packet, layout, &seen, &follow);
        }
    }
}

/// A tuple that differs in everything that translation writes.
fn other(tuple: &Tuple) -> Tuple {
    let mask = match tuple.family {
        Family::V4 => 0xffff_ffff,
        Family::V6 => u128::MAX,
    };
    let (src_port, dst_port) = match tuple.has_ports() {
        true => (tuple.src_port ^ 0x5555 | 1, tuple.dst_port ^ 0x5555 | 1),
        false => (!tuple.src_port, tuple.dst_port),
    };
    Tuple {
        src: !tuple.src & mask,
        dst: !tuple.dst & mask,
        src_port: if tuple.has_ports() || tuple.is_icmp() {
            src_port
        } else {
            0
        },
        dst_port,
        ..*tuple
    }
}
