//! Actions on real frames: extracted, translated, carried out, and again where headers are read
//! anew, as a worker does it.

mod choices;
mod fragments;
mod headers;

use vswitch_dpapi::{
    BridgeId, BridgeSpec, Change, Desired, FlowLimit, Fragments, PortConfig, PortId, PortKind,
    PortSpec, VlanSpec,
};
use vswitch_flow::action::{
    Bundle, BundleAlgorithm, HashFields, Instructions, Learn, LearnSource, LearnSpec, Multilink,
    Multipath,
};
use vswitch_flow::rule::GROUP_ANY;
use vswitch_flow::{Bucket, FlowKey, FlowRule, Group, GroupKind, GroupMod};
use vswitch_packet::build::Builder;
use vswitch_packet::{EtherType, mpls, tcp};

use super::*;
use crate::action::{Again, FragmentCounts, Punted, Sink, Tools, execute};
use crate::buffer::{FramePool, HEADROOM, Packet, SharedFrames};
use crate::conntrack::Conntrack;
use crate::counters::Drops;
use crate::extract::extract;
use crate::offload::Offload;
use crate::pipeline::{
    MAX_ENTRIES, Moment, Rule, Tables, Translation, actions_text, resume, translate,
};
use crate::port::PortIndex;
use crate::tick::Tick;

const SRC: [u8; 4] = [10, 0, 0, 1];
const DST: [u8; 4] = [10, 0, 0, 2];

fn desired(ports: u32) -> Desired {
    Desired {
        bridges: vec![BridgeSpec {
            id: BridgeId(1),
            name: "br0".to_owned(),
            mac_table_size: 100,
            mac_aging_time: 300,
            mirrors: Vec::new(),
            flow_limits: Vec::<FlowLimit>::new(),
            miss_to_controller: false,
            fragments: Fragments::Normal,
        }],
        ports: (1..=ports)
            .map(|id| PortSpec {
                id: PortId(id),
                bridge: BridgeId(1),
                name: format!("p{id}"),
                of_port: OfPort(id),
                kind: PortKind::Null,
                vlan: VlanSpec::default(),
                mtu: 1500,
                up: true,
                config: PortConfig::default(),
            })
            .collect(),
        routers: Vec::new(),
    }
}

fn with_groups(desired: &Desired, groups: Vec<Group>, flows: Vec<FlowRule>) -> Tables {
    let tables = Tables::build(desired, None, 1, 42).expect("well formed");
    let mut evictions = crate::pipeline::Evictions::default();
    let draft = tables.draft(BridgeId(1), &mut evictions, Tick(0));
    let mut draft = draft.expect("it is there");
    for group in groups {
        let change = Change::Group(Box::new(GroupMod::Add(group)));
        draft.apply(change).expect("it is a good group");
    }
    let tables = tables.with(draft).0;
    tables
        .set_flows(BridgeId(1), flows, 3, Tick(0))
        .expect("it is there")
}

fn tables(flows: Vec<FlowRule>) -> Tables {
    with_groups(&desired(30), Vec::new(), flows)
}

fn flow(
    table: u8,
    priority: u16,
    matches: Match,
    instructions: impl Into<Instructions>,
) -> FlowRule {
    FlowRule {
        table,
        priority,
        matches,
        instructions: instructions.into(),
        ..FlowRule::default()
    }
}

fn any() -> Match {
    Match::any()
}

fn from(port: u32) -> Match {
    any().with(Field::InPort, port.into())
}

fn out(port: u32) -> Action {
    Action::Output(OfPort(port))
}

fn set(field: Field, value: u128) -> Action {
    Action::SetField {
        field,
        value,
        mask: field.info().max(),
    }
}

fn load(field: Field, value: u128) -> Action {
    Action::Load {
        dst: Subfield::whole(field),
        value,
    }
}

fn part(field: Field, offset: u8, bits: u8) -> Subfield {
    Subfield {
        field,
        offset,
        bits,
    }
}

