//! Caches change no decision: two switches with the same traffic and the same changes, one of
//! which works every packet out anew, send the same bytes in the same order, drop for the same
//! reasons, credit the same flows and know the same stations, after every step.
//!
//! A case is about 20 steps; the test says how many decisions it compared.

use std::cell::Cell;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use vswitch_datapath::tick::Tick;
use vswitch_dpapi::{BridgeId, Desired, MirrorSpec, UnderlayChange, VlanSpec};
use vswitch_flow::{FlowCommand, FlowMod, FlowRule, Match};
use vswitch_tests::sim::{PLAIN, Sim, frames};

use super::switch::{bridge_id, desired, device, flow, flows, frame, neighbour, sent, underlay};
use super::translate::{matches, mirror, vlan};

#[derive(Clone, Debug)]
enum Step {
    /// At most a batch of packets; none waits for the next round, in which caches may play a part.
    Send(Vec<(u32, Vec<u8>)>),
    SetFlows(BridgeId, Vec<FlowRule>),
    AddFlow(BridgeId, FlowRule),
    DeleteFlows(BridgeId, Match),
    SetVlan(u32, VlanSpec),
    SetMirrors(Vec<MirrorSpec>),
    Flush(BridgeId),
    Advance(u64),
    SetLink(u32, bool),
    Underlay(UnderlayChange),
}

/// Packets of a sending step.
const SEND_MIN: usize = 24;
const SEND_MAX: usize = 32;

/// Sending steps in a row, and how often they are followed by a change: 18 × 24 packets and more, so
/// that 1,024 cases are more than 400,000 decisions.
const SENDS: usize = 3;
const TURNS: usize = 6;

/// Sending the same few packets in any order, again and again.
fn sends() -> impl Strategy<Value = Vec<Step>> {
    let packets = prop::collection::vec(sent(frame(0..3_usize)), 1..8);
    let picks = prop::collection::vec(any::<prop::sample::Index>(), SEND_MIN..=SEND_MAX);
    (packets, prop::collection::vec(picks, SENDS)).prop_map(|(packets, sends)| {
        let send = |picks: Vec<prop::sample::Index>| {
            let picked = picks.iter().map(|pick| pick.get(&packets).clone());
            Step::Send(picked.collect())
        };
        sends.into_iter().map(send).collect()
    })
}

fn change() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (bridge_id(), flows()).prop_map(|(bridge, flows)| Step::SetFlows(bridge, flows)),
        6 => (bridge_id(), flow()).prop_map(|(bridge, flow)| Step::AddFlow(bridge, flow)),
        3 => (bridge_id(), matches()).prop_map(|(bridge, m)| Step::DeleteFlows(bridge, m)),
        1 => (1..9_u32, vlan()).prop_map(|(port, vlan)| Step::SetVlan(port, vlan)),
        1 => prop::collection::vec(mirror(), 0..3).prop_map(Step::SetMirrors),
        1 => bridge_id().prop_map(Step::Flush),
        3 => (1..200_u64).prop_map(Step::Advance),
        1 => (device(), any::<bool>()).prop_map(|(port, up)| Step::SetLink(port, up)),
        3 => neighbour().prop_map(Step::Underlay),
    ]
}

/// A switch, the flows of its bridges, and what happens to it.
type Case = (Desired, [Vec<FlowRule>; 2], Vec<(Vec<Step>, Step)>);

fn case() -> impl Strategy<Value = Case> {
    let steps = prop::collection::vec((sends(), change()), TURNS);
    (desired(), [flows(), flows()], steps)
}

