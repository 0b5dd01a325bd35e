use proptest::prelude::*;
use vswitch_packet::build::Builder;
use vswitch_packet::{Protocol, ipv4};

use super::*;
use crate::conntrack::desk::{Desk, hex, sctp};
use crate::conntrack::request::Rewrite;
use crate::conntrack::rewrite::rewrite_pieces;
use crate::conntrack::seen::Kind;
use crate::conntrack::tuple::Tuple;
use crate::offload::Offload;

const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// What came of a piece, without its frames.
#[derive(Debug, PartialEq)]
enum Got {
    Held,
    Whole(Vec<Vec<u8>>, Result<Seen, Invalid>),
    Bad(Bad),
}

/// A table and who brings it pieces.
struct World {
    desk: Desk,
    fragments: Fragments,
    freed: Vec<DropReason>,
    now: u64,
}

impl World {
    fn new() -> Self {
        let fragments = Fragments::new();
        for family in [Family::V4, Family::V6] {
            fragments
                .set_min_size(family, MIN_SIZE_LIMIT)
                .expect("may be");
        }
        Self {
            desk: Desk::new(),
            fragments,
            freed: Vec::new(),
            now: 0,
        }
    }

    fn offer(&mut self, bytes: &[u8]) -> Got {
        self.offer_in(bytes, 0)
    }

    fn offer_in(&mut self, bytes: &[u8], zone: u16) -> Got {
        let (packet, layout) = self.desk.packet(bytes, Offload::default());
        let mut freed = Freed::new();
        let key = SparseKey::new();
        let got = match self
            .fragments
            .offer(packet, layout, &key, zone, Tick(self.now), &mut freed)
        {
            Offer::Held => Got::Held,
            Offer::Whole { pieces, seen } => {
                let bytes = pieces.iter().map(|piece| piece.packet.to_vec()).collect();
                for piece in pieces {
                    self.desk.pool.drop_packet(piece.packet);
                }
                Got::Whole(bytes, seen)
            }
            Offer::Refused(packet, bad) => {
                self.desk.pool.drop_packet(packet);
                Got::Bad(bad)
            }
        };
        self.free(freed);
        got
    }

    fn free(&mut self, freed: Freed) {
        for (packet, reason) in freed {
            self.freed.push(reason);
            self.desk.pool.drop_packet(packet);
        }
    }

    fn expire(&mut self) {
        let mut freed = Freed::new();
        self.fragments.expire(Tick(self.now), &mut freed);
        self.free(freed);
    }

    /// All that was held is given up, and no frame is lost.
    fn close(mut self) {
        let mut freed = Freed::new();
        self.fragments.clear(&mut freed);
        self.free(freed);
        assert!(self.fragments.is_empty() && self.fragments.waiting().is_empty());
        self.desk.close();
    }
}

/// The frame in pieces, cut at these bytes of what can be cut, multiples of 8.
fn cut(frame: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let is_v4 = frame[12] == 8;
    let at = if is_v4 { 34 } else { 54 };
    let (headers, data) = frame.split_at(at);
    let ends = cuts.iter().copied().chain([data.len()]);
    let mut begin = 0;
    ends.map(|end| {
        let piece = &data[begin..end];
        let more = end < data.len();
        let mut bytes = headers.to_vec();
        if is_v4 {
            let mut ip = ipv4::Ipv4::new_unchecked(&mut bytes[14..]);
            ip.set_total_size((20 + piece.len()) as u16);
            ip.set_ident(7);
            let flags = if more { ipv4::MORE_FRAGMENTS } else { 0 };
            ip.set_fragment(flags | (begin / 8) as u16);
            ip.fill_checksum();
        } else {
            let size = (8 + piece.len()) as u16;
            bytes[18..20].copy_from_slice(&size.to_be_bytes());
            let next = std::mem::replace(&mut bytes[20], Protocol::FRAGMENT.0);
            let word = (begin as u16 | u16::from(more)).to_be_bytes();
            bytes.extend([next, 0, word[0], word[1], 0, 0, 0, 7]);
        }
        bytes.extend(piece);
        begin = end;
        bytes
    })
    .collect()
}