fn resubmit(port: Option<u32>, table: Option<u8>) -> Action {
    Action::Resubmit {
        port: port.map(OfPort),
        table,
        ct_tuple: false,
    }
}

fn udp() -> Vec<u8> {
    Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4(SRC, DST)
        .udp(1000, 53)
        .payload(&[7; 20])
        .build()
}

fn mpls_udp(entries: &[(u32, u8)]) -> Vec<u8> {
    let mut frame = Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    for (at, (label, ttl)) in entries.iter().enumerate() {
        frame = frame.mpls(mpls::Repr {
            label: *label,
            traffic_class: 3,
            bottom: at + 1 == entries.len(),
            ttl: *ttl,
        });
    }
    frame.ipv4(SRC, DST).udp(1000, 53).payload(&[7; 20]).build()
}

/// What came of a frame.
#[derive(Default)]
struct Came {
    /// Ports and frames.
    out: Vec<(u32, Vec<u8>)>,
    punts: Vec<(Arc<crate::pipeline::Punt>, Vec<u8>)>,
    drops: Drops,
    first: Translation,
    /// How often headers were read again.
    again: usize,
}

impl Came {
    fn ports(&self) -> Vec<u32> {
        self.out.iter().map(|(port, _)| *port).collect()
    }

    fn text(&self) -> String {
        actions_text(&self.first.actions, 0x0800, |port| port.0.to_string())
    }
}

/// Sends a frame in by a port.
fn send(tables: &Tables, port: u32, frame: &[u8]) -> Came {
    let shared = SharedFrames::new(64, 2).expect("memory");
    let mut pool = FramePool::new(Arc::clone(&shared));
    let mut chunk = pool.chunk().expect("free");
    let range = HEADROOM..HEADROOM + frame.len();
    chunk.bytes_mut()[range.clone()].copy_from_slice(frame);
    let packet = Packet::new(chunk, range, PortIndex(port), Offload::default());

    let mut came = Came::default();
    let conntrack = Conntrack::new(5);
    let mut sink = Sink::default();
    let mut waiting = vec![(None::<Again>, Some(packet))];
    while let Some((again, packet)) = waiting.pop() {
        let (packet, before) = match (again, packet) {
            (Some(again), _) => (again.packet, Some((again.key, again.tracked, again.frozen))),
            (None, Some(packet)) => (packet, None),
            (None, None) => continue,
        };
        let mut read = extract(packet.head(), packet.len(), OfPort(port)).expect("long enough");
        let answer = match &before {
            None => translate(tables, &read.key.to_dense(), PortIndex(port), None),
            Some((key, tracked, frozen)) => {
                came.again += 1;
                read.key = read.key.again(key, tracked, frozen.id);
                resume(tables, &read.key.to_dense(), frozen, None)
            }
        };
        let tools = Tools {
            pool: &mut pool,
            sink: &mut sink,
            drops: &mut came.drops,
            now: Moment(0),
            conntrack: &conntrack,
            fragments: &mut FragmentCounts::default(),
        };
        let why_not = answer.drop.unwrap_or(DropReason::RuleDrop);
        execute(packet, &read, &answer.actions, why_not, tools);
        if before.is_none() {
            came.first = answer;
        }
        for (port, packet) in sink.outputs.drain(..) {
            came.out.push((port.0, packet.to_vec()));
            pool.drop_packet(packet);
        }
        for Punted { what, packet, .. } in sink.punted.drain(..) {
            came.punts.push((what, packet.to_vec()));
            pool.drop_packet(packet);
        }
        waiting.extend(sink.again.drain(..).rev().map(|again| (Some(again), None)));
    }
    pool.drain();
    let (chunks, larges) = shared.region().len();
    assert_eq!(
        shared.free_len(),
        (chunks as usize, larges as usize),
        "a frame is lost"
    );
    came
}

fn instructions(apply: Vec<Action>, write: Vec<Action>, goto: Option<u8>) -> Instructions {
    Instructions {
        apply: apply.into(),
        write: write.into(),
        goto,
        ..Instructions::default()
    }
}

