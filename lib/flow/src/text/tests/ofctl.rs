//! Flows against what `ovs-ofctl -O OpenFlow13 parse-flow` of Open vSwitch 3.1.0 makes of them.

use super::*;
use crate::rule::FlowCommand;

/// What is typed, and match and actions as they are shown.
const SHOWN: &[(&str, &str)] = &[
    (
        "actions=output:1,output:65533,in_port,table,normal,flood,all,local,LOCAL,CONTROLLER:128,controller",
        "actions=output:1,CONTROLLER:65535,IN_PORT,TABLE,NORMAL,FLOOD,ALL,LOCAL,LOCAL,CONTROLLER:128,CONTROLLER:65535",
    ),
    (
        "actions=controller(reason=no_match,max_len=128,id=5),controller(userdata=01.02.03,pause,meter_id=5),controller(max_len=77),controller(reason=invalid_ttl)",
        "actions=controller(reason=no_match,max_len=128,id=5),controller(userdata=01.02.03,pause,meter_id=5),CONTROLLER:77,controller(reason=invalid_ttl)",
    ),
    ("actions=controller()", "actions=CONTROLLER:65535"),
    (
        "actions=output(port=1,max_len=100),output(max_len=64,port=local)",
        "actions=output(port=1,max_len=100),output(port=LOCAL,max_len=64)",
    ),
    (
        "actions=output:reg0,output:NXM_NX_REG0[0..15],output:reg0[5],output:xxreg1[0..31]",
        "actions=output:NXM_NX_REG0[],output:NXM_NX_REG0[0..15],output:NXM_NX_REG0[5],output:NXM_NX_XXREG1[0..31]",
    ),
    (
        "actions=group:5,set_queue:3,enqueue:1:2,enqueue(3,4),pop_queue",
        "actions=group:5,set_queue:3,set_queue:2,output:1,pop_queue,set_queue:4,output:3,pop_queue,pop_queue",
    ),
    (
        "ip,actions=dec_ttl,dec_ttl(1,2,3)",
        "ip actions=dec_ttl,dec_ttl(1,2,3)",
    ),
    (
        "actions=resubmit:1,resubmit(1),resubmit(,2),resubmit(1,2),resubmit(in_port,5)",
        "actions=resubmit:1,resubmit:1,resubmit(,2),resubmit(1,2),resubmit(,5)",
    ),
    ("actions=exit", "actions=exit"),
    (
        "actions=ct_clear,clone(output:1,set_field:00:00:00:00:00:01->eth_src,clone(output:2)),output:3",
        "actions=ct_clear,clone(output:1,set_field:00:00:00:00:00:01->eth_src,clone(output:2)),output:3",
    ),
    (
        "tcp,actions=ct(commit,zone=5,alg=ftp),ct(commit,exec(set_field:0x5->ct_mark,load:0x1->NXM_NX_CT_LABEL[0..7],move:NXM_NX_REG0[]->NXM_NX_CT_MARK[])),ct(nat),ct(commit,nat(src=10.0.0.1)),ct(commit,nat(dst=10.0.0.1-10.0.0.9:80-90,random),table=1)",
        "tcp actions=ct(commit,zone=5,alg=ftp),ct(commit,exec(set_field:0x5->ct_mark,load:0x1->NXM_NX_CT_LABEL[0..7],move:NXM_NX_REG0[]->NXM_NX_CT_MARK[])),ct(nat),ct(commit,nat(src=10.0.0.1)),ct(commit,table=1,nat(dst=10.0.0.1-10.0.0.9:80-90,random))",
    ),
    (
        "udp,actions=ct(commit,alg=tftp,nat(src=1.2.3.4,hash,persistent))",
        "udp actions=ct(commit,nat(src=1.2.3.4,persistent,hash),alg=tftp)",
    ),
    (
        "tcp6,actions=ct(commit,nat(src=fe80::1)),ct(commit,nat(src=[fe80::1]:80)),ct(commit,nat(dst=fe80::1-fe80::9)),ct(commit,nat(dst=[fe80::1]-[fe80::9]:1-5,random))",
        "tcp6 actions=ct(commit,nat(src=fe80::1)),ct(commit,nat(src=[fe80::1]:80)),ct(commit,nat(dst=fe80::1-fe80::9)),ct(commit,nat(dst=[fe80::1]-[fe80::9]:1-5,random))",
    ),
    (
        "actions=learn(table=1,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15],output:NXM_OF_IN_PORT[])",
        "actions=learn(table=1,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15],output:NXM_OF_IN_PORT[])",
    ),
    (
        "tcp,actions=learn(table=1,eth_type=0x800,nw_proto=6,tcp_dst=80,reg0[0..15]=0x5,ip_src=1.2.3.4,NXM_OF_TCP_SRC[]=NXM_OF_TCP_DST[],load:0->NXM_OF_TCP_SRC[])",
        "tcp actions=learn(table=1,eth_type=0x800,nw_proto=6,tcp_dst=80,NXM_NX_REG0[0..15]=0x5,ip_src=1.2.3.4,NXM_OF_TCP_SRC[]=NXM_OF_TCP_DST[],load:0->NXM_OF_TCP_SRC[])",
    ),
    (
        "actions=conjunction(5,1/3),conjunction(6,2/2),note:00.01.02.03.04.05",
        "actions=conjunction(5,1/3),conjunction(6,2/2),note:00.01.02.03.04.05",
    ),
    (
        "conj_id=5,ip,actions=output:1",
        "conj_id=5,ip actions=output:1",
    ),
    (
        "actions=multipath(eth_src,50,modulo_n,1,0,NXM_NX_REG0[]),multipath(symmetric_l3l4+udp,7,iter_hash,10,3,reg1[0..7])",
        "actions=multipath(eth_src,50,modulo_n,1,0,NXM_NX_REG0[]),multipath(symmetric_l3l4+udp,7,iter_hash,10,3,NXM_NX_REG1[0..7])",
    ),
    (
        "actions=bundle(eth_src,0,hrw,ofport,members:4,8),bundle_load(eth_src,0,active_backup,ofport,NXM_NX_REG0[],members:[1,2]),bundle(nw_src,3,hrw,ofport,slaves:1)",
        "actions=bundle(eth_src,0,hrw,ofport,members:4,8),bundle_load(eth_src,0,active_backup,ofport,NXM_NX_REG0[],members:1,2),bundle(nw_src,3,hrw,ofport,members:1)",
    ),
    (
        "actions=check_pkt_larger(1000)->NXM_NX_REG0[5],check_pkt_larger(200)->reg0[0]",
        "actions=check_pkt_larger(1000)->NXM_NX_REG0[5],check_pkt_larger(200)->NXM_NX_REG0[0]",
    ),
    (
        "tcp,actions=fin_timeout(idle_timeout=5),fin_timeout(hard_timeout=7,idle_timeout=9),fin_timeout()",
        "tcp actions=fin_timeout(idle_timeout=5),fin_timeout(idle_timeout=9,hard_timeout=7),fin_timeout()",
    ),
    (
        "actions=sample(probability=12345,collector_set_id=23456,obs_domain_id=34567,obs_point_id=45678),sample(probability=1,collector_set_id=1,obs_domain_id=2,obs_point_id=3,sampling_port=5)",
        "actions=sample(probability=12345,collector_set_id=23456,obs_domain_id=34567,obs_point_id=45678),sample(probability=1,collector_set_id=1,obs_domain_id=2,obs_point_id=3,sampling_port=5)",
    ),
    (
        "actions=push:NXM_NX_REG0[],pop:NXM_NX_REG1[0..7],push:reg2[3]",
        "actions=push:NXM_NX_REG0[],pop:NXM_NX_REG1[0..7],push:NXM_NX_REG2[3]",
    ),
    (
        "actions=push_vlan:0x8100,push_vlan:0x88a8,set_field:4101->vlan_vid,set_field:3->vlan_pcp,pop_vlan",
        "actions=push_vlan:0x8100,push_vlan:0x88a8,set_field:4101->vlan_vid,set_field:3->vlan_pcp,pop_vlan",
    ),
    (
        "actions=push_mpls:0x8847,set_field:5->mpls_label,set_mpls_label:10,set_mpls_tc:3,set_mpls_ttl:5,dec_mpls_ttl,pop_mpls:0x0800,dec_ttl",
        "actions=push_mpls:0x8847,set_field:5->mpls_label,set_field:10->mpls_label,set_field:3->mpls_tc,set_mpls_ttl(5),dec_mpls_ttl,pop_mpls:0x0800,dec_ttl",
    ),
    (
        "mpls,actions=pop_mpls:0x800,mod_nw_src:1.2.3.4",
        "mpls actions=pop_mpls:0x0800,set_field:1.2.3.4->ip_src",
    ),
    (
        "ip,actions=load:0x5->NXM_OF_IP_DST[],load:1->reg0[4..7],load:0->reg1[],load:0xffff->OXM_OF_METADATA[0..15],move:NXM_OF_IP_SRC[]->reg0,move:reg0[0..15]->reg1[16..31]",
        "ip actions=load:0x5->NXM_OF_IP_DST[],load:0x1->NXM_NX_REG0[4..7],load:0->NXM_NX_REG1[],load:0xffff->OXM_OF_METADATA[0..15],move:NXM_OF_IP_SRC[]->NXM_NX_REG0[],move:NXM_NX_REG0[0..15]->NXM_NX_REG1[16..31]",
    ),
    (
        "actions=meter:5,output:1,clear_actions,write_actions(set_field:00:00:00:00:00:01->eth_dst,output:2),write_metadata:0x5/0xff,goto_table:7",
        "actions=meter:5,output:1,clear_actions,write_actions(set_field:00:00:00:00:00:01->eth_dst,output:2),write_metadata:0x5/0xff,goto_table:7",
    ),
    (
        "actions=write_metadata:0x5,goto_table:3",
        "actions=write_metadata:0x5,goto_table:3",
    ),
    ("actions=write_actions(drop)", "actions=drop"),
    ("actions=clear_actions", "actions=clear_actions"),
    ("actions=meter:5", "actions=meter:5"),
    ("table=5,actions=goto_table:6", "actions=goto_table:6"),
    (
        "actions=set_field:1->reg0,set_field:0x5->xreg0,set_field:0x1234567890abcdef1234->xxreg0,set_field:5->pkt_mark,set_field:6->tun_id,set_field:1.2.3.4->tun_dst,set_field:fe80::1->tun_ipv6_src,set_field:0->metadata,set_field:7->in_port",
        "actions=set_field:0x1->reg0,set_field:0x5->xreg0,set_field:0x1234567890abcdef1234->xxreg0,set_field:0x5->pkt_mark,set_field:0x6->tun_id,set_field:1.2.3.4->tun_dst,set_field:fe80::1->tun_ipv6_src,set_field:0->metadata,set_field:7->in_port",
    ),
    (
        "actions=set_field:5->tun_gbp_id,set_field:3->tun_gbp_flags,set_field:oam->tun_flags",
        "actions=set_field:5->tun_gbp_id,set_field:0x3->tun_gbp_flags,set_field:oam->tun_flags",
    ),
    (
        "arp,actions=set_field:2->arp_op,set_field:1.2.3.4->arp_spa,set_field:00:00:00:00:00:01->arp_sha,move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[]",
        "arp actions=set_field:2->arp_op,set_field:1.2.3.4->arp_spa,set_field:00:00:00:00:00:01->arp_sha,move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[]",
    ),
    (
        "icmp,actions=set_field:3->icmp_type,set_field:4->icmp_code",
        "icmp actions=set_field:3->icmp_type,set_field:4->icmp_code",
    ),
    (
        "icmp6,icmp_type=135,actions=set_field:fe80::1->nd_target,set_field:00:00:00:00:00:01->nd_sll",
        "icmp6,icmp_type=135 actions=set_field:fe80::1->nd_target,set_field:00:00:00:00:00:01->nd_sll",
    ),
    (
        "icmp6,icmp_type=136,actions=set_field:00:00:00:00:00:01->nd_tll",
        "icmp6,icmp_type=136 actions=set_field:00:00:00:00:00:01->nd_tll",
    ),
    (
        "sctp,actions=set_field:5->sctp_src,mod_tp_dst:9",
        "sctp actions=set_field:5->sctp_src,set_field:9->sctp_dst",
    ),
    (
        "udp,actions=mod_tp_src:5",
        "udp actions=set_field:5->udp_src",
    ),
    (
        "actions=mod_dl_src:00:00:00:00:00:01,mod_dl_dst:00:00:00:00:00:02,mod_vlan_vid:5,mod_vlan_pcp:3",
        "actions=set_field:00:00:00:00:00:01->eth_src,set_field:00:00:00:00:00:02->eth_dst,push_vlan:0x8100,set_field:4101->vlan_vid,set_field:3->vlan_pcp",
    ),
    (
        "ip,actions=mod_nw_tos:184,mod_nw_ecn:2,mod_nw_ttl:9,mod_nw_src:1.2.3.4",
        "ip actions=set_field:46->ip_dscp,set_field:2->nw_ecn,mod_nw_ttl:9,set_field:1.2.3.4->ip_src",
    ),
    (
        "dl_vlan=1,actions=set_vlan_vid:5,set_vlan_pcp:2",
        "dl_vlan=1 actions=set_field:4101->vlan_vid,set_field:2->vlan_pcp",
    ),
    (
        "actions=set_tunnel:5,set_tunnel64:6",
        "actions=set_field:0x5->tun_id,set_field:0x6->tun_id",
    ),
    ("actions=1,2,3", "actions=output:1,output:2,output:3"),
    ("actions=", "actions=drop"),
    ("in_port=1,actions=", "in_port=1 actions=drop"),
    (
        "priority=5,in_port=65534,actions=1",
        "in_port=LOCAL actions=output:1",
    ),
    (
        "ct_state=new|trk,actions=drop",
        "ct_state=new|trk actions=drop",
    ),
    (
        "ct_state=0x21,actions=drop",
        "ct_state=new|trk actions=drop",
    ),
    (
        "ct_state=0/0x21,actions=drop",
        "ct_state=-new-trk actions=drop",
    ),
    ("ct_state=-trk,actions=drop", "ct_state=-trk actions=drop"),
    (
        "ct_mark=1/1,ct_label=0x1/0x1,ct_label=0x1/0x1,actions=drop",
        "ct_mark=0x1/0x1,ct_label=0x1/0x1 actions=drop",
    ),
    (
        "tun_ipv6_src=fe80::1,tun_ipv6_dst=fe80::/16,tun_gbp_id=0x5/0xff,tun_gbp_flags=3,tun_flags=-oam,actions=drop",
        "tun_ipv6_src=fe80::1,tun_ipv6_dst=fe80::/16,tun_gbp_id=0x5/0xff,tun_gbp_flags=0x3,tun_flags=-oam actions=drop",
    ),
    (
        "xreg0=0x123456789,xreg1=0x5/0xff,xxreg2=0x1/0x1,actions=drop",
        "reg0=0x1,reg1=0x23456789,reg3=0x5/0xff,reg11=0x1/0x1 actions=drop",
    ),
    (
        "NXM_NX_REG0[0..3]=5,reg0[8..11]=2,tun_id[0..7]=1,actions=drop",
        "reg0=0x205/0xf0f,tun_id=0x1/0xff actions=drop",
    ),
    (
        "mpls,mpls_label=5,mpls_tc=3,mpls_bos=1,mpls_ttl=9,actions=drop",
        "mpls,mpls_label=5,mpls_tc=3,mpls_ttl=9,mpls_bos=1 actions=drop",
    ),
    ("mplsm,actions=drop", "mplsm actions=drop"),
    (
        "vlan_tci=0x1000/0x1000,actions=drop",
        "vlan_tci=0x1000/0x1000 actions=drop",
    ),
    ("vlan_vid=0x1005,actions=drop", "dl_vlan=5 actions=drop"),
    (
        "vlan_vid=0/0x1000,actions=drop",
        "vlan_tci=0x0000/0x1000 actions=drop",
    ),
    ("dl_vlan_pcp=3,actions=drop", "dl_vlan_pcp=3 actions=drop"),
    (
        "dl_vlan=5,dl_vlan_pcp=0,actions=drop",
        "dl_vlan=5,dl_vlan_pcp=0 actions=drop",
    ),
    (
        "vlan_tci=0x1005/0x10ff,actions=drop",
        "vlan_tci=0x1005/0x10ff actions=drop",
    ),
    ("dl_type=0x88cc,actions=drop", "dl_type=0x88cc actions=drop"),
    (
        "dl_type=0x806,arp_op=1,actions=drop",
        "arp,arp_op=1 actions=drop",
    ),
    (
        "rarp,arp_spa=1.2.3.4,actions=drop",
        "rarp,arp_spa=1.2.3.4 actions=drop",
    ),
    ("ip,nw_proto=47,actions=drop", "ip,nw_proto=47 actions=drop"),
    (
        "ipv6,nw_proto=0,ipv6_label=5,actions=drop",
        "ipv6,ipv6_label=0x00005,nw_proto=0 actions=drop",
    ),
    (
        "icmp,icmp_type=3,actions=drop",
        "icmp,icmp_type=3 actions=drop",
    ),
    (
        "icmp6,icmpv6_type=135,icmpv6_code=0,nd_target=fe80::/64,nd_sll=00:00:00:00:00:01,actions=drop",
        "icmp6,icmp_type=135,icmp_code=0,nd_target=fe80::/64,nd_sll=00:00:00:00:00:01 actions=drop",
    ),
    (
        "icmp6,icmpv6_type=136,nd_tll=00:00:00:00:00:01/ff:ff:ff:00:00:00,actions=drop",
        "icmp6,icmp_type=136,nd_tll=00:00:00:00:00:00/ff:ff:ff:00:00:00 actions=drop",
    ),
    (
        "sctp6,sctp_src=5,actions=drop",
        "sctp6,tp_src=5 actions=drop",
    ),
    (
        "tcp,tcp_flags=+syn-ack,actions=drop",
        "tcp,tcp_flags=+syn-ack actions=drop",
    ),
    (
        "tcp,tcp_flags=0x800/0x800,actions=drop",
        "tcp,tcp_flags=+[800] actions=drop",
    ),
    (
        "tcp,tcp_flags=0,actions=drop",
        "tcp,tcp_flags=0 actions=drop",
    ),
    (
        "ip,nw_frag=first,actions=drop",
        "ip,nw_frag=first actions=drop",
    ),
    (
        "ip,nw_frag=later,actions=drop",
        "ip,nw_frag=later actions=drop",
    ),
    (
        "ip,nw_frag=not_later,actions=drop",
        "ip,nw_frag=not_later actions=drop",
    ),
    ("ip,nw_frag=yes,actions=drop", "ip,nw_frag=yes actions=drop"),
    ("ip,ip_frag=no,actions=drop", "ip,nw_frag=no actions=drop"),
    ("ip,nw_tos=7,actions=drop", "ip,nw_tos=4 actions=drop"),
    ("ip,ip_dscp=46,actions=drop", "ip,nw_tos=184 actions=drop"),
    ("ip,nw_dst=0.0.0.0/0,actions=drop", "ip actions=drop"),
    ("ip,nw_dst=*,actions=drop", "ip actions=drop"),
    (
        "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=drop",
        "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 actions=drop",
    ),
    (
        "ip,nw_src=1.2.3.4/255.0.255.0,actions=drop",
        "ip,nw_src=1.0.3.0/255.0.255.0 actions=drop",
    ),
    ("eth,actions=drop", "actions=drop"),
    (
        "idle_timeout=5,hard_timeout=6,importance=7,cookie=0x5,send_flow_rem,check_overlap,reset_counts,no_packet_counts,no_byte_counts,actions=drop",
        "actions=drop",
    ),
    (
        "actions=clone(clone(clone(output:1)))",
        "actions=clone(clone(clone(output:1)))",
    ),
    (
        "ip,actions=write_actions(mod_nw_src:1.2.3.4,group:1)",
        "ip actions=write_actions(set_field:1.2.3.4->ip_src,group:1)",
    ),
];