fn v4() -> Builder {
    Builder::eth(MACS[0], MACS[1]).ipv4([10, 1, 1, 1], [10, 1, 1, 2])
}

fn v6() -> Builder {
    let [a, b] = ["fc00::1", "fc00::2"].map(|text| text.parse().expect("an address"));
    Builder::eth(MACS[0], MACS[1]).ipv6(a, b)
}

fn payload(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7) as u8).collect()
}

/// The pieces of `fragmentation with fragments specified` of Open vSwitch's tests.
fn first_of_two() -> Vec<u8> {
    let mut frame = hex(
        "50540000000a5054000000090800450001a400012000001183440a0101010a010102\
                         0001000200080000",
    );
    frame.extend((0..392_u32).map(|at| (at + 1) as u8));
    frame
}

const SECOND: &str = "50540000000a505400000009080045000030000100320011a4860a0101010a010102\
                      00010002000800000010203040506070809000010203040506070809";
const SECOND_OVERLAPS: &str = "50540000000a505400000009080045000030000100310011a4870a0101010a010102\
                               00010002000800000010203040506070809000010203040506070809";

#[test]
fn two_pieces_are_a_packet_in_either_order() {
    let (first, second) = (first_of_two(), hex(SECOND));
    for order in [[&first, &second], [&second, &first]] {
        let mut world = World::new();
        assert_eq!(world.offer(order[0]), Got::Held);
        let Got::Whole(pieces, seen) = world.offer(order[1]) else {
            panic!("whole");
        };
        assert_eq!(pieces, [first.clone(), second.clone()]);
        let seen = seen.expect("good");
        assert_eq!((seen.tuple.src_port, seen.tuple.dst_port), (1, 2));
        assert_eq!(seen.kind, Kind::Udp);
        let status = world.fragments.status();
        assert_eq!(
            (status.held, status.v4.accepted, status.v4.completed),
            (0, 2, 2)
        );
        world.close();
    }
}

#[test]
fn pieces_that_overlap_are_given_up_with_those_to_come() {
    let (first, overlapping) = (first_of_two(), hex(SECOND_OVERLAPS));
    for order in [[&first, &overlapping], [&overlapping, &first]] {
        let mut world = World::new();
        assert_eq!(world.offer(order[0]), Got::Held);
        assert_eq!(world.offer(order[1]), Got::Bad(Bad::Overlap));
        assert_eq!(world.freed, [DropReason::FragmentGivenUp]);
        for late in [&first, &hex(SECOND)] {
            assert_eq!(world.offer(late), Got::Bad(Bad::Overlap));
        }
        let v4 = world.fragments.status().v4;
        assert_eq!((v4.accepted, v4.overlapped, v4.purged), (1, 3, 1));
        assert!(world.fragments.waiting()[0].is_spoiled);
        // The sender's number may come again later.
        world.now += TIMEOUT;
        assert_eq!(world.offer(&first), Got::Held);
        world.close();
    }
}

#[test]
fn a_doubled_piece_does_no_harm() {
    let (first, second) = (first_of_two(), hex(SECOND));
    let mut world = World::new();
    assert_eq!(world.offer(&first), Got::Held);
    assert_eq!(world.offer(&first), Got::Bad(Bad::Overlap));
    assert!(matches!(world.offer(&second), Got::Whole(_, Ok(_))));
    world.close();
}

#[test]
fn zones_and_packets_are_kept_apart() {
    let (first, second) = (first_of_two(), hex(SECOND));
    let mut world = World::new();
    assert_eq!(world.offer_in(&first, 1), Got::Held);
    assert_eq!(world.offer_in(&second, 2), Got::Held);
    let mut other = second.clone();
    other[19] = 2;
    ipv4::Ipv4::new_unchecked(&mut other[14..34]).fill_checksum();
    assert_eq!(world.offer_in(&other, 1), Got::Held);
    assert!(matches!(world.offer_in(&second, 1), Got::Whole(..)));
    let waiting = world.fragments.waiting();
    let shown = waiting
        .iter()
        .map(|w| (w.zone, w.ident, w.pieces, w.has_first, w.has_last));
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [(2, 1, 1, false, true), (1, 2, 1, false, true)]
    );
    world.close();
}

