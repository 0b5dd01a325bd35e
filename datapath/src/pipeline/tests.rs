use vswitch_dpapi::{
    BridgeSpec, Change, Desired, Fragments, MirrorSpec, PortConfig, PortId, PortKind, PortSpec,
    VlanMode, VlanSpec,
};
use vswitch_flow::{Action, FlowCommand, FlowKey, FlowMod, FlowRule, Match, OfPort};

use super::*;
use crate::fdb::Learned;
use crate::tick::Tick;

const BROADCAST: u64 = 0xffff_ffff_ffff;

fn bridge(id: u32) -> BridgeSpec {
    BridgeSpec {
        id: BridgeId(id),
        name: format!("br{id}"),
        mac_table_size: 100,
        mac_aging_time: 300,
        mirrors: Vec::new(),
        flow_limits: Vec::new(),
        miss_to_controller: false,
        fragments: Fragments::Normal,
    }
}

fn port(id: u32, bridge: u32) -> PortSpec {
    PortSpec {
        id: PortId(id),
        bridge: BridgeId(bridge),
        name: format!("p{id}"),
        of_port: OfPort(id),
        kind: PortKind::Null,
        vlan: VlanSpec::default(),
        mtu: 1500,
        up: true,
        config: PortConfig::default(),
    }
}

fn patch(id: u32, bridge: u32, peer: u32) -> PortSpec {
    PortSpec {
        kind: PortKind::Patch {
            peer: Some(PortId(peer)),
        },
        ..port(id, bridge)
    }
}

fn vlan(mode: VlanMode, tag: u16, trunks: &[u16]) -> VlanSpec {
    VlanSpec {
        mode,
        tag,
        trunks: trunks.to_vec(),
    }
}

fn flow(priority: u16, matches: Match, actions: &[Action]) -> FlowRule {
    FlowRule {
        priority,
        matches,
        instructions: actions.to_vec().into(),
        ..FlowRule::default()
    }
}

const NORMAL: Action = Action::Output(OfPort::NORMAL);

fn output(port: u32) -> Action {
    Action::Output(OfPort(port))
}

fn set_field(field: Field, value: u128) -> Action {
    Action::SetField {
        field,
        value,
        mask: field.info().max(),
    }
}

fn build(desired: &Desired) -> Tables {
    Tables::build(desired, None, 1, 42).expect("well formed")
}

/// Bridge 1 with ports 1 to `ports` and one flow.
fn simple(ports: u32, actions: &[Action]) -> Tables {
    let desired = Desired {
        bridges: vec![bridge(1)],
        ports: (1..=ports).map(|id| port(id, 1)).collect(),
        routers: Vec::new(),
    };
    with_flows(&build(&desired), 1, vec![flow(0, Match::any(), actions)])
}

fn with_flows(tables: &Tables, bridge: u32, flows: Vec<FlowRule>) -> Tables {
    tables
        .set_flows(BridgeId(bridge), flows, tables.epoch + 1, Tick(0))
        .expect("the bridge is there")
}

fn key(src: u64, dst: u64) -> FlowKey {
    let mut key = FlowKey::default();
    key.set(Field::EthSrc, src.into());
    key.set(Field::EthDst, dst.into());
    key.set(Field::EthType, 0x0800);
    key.set(Field::IpProto, 6);
    key.set(Field::TcpDst, 80);
    key
}

fn tagged(mut key: FlowKey, vid: u16) -> FlowKey {
    key.set(Field::VlanTci, (0x1000 | vid).into());
    key.set(Field::VlanTpid, 0x8100);
    key
}

/// Translates and learns, as a worker does.
fn run(tables: &Tables, key: &FlowKey, port: u32) -> Translation {
    let translation = translate(tables, key, PortIndex(port), None);
    for learn in &translation.learn {
        let bridge = tables.bridge(learn.bridge).expect("there");
        bridge.fdb.learn(learn.key, learn.port, Tick(0));
    }
    translation
}

fn text(translation: &Translation) -> String {
    actions_text(&translation.actions, 0x0800, |port| port.0.to_string())
}