#[test]
fn instructions_come_in_their_order_and_the_set_at_the_end() {
    let udp_out = any().with(Field::EthType, 0x0800).with(Field::IpProto, 17);
    let tables = tables(vec![
        flow(
            0,
            1,
            any(),
            instructions(vec![out(4)], vec![out(2)], Some(1)),
        ),
        flow(
            1,
            9,
            udp_out,
            Instructions {
                clear: true,
                write: vec![out(3), set(Field::IpTtl, 9)].into(),
                metadata: Some((5, 0xf)),
                goto: Some(2),
                ..Instructions::default()
            },
        ),
        flow(1, 1, any(), Instructions::default()),
        flow(2, 1, any().with(Field::Metadata, 5), vec![out(5)]),
    ]);
    let came = send(&tables, 1, &udp());
    assert_eq!(came.ports(), [4, 5, 3], "the set comes last");
    assert_eq!(came.out[0].1[22], 64);
    assert_eq!(
        came.out[2].1[22], 9,
        "writes of the set come before its output"
    );
    let icmp = Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4(SRC, DST)
        .icmp(8, 0, 1)
        .build();
    assert_eq!(send(&tables, 1, &icmp).ports(), [4, 2]);
    let lookups: Vec<_> = came
        .first
        .lookups
        .iter()
        .map(|l| (l.table, l.matched))
        .collect();
    assert_eq!(lookups, [(0, true), (1, true), (2, true)]);
}

#[test]
fn a_table_without_a_flow_drops_the_packet_and_its_set() {
    let tables = tables(vec![flow(
        0,
        1,
        any(),
        instructions(vec![], vec![out(2)], Some(7)),
    )]);
    let came = send(&tables, 1, &udp());
    assert!(came.out.is_empty());
    assert_eq!(came.drops.of(DropReason::NoFlow), 1);
}

/// The Open vSwitch test "ofproto-dpif - resubmit".
#[test]
fn resubmits_come_back_and_leave_the_input_port_alone() {
    let tables = tables(vec![
        flow(
            0,
            1000,
            from(1),
            vec![
                out(10),
                resubmit(Some(2), None),
                out(19),
                resubmit(Some(3), None),
                out(21),
            ],
        ),
        flow(
            0,
            1500,
            from(2),
            vec![
                out(11),
                resubmit(None, Some(1)),
                out(16),
                resubmit(Some(2), Some(1)),
                out(18),
            ],
        ),
        flow(0, 2000, from(3), vec![out(20)]),
        flow(
            1,
            1000,
            from(1),
            vec![
                out(12),
                resubmit(Some(4), Some(1)),
                out(13),
                resubmit(Some(3), None),
                out(15),
            ],
        ),
        flow(1, 1500, from(2), vec![out(17), resubmit(None, Some(2))]),
        flow(1, 1500, from(3), vec![out(14), resubmit(None, Some(2))]),
    ]);
    let came = send(&tables, 1, &udp());
    assert_eq!(came.text(), "10,11,12,13,14,15,16,17,18,19,20,21");
}

#[test]
fn loops_of_lookups_end_and_drop_the_packet() {
    let deep = tables(vec![flow(0, 1, any(), vec![resubmit(None, None), out(2)])]);
    let came = send(&deep, 1, &udp());
    assert_eq!(
        (came.ports().len(), came.first.drop),
        (0, Some(DropReason::TooDeep))
    );
    // 2 to the power of 30 lookups, none of them deeper than 30.
    let wide = tables(
        (1..=30)
            .map(|port| {
                let next = resubmit(Some(port + 1), None);
                flow(0, 1, from(port), vec![next.clone(), next, out(2)])
            })
            .collect(),
    );
    let came = send(&wide, 1, &udp());
    assert_eq!(
        (came.ports().len(), came.first.drop),
        (0, Some(DropReason::TooMuchWork))
    );
    assert!(came.first.lookups.len() <= MAX_ENTRIES);
}