/// What it refuses, and so do we.
const REFUSED: &[&str] = &[
    "ip,actions=ct(commit),ct(commit,force),ct(table=5),ct(zone=7),ct(zone=NXM_NX_REG0[0..15]),ct(commit,zone=reg1[0..15],table=3,alg=ftp)",
    "actions=learn(table=2,idle_timeout=10,hard_timeout=20,fin_idle_timeout=1,fin_hard_timeout=2,priority=10,send_flow_rem,delete_learned,cookie=0x123,limit=5,result_dst=reg0[1],eth_type=0x800,nw_proto=6,NXM_OF_IP_SRC[]=NXM_OF_IP_DST[],load:5->reg1[0..7],in_port=5)",
    "tcp,actions=learn(table=1,eth_type=0x800,nw_proto=6,tcp_dst=80,reg0[0..15]=0x5,ip_src=1.2.3.4,ipv6_src=fe80::1)",
    "actions=push_vlan:0x8100,push_vlan:0x88a8,push_vlan:0x8100",
    "ip,actions=push_mpls:0x8847,dec_ttl",
    "actions=pop_vlan",
    "actions=strip_vlan",
    "actions=dec_ttl",
    "actions=set_field:1.2.3.4->ip_dst",
    "actions=goto_table:3,output:1",
    "table=5,actions=goto_table:5",
    "actions=set_vlan_vid:5",
    "actions=drop,1",
    "ip,ct_state=+trk+inv,actions=ct(commit)",
    "actions=ct(commit)",
    "ip,actions=ct(alg=ftp)",
    "ip,actions=ct(force)",
    "ip,actions=ct(exec(set_field:1->reg0))",
    "actions=set_field:1->ct_mark",
    "actions=load:1->NXM_NX_CT_STATE[]",
    "actions=load:0x100->reg0[0..7]",
    "actions=move:reg0[0..7]->reg1[0..8]",
    "actions=conjunction(1,1/2),output:1",
    "actions=conjunction(1,3/2)",
    "actions=conjunction(1,1/65)",
    "actions=multipath(eth_src,50,modulo_n,9,0,reg0[0..2])",
    "actions=sample(probability=0,collector_set_id=1)",
    "actions=fin_timeout(idle_timeout=1)",
    "actions=set_field:5->vlan_vid",
    "actions=output(port=1,max_len=10)",
    "actions=push_vlan:0x1234",
    "ip,actions=mod_nw_tos:185",
    "actions=apply_actions(output:1)",
    "ip,nw_frag=later,nw_proto=6,actions=set_field:5->tcp_src",
    "actions=resubmit(,255)",
    "actions=meter:0",
    "actions=check_pkt_larger(100)->reg0[0..1]",
    "actions=controller(bogus=1)",
    "actions=ct(bogus)",
    "actions=learn(bogus=1)",
    "actions=write_actions(conjunction(1,1/2))",
    "actions=note:0",
    "reg16=1,actions=drop",
];

#[test]
fn every_action_and_field_is_shown_as_ovs_ofctl_shows_it() {
    for (typed, shown) in SHOWN {
        let change = parse_flow_mod(typed, FlowCommand::Add, &Names::default());
        let rule = change
            .unwrap_or_else(|error| panic!("{typed}: {error}"))
            .rule;
        let printed = format!("{} actions={}", rule.matches, rule.instructions);
        assert_eq!(printed.trim_start(), *shown, "{typed}");
        let line = rule.to_string();
        assert_eq!(parse_flow(&line, &no_names).as_ref(), Ok(&rule), "{line}");
    }
}

#[test]
fn what_ovs_ofctl_refuses_is_refused() {
    for typed in REFUSED {
        let change = parse_flow_mod(typed, FlowCommand::Add, &Names::default());
        assert!(change.is_err(), "{typed} was read as {change:?}");
    }
}