#[test]
fn normal_floods_learns_and_forwards() {
    let tables = simple(3, &[NORMAL]);
    let (a, b) = (0x0200_0000_000a, 0x0200_0000_000b);
    let first = run(&tables, &key(a, BROADCAST), 3);
    assert_eq!(text(&first), "1,2");
    assert!(!first.cacheable, "it teaches");
    assert_eq!(text(&run(&tables, &key(b, a), 1)), "3");
    // The address moves with the next packet from elsewhere.
    assert_eq!(text(&run(&tables, &key(a, BROADCAST), 2)), "1,3");
    let known = run(&tables, &key(b, a), 1);
    assert_eq!(text(&known), "2");
    assert!(known.cacheable && known.deps.valid());
    assert_eq!(known.touch.len(), 1, "the source stays young");
    assert_eq!(
        known.mask.field(Field::TcpDst),
        0,
        "NORMAL does not look at ports"
    );
    let same = run(&tables, &key(b, a), 2);
    assert_eq!(same.drop, Some(DropReason::FdbSamePort));
    assert_eq!(
        run(&tables, &key(b, 0x0180_c200_0002), 1).drop,
        Some(DropReason::ReservedMac)
    );
    assert!(!known.deps.valid(), "the source moved to port 2");
}

#[test]
fn a_secure_bridge_without_flows_drops() {
    let desired = Desired {
        bridges: vec![bridge(1)],
        ports: vec![port(1, 1)],
        routers: Vec::new(),
    };
    let tables = build(&desired);
    let answer = run(&tables, &key(1, 2), 1);
    assert_eq!(answer.drop, Some(DropReason::NoFlow));
    assert!(answer.actions.is_empty() && answer.cacheable);
    let gone = run(&tables, &key(1, 2), 77);
    assert_eq!(gone.drop, Some(DropReason::PortUnknown));
}

#[test]
fn reserved_ports_and_their_reasons() {
    let cases: [(&[Action], &str, Option<DropReason>); 7] = [
        (&[Action::Output(OfPort::IN_PORT)], "1", None),
        (&[Action::Output(OfPort::FLOOD)], "2,3", None),
        (&[Action::Output(OfPort::ALL)], "2,3", None),
        (&[output(1)], "drop", Some(DropReason::OutputIngress)),
        (&[output(9)], "drop", Some(DropReason::OutputUnknown)),
        (
            &[Action::Output(OfPort::CONTROLLER)],
            "userspace(pid=0,controller(reason=0,dont_send=0,continuation=0,recirc_id=0,\
             rule_cookie=0,controller_id=0,max_len=65535))",
            None,
        ),
        (&[], "drop", Some(DropReason::RuleDrop)),
    ];
    for (actions, wanted, reason) in cases {
        let answer = run(&simple(3, actions), &key(1, 2), 1);
        assert_eq!((text(&answer).as_str(), answer.drop), (wanted, reason));
        assert_eq!(answer.rules.len(), 1);
    }
}

