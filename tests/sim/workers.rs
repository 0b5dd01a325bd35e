//! Several workers, failing ports and a lack of frames.

use vswitch_datapath::counters::DropReason;
use vswitch_dpapi::Desired;
use vswitch_tests::sim::{PLAIN, Sim, bridge, frames, normal, port};

use super::{build::Builder, mac};

fn switch(workers: usize) -> Sim {
    let desired = Desired {
        bridges: vec![bridge(1)],
        ports: (1..=4).map(|id| port(id, 1)).collect(),
        routers: Vec::new(),
    };
    let mut sim = Sim::new(desired, workers, frames(), |_| PLAIN);
    sim.set_flows(1, vec![normal()]);
    sim
}

fn frame(src: u8, dst: u8) -> Vec<u8> {
    let ip = |station| [10, 0, 0, station];
    Builder::eth(mac(src), mac(dst))
        .ipv4(ip(src), ip(dst))
        .udp(1000, 2000)
        .build()
}

#[test]
fn a_port_of_another_worker_is_reached_and_its_addresses_are_known_to_all() {
    let mut sim = switch(3);
    assert_eq!(sim.send(1, frame(1, 2)).len(), 3);
    assert_eq!(
        sim.send(2, frame(2, 1)).keys().copied().collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(
        sim.send(1, frame(1, 2)).keys().copied().collect::<Vec<_>>(),
        [2]
    );
    assert!(sim.worker(0).stats().handed_over >= 3);
    assert_eq!(sim.new_drops(), []);
}

#[test]
fn an_inbox_that_is_full_drops_and_counts() {
    let mut sim = switch(2);
    sim.send(1, frame(1, 9));
    sim.send(2, frame(2, 9));
    // The first worker runs alone, so nobody empties the second one's inbox.
    for _ in 0..2_000 {
        sim.wire(1).push(frame(1, 2));
    }
    sim.run_worker(0);
    let drops = sim.new_drops();
    assert_eq!(drops, [(DropReason::QueueFull, 2_000 - 1_024)]);
    sim.run();
    assert_eq!(sim.take()[&2].len(), 1_024);
}

#[test]
fn a_device_without_room_costs_its_own_packets_only() {
    let mut sim = switch(1);
    sim.send(1, frame(1, 9));
    sim.send(2, frame(2, 9));
    sim.send(3, frame(3, 9));
    sim.wire(2).set_room(5);
    for _ in 0..50 {
        sim.wire(1).push(frame(1, 2));
        sim.wire(1).push(frame(1, 3));
    }
    sim.run();
    let out = sim.take();
    assert_eq!((out[&2].len(), out[&3].len()), (5, 50));
}

#[test]
fn a_flood_that_runs_out_of_frames_loses_copies_and_no_frame() {
    let mut sim = switch(1);
    let held = sim.hold_frames_but(40);
    for _ in 0..32 {
        sim.wire(1).push(frame(1, 9));
    }
    sim.run();
    let lost: u64 = sim.new_drops().iter().map(|(_, count)| count).sum();
    let sent: usize = sim.take().values().map(Vec::len).sum();
    assert!(lost > 0);
    assert_eq!(sent as u64 + lost, 3 * 32);
    sim.release_frames(held);
    assert_eq!(sim.send(1, frame(1, 9)).len(), 3);
}

#[test]
fn packets_from_one_worker_to_another_keep_their_order() {
    let mut sim = switch(2);
    sim.send(1, frame(1, 9));
    sim.send(2, frame(2, 9));
    let numbered = |number: u16| {
        Builder::eth(mac(1), mac(2))
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
            .udp(1000, 2000)
            .payload(&number.to_be_bytes())
            .build()
    };
    for number in 0..300 {
        sim.wire(1).push(numbered(number));
    }
    sim.run();
    let out = sim.take();
    let sent: Vec<_> = out[&2].iter().map(|p| p.bytes.clone()).collect();
    assert_eq!(sent, (0..300).map(numbered).collect::<Vec<_>>());
}

#[test]
fn a_port_whose_packets_all_miss_waits_but_does_not_starve() {
    let mut sim = switch(1);
    sim.disable_caches();
    sim.send(1, frame(1, 9));
    sim.send(2, frame(2, 9));
    for _ in 0..1_000 {
        sim.wire(1).push(frame(1, 2));
        sim.wire(2).push(frame(2, 1));
    }
    sim.run();
    let out = sim.take();
    assert_eq!((out[&1].len(), out[&2].len()), (1_000, 1_000));
}