#[test]
fn a_goto_is_no_detour_and_may_lead_through_all_tables() {
    let mut flows: Vec<_> = (0..253)
        .map(|table| {
            flow(
                table,
                1,
                any(),
                instructions(vec![], vec![], Some(table + 1)),
            )
        })
        .collect();
    flows.push(flow(253, 1, any(), vec![out(2)]));
    assert_eq!(send(&tables(flows), 1, &udp()).ports(), [2]);
}

/// The Open vSwitch tests "ofproto-dpif - registers" and "- push-pop".
#[test]
fn registers_and_the_stack_carry_values() {
    let both = Subfield::whole(Field::Reg0);
    let tables = tables(vec![
        flow(
            0,
            1,
            any(),
            vec![
                load(Field::Reg0, 0x000d_b000),
                Action::Load {
                    dst: part(Field::Reg0, 20, 12),
                    value: 0xdea,
                },
                Action::Load {
                    dst: part(Field::Reg0, 0, 12),
                    value: 0xeef,
                },
                Action::Move {
                    src: part(Field::Reg0, 20, 12),
                    dst: part(Field::Reg2, 0, 12),
                },
                resubmit(None, Some(1)),
                load(Field::Reg0, 3),
                Action::StackPush(both),
                load(Field::Reg0, 4),
                Action::StackPush(both),
                Action::StackPop(Subfield::whole(Field::Reg1)),
                Action::OutputField {
                    src: Subfield::whole(Field::Reg1),
                    max_len: 0,
                },
                Action::StackPop(both),
                Action::OutputField {
                    src: both,
                    max_len: 0,
                },
                load(Field::Reg0, 0x0011_00ff),
                Action::OutputField {
                    src: both,
                    max_len: 0,
                },
                Action::StackPop(both),
            ],
        ),
        flow(
            1,
            1,
            any()
                .with(Field::Xreg0, 0xdead_beef << 32)
                .with(Field::Reg2, 0xdea),
            vec![out(20)],
        ),
    ]);
    let came = send(&tables, 1, &udp());
    assert_eq!(came.ports(), [20, 4, 3]);
    assert_eq!(came.first.mask.field(Field::Ipv4Dst), 0);
}

#[test]
fn a_loaded_input_port_is_the_input_port() {
    let tables = tables(vec![flow(
        0,
        1,
        any(),
        vec![out(1), out(9), set(Field::InPort, 9), out(1), out(9)],
    )]);
    assert_eq!(send(&tables, 1, &udp()).ports(), [9, 1]);
}

#[test]
fn a_clone_leaves_no_trace() {
    let inner = vec![
        set(Field::Ipv4Dst, 7),
        load(Field::Reg0, 9),
        out(2),
        Action::Exit,
        out(5),
    ];
    let tables = tables(vec![
        flow(
            0,
            1,
            any(),
            vec![
                Action::Clone(inner),
                Action::Clone(vec![Action::PushMpls(0x8847), out(4)]),
                out(3),
                resubmit(None, Some(1)),
            ],
        ),
        flow(1, 1, any().with(Field::Reg0, 0), vec![out(6)]),
    ]);
    let came = send(&tables, 1, &udp());
    assert_eq!(came.ports(), [2, 4, 3, 6]);
    assert_eq!(came.out[0].1[30..34], [0, 0, 0, 7]);
    assert_eq!(came.out[1].1[12..14], [0x88, 0x47]);
    assert_eq!(came.out[2].1, udp());
    assert_eq!(came.out[3].1, udp());
}