#[test]
fn who_waits_too_long_is_given_up() {
    let mut world = World::new();
    assert_eq!(world.offer(&first_of_two()), Got::Held);
    world.now = TIMEOUT - 1;
    assert!(!world.fragments.is_due(Tick(world.now)));
    world.expire();
    assert_eq!(world.fragments.len(), 1);
    world.now = TIMEOUT;
    assert!(world.fragments.is_due(Tick(world.now)));
    world.expire();
    assert_eq!(
        (world.fragments.len(), &world.freed[..]),
        (0, &[DropReason::FragmentTimeout][..])
    );
    assert_eq!(world.fragments.status().v4.expired, 1);
    assert!(!world.fragments.is_due(Tick(u64::MAX - 1)));
    assert_eq!(world.offer(&hex(SECOND)), Got::Held, "it is too late");
    world.close();
}

#[test]
fn settings_say_what_is_taken() {
    let mut world = World::new();
    let (first, second) = (first_of_two(), hex(SECOND));
    let refused = world.fragments.set_min_size(Family::V4, 399);
    let text = refused.expect_err("too small").to_string();
    assert_eq!(
        text,
        "a smallest fragment of 399 bytes was asked for, and 400 is the least"
    );
    world
        .fragments
        .set_min_size(Family::V4, 421)
        .expect("may be");
    assert_eq!(world.offer(&first), Got::Bad(Bad::TooSmall));
    assert_eq!(
        world.offer(&second),
        Got::Held,
        "the last piece may have any size"
    );
    assert_eq!(world.fragments.status().v4.too_small, 1);
    world.fragments.set_enabled(Family::V4, false);
    assert_eq!(world.offer(&first), Got::Bad(Bad::Disabled));
    world.fragments.set_enabled(Family::V4, true);
    let refused = world.fragments.set_max(5001).expect_err("too many");
    assert_eq!(refused, Refused::Max { asked: 5001 });
    world.fragments.set_max(0).expect("may be");
    assert_eq!(world.offer(&second), Got::Bad(Bad::Full));
    world.close();
}

#[test]
fn at_the_bound_the_oldest_makes_room() {
    let mut world = World::new();
    world.fragments.set_max(3).expect("may be");
    let piece = |ident: u8| {
        let mut bytes = hex(SECOND);
        bytes[19] = ident;
        ipv4::Ipv4::new_unchecked(&mut bytes[14..34]).fill_checksum();
        bytes
    };
    for ident in 1..=5 {
        assert_eq!(world.offer(&piece(ident)), Got::Held);
    }
    let idents: Vec<_> = world.fragments.waiting().iter().map(|w| w.ident).collect();
    assert_eq!((idents, world.fragments.len()), (vec![3, 4, 5], 3));
    assert_eq!(world.freed, [DropReason::FragmentGivenUp; 2]);
    assert_eq!(world.fragments.status().v4.purged, 2);
    world.close();

    // A packet does not make room for itself.
    let mut world = World::new();
    world.fragments.set_max(2).expect("may be");
    let frame = v4().udp(1, 2).payload(&payload(2000)).build();
    let pieces = cut(&frame, &[400, 800, 1200]);
    assert_eq!(world.offer(&pieces[0]), Got::Held);
    assert_eq!(world.offer(&pieces[1]), Got::Held);
    assert_eq!(world.offer(&pieces[2]), Got::Bad(Bad::Full));
    world.close();
}

#[test]
fn what_cannot_be_a_piece_is_refused() {
    let mut world = World::new();
    let first = first_of_two();
    let with = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = first.clone();
        edit(&mut bytes);
        ipv4::Ipv4::new_unchecked(&mut bytes[14..34]).fill_checksum();
        bytes
    };
    for (bytes, why) in [
        (with(&|b| b[20] = 0), "no piece"),
        (with(&|b| b[17] = 0xa0 + 1), "not a multiple of 8"),
        (
            with(&|b| b[20..22].copy_from_slice(&[0x1f, 0xff])),
            "beyond 64 KiB",
        ),
        (
            with(&|b| (b[16], b[17], b[20], b[21]) = (0, 20, 0, 9)),
            "empty",
        ),
    ] {
        assert_eq!(world.offer(&bytes), Got::Bad(Bad::Malformed), "{why}");
    }
    let mut wrong = first.clone();
    wrong[24] ^= 1;
    assert_eq!(
        world.offer(&wrong),
        Got::Bad(Bad::Malformed),
        "the header's sum"
    );
    assert_eq!(world.fragments.status().v4.accepted, 0);
    world.close();
}

