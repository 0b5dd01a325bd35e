use vswitch_dpapi::{
    BridgeId, BridgeSpec, Desired, Fragments, PortConfig, PortId, PortKind, PortSpec, VlanSpec,
};
use vswitch_flow::text::{parse_flow, parse_match};
use vswitch_flow::{CT_WORD, OfPort, PACKET_WORDS};

use super::*;
use crate::conntrack::request::Meta;
use crate::pipeline::{
    Start, Tables, Translation, actions_text, resume, resume_tracked, trace, translate,
};
use crate::port::PortIndex;
use crate::tick::Tick;

const BRIDGE: BridgeId = BridgeId(1);

fn tables(flows: &[&str]) -> Tables {
    let desired = Desired {
        bridges: vec![BridgeSpec {
            id: BRIDGE,
            name: "br0".to_owned(),
            mac_table_size: 100,
            mac_aging_time: 300,
            mirrors: Vec::new(),
            flow_limits: Vec::new(),
            miss_to_controller: false,
            fragments: Fragments::Normal,
        }],
        ports: (1..=4)
            .map(|id| PortSpec {
                id: PortId(id),
                bridge: BRIDGE,
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
    };
    let flows = flows
        .iter()
        .map(|flow| parse_flow(flow, &|_| None).expect(flow));
    Tables::build(&desired, None, 1, 42)
        .and_then(|tables| tables.set_flows(BRIDGE, flows.collect(), 3, Tick(0)))
        .expect("well formed")
}

fn key(text: &str) -> FlowKey {
    parse_match(text, &|_| None).expect(text).key()
}

/// What happens to a packet of port 1.
fn answer(tables: &Tables, packet: &str) -> Translation {
    translate(tables, &key(packet), PortIndex(1), None)
}

fn text(tables: &Tables, actions: &[DpAction]) -> String {
    actions_text(actions, 0x0800, |index| {
        tables.port(index).expect("a port").of_port.0.to_string()
    })
}

/// What the only `ct` of a list asks.
fn asked(translation: &Translation) -> &CtAction {
    let mut asked = translation
        .actions
        .iter()
        .filter_map(|action| match action {
            DpAction::Ct(ct) => Some(&**ct),
            _ => None,
        });
    let first = asked.next().expect("something is tracked");
    assert!(asked.next().is_none(), "only one is");
    first
}

/// What happens to the copy of a packet that tracking found to be `meta`.
fn tracked(tables: &Tables, packet: &str, frozen: &Frozen, meta: &Meta) -> Translation {
    let mut key = key(packet);
    key.set(Field::RecircId, frozen.id.into());
    key.words[CT_WORD..PACKET_WORDS].copy_from_slice(&meta.words());
    resume(tables, &key, frozen, None)
}

fn found(state: u8, zone: u16) -> Meta {
    Meta {
        state,
        zone,
        ..Meta::default()
    }
}

#[test]
fn what_is_asked_is_spelled_as_open_vswitch_spells_it() {
    for (actions, expected) in [
        ("ct()", "ct"),
        ("ct(commit),2", "ct(commit),2"),
        ("ct(commit,force,zone=7),2", "ct(force_commit,zone=7),2"),
        ("ct(nat),2", "ct(nat),2"),
        (
            "ct(commit,zone=1,nat(src=10.1.1.240)),2",
            "ct(commit,zone=1,nat(src=10.1.1.240)),2",
        ),
        (
            "ct(commit,nat(src=10.1.1.240-10.1.1.254:34567-34568,random)),2",
            "ct(commit,nat(src=10.1.1.240-10.1.1.254:34567-34568,random)),2",
        ),
        (
            "ct(commit,nat(dst=10.1.1.2:80,hash,persistent)),2",
            "ct(commit,nat(dst=10.1.1.2:80,persistent,hash)),2",
        ),
        (
            "ct(commit,exec(set_field:1->ct_mark,set_field:0x2/0xf->ct_label)),2",
            "ct(commit,mark=0x1/0xffffffff,label=0x2/0xf),2",
        ),
        (
            "ct(commit,exec(set_field:0xff->ct_label)),2",
            "ct(commit,label=0xff),2",
        ),
        // The last write of a bit counts.
        (
            "ct(commit,exec(load:5->NXM_NX_CT_MARK[0..3],load:2->NXM_NX_CT_MARK[2..4])),2",
            "ct(commit,mark=0x9/0x1f),2",
        ),
        ("ct_clear,2", "2"),
        ("ct(zone=1),ct_clear,2", "ct(zone=1),ct_clear,2"),
        ("clone(ct(commit),2),3", "clone(ct(commit),2),3"),
        ("clone(ct(commit),2)", "ct(commit),2"),
    ] {
        let tables = tables(&[&format!("udp actions={actions}")]);
        let answer = answer(&tables, "udp");
        assert_eq!(text(&tables, &answer.actions), expected, "{actions}");
    }
}

#[test]
fn helpers_are_named() {
    let tables = tables(&["tcp actions=ct(commit,alg=ftp),2"]);
    let answer = answer(&tables, "tcp,tp_dst=21");
    assert_eq!(text(&tables, &answer.actions), "ct(commit,helper=ftp),2");
}

#[test]
fn a_copy_goes_on_with_what_was_found_and_the_packet_without() {
    let tables = tables(&[
        "ip,ct_state=-trk actions=load:5->reg0,ct(table=1,zone=3),resubmit(,2)",
        "table=1,ip,reg0=5,ct_state=+trk+est,ct_zone=3 actions=1,in_port",
        "table=1,ip,ct_state=+trk+new actions=4",
        "table=2,ip,ct_state=-trk actions=2",
        "table=2,ip,ct_state=+trk actions=3",
    ]);
    let packet = "udp,nw_src=10.0.0.1,nw_dst=10.0.0.2";
    let first = answer(&tables, packet);
    let frozen = asked(&first).table.clone().expect("a copy goes on");
    assert_eq!(
        text(&tables, &first.actions),
        format!("ct(zone=3),recirc({:#x}),2", frozen.id)
    );
    assert_eq!(asked(&first).rest, None);
    let mask = first.mask.field(Field::CtState);
    assert_eq!(mask, 0x20, "only what table 0 read");

    for (meta, way) in [
        (found(0x22, 3), "1"),
        (found(0x21, 3), "4"),
        (found(0x22, 9), "drop"),
    ] {
        let copy = tracked(&tables, packet, &frozen, &meta);
        assert_eq!(text(&tables, &copy.actions), way, "{meta:?}");
        assert_ne!(copy.mask.field(Field::CtState), 0);
    }
}

#[test]
fn what_zone_and_exec_read_is_in_the_mask() {
    let tables = tables(&["udp actions=ct(commit,zone=NXM_OF_UDP_DST[0..7],\
         exec(move:NXM_OF_ETH_SRC[0..7]->NXM_NX_CT_MARK[8..15])),2"]);
    let answer = answer(&tables, "udp,dl_src=02:00:00:00:00:55,tp_dst=0x1234");
    let request = &asked(&answer).request;
    assert_eq!((request.zone, request.mark), (0x34, (0x5500, 0xff00)));
    assert_eq!(answer.mask.field(Field::UdpDst), 0xff);
    assert_eq!(answer.mask.field(Field::EthSrc), 0xff);
    // Whether it is a fragment, and whether it has ports.
    assert_eq!(answer.mask.field(Field::IpFrag), 3);
}

#[test]
fn the_zone_of_an_earlier_ct_is_read_from_the_packet() {
    let tables = tables(&[
        "ip,ct_state=-trk actions=ct(zone=5,table=0)",
        "ip,ct_state=+trk actions=ct(commit,zone=NXM_NX_CT_ZONE[]),2",
    ]);
    let first = answer(&tables, "udp");
    let frozen = asked(&first).table.clone().expect("a copy goes on");
    let second = tracked(&tables, "udp", &frozen, &found(0x21, 5));
    assert_eq!(asked(&second).request.zone, 5);
    assert_eq!(second.mask.field(Field::CtZone), 0xffff);
}

#[test]
fn a_fragment_goes_on_when_it_has_been_tracked() {
    let tables = tables(&[
        "ip,ct_state=-trk actions=ct(table=1),2",
        "table=1,ip actions=3",
    ]);
    let answer = answer(&tables, "udp,ip_frag=later");
    let ct = asked(&answer);
    let (copy, rest) = (ct.table.clone(), ct.rest.clone());
    let (copy, rest) = (copy.expect("a copy"), rest.expect("an output is left"));
    assert_eq!(answer.actions.len(), 1, "nothing stands behind it");
    let packet = "udp,ip_frag=later";
    let meta = found(0x22, 0);
    let way = |frozen| text(&tables, &tracked(&tables, packet, frozen, &meta).actions);
    assert_eq!((way(&copy), way(&rest)), ("3".to_owned(), "2".to_owned()));
    // What is left of an untracked packet is untracked.
    let mask = tracked(&tables, packet, &rest, &meta).mask;
    assert_eq!(mask.field(Field::CtState), 0);

    let nothing_left = self::tables(&["ip actions=ct(commit,table=1)", "table=1,ip actions=3"]);
    let answer = self::answer(&nothing_left, "udp,ip_frag=first");
    assert_eq!(asked(&answer).rest, None);
}

#[test]
fn what_is_written_after_a_translation_is_written_whatever_was_there() {
    let tables = tables(&[
        "udp,nw_src=10.0.0.1,tp_dst=53 actions=set_field:10.0.0.1->nw_src,set_field:7->udp_src,\
         ct(commit,nat(src=10.9.9.9)),set_field:10.0.0.1->nw_src,set_field:54->udp_dst,2",
    ]);
    let answer = answer(&tables, "udp,nw_src=10.0.0.1,tp_src=9,tp_dst=53");
    assert_eq!(
        text(&tables, &answer.actions),
        "set(udp(src=7)),ct(commit,nat(src=10.9.9.9)),set(ipv4(src=10.0.0.1)),set(udp(dst=54)),2"
    );
}

#[test]
fn a_lookup_by_the_connections_tuple_reads_the_connections_fields() {
    let tables = tables(&[
        "ip,ct_state=-trk actions=ct(table=1)",
        "table=1,ip,ct_state=+trk actions=resubmit(,2,ct),resubmit(,2)",
        "table=2,udp,nw_src=10.0.0.1,nw_dst=10.0.0.64,tp_dst=53 actions=2",
        "table=2,udp,nw_src=10.0.0.2 actions=3",
    ]);
    let packet = "udp,nw_src=10.0.0.2,nw_dst=10.0.0.1,tp_src=5353,tp_dst=1000";
    let frozen = asked(&answer(&tables, packet)).table.clone();
    let frozen = frozen.expect("a copy goes on");
    let mut meta = found(0x2a, 0);
    let untracked = tracked(&tables, packet, &frozen, &meta);
    assert_eq!(text(&tables, &untracked.actions), "3", "there is no tuple");
    meta.original = Some(crate::conntrack::tuple::Tuple {
        family: crate::conntrack::tuple::Family::V4,
        protocol: 17,
        src: 0x0a00_0001,
        dst: 0x0a00_0040,
        src_port: 1000,
        dst_port: 53,
    });
    let answer = tracked(&tables, packet, &frozen, &meta);
    assert_eq!(text(&tables, &answer.actions), "2,3");
    for field in [
        Field::CtIpv4Src,
        Field::CtIpv4Dst,
        Field::CtTpDst,
        Field::CtProto,
    ] {
        assert_eq!(answer.mask.field(field), field.info().max(), "{field}");
    }
}

#[test]
fn a_trace_goes_on_behind_tracking() {
    let tables = tables(&[
        "udp,ct_state=-trk actions=ct(commit,zone=1,nat(src=10.9.9.9:700),table=0)",
        "udp,ct_state=+new,ct_zone=1,nw_src=10.9.9.9,tp_src=700 actions=2",
        "udp,ct_state=+est actions=3",
    ]);
    let packet = key("udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_src=5,tp_dst=53");
    let start = Start::Port(BRIDGE, OfPort(1));
    let first = trace(&tables, &packet, start, None, false).expect("a bridge");
    let story = first.lines.join("\n");
    for line in [
        " -> A clone of the packet is forked to recirculate. The forked pipeline will be resumed \
         at table 0.",
        " -> Sets the packet to an untracked state, and clears all the conntrack fields.",
        "\nFinal flow: unchanged\nMegaflow: recirc_id=0,ct_state=-trk,eth,udp,in_port=1,",
    ] {
        assert!(story.contains(line), "{line:?} is not in\n{story}");
    }
    let ct = asked(&first.translation);
    let frozen = ct.table.clone().expect("a copy goes on");
    assert_eq!(
        text(&tables, &first.translation.actions),
        format!(
            "ct(commit,zone=1,nat(src=10.9.9.9:700)),recirc({:#x})",
            frozen.id
        )
    );
    let further = |next, translates| {
        let mut key = *first.stops.get(&frozen.id).expect("known");
        let (how, lines) = resume_tracked(ct, &mut key, next, translates);
        let second = trace(&tables, &key, Start::Stop(&frozen), None, false).expect("a bridge");
        (how, lines, text(&tables, &second.translation.actions))
    };
    assert_eq!(
        further(None, true),
        (
            "default ct_state=trk|new (use --ct-next to customize)".to_owned(),
            vec![
                "Replacing src/dst IP/ports to simulate NAT:".to_owned(),
                " Initial flow: nw_src=10.0.0.1,tp_src=5,nw_dst=10.0.0.2,tp_dst=53".to_owned(),
                " Modified flow: nw_src=10.9.9.9,tp_src=700,nw_dst=10.0.0.2,tp_dst=53".to_owned(),
            ],
            "2".to_owned()
        )
    );
    assert_eq!(
        further(Some(0x22), false),
        ("ct_state=est|trk".to_owned(), Vec::new(), "3".to_owned())
    );
}