#[test]
fn exit_ends_everything_but_the_action_set() {
    let tables = tables(vec![
        flow(
            0,
            1,
            any(),
            instructions(vec![out(2), resubmit(None, Some(1)), out(3)], vec![], None),
        ),
        flow(
            1,
            1,
            any(),
            instructions(vec![out(4), Action::Exit, out(5)], vec![], None),
        ),
    ]);
    assert_eq!(send(&tables, 1, &udp()).ports(), [2, 4]);
    let tables = self::tables(vec![
        flow(0, 1, any(), instructions(vec![], vec![out(6)], Some(1))),
        flow(1, 1, any(), vec![out(2), Action::Exit, out(3)]),
    ]);
    assert_eq!(send(&tables, 1, &udp()).ports(), [2, 6]);
}

fn bucket(id: u32, actions: Vec<Action>) -> Bucket {
    Bucket {
        id,
        weight: 1,
        watch_port: OfPort::ANY,
        watch_group: GROUP_ANY,
        actions,
    }
}

/// The Open vSwitch tests "all group in action list" and "group actions have no effect afterwards".
#[test]
fn groups_work_on_copies_and_go_before_outputs_in_a_set() {
    let group = Group {
        id: 5,
        kind: GroupKind::All,
        selection: vswitch_flow::group::SelectionMethod::Default,
        buckets: vec![
            bucket(0, vec![out(10), set(Field::Ipv4Src, 0xc0a8_035a)]),
            bucket(1, vec![out(11)]),
        ],
    };
    let flows = |instructions| {
        let flows = vec![flow(0, 1, any(), instructions)];
        with_groups(&desired(30), vec![group.clone()], flows)
    };
    let apply = flows(instructions(vec![Action::Group(5), out(12)], vec![], None));
    let came = send(&apply, 1, &udp());
    assert_eq!(came.ports(), [10, 11, 12]);
    assert_eq!(came.out[0].1[26..30], [192, 168, 3, 90]);
    assert_eq!(came.out[1].1, udp());
    assert_eq!(came.out[2].1, udp());
    let write = flows(instructions(vec![], vec![out(13), Action::Group(5)], None));
    assert_eq!(send(&write, 1, &udp()).ports(), [10, 11]);
    assert_eq!(came.first.groups.len(), 1);
}

/// The Open vSwitch test "ofproto-dpif - dec_ttl".
#[test]
fn a_used_up_ttl_ends_the_list_and_controllers_hear_of_it() {
    let dec = || Action::DecTtl(vec![0, 7]);
    let tables = tables(vec![
        flow(
            0,
            1,
            any(),
            vec![dec(), out(2), resubmit(Some(1), Some(1)), out(4)],
        ),
        flow(1, 1, any(), vec![dec(), out(3)]),
    ]);
    let frame = |ttl| {
        let mut frame = udp();
        frame[22] = ttl;
        frame
    };
    let came = send(&tables, 1, &frame(3));
    assert_eq!(came.ports(), [2, 3, 4]);
    assert_eq!(
        came.out.iter().map(|(_, f)| f[22]).collect::<Vec<_>>(),
        [2, 1, 1]
    );
    let came = send(&tables, 1, &frame(2));
    assert_eq!(came.ports(), [2, 4]);
    let told: Vec<_> = came
        .punts
        .iter()
        .map(|(p, _)| (p.to.reason, p.to.id, p.table))
        .collect();
    assert_eq!(
        told,
        [(Reason::InvalidTtl, 0, 1), (Reason::InvalidTtl, 7, 1)]
    );
}

/// `dec_ttl` without numbers told nobody.
#[test]
fn a_used_up_ttl_goes_to_controller_0_when_no_number_is_named() {
    let tables = tables(vec![flow(
        0,
        1,
        any(),
        vec![Action::DecTtl(Vec::new()), out(2)],
    )]);
    let mut frame = udp();
    frame[22] = 1;
    let came = send(&tables, 1, &frame);
    assert!(came.ports().is_empty());
    let [(told, _)] = came.punts.as_slice() else {
        panic!("one controller hears of it: {:?}", came.punts);
    };
    assert_eq!((told.to.reason, told.to.id), (Reason::InvalidTtl, 0));
}