#[test]
fn extension_headers_stand_before_and_after_the_fragment_header() {
    // Hop-by-hop options before, destination options and UDP after it.
    let options = [0, 0, 1, 4, 0, 0, 0, 0];
    let whole = v6()
        .extension(Protocol::DESTINATION, &options)
        .udp(1, 2)
        .payload(&payload(1000))
        .build();
    let pieces: Vec<_> = cut(&whole, &[504])
        .into_iter()
        .map(|mut piece| {
            let next = std::mem::replace(&mut piece[20], Protocol::HOP_BY_HOP.0);
            let size = u16::from_be_bytes([piece[18], piece[19]]) + 8;
            piece[18..20].copy_from_slice(&size.to_be_bytes());
            let mut header = options;
            header[0] = next;
            piece.splice(54..54, header);
            piece
        })
        .collect();
    for order in [[0, 1], [1, 0]] {
        let mut world = World::new();
        assert_eq!(world.offer(&pieces[order[0]]), Got::Held);
        let Got::Whole(got, seen) = world.offer(&pieces[order[1]]) else {
            panic!("whole");
        };
        assert_eq!(got, pieces);
        let seen = seen.expect("its checksum is right");
        assert_eq!((seen.tuple.src_port, seen.tuple.dst_port), (1, 2));
        world.close();
    }
}

#[test]
fn a_wrong_sum_over_all_pieces_is_noticed() {
    let mut frame = v4().udp(1, 2).payload(&payload(1500)).build();
    *frame.last_mut().expect("bytes") ^= 1;
    let mut world = World::new();
    let pieces = cut(&frame, &[800]);
    assert_eq!(world.offer(&pieces[0]), Got::Held);
    let Got::Whole(_, seen) = world.offer(&pieces[1]) else {
        panic!("whole");
    };
    assert_eq!(seen, Err(Invalid::Checksum));
    world.close();
}

#[test]
fn pieces_left_behind_end_with_the_table() {
    let fragments = Fragments::new();
    fragments
        .set_min_size(Family::V4, MIN_SIZE_LIMIT)
        .expect("may be");
    let mut desk = Desk::new();
    let (packet, layout) = desk.packet(&first_of_two(), Offload::default());
    let offer = fragments.offer(
        packet,
        layout,
        &SparseKey::new(),
        0,
        Tick(0),
        &mut Freed::new(),
    );
    assert!(matches!(offer, Offer::Held));
    drop(fragments);
}

/// Frames and places to cut them, in an order in which they come.
fn cuts() -> impl Strategy<Value = (Vec<u8>, Vec<usize>, Vec<usize>)> {
    let kinds = (0..4_u8, 900..4000_usize);
    let frames = kinds.prop_map(|(kind, size)| match kind {
        0 => v4().udp(1, 2).payload(&payload(size)).build(),
        1 => v6().udp(1, 2).payload(&payload(size)).build(),
        2 => v4().icmp(8, 0, 0x10_0001).payload(&payload(size)).build(),
        _ => sctp(v4(), (1, 2), size.min(3000)),
    });
    frames.prop_flat_map(|frame| {
        let data = frame.len() - if frame[12] == 8 { 34 } else { 54 };
        let places = (384..data - 8).step_by(8).collect::<Vec<_>>();
        let few = proptest::sample::subsequence(places, 1..6);
        few.prop_flat_map(move |found| {
            // None smaller than a piece may be.
            let mut cuts = Vec::new();
            for at in found {
                if at >= cuts.last().copied().unwrap_or(0) + 384 {
                    cuts.push(at);
                }
            }
            let order: Vec<_> = (0..=cuts.len()).collect();
            (Just(frame.clone()), Just(cuts), Just(order).prop_shuffle())
        })
    })
}

