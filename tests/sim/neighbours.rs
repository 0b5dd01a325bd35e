//! Who is where, as routers see it: questions, packets that wait, floods, expiry, claims.

use std::time::Duration;

use vswitch_datapath::counters::DropReason;
use vswitch_datapath::neigh::{FORGET_MS, INCOMPLETE_MAX, QUEUE_MAX, REACHABLE_MS, WAITING_MAX};
use vswitch_dpapi::RouterId;
use vswitch_dpapi::router::{NeighbourRow, NeighbourState, NeighbourStats};
use vswitch_packet::eth::Eth;
use vswitch_packet::{EtherType, MacAddr, arp};
use vswitch_tests::sim::{Sim, router_mac};

use super::routing::{arp_reply, error, only, packet, two_networks};
use super::{build::Builder, mac};

fn rows(sim: &Sim) -> Vec<NeighbourRow> {
    let router = sim.tables().router(RouterId(1)).unwrap();
    router.neighbours.rows(sim.tick())
}

fn stats(sim: &Sim) -> NeighbourStats {
    let router = sim.tables().router(RouterId(1)).unwrap();
    router.neighbours.stats()
}

/// Station 1 sends a packet to a host of the other network.
fn knock(sim: &mut Sim, host: u8) -> usize {
    let sent = packet(1, 11, [10, 0, 1, 2], [10, 0, 2, host], 64).udp(1, 2);
    sim.send(1, sent.build()).values().map(Vec::len).sum()
}

fn know(sim: &mut Sim, host: u8) {
    knock(sim, host);
    sim.send(2, arp_reply(host, 12, [10, 0, 2, host], [10, 0, 2, 1]));
}

/// Seconds pass in steps, with everything that happens meanwhile; gives the frames of port 2.
fn pass(sim: &mut Sim, steps: u32, each: Duration) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for _ in 0..steps {
        sim.advance(each);
        sim.run();
        let out = sim.take();
        frames.extend(out.into_values().flatten().map(|packet| packet.bytes));
    }
    frames
}

#[test]
fn who_does_not_answer_is_asked_three_times_and_then_senders_are_told() {
    let mut sim = two_networks();
    assert_eq!(knock(&mut sim, 9), 1, "the question");
    let frames = pass(&mut sim, 40, Duration::from_millis(100));
    let (questions, told): (Vec<_>, Vec<_>) = frames
        .into_iter()
        .partition(|frame| Eth::new_unchecked(frame).ethertype() == EtherType::ARP);
    assert_eq!(questions.len(), 2, "two more");
    assert_eq!(told.len(), 1);
    let (kind, code, from, to) = error(&told[0]);
    assert_eq!((kind, code), (3, 1));
    assert_eq!([from, to].map(|a| a.to_string()), ["10.0.1.1", "10.0.1.2"]);
    assert_eq!(sim.new_drops(), [(DropReason::NeighbourFailed, 1)]);
    assert_eq!(rows(&sim)[0].state, NeighbourState::Failed);

    // While that is fresh, packets are answered at once and nobody is asked.
    let sent = packet(1, 11, [10, 0, 1, 2], [10, 0, 2, 9], 64).udp(1, 2);
    assert_eq!(error(&only(sim.send(1, sent.build()), 1)[0]).0, 3);
    pass(&mut sim, 40, Duration::from_millis(100));
    assert_eq!(rows(&sim).len(), 0, "and then it is forgotten");
    sim.send(1, sent.build());
    assert_eq!(rows(&sim)[0].state, NeighbourState::Incomplete);
}

#[test]
fn packets_that_wait_are_bounded_and_go_on_in_order() {
    let mut sim = two_networks();
    for ident in 0..QUEUE_MAX as u16 + 5 {
        let sent = packet(1, 11, [10, 0, 1, 2], [10, 0, 2, 9], 64).udp(ident, 2);
        sim.send(1, sent.build());
    }
    assert_eq!(sim.new_drops(), [(DropReason::NeighbourBusy, 5)]);
    assert_eq!(rows(&sim)[0].waiting, QUEUE_MAX as u32);
    let out = only(
        sim.send(2, arp_reply(9, 12, [10, 0, 2, 9], [10, 0, 2, 1])),
        2,
    );
    let ports: Vec<_> = out
        .iter()
        .map(|frame| u16::from_be_bytes([frame[34], frame[35]]))
        .collect();
    let expected: Vec<_> = (5..QUEUE_MAX as u16 + 5).collect();
    assert_eq!(
        ports, expected,
        "the oldest made room, the others go on in order"
    );
}

#[test]
fn a_neighbour_in_use_is_confirmed_before_its_time_is_over_and_an_idle_one_is_forgotten() {
    let mut sim = two_networks();
    know(&mut sim, 2);
    let mut asked = 0;
    for second in 0..120 {
        sim.advance(Duration::from_secs(1));
        let sent = packet(1, 11, [10, 0, 1, 2], [10, 0, 2, 2], 64).udp(1, 2);
        for frame in only(sim.send(1, sent.build()), 2) {
            let eth = Eth::new_unchecked(&frame);
            if eth.ethertype() == EtherType::ARP {
                assert_eq!(
                    eth.dst().0,
                    mac(2),
                    "the one that is known is asked, and nobody else"
                );
                asked += 1;
                sim.send(2, arp_reply(2, 12, [10, 0, 2, 2], [10, 0, 2, 1]));
            }
        }
        let row = rows(&sim)[0];
        assert!(
            u64::from(row.confirmed) * 1000 < REACHABLE_MS,
            "second {second}: {row:?}"
        );
    }
    assert!((3..=6).contains(&asked), "{asked}");
    let frames = pass(
        &mut sim,
        (FORGET_MS / 5000 + 6) as u32,
        Duration::from_secs(5),
    );
    let questions = frames
        .iter()
        .filter(|frame| Eth::new_unchecked(frame).ethertype() == EtherType::ARP);
    assert!(
        questions.count() <= 3,
        "nobody asks for one that is not used"
    );
    assert_eq!(rows(&sim).len(), 0);
}