#[test]
fn controllers_are_told_why_and_with_which_fields() {
    let tables = tables(vec![
        flow(0, 0, any(), vec![Action::Output(OfPort::CONTROLLER)]),
        FlowRule {
            cookie: 0x77,
            ..flow(
                3,
                1,
                any(),
                vec![load(Field::Reg3, 5), Action::Output(OfPort::CONTROLLER)],
            )
        },
        flow(
            0,
            1,
            from(2),
            instructions(vec![], vec![Action::Output(OfPort::CONTROLLER)], None),
        ),
        flow(0, 1, from(3), instructions(vec![], vec![], Some(3))),
    ]);
    let reason = |port| {
        let came = send(&tables, port, &udp());
        assert_eq!(came.drops.total(), 0, "who was told has the packet");
        let (punt, bytes) = &came.punts[0];
        assert_eq!(*bytes, udp());
        (punt.to.reason, punt.table, punt.cookie, punt.in_port.0)
    };
    assert_eq!(reason(1), (Reason::NoMatch, 0, 0, 1));
    assert_eq!(reason(2), (Reason::ActionSet, 0, u64::MAX, 2));
    assert_eq!(reason(3), (Reason::Action, 3, 0x77, 3));
    let came = send(&tables, 3, &udp());
    let fields = came.punts[0].0.match_of(&vswitch_flow::SparseKey::new());
    assert_eq!(fields, any().with(Field::Reg3, 5));
}

#[test]
fn a_miss_goes_to_controllers_where_the_bridge_says_so() {
    let mut desired = desired(3);
    desired.bridges[0].miss_to_controller = true;
    desired.ports[1].config.no_packet_in = true;
    let tables = with_groups(&desired, vec![], vec![]);
    let came = send(&tables, 1, &udp());
    assert!(came.punts[0].0.implicit_miss);
    assert_eq!(came.punts[0].0.to.reason, Reason::NoMatch);
    assert!(send(&tables, 2, &udp()).punts.is_empty());
}

#[test]
fn port_configuration_is_obeyed() {
    let mut desired = desired(7);
    desired.ports[1].config.down = true;
    desired.ports[2].config.no_recv = true;
    desired.ports[3].config.no_fwd = true;
    desired.ports[4].config.no_flood = true;
    desired.ports[5].config.no_recv_stp = true;
    let flows = vec![
        flow(
            0,
            9,
            any().with(Field::EthType, 0x0800),
            vec![Action::Output(OfPort::FLOOD)],
        ),
        flow(0, 1, any(), vec![Action::Output(OfPort::ALL)]),
    ];
    let tables = with_groups(&desired, vec![], flows);
    assert_eq!(send(&tables, 1, &udp()).ports(), [3, 6, 7], "flood");
    let stp = Builder::eth([2, 0, 0, 0, 0, 1], [1, 0x80, 0xc2, 0, 0, 0])
        .arp_request(SRC, DST)
        .build();
    assert_eq!(send(&tables, 1, &stp).ports(), [3, 5, 6, 7], "all");
    for (port, frame, comes_in) in [
        (2, udp(), false),
        (3, udp(), false),
        (3, stp.clone(), true),
        (6, stp, false),
        (6, udp(), true),
    ] {
        assert_eq!(
            !send(&tables, port, &frame).out.is_empty(),
            comes_in,
            "{port}"
        );
    }
}

#[test]
fn an_action_set_has_an_order_of_its_own() {
    let set_of = |actions: Vec<Action>| in_order(&actions);
    let all = set_of(vec![
        out(1),
        Action::Group(3),
        set(Field::IpTtl, 1),
        Action::DecTtl(vec![]),
        Action::CopyTtlOut,
        Action::PushVlan(0x8100),
        Action::PushPbb(0x88e7),
        Action::PushMpls(0x8847),
        Action::PopVlan,
        Action::CopyTtlIn,
        set(Field::IpTtl, 2),
        out(2),
    ]);
    let wanted = [
        Action::CopyTtlIn,
        Action::PopVlan,
        Action::PushMpls(0x8847),
        Action::PushPbb(0x88e7),
        Action::PushVlan(0x8100),
        Action::CopyTtlOut,
        Action::DecTtl(vec![]),
        set(Field::IpTtl, 1),
        set(Field::IpTtl, 2),
        Action::Group(3),
    ];
    assert_eq!(all, wanted);
    assert_eq!(set_of(vec![out(1), out(2)]), [out(2)]);
    assert!(set_of(vec![set(Field::IpTtl, 1)]).is_empty());
}