/// The matrix of the Open vSwitch test "ofproto-dpif - VLAN handling".
#[test]
fn vlan_modes() {
    use VlanMode::{Access, NativeTagged, NativeUntagged, Trunk};
    let specs = [
        vlan(Trunk, 0, &[10, 12]),
        vlan(Access, 10, &[]),
        vlan(Access, 12, &[]),
        vlan(Access, 12, &[]),
        vlan(NativeTagged, 10, &[]),
        vlan(NativeTagged, 10, &[10, 12]),
        vlan(NativeUntagged, 12, &[]),
        vlan(NativeUntagged, 12, &[10, 12]),
        vlan(Trunk, 0, &[]),
    ];
    let ports = specs.into_iter().zip(1..).map(|(vlan, id)| PortSpec {
        vlan,
        ..port(id, 1)
    });
    let desired = Desired {
        bridges: vec![bridge(1)],
        ports: ports.collect(),
        routers: Vec::new(),
    };
    let tables = with_flows(&build(&desired), 1, vec![flow(0, Match::any(), &[NORMAL])]);
    let plain = key(0x0200_0000_0001, BROADCAST);
    let cases = [
        (plain, 1, "drop"),
        (tagged(plain, 10), 1, "5,6,7,8,9,pop_vlan,2"),
        (tagged(plain, 11), 1, "drop"),
        (tagged(plain, 12), 1, "5,6,9,pop_vlan,3,4,7,8"),
        (plain, 2, "push_vlan(vid=10,pcp=0),1,5,6,7,8,9"),
        (tagged(plain, 10), 2, "drop"),
        (plain, 3, "4,7,8,push_vlan(vid=12,pcp=0),1,5,6,9"),
        (plain, 5, "2,push_vlan(vid=10,pcp=0),1,6,7,8,9"),
        (tagged(plain, 10), 5, "1,6,7,8,9,pop_vlan,2"),
        (tagged(plain, 11), 5, "7,9"),
        (tagged(plain, 11), 6, "drop"),
        (plain, 7, "3,4,8,push_vlan(vid=12,pcp=0),1,5,6,9"),
        (plain, 9, "drop"),
        // A tag with VLAN 0 is no VLAN; its priority goes on.
        (
            tagged(plain, 0xa000),
            2,
            "pop_vlan,push_vlan(vid=10,pcp=5),1,5,6,7,8,9",
        ),
    ];
    for (key, port, wanted) in cases {
        assert_eq!(text(&run(&tables, &key, port)), wanted, "{key:?} on {port}");
    }
}

#[test]
fn what_normal_does_to_tags_does_not_reach_later_actions() {
    let desired = Desired {
        bridges: vec![bridge(1)],
        ports: vec![
            PortSpec {
                vlan: vlan(VlanMode::Access, 10, &[]),
                ..port(1, 1)
            },
            port(2, 1),
            port(3, 1),
        ],
        routers: Vec::new(),
    };
    let flows = vec![flow(0, Match::any(), &[NORMAL, output(3)])];
    let tables = with_flows(&build(&desired), 1, flows);
    let answer = run(&tables, &key(2, BROADCAST), 1);
    assert_eq!(text(&answer), "push_vlan(vid=10,pcp=0),2,3,pop_vlan,3");
}

#[test]
fn fields_are_written_before_an_output_and_only_then() {
    let actions = [
        set_field(Field::EthDst, 7),
        set_field(Field::UdpDst, 53),
        output(2),
        set_field(Field::EthDst, 8),
        set_field(Field::EthDst, 7),
        output(3),
        set_field(Field::EthDst, 9),
    ];
    let answer = run(&simple(3, &actions), &key(1, 2), 1);
    let wanted = [
        DpAction::SetField {
            field: Field::EthDst,
            value: 7,
            mask: 0xffff_ffff_ffff,
        },
        DpAction::Output(PortIndex(2)),
        DpAction::Output(PortIndex(3)),
    ];
    assert_eq!(answer.actions, wanted);
    assert_eq!(
        answer.mask.field(Field::EthDst),
        0,
        "what is overwritten is not read"
    );
    assert_eq!(
        answer.mask.field(Field::IpProto),
        0xff,
        "whether it is UDP is"
    );
}

#[test]
fn tags_are_pushed_and_popped() {
    let push = [
        Action::PushVlan(0x88a8),
        set_field(Field::VlanVid, 0x1ffe),
        output(2),
    ];
    let service = "push_vlan(tpid=0x88a8,vid=4094,pcp=0),2";
    assert_eq!(text(&run(&simple(2, &push), &key(1, 2), 1)), service);
    let answer = run(&simple(2, &push), &tagged(key(1, 2), 100), 1);
    assert_eq!(text(&answer), service);
    let pop = [Action::PopVlan, output(2), Action::PopVlan, output(2)];
    assert_eq!(text(&run(&simple(2, &pop), &key(1, 2), 1)), "2,2");
    let one = tagged(key(1, 2), 100);
    assert_eq!(text(&run(&simple(2, &pop), &one, 1)), "pop_vlan,2,2");
    let set = [set_field(Field::VlanVid, 0x1011), output(2)];
    assert_eq!(
        text(&run(&simple(2, &set), &one, 1)),
        "pop_vlan,push_vlan(vid=17,pcp=0),2"
    );
    // A third tag shows as the type; it can not be taken off unseen.
    let mut three = one;
    three.set(Field::InnerVlanTci, 0x1065);
    three.set(Field::InnerVlanTpid, 0x8100);
    three.set(Field::EthType, 0x8100);
    let pops = [const { Action::PopVlan }; 3];
    let answer = run(&simple(2, &[&pops[..], &[output(2)]].concat()), &three, 1);
    assert_eq!(answer.drop, Some(DropReason::VlanDepth));
}

