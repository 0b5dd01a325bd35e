//! No packet and no frame is lost or doubled, whatever comes in and whatever the ports can take.
//!
//! [`Sim::run`] checks the books after each round of each worker, and dropping a [`Sim`] that every
//! frame has come back; the cases here supply the trouble: super-frames, ports that take little,
//! frames that run out, ports that vanish, and frames that are no packets.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use vswitch_datapath::buffer::SharedFrames;
use vswitch_datapath::offload::{Capabilities, Checksum, Gso, GsoKind, Offload};
use vswitch_dpapi::{Desired, PortId};
use vswitch_flow::FlowRule;
use vswitch_tests::sim::{Sim, frames};

use super::switch::{DEVICES, desired, device, flows, frame, super_frame};

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<(u32, Vec<u8>, Offload)>),
    SetRoom(u32, usize),
    SetLink(u32, bool),
    /// The device goes; the tables hear of it later or never.
    Remove(u32),
    Forget(u32),
    Take,
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    let mtu = prop::sample::select([576, 1280, 1500, 9000, 65_535].as_slice());
    (any::<[bool; 4]>(), mtu, 1..19_usize).prop_map(
        |([csum, tso4, tso6, uso], mtu, max_segments)| Capabilities {
            csum,
            tso4: tso4 && csum,
            tso6: tso6 && csum,
            uso: uso && csum,
            tunnel: false,
            mtu,
            max_segments,
        },
    )
}

fn traffic() -> impl Strategy<Value = (u32, Vec<u8>, Offload)> {
    let whole = frame(prop_oneof![0..100_usize, 1000..9000_usize])
        .prop_map(|bytes| (bytes, Offload::default()));
    (device(), prop_oneof![3 => whole, 1 => super_frame()])
        .prop_map(|(port, (bytes, offload))| (port, bytes, offload))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(traffic(), 1..40).prop_map(Step::Send),
        1 => (device(), 0..20_usize).prop_map(|(port, room)| Step::SetRoom(port, room)),
        1 => (device(), any::<bool>()).prop_map(|(port, up)| Step::SetLink(port, up)),
        1 => device().prop_map(Step::Remove),
        1 => (1..9_u32).prop_map(Step::Forget),
        1 => Just(Step::Take),
    ]
}

/// A switch's ports, its flows, what its ports can take, and how many workers serve it.
type Switch = (Desired, [Vec<FlowRule>; 2], Vec<Capabilities>, usize);

fn switch() -> impl Strategy<Value = Switch> {
    let capabilities = prop::collection::vec(capabilities(), 10);
    (desired(), [flows(), flows()], capabilities, 1..4_usize)
}

fn start((desired, flows, capabilities, workers): Switch, memory: &Arc<SharedFrames>) -> Sim {
    let caps = |port: PortId| capabilities[port.0 as usize - 1];
    let mut sim = Sim::new(desired, workers, Arc::clone(memory), caps);
    let mut underlay = super::switch::underlay();
    underlay.neighbours.push(super::switch::known());
    sim.set_underlay(&underlay);
    for (bridge, flows) in (0..).zip(flows) {
        sim.set_flows(bridge, flows);
    }
    sim
}

#[test]
fn nothing_is_lost_whatever_ports_can_take() {
    let config = ProptestConfig {
        source_file: Some(file!()),
        ..ProptestConfig::default()
    };
    let memory = frames();
    let all = memory.free_len();
    let received = Cell::new(0);
    let left = prop::option::of(20..400_usize);
    let case = (switch(), left, prop::collection::vec(step(), 1..10));
    let result = TestRunner::new(config).run(&case, |(switch, left, steps)| {
        let mut sim = start(switch, &memory);
        let mut there = BTreeSet::from(DEVICES);
        let held = left.map(|left| sim.hold_frames_but(left));
        for step in steps {
            match step {
                Step::Send(packets) => {
                    for (port, bytes, offload) in packets {
                        if there.contains(&port) {
                            sim.wire(port).push_with(bytes, offload);
                            received.set(received.get() + 1);
                        }
                    }
                    sim.run();
                }
                Step::SetRoom(port, room) if there.contains(&port) => {
                    sim.wire(port).set_room(room);
                }
                Step::SetLink(port, up) if there.contains(&port) => sim.wire(port).set_up(up),
                Step::SetRoom(..) | Step::SetLink(..) => {}
                Step::Remove(port) => {
                    there.remove(&port);
                    sim.remove_port(port);
                }
                Step::Forget(port) => {
                    let mut desired = sim.desired().clone();
                    desired.ports.retain(|spec| spec.id.0 != port);
                    sim.set_desired(desired);
                    sim.run();
                }
                Step::Take => drop(sim.take()),
            }
        }
        if let Some(held) = held {
            sim.release_frames(held);
        }
        sim.run();
        drop(sim);
        prop_assert_eq!(memory.free_len(), all);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    println!("{} packets", received.get());
    assert!(received.get() > 0);
}

/// Metadata as a device may deliver it, true or not.
fn offload() -> impl Strategy<Value = Offload> {
    let csum = prop_oneof![
        Just(Checksum::Unknown),
        Just(Checksum::Valid),
        (any::<u16>(), any::<u16>())
            .prop_map(|(start, offset)| Checksum::Partial { start, offset }),
        (prop::sample::select([34_u16, 38, 54].as_slice()), 0..20_u16)
            .prop_map(|(start, offset)| Checksum::Partial { start, offset }),
    ];
    let kind = prop::sample::select([GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp].as_slice());
    let gso = prop::option::of((kind, 64..u16::MAX, any::<bool>()).prop_map(
        |(kind, size, ecn)| Gso {
            kind,
            size,
            ecn,
            tunnel: None,
        },
    ));
    (csum, gso).prop_map(|(csum, gso)| Offload { csum, gso })
}

/// A frame with bytes changed, and cut or made longer.
fn broken() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let size = prop::option::of(0..120_usize);
    let sound = frame(prop_oneof![0..40_usize, 3000..5000_usize]);
    (sound, changes, any::<bool>(), size).prop_map(|(mut bytes, changes, in_headers, size)| {
        for (at, value) in changes {
            // Most of a frame's sense is in its first bytes.
            let len = if in_headers {
                64.min(bytes.len())
            } else {
                bytes.len()
            };
            bytes[at.index(len)] = value;
        }
        if let Some(size) = size {
            bytes.resize(size, 0);
        }
        bytes
    })
}

#[test]
fn frames_that_are_no_packets_are_counted_and_harm_nothing() {
    let config = ProptestConfig {
        source_file: Some(file!()),
        ..ProptestConfig::default()
    };
    let memory = frames();
    let sound = prop_oneof![3 => Just(Offload::default()), 1 => offload()];
    let traffic = prop::collection::vec((device(), broken(), sound), 1..100);
    let result = TestRunner::new(config).run(&(switch(), traffic), |(switch, traffic)| {
        let workers = switch.3;
        let mut sim = start(switch, &memory);
        for (port, bytes, offload) in traffic {
            sim.wire(port).push_with(bytes, offload);
        }
        sim.run();
        // With several workers, one may keep the few large frames that are free to itself.
        let waiting = DEVICES.map(|port| sim.wire(port).inbound_len());
        prop_assert!(workers > 1 || waiting == [0; 6], "{:?}", waiting);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
