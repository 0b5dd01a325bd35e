//! Flow text against what `ovs-ofctl parse-flow` of Open vSwitch 3.1 makes of it, and the refusals.

mod ofctl;

use super::*;
use crate::action::{Action, OfPort};
use crate::field::Field;
use crate::key::{FlowKey, FlowMask};
use crate::matches::Match;
use crate::rule::{FlowFlags, FlowRule};

fn flow(text: &str) -> FlowRule {
    parse_flow(text, &no_names).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What is typed, and what `ovs-ofctl -O OpenFlow13` shows of it (without the flow's past).
const SPELLINGS: &[(&str, &str)] = &[
    (
        "priority=100,tcp,in_port=1,dl_src=00:11:22:33:44:55,nw_src=10.0.0.0/8,\
         nw_dst=1.2.3.4/255.255.0.255,tp_dst=80,tcp_flags=+syn-ack,actions=output:2",
        "priority=100,tcp,in_port=1,dl_src=00:11:22:33:44:55,nw_src=10.0.0.0/8,\
         nw_dst=1.2.0.4/255.255.0.255,tp_dst=80,tcp_flags=+syn-ack actions=output:2",
    ),
    (
        "tcp,tcp_flags=0x12/0x12,tp_src=0x100/0xff00,actions=drop",
        "tcp,tp_src=0x100/0xff00,tcp_flags=+syn+ack actions=drop",
    ),
    (
        "tcp,tcp_flags=0x112,actions=drop",
        "tcp,tcp_flags=syn|ack|ns actions=drop",
    ),
    (
        "tcp,tcp_flags=0,actions=drop",
        "tcp,tcp_flags=0 actions=drop",
    ),
    (
        "tcp,tcp_flags=0x200/0x200,actions=drop",
        "tcp,tcp_flags=+[200] actions=drop",
    ),
    (
        "udp6,udp_dst=53,ipv6_src=fd00::/16,actions=LOCAL",
        "udp6,ipv6_src=fd00::/16,tp_dst=53 actions=LOCAL",
    ),
    (
        "ip,nw_tos=184,nw_ecn=2,nw_ttl=64,ip_frag=later,actions=normal",
        "ip,nw_tos=184,nw_ecn=2,nw_ttl=64,nw_frag=later actions=NORMAL",
    ),
    (
        "ip,ip_dscp=46,actions=flood,all,in_port,controller",
        "ip,nw_tos=184 actions=FLOOD,ALL,IN_PORT,CONTROLLER:65535",
    ),
    (
        "ip,nw_proto=6,nw_tos=185,actions=drop",
        "tcp,nw_tos=184 actions=drop",
    ),
    (
        "arp,arp_op=1,arp_spa=10.0.0.1,arp_tpa=10.0.0.0/24,arp_sha=00:00:00:00:00:01,\
         actions=output:1,output:2",
        "arp,arp_spa=10.0.0.1,arp_tpa=10.0.0.0/24,arp_op=1,arp_sha=00:00:00:00:00:01 \
         actions=output:1,output:2",
    ),
    (
        "arp,nw_src=1.2.3.4,nw_proto=1,actions=drop",
        "arp,arp_spa=1.2.3.4,arp_op=1 actions=drop",
    ),
    (
        "icmp,icmp_type=8,icmp_code=0,actions=normal",
        "icmp,icmp_type=8,icmp_code=0 actions=NORMAL",
    ),
    (
        "icmp6,icmpv6_type=135,nd_target=fe80::1,nd_sll=00:00:00:00:00:01,actions=normal",
        "icmp6,icmp_type=135,nd_target=fe80::1,nd_sll=00:00:00:00:00:01 actions=NORMAL",
    ),
    (
        "dl_vlan=10,dl_vlan_pcp=3,actions=strip_vlan,output:1",
        "dl_vlan=10,dl_vlan_pcp=3 actions=pop_vlan,output:1",
    ),
    (
        "vlan_tci=0x1000/0x1000,actions=pop_vlan",
        "vlan_tci=0x1000/0x1000 actions=pop_vlan",
    ),
    (
        "vlan_tci=0x1064,actions=normal",
        "dl_vlan=100,dl_vlan_pcp=0 actions=NORMAL",
    ),
    (
        "vlan_vid=0x1000/0x1000,actions=mod_vlan_vid:10,mod_vlan_pcp:3,output:1",
        "vlan_tci=0x1000/0x1000 actions=set_field:4106->vlan_vid,set_field:3->vlan_pcp,output:1",
    ),
    (
        "vlan_tci=0/0x1fff,actions=push_vlan:0x8100,set_field:0x1064->vlan_vid,output:1",
        "vlan_tci=0x0000/0x1fff actions=push_vlan:0x8100,set_field:4196->vlan_vid,output:1",
    ),
    (
        "dl_vlan=0xffff,actions=normal",
        "vlan_tci=0x0000 actions=NORMAL",
    ),
    (
        "dl_type=0x88cc,actions=controller",
        "dl_type=0x88cc actions=CONTROLLER:65535",
    ),
    (
        "dl_type=0x0800,nw_proto=47,actions=normal",
        "ip,nw_proto=47 actions=NORMAL",
    ),
    (
        "mpls,mpls_label=5,mpls_tc=1,mpls_bos=1,actions=normal",
        "mpls,mpls_label=5,mpls_tc=1,mpls_bos=1 actions=NORMAL",
    ),
    (
        "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=drop",
        "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 actions=drop",
    ),
    (
        "tcp,tp_dst=80,actions=set_field:1.2.3.4->ip_dst,mod_dl_dst:00:00:00:00:00:01,\
         mod_nw_src:9.9.9.9,mod_nw_tos:184,mod_tp_src:9,normal",
        "tcp,tp_dst=80 actions=set_field:1.2.3.4->ip_dst,set_field:00:00:00:00:00:01->eth_dst,\
         set_field:9.9.9.9->ip_src,set_field:46->ip_dscp,set_field:9->tcp_src,NORMAL",
    ),
    (
        "ipv6,actions=set_field:0x12/0xff->ipv6_label,set_field:fe80::/ffff::->ipv6_src,1",
        "ipv6 actions=set_field:0x12/0xff->ipv6_label,set_field:fe80::/16->ipv6_src,output:1",
    ),
    (
        "metadata=0x5/0xff,actions=normal",
        "metadata=0x5/0xff actions=NORMAL",
    ),
    (
        "ip6,ipv6_label=0x12345,actions=normal",
        "ipv6,ipv6_label=0x12345 actions=NORMAL",
    ),
    (
        "in_port=LOCAL,rarp,actions=normal",
        "rarp,in_port=LOCAL actions=NORMAL",
    ),
    (
        "in_port=65534 actions=1,2,LOCAL",
        "in_port=LOCAL actions=output:1,output:2,LOCAL",
    ),
    (
        "ip,nw_src=10.0.0.1,ip_frag=not_later,actions=normal",
        "ip,nw_src=10.0.0.1,nw_frag=not_later actions=NORMAL",
    ),
    ("priority=0 actions=normal", "priority=0 actions=NORMAL"),
    ("priority=5,tcp6,actions=", "priority=5,tcp6 actions=drop"),
    ("actions=drop", "actions=drop"),
];

#[test]
fn flows_are_shown_as_open_vswitch_shows_them() {
    for (typed, shown) in SPELLINGS {
        let parsed = flow(typed);
        let printed = parsed.to_string();
        assert_eq!(printed, format!("cookie=0x0, table=0, {shown}"), "{typed}");
        assert_eq!(flow(&printed), parsed, "{printed}");
    }
}

#[test]
fn what_belongs_to_the_flow_is_kept_and_its_past_is_passed_over() {
    let text = "cookie=0x5, duration=12.3s, table=3, n_packets=4, n_bytes=380, idle_timeout=10, \
                hard_timeout=20, importance=7, send_flow_rem check_overlap reset_counts \
                idle_age=1, priority=7,sctp,tp_dst=7 actions=NORMAL";
    let read = flow(text);
    assert_eq!((read.cookie, read.table, read.priority), (5, 3, 7));
    assert_eq!(
        (read.idle_timeout, read.hard_timeout, read.importance),
        (10, 20, 7)
    );
    assert!(read.flags.has(FlowFlags(0b111)));
    assert_eq!(flow(&read.to_string()), read);
    assert_eq!(flow("actions=drop").priority, DEFAULT_PRIORITY);
}

#[test]
fn fields_come_in_any_order() {
    let text = "tp_dst=80,nw_src=10.0.0.1,nw_proto=6,dl_type=0x800,actions=drop";
    assert_eq!(
        flow(text).matches,
        flow("tcp,nw_src=10.0.0.1,tp_dst=80 actions=").matches
    );
}

#[test]
fn a_tag_is_pushed_before_it_is_written_unless_the_match_has_one() {
    let actions = |text: &str| flow(text).instructions.apply;
    let set = Action::SetField {
        field: Field::VlanVid,
        value: 0x1005,
        mask: 0x1fff,
    };
    assert_eq!(
        *actions("actions=mod_vlan_vid:5"),
        [Action::PushVlan(0x8100), set.clone()]
    );
    let tagged = actions("dl_vlan=1,actions=mod_vlan_vid:5");
    assert_eq!(*tagged, *std::slice::from_ref(&set));
    assert_eq!(
        *actions("dl_vlan=1,actions=pop_vlan,mod_vlan_vid:5"),
        [Action::PopVlan, Action::PushVlan(0x8100), set]
    );
}

#[test]
fn ports_have_names_where_the_caller_knows_them() {
    let names = |name: &str| (name == "web0").then_some(OfPort(12));
    let read = parse_flow("in_port=web0,actions=output:web0,web0", &names).unwrap();
    assert_eq!(read.matches.key().field(Field::InPort), 12);
    let out = Action::Output(OfPort(12));
    assert_eq!(*read.instructions.apply, [out.clone(), out]);
    assert!(parse_flow("in_port=web1,actions=drop", &names).is_err());
}

#[test]
fn errors_say_where_what_and_what_is_allowed() {
    for (text, shown) in [
        (
            "bogus=1,actions=drop",
            "unknown field; fields are listed in",
        ),
        (
            "tcp_dts=1,actions=drop",
            "similar ones are tcp_src, tcp_dst, tcp_flags, at character 1",
        ),
        (
            "tcp_dst=80,actions=drop",
            "tcp_dst needs tcp or tcp6 in the match, at character 1",
        ),
        (
            "ip,tp_dst=80,actions=drop",
            "tp_dst needs tcp, udp or sctp (or the same with 6)",
        ),
        (
            "ip,nw_src=10.0.0,actions=drop",
            "nw_src must be an IPv4 address such as 10.0.0.1, with",
        ),
        (
            "ip,nw_src=1.1.1.1/33,actions=drop",
            "nw_src must be an IPv4 address",
        ),
        (
            "vlan_tci=0xfffff,actions=drop",
            "vlan_tci must be a number up to 65535, with /mask",
        ),
        (
            "dl_vlan=4096,actions=drop",
            "a VLAN number up to 4095, or 0xffff for no tag",
        ),
        ("dl_type=0x800/0xff00,actions=drop", "dl_type takes no mask"),
        (
            "dl_src=1:2:3:4:5,actions=drop",
            "dl_src must be an Ethernet address",
        ),
        (
            "dl_src=1:2:3:4:5:6:7,actions=drop",
            "dl_src must be an Ethernet address",
        ),
        (
            "tcp,udp,actions=drop",
            "udp contradicts what was said before it, at character 5",
        ),
        ("tcp=1,actions=drop", "tcp takes no value"),
        (
            "in_port,actions=drop",
            "in_port needs a value: a port number, LOCAL, or a port's name",
        ),
        (
            "tcp,tcp_flags=+syn+syn,actions=drop",
            "tcp_flags must be flags such as syn|ack",
        ),
        (
            "tcp,tcp_flags=+wow,actions=drop",
            "tcp_flags must be flags such as syn|ack",
        ),
        (
            "priority=65536,actions=drop",
            "priority must be a number up to 65535",
        ),
        ("tcp", "the flow has no actions; write actions=drop"),
        ("actions=fly", "unknown action; actions are listed in"),
        ("actions=drop,1", "drop stands alone"),
        ("actions=1:2", "1 takes no value"),
        ("actions=output", "output needs a value: a port number"),
        (
            "actions=set_field:5",
            "set_field needs a value: value[/mask]->field, at character 9",
        ),
        (
            "actions=set_field:1->ip_frag",
            "ip_frag cannot be set, at character 22",
        ),
        ("actions=set_field:5->vlan_pcp", "vlan_pcp needs a VLAN tag"),
        ("actions=set_field:5->nothing", "unknown field"),
        ("actions=mod_nw_src:1.1.1.1", "nw_src needs ip in the match"),
        ("actions=mod_tp_src:5", "mod_tp_src needs tcp, udp or sctp"),
        (
            "actions=push_vlan:0x1234",
            "push_vlan takes 0x8100 or 0x88a8",
        ),
    ] {
        let error = parse_flow(text, &no_names).expect_err(text).to_string();
        assert!(error.contains(shown), "{text}: {error}");
    }
    let error = parse_match("ip,actions=drop", &no_names).unwrap_err();
    assert_eq!((error.at, error.problem), (3, Problem::Actions));
}

#[test]
fn bits_without_their_packet_are_shown_though_they_cannot_be_typed() {
    let odd = Match::any().with_masked(Field::TcpDst, 80, 0xffff);
    assert_eq!(odd.to_string(), "tcp_dst=80");
    assert!(parse_match("tcp_dst=80", &no_names).is_err());
}

#[test]
fn cached_flows_are_shown_as_dpctl_shows_them() {
    let shown = |fields: &[(Field, u128, u128)]| {
        let (mut key, mut mask) = (FlowKey::default(), FlowMask::default());
        for (field, value, bits) in fields {
            key.set(*field, *value);
            mask.set(*field, *bits);
        }
        DatapathFlow {
            key: &key,
            mask: &mask,
        }
        .to_string()
    };
    let whole = |field: Field, value| (field, value, field.info().max());
    assert_eq!(
        shown(&[
            whole(Field::InPort, 1),
            whole(Field::EthSrc, 0x0200_0000_0001),
            whole(Field::EthDst, 0x0200_0000_0002),
            whole(Field::EthType, 0x0800),
            (Field::Ipv4Src, 0x0a00_0000, 0xff00_0000),
            whole(Field::IpProto, 6),
            (Field::IpFrag, 0, 3),
            (Field::TcpDst, 0x50, 0xfff0),
            whole(Field::TcpFlags, 2),
        ]),
        "recirc_id(0),in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),\
         eth_type(0x0800),ipv4(src=10.0.0.0/255.0.0.0,proto=6,frag=no),tcp(dst=0x50/0xfff0),\
         tcp_flags(syn)"
    );
    assert_eq!(
        shown(&[
            whole(Field::InPort, 2),
            whole(Field::EthType, 0x0806),
            whole(Field::VlanTci, 0x700a),
            whole(Field::VlanTpid, 0x88a8),
            (Field::InnerVlanTci, 0x1014, 0x1fff),
            whole(Field::InnerVlanTpid, 0x8100),
            whole(Field::ArpOp, 1),
        ]),
        "recirc_id(0),in_port(2),eth_type(0x88a8),vlan(vid=10,pcp=3),encap(eth_type(0x8100),\
         vlan(vid=20),encap(eth_type(0x0806),arp(op=1)))"
    );
    assert_eq!(
        shown(&[
            whole(Field::EthType, 0x86dd),
            whole(Field::IpProto, 58),
            whole(Field::Icmp6Type, 135),
            whole(Field::NdTarget, 1),
        ]),
        "recirc_id(0),in_port(0),eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135),nd(target=::1)"
    );
    assert_eq!(
        shown(&[
            whole(Field::RecircId, 1),
            whole(Field::InPort, 2),
            (Field::CtState, 0x2a, 0x2b),
            whole(Field::CtZone, 5),
            (Field::CtMark, 0, 1),
            whole(Field::CtLabel, 0xaa),
            whole(Field::CtIpv4Src, 0x0a00_0001),
            whole(Field::CtTpDst, 53),
            whole(Field::EthType, 0x0800),
        ]),
        "recirc_id(0x1),in_port(2),ct_state(-new+est+rpl+trk),ct_zone(0x5),ct_mark(0/0x1),\
         ct_label(0xaa),ct_tuple4(src=10.0.0.1,tp_dst=53),eth_type(0x0800)"
    );
}