fn patched(back: u32) -> Tables {
    let desired = Desired {
        bridges: vec![bridge(1), bridge(2)],
        ports: vec![
            port(1, 1),
            patch(2, 1, 12),
            port(3, 1),
            port(11, 2),
            patch(12, 2, back),
        ],
        routers: Vec::new(),
    };
    build(&desired)
}

#[test]
fn a_patch_leads_on_and_leaves_no_trace_behind() {
    let tables = patched(2);
    let first = [set_field(Field::EthDst, 7), output(2), output(3)];
    let second = [
        set_field(Field::EthSrc, 9),
        Action::PushVlan(0x8100),
        output(11),
    ];
    let tables = with_flows(&tables, 1, vec![flow(0, Match::any(), &first)]);
    let tables = with_flows(&tables, 2, vec![flow(0, Match::any(), &second)]);
    let answer = run(&tables, &key(1, 2), 1);
    assert_eq!(
        text(&answer),
        "push_vlan(vid=0,pcp=0),set(eth(dst=00:00:00:00:00:07,src=00:00:00:00:00:09)),11,pop_vlan,set(eth(src=00:00:00:00:00:01)),3"
    );
    assert_eq!(answer.rules.len(), 2);
    assert_eq!(
        answer.mask.field(Field::EthSrc),
        0xffff_ffff_ffff,
        "it was put back"
    );
    assert_eq!(answer.mask.field(Field::EthDst), 0);
}

#[test]
fn ports_without_devices_count_what_crosses_them_whatever_tables_come_after() {
    let tables = patched(2);
    let tables = with_flows(&tables, 1, vec![flow(0, Match::any(), &[output(2)])]);
    let tables = with_flows(&tables, 2, vec![flow(0, Match::any(), &[output(11)])]);
    let answer = run(&tables, &key(1, 2), 1);
    for (crossings, way) in &answer.crossings {
        crossings.credit(*way, 3, 300);
    }
    let tables = with_flows(&tables, 2, Vec::new());
    let sums = |port| {
        let crossings = tables.port(PortIndex(port))?.crossings.as_ref()?;
        Some((crossings.rx.sums(), crossings.tx.sums()))
    };
    assert_eq!(sums(2), Some(((0, 0), (3, 300))));
    assert_eq!(sums(12), Some(((3, 300), (0, 0))));
    assert_eq!(sums(1), None, "queues count what devices have");
}

#[test]
fn a_patch_needs_a_peer_that_agrees() {
    let tables = patched(3);
    let tables = with_flows(&tables, 1, vec![flow(0, Match::any(), &[output(2)])]);
    assert_eq!(
        run(&tables, &key(1, 2), 1).drop,
        Some(DropReason::PatchUnconnected)
    );
}

#[test]
fn a_loop_of_bridges_ends() {
    let desired = Desired {
        bridges: vec![bridge(1), bridge(2)],
        ports: vec![
            port(1, 1),
            patch(2, 1, 12),
            patch(3, 1, 13),
            port(11, 2),
            patch(12, 2, 2),
            patch(13, 2, 3),
        ],
        routers: Vec::new(),
    };
    let flood = || vec![flow(0, Match::any(), &[Action::Output(OfPort::FLOOD)])];
    let tables = with_flows(&with_flows(&build(&desired), 1, flood()), 2, flood());
    let answer = run(&tables, &key(1, BROADCAST), 1);
    assert!(matches!(
        answer.drop,
        Some(DropReason::TooDeep | DropReason::TooMuchWork)
    ));
    assert!(answer.actions.is_empty());
}