#[test]
fn the_set_says_where_it_would_send() {
    let flows = |write: Vec<Action>| {
        tables(vec![
            flow(0, 1, any(), instructions(vec![], write, Some(1))),
            flow(1, 9, any().with(Field::ActsetOutput, 2), vec![out(9)]),
            flow(
                1,
                1,
                any().with(Field::ActsetOutput, OfPort::UNSET.0.into()),
                vec![out(8)],
            ),
        ])
    };
    assert_eq!(send(&flows(vec![out(2)]), 1, &udp()).ports(), [9, 2]);
    assert_eq!(
        send(&flows(vec![set(Field::IpTtl, 2)]), 1, &udp()).ports(),
        [8]
    );
}

#[test]
fn the_second_half_of_a_way_does_not_outlive_its_tables() {
    let flows = vec![flow(
        0,
        1,
        any(),
        vec![Action::PopMpls(0x0800), resubmit(None, Some(1))],
    )];
    let old = tables(flows.clone());
    let key = extract(&mpls_udp(&[(1, 2)]), 80, OfPort(1))
        .expect("long enough")
        .key
        .to_dense();
    let answer = translate(&old, &key, PortIndex(1), None);
    let Some(DpAction::Recirculate(frozen)) = answer.actions.last() else {
        panic!("headers are read again");
    };
    let new = old
        .set_flows(BridgeId(1), flows, 9, Tick(0))
        .expect("it is there");
    assert_eq!(
        resume(&new, &key, frozen, None).drop,
        Some(DropReason::TablesChanged)
    );
    let rule: &Arc<Rule> = &answer.rules[0];
    assert_eq!(rule.flow().table, 0);
}

#[test]
fn what_follows_a_header_can_be_said_anew() {
    let write = |field, value| tables(vec![flow(0, 1, any(), vec![set(field, value), out(2)])]);
    let came = send(&write(Field::EthType, 0x8848), 1, &udp());
    assert_eq!(
        came.out[0].1,
        [&udp()[..12], &[0x88, 0x48], &udp()[14..]].concat()
    );
    let came = send(&write(Field::MplsBos, 0), 1, &mpls_udp(&[(100, 9)]));
    assert_eq!(came.out[0].1[14..18], [0, 6, 0x46, 9]);
    let tcp = Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4(SRC, DST)
        .tcp(1, 2, tcp::ACK)
        .payload(&[7; 20])
        .build();
    let came = send(&write(Field::IpProto, 17), 1, &tcp);
    let frame = &came.out[0].1;
    assert_eq!(frame[23], 17);
    assert_eq!(vswitch_packet::checksum::checksum(&frame[14..34]), 0);
    let mut sum = vswitch_packet::checksum::Sum::pseudo_v4(SRC, DST, 17, 40);
    sum.add(&frame[34..]);
    assert!(sum.is_whole(), "the pseudo header has the new protocol");
    // Something that looks at the fields behind gets them as they are read then.
    let tables = tables(vec![
        flow(
            0,
            1,
            any(),
            vec![set(Field::IpProto, 17), resubmit(None, Some(1))],
        ),
        flow(
            1,
            1,
            any()
                .with(Field::EthType, 0x0800)
                .with(Field::IpProto, 17)
                .with(Field::UdpDst, 2),
            vec![out(3)],
        ),
    ]);
    let came = send(&tables, 1, &tcp);
    assert_eq!((came.ports(), came.again), (vec![3], 1));
}