proptest! {
    #[test]
    fn any_cut_in_any_order_comes_out_whole((frame, cuts, order) in cuts()) {
        let pieces = cut(&frame, &cuts);
        let mut world = World::new();
        let (last, before) = order.split_last().expect("two pieces at least");
        for at in before {
            prop_assert_eq!(world.offer(&pieces[*at]), Got::Held);
        }
        let Got::Whole(got, seen) = world.offer(&pieces[*last]) else {
            panic!("whole");
        };
        prop_assert_eq!(got, pieces);
        let (whole, layout) = world.desk.packet(&frame, Offload::default());
        let expected = parse::parse(&whole, layout).expect("good");
        world.desk.pool.drop_packet(whole);
        let seen = seen.expect("good");
        prop_assert_eq!((seen.tuple, seen.kind), (expected.tuple, expected.kind));
        world.close();
    }

    #[test]
    fn no_overlap_ever_comes_out((frame, cuts, order) in cuts(), which in any::<prop::sample::Index>(), by in 1..40_usize) {
        // One piece begins earlier or ends later than the others leave room for.
        let pieces = cut(&frame, &cuts);
        let data = frame.len() - if frame[12] == 8 { 34 } else { 54 };
        let at = which.index(cuts.len());
        let by = (by * 8).min(cuts[at]);
        let mut shifted = cuts.clone();
        shifted[at] -= by;
        let end = if at + 1 < cuts.len() { cuts[at + 1] } else { data };
        let longer = if end == data {
            cut(&frame, &[cuts[at] - by]).pop().expect("the last")
        } else {
            cut(&frame, &[cuts[at] - by, end]).swap_remove(1)
        };
        let mut world = World::new();
        for index in order {
            let bytes = if index == at + 1 { &longer } else { &pieces[index] };
            let got = world.offer(bytes);
            prop_assert!(!matches!(got, Got::Whole(..)), "{:?}", shifted);
        }
        world.close();
    }

    #[test]
    fn translation_of_pieces_is_that_of_the_packet((frame, cuts, order) in cuts(), src in 1..u32::MAX, port in 1..u16::MAX) {
        let mut world = World::new();
        let pieces = cut(&frame, &cuts);
        let mut translated = Vec::new();
        for at in order {
            let (packet, layout) = world.desk.packet(&pieces[at], Offload::default());
            let mut freed = Freed::new();
            let offer = world.fragments.offer(packet, layout, &SparseKey::new(), 0, Tick(0), &mut freed);
            if let Offer::Whole { mut pieces, seen } = offer {
                let seen = seen.expect("good");
                let to = Tuple { src: u128::from(src), src_port: port, ..seen.tuple };
                rewrite_pieces(&mut pieces, &seen, &Rewrite { to, inner: None });
                for piece in pieces {
                    translated.push(piece.packet.to_vec());
                    world.desk.pool.drop_packet(piece.packet);
                }
            }
        }
        prop_assert_eq!(translated.len(), pieces.len());
        // Its pieces, put together once more, have the right sums.
        let (last, before) = translated.split_last().expect("two at least");
        for bytes in before {
            prop_assert_eq!(world.offer(bytes), Got::Held);
        }
        let Got::Whole(_, seen) = world.offer(last) else {
            panic!("whole");
        };
        let seen = seen.expect("its sums are right");
        prop_assert_eq!((seen.tuple.src, seen.tuple.src_port), (u128::from(src), port));
        world.close();
    }

    #[test]
    fn no_bytes_make_it_panic((frame, cuts, _) in cuts(), edits in proptest::collection::vec((12..80_usize, any::<u8>()), 0..8)) {
        let mut world = World::new();
        for mut piece in cut(&frame, &cuts) {
            for (at, byte) in &edits {
                if let Some(place) = piece.get_mut(*at) {
                    *place = *byte;
                }
            }
            if piece[12] == 8 {
                ipv4::Ipv4::new_unchecked(&mut piece[14..34]).fill_checksum();
            }
            let _ = world.offer(&piece);
        }
        world.close();
    }
}