fn mirrored(mirror: MirrorSpec, flows: Vec<FlowRule>) -> Tables {
    let desired = Desired {
        bridges: vec![BridgeSpec {
            mirrors: vec![mirror],
            ..bridge(1)
        }],
        ports: (1..=4).map(|id| port(id, 1)).collect(),
        routers: Vec::new(),
    };
    with_flows(&build(&desired), 1, flows)
}

#[test]
fn mirrors_copy_what_they_select() {
    let all = || MirrorSpec {
        select_all: true,
        output_port: Some(PortId(3)),
        ..MirrorSpec::default()
    };
    let to = |actions: &[Action]| vec![flow(0, Match::any(), actions)];
    let packet = key(1, 2);
    let tables = mirrored(all(), to(&[output(2)]));
    assert_eq!(text(&run(&tables, &packet, 1)), "3,2");
    assert_eq!(run(&tables, &packet, 3).drop, Some(DropReason::MirrorPort));
    // Changed on the way, it is seen both as it came and as it went.
    let tables = mirrored(all(), to(&[set_field(Field::EthDst, 5), output(2)]));
    assert_eq!(
        text(&run(&tables, &packet, 1)),
        "3,set(eth(dst=00:00:00:00:00:05)),2,3"
    );
    // The mirror's port does not forward.
    let tables = mirrored(all(), to(&[NORMAL]));
    assert_eq!(text(&run(&tables, &key(1, BROADCAST), 1)), "3,2,4");
    let out = MirrorSpec {
        select_dst: vec![PortId(2)],
        output_port: Some(PortId(3)),
        ..MirrorSpec::default()
    };
    let tables = mirrored(out, to(&[output(4), output(2)]));
    assert_eq!(text(&run(&tables, &packet, 1)), "4,2,3");
    let vlan = MirrorSpec {
        select_src: vec![PortId(1)],
        select_vlan: vec![20],
        output_vlan: Some(12),
        ..MirrorSpec::default()
    };
    let tables = mirrored(vlan, to(&[output(2)]));
    assert_eq!(text(&run(&tables, &packet, 1)), "2");
    assert_eq!(
        text(&run(&tables, &tagged(packet, 20), 1)),
        "pop_vlan,push_vlan(vid=12,pcp=0),1,2,3,4,pop_vlan,push_vlan(vid=20,pcp=0),2"
    );
}

#[test]
fn a_rebuilt_snapshot_keeps_what_stayed() {
    let mut desired = Desired {
        bridges: vec![bridge(1)],
        ports: vec![port(1, 1), port(2, 1), port(3, 1)],
        routers: Vec::new(),
    };
    let tables = with_flows(&build(&desired), 1, vec![flow(0, Match::any(), &[NORMAL])]);
    let fdb = |tables: &Tables| Arc::clone(&tables.bridge(BridgeId(1)).expect("there").fdb);
    for (mac, port) in [(1, 1), (2, 2), (3, 3)] {
        assert_eq!(
            fdb(&tables).learn(MacKey::new(0, mac), PortIndex(port), Tick(0)),
            Learned::New
        );
    }
    desired.ports.remove(2);
    desired.ports[1].vlan = vlan(VlanMode::Access, 5, &[]);
    let after = Tables::build(&desired, Some(&tables), 9, 0).expect("well formed");
    assert_eq!(after.epoch, 9);
    let left: Vec<_> = fdb(&after).rows(Tick(0)).iter().map(|r| r.port).collect();
    assert_eq!(
        left,
        [PortIndex(1)],
        "gone ports and changed VLANs are forgotten"
    );
    assert_eq!(after.bridge(BridgeId(1)).expect("there").rules().count(), 1);
    assert_eq!(tables.ports().count(), 3, "the old snapshot is as it was");
}