#[test]
fn nobody_becomes_known_who_was_not_asked_for() {
    let mut sim = two_networks();
    for host in 2..200 {
        sim.send(2, arp_reply(host, 12, [10, 0, 2, host], [10, 0, 2, 1]));
        let asks = Builder::eth(mac(host), [0xff; 6]).arp_request([10, 0, 2, host], [10, 0, 2, 1]);
        sim.send(2, asks.build());
    }
    assert_eq!(rows(&sim).len(), 0);
    // Nor is an address of another network believed, nor one that another station names.
    sim.send(2, arp_reply(7, 12, [10, 0, 1, 7], [10, 0, 2, 1]));
    let forged = Builder::eth(mac(7), router_mac(12)).arp(arp::Repr {
        op: arp::REPLY,
        sha: MacAddr(mac(8)),
        spa: [10, 0, 2, 7].into(),
        tha: MacAddr(router_mac(12)),
        tpa: [10, 0, 2, 1].into(),
    });
    sim.send(2, forged.build());
    assert_eq!(sim.new_drops(), [(DropReason::RouterForged, 2)]);
}

#[test]
fn a_claim_is_not_believed_while_the_neighbour_answers() {
    let mut sim = two_networks();
    know(&mut sim, 2);
    drop(sim.take());
    for _ in 0..50 {
        // Station 66 says again and again that it is 10.0.2.2.
        let out = sim.send(2, arp_reply(66, 12, [10, 0, 2, 2], [10, 0, 2, 1]));
        for frame in out.into_values().flatten() {
            assert_eq!(
                Eth::new_unchecked(&frame.bytes).dst().0,
                mac(2),
                "the real one is asked"
            );
            sim.send(2, arp_reply(2, 12, [10, 0, 2, 2], [10, 0, 2, 1]));
        }
        sim.advance(Duration::from_millis(100));
    }
    assert_eq!(rows(&sim)[0].mac, Some(mac(2)));
    let stats = stats(&sim);
    assert_eq!(stats.moved, 0);
    assert!(stats.refused > 0 && stats.asked <= 60, "{stats:?}");
}

#[test]
fn one_that_has_moved_is_found_within_a_second() {
    let mut sim = two_networks();
    know(&mut sim, 2);
    drop(sim.take());
    // The host comes up elsewhere, with another station, and says so; the old one is silent.
    let gratuitous = Builder::eth(mac(77), [0xff; 6]).arp_request([10, 0, 2, 2], [10, 0, 2, 2]);
    sim.send(2, gratuitous.build());
    pass(&mut sim, 9, Duration::from_millis(100));
    assert_eq!(rows(&sim)[0].mac, Some(mac(77)));
    assert_eq!(stats(&sim).moved, 1);
    let sent = packet(1, 11, [10, 0, 1, 2], [10, 0, 2, 2], 64).udp(1, 2);
    let out = only(sim.send(1, sent.build()), 2);
    assert_eq!(Eth::new_unchecked(&out[0]).dst().0, mac(77));
}

#[test]
fn a_flood_to_hosts_that_are_not_there_is_bounded_and_others_are_still_found() {
    let mut sim = two_networks();
    let mut asked = 0;
    for round in 0..40_u32 {
        for host in 0..100_u32 {
            let number = round * 100 + host;
            let to = [10, 0, 2, (number % 250) as u8 + 3];
            // Each packet is of another connection, so nothing hides in the cache.
            let sent = packet(1, 11, [10, 0, 1, 2], to, 64).udp(number as u16, 2);
            asked += sim.send(1, sent.build()).len();
        }
        sim.advance(Duration::from_millis(1));
    }
    let stats_now = stats(&sim);
    assert!(stats_now.waiting as usize <= WAITING_MAX, "{stats_now:?}");
    assert!(stats_now.len as usize <= INCOMPLETE_MAX, "{stats_now:?}");
    assert!(asked <= 300, "questions are bounded: {asked}");
    know(&mut sim, 2);
    assert!(
        rows(&sim).iter().any(|row| row.mac == Some(mac(2))),
        "a host that answers is found meanwhile"
    );
}

#[test]
fn packets_after_a_flush_ask_again() {
    let mut sim = two_networks();
    know(&mut sim, 2);
    drop(sim.take());
    assert_eq!(knock(&mut sim, 2), 1);
    let router = sim.tables().router(RouterId(1)).unwrap();
    let (len, waiting) = router.neighbours.flush(|_| true);
    assert_eq!((len, waiting.len()), (1, 0));
    let sent = packet(1, 11, [10, 0, 1, 2], [10, 0, 2, 2], 64).udp(1, 2);
    let out = only(sim.send(1, sent.build()), 2);
    assert_eq!(Eth::new_unchecked(&out[0]).ethertype(), EtherType::ARP);
}