fn apply(sim: &mut Sim, step: &Step) {
    match step.clone() {
        Step::Send(packets) => {
            for (port, bytes) in packets {
                sim.wire(port).push(bytes);
            }
            sim.run();
        }
        Step::SetFlows(bridge, flows) => sim.set_flows(bridge.0, flows),
        Step::AddFlow(bridge, flow) => {
            sim.mod_flows(bridge.0, vec![FlowMod::new(FlowCommand::Add, flow).into()]);
        }
        Step::DeleteFlows(bridge, matches) => {
            sim.mod_flows(bridge.0, vec![FlowMod::delete(None, matches).into()]);
        }
        Step::SetVlan(port, vlan) => {
            let mut desired = sim.desired().clone();
            desired.ports[port as usize - 1].vlan = vlan;
            sim.set_desired(desired);
        }
        Step::SetMirrors(mirrors) => {
            let mut desired = sim.desired().clone();
            desired.bridges[0].mirrors = mirrors;
            sim.set_desired(desired);
        }
        Step::Flush(id) => {
            let bridge = sim.tables().bridge(id).expect("it is there");
            bridge.fdb.flush();
        }
        Step::Advance(seconds) => sim.advance(Duration::from_secs(seconds)),
        Step::SetLink(port, up) => sim.wire(port).set_up(up),
        Step::Underlay(change) => sim.change_underlay(&[change]),
    }
}

fn assert_same(cached: &mut Sim, plain: &mut Sim, now: Tick) -> Result<(), TestCaseError> {
    prop_assert_eq!(cached.take(), plain.take());
    prop_assert_eq!(cached.new_drops(), plain.new_drops());
    prop_assert_eq!(cached.new_punted(), plain.new_punted());
    cached.credit_rules();
    let bridges = cached.tables().bridges().iter();
    for (cached, plain) in bridges.zip(plain.tables().bridges()) {
        prop_assert_eq!(cached.fdb.rows(now), plain.fdb.rows(now));
        prop_assert_eq!(cached.fdb.stats(), plain.fdb.stats());
        for table in 0..3 {
            prop_assert_eq!(cached.lookups().of(table), plain.lookups().of(table));
        }
        prop_assert_eq!(cached.rules().count(), plain.rules().count());
        for (cached, plain) in cached.rules().zip(plain.rules()) {
            prop_assert_eq!(cached.flow(), plain.flow());
            let (cached, plain) = (cached.stats(), plain.stats());
            prop_assert_eq!(cached.packets(), plain.packets());
            prop_assert_eq!(cached.bytes(), plain.bytes());
            prop_assert_eq!(cached.used(), plain.used());
        }
    }
    Ok(())
}

#[test]
fn caches_change_no_decision() {
    let config = ProptestConfig::default();
    let config = ProptestConfig {
        cases: config.cases.saturating_mul(4),
        source_file: Some(file!()),
        ..config
    };
    let cases = u64::from(config.cases);
    let memory = [frames(), frames()];
    let (decided, hits) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(config);
    let result = runner.run(&case(), |(desired, flows, steps)| {
        let [mut cached, mut plain] = memory
            .each_ref()
            .map(|memory| Sim::new(desired.clone(), 1, memory.clone(), |_| PLAIN));
        plain.disable_caches();
        for sim in [&mut cached, &mut plain] {
            sim.pass_over_nobody();
        }
        cached.set_underlay(&underlay());
        plain.set_underlay(&underlay());
        for (bridge, flows) in (0..).zip(flows) {
            cached.set_flows(bridge, flows.clone());
            plain.set_flows(bridge, flows);
        }
        let mut now = Tick(0);
        let steps = steps.into_iter();
        for step in steps.flat_map(|(sends, change)| sends.into_iter().chain([change])) {
            if let Step::Advance(seconds) = step {
                now.0 += seconds * 1000;
            }
            apply(&mut cached, &step);
            apply(&mut plain, &step);
            assert_same(&mut cached, &mut plain, now)?;
        }
        let counters = cached.worker(0).cache().counters();
        hits.set(hits.get() + counters.exact + counters.masked);
        decided.set(decided.get() + cached.worker(0).stats().rx_packets);
        prop_assert_eq!(plain.worker(0).cache().len().entries, 0);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let (decided, hits) = (decided.get(), hits.get());
    println!("{cases} cases, {decided} decisions compared, {hits} of them from a cache");
    // Ports that are down receive less than is sent to them.
    assert!(decided >= cases * (TURNS * SENDS * SEND_MIN) as u64 * 9 / 10);
    assert!(hits * 4 >= decided, "too few hits to prove anything");
}