#[test]
fn changes_of_flows_follow_openflow() {
    let tables = simple(3, &[output(2)]);
    let rules = |tables: &Tables| -> Vec<_> {
        let bridge = tables.bridge(BridgeId(1)).expect("there");
        bridge.rules().cloned().collect()
    };
    let old = rules(&tables).remove(0);
    old.stats().add(3, 300, Tick(50));
    let web = Match::any()
        .with(Field::EthType, 0x0800)
        .with(Field::TcpDst, 80);
    let mods = |tables: &Tables, changes: Vec<Change>| {
        let mut evictions = Evictions::default();
        let draft = tables.draft(BridgeId(1), &mut evictions, Tick(100));
        let mut draft = draft.expect("the bridge is there");
        for change in changes {
            draft.apply(change).expect("the changes can be made");
        }
        tables.with(draft).0
    };
    let add = |rule| Change::from(FlowMod::new(FlowCommand::Add, rule));
    let added = mods(
        &tables,
        vec![
            add(flow(0, Match::any(), &[output(3)])),
            add(flow(7, web.clone(), &[output(2)])),
        ],
    );
    assert_eq!(rules(&added).len(), 2);
    let replaced = added.bridge(BridgeId(1)).expect("there");
    let replaced = replaced
        .table(0)
        .and_then(|t| t.find(&Match::any(), 0))
        .expect("added");
    old.stats().add(1, 100, Tick(60));
    assert_eq!(
        (replaced.stats().packets(), replaced.stats().bytes()),
        (4, 400)
    );
    assert_eq!(replaced.created(), Tick(100));

    let ip = Match::any().with(Field::EthType, 0x0800);
    let delete = |matches| Change::from(FlowMod::delete(None, matches));
    let strict = |priority| {
        let rule = flow(priority, web.clone(), &[]);
        Change::from(FlowMod::new(FlowCommand::DeleteStrict, rule))
    };
    assert_eq!(rules(&mods(&added, vec![delete(ip)])).len(), 1);
    assert_eq!(rules(&mods(&added, vec![delete(Match::any())])).len(), 0);
    assert_eq!(rules(&mods(&added, vec![strict(6)])).len(), 2);
    assert_eq!(rules(&mods(&added, vec![strict(7)])).len(), 1);
    let same = with_flows(&added, 1, vec![flow(7, web.clone(), &[output(2)])]);
    assert!(
        rules(&added)
            .iter()
            .any(|r| Arc::ptr_eq(r, &rules(&same)[0]))
    );
}

#[test]
fn a_desired_state_that_contradicts_itself_is_refused() {
    let refusal = |ports, bridges| {
        Tables::build(
            &Desired {
                bridges,
                ports,
                routers: Vec::new(),
            },
            None,
            1,
            1,
        )
        .expect_err("contradiction")
    };
    assert_eq!(
        refusal(vec![port(1, 1), port(1, 1)], vec![bridge(1)]),
        Refusal::PortTwice(PortId(1))
    );
    assert_eq!(
        refusal(vec![port(1, 2)], vec![bridge(1)]),
        Refusal::NoBridge(BridgeId(2))
    );
    assert_eq!(
        refusal(vec![port(70_000, 1)], vec![bridge(1)]),
        Refusal::PortTooLarge(PortId(70_000))
    );
    assert_eq!(
        refusal(vec![], vec![bridge(1), bridge(1)]),
        Refusal::BridgeTwice(BridgeId(1))
    );
    let twice = PortSpec {
        of_port: OfPort(1),
        ..port(2, 1)
    };
    assert!(matches!(
        refusal(vec![port(1, 1), twice], vec![bridge(1)]),
        Refusal::OfPortTwice { of_port: 1, .. }
    ));
}

#[test]
fn a_trace_says_what_happens() {
    let tables = simple(3, &[set_field(Field::EthDst, 7), NORMAL]);
    let start = Start::Port(BridgeId(1), OfPort(1));
    let told = trace(&tables, &key(1, BROADCAST), start, None, false).expect("a bridge");
    let text = told.lines.join("\n");
    for part in [
        "Flow: tcp,in_port=1,",
        "bridge(\"br1\")\n-------------\n",
        " 0. priority 0\n",
        "    NORMAL\n",
        "Megaflow: ",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert_eq!(
        actions_text(&told.translation.actions, 0x0800, |port| port.0.to_string()),
        "set(eth(dst=00:00:00:00:00:07)),2,3"
    );
}
