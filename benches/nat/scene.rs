//! The contenders: two hosts on two subnets, and the routers that translate between them.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use vswitch_benches::traffic::{Copies, FIRST_PORT, Sink, Source, without_checksum};
use vswitch_packet::build::Builder;
use vswitch_packet::tcp;
use vswitch_sys::bpf::programs::Word;
use vswitch_tests::device;
use vswitch_tests::netns::Namespace;
use vswitch_tests::ovs::Ovs;
use vswitch_tests::process::Switch;
use vswitch_tests::programs::{collect, limited, must};
use vswitch_tests::topology::{Kind, Topology};

use crate::{KERNEL, OURS, OURS_TAP, OVS};

pub(crate) const SOURCE_CORE: usize = 0;
const SWITCH_CORE: u32 = 1;
const MTU: u32 = 1500;

const LEFT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
/// The second host.
pub(crate) const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
/// The router's, towards each of them.
const GATEWAYS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 2, 0, 1)];

/// Ethernet addresses of the hosts, and of the router towards each of them.
const HOST_MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 2], [2, 0, 0, 0, 2, 2]];
const ROUTER_MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 2, 1]];

/// The port that established connections go to.
const PORT: u16 = 2000;

/// Different ones of the new connections: 16,384 source ports to 512 destination ports.
const NEW_LEN: u32 = 1 << 23;

/// Where UDP and TCP over IPv4 without options have their ports, and TCP its sequence number.
const SRC_PORT_AT: u16 = 34;
const DST_PORT_AT: u16 = 36;
const SEQ_AT: u16 = 38;

/// What differs from datagram to datagram that begins a connection, and from SYN to SYN, of which
/// the sequence number keeps the checksum right.
const NEW_UDP: &[(u16, Word)] = &[(SRC_PORT_AT, Word::Low), (DST_PORT_AT, Word::High)];
const NEW_TCP: &[(u16, Word)] = &[
    (SRC_PORT_AT, Word::Low),
    (DST_PORT_AT, Word::High),
    (SEQ_AT, Word::NotLow),
    (SEQ_AT + 2, Word::NotHigh),
];

/// How long frames of connections that are to be established are sent in each direction in turn, how
/// often at most, and how many answers to each are to arrive.
const ESTABLISHING: Duration = Duration::from_millis(200);
const ESTABLISHING_TRIES: usize = 20;
const ANSWERS: u64 = 4;

/// Who takes a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Afxdp,
    Tap,
    Kernel,
    Ovs,
}

/// What stands between the hosts.
#[derive(Debug)]
enum Router {
    Switch(Topology),
    Kernel(Namespace),
    Ovs(Ovs),
}

/// A contender during its turn.
#[derive(Debug)]
pub(crate) struct Standing {
    contender: Contender,
    hosts: [Namespace; 2],
    router: Router,
}

/// Of what new connections are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum New {
    Udp,
    Tcp,
}

/// Makes sure that what contenders need is there.
pub(crate) fn prepare() -> Result<()> {
    let here = Namespace::here()?;
    here.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
    for (program, package) in [("nft", "nftables"), ("conntrack", "conntrack")] {
        if collect(limited(program).arg("--version")).map_or(true, |o| !o.status.success()) {
            bail!("{program} is missing: apt-get install {package}");
        }
    }
    Ok(())
}

impl Contender {
    pub(crate) const ALL: [Self; 4] = [Self::Afxdp, Self::Kernel, Self::Ovs, Self::Tap];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Afxdp => OURS,
            Self::Tap => OURS_TAP,
            Self::Kernel => KERNEL,
            Self::Ovs => OVS,
        }
    }

    /// Whether frames of the XDP source are sent over it.
    pub(crate) fn has_frames(self) -> bool {
        self != Self::Tap
    }

    pub(crate) fn start(self) -> Result<Standing> {
        let (hosts, router) = match self {
            Self::Afxdp => switch(Kind::Afxdp)?,
            Self::Tap => switch(Kind::Tap)?,
            Self::Kernel => kernel()?,
            Self::Ovs => open_vswitch()?,
        };
        for (at, host) in hosts.iter().enumerate() {
            settle(host, at)?;
        }
        Ok(Standing {
            contender: self,
            hosts,
            router,
        })
    }
}

impl Standing {
    pub(crate) fn contender(&self) -> Contender {
        self.contender
    }

    pub(crate) fn hosts(&self) -> &[Namespace; 2] {
        &self.hosts
    }

    /// Has so many connections answered.
    pub(crate) fn establish(&self, len: u32) -> Result<()> {
        self.forget()?;
        let [left, right] = &self.hosts;
        let (answered, _sink) = (Sink::attach(left, "eth0")?, Sink::attach(right, "eth0")?);
        // More are sent than a router can take: what is lost comes again.
        let wanted = ANSWERS * u64::from(len);
        for _ in 0..ESTABLISHING_TRIES {
            for (host, copies) in [(left, established(len)), (right, answers(len))] {
                let source = Source::start(host, "eth0", copies, SOURCE_CORE)?;
                std::thread::sleep(ESTABLISHING);
                source.stop()?;
            }
            if answered.packets()? >= wanted {
                return Ok(());
            }
        }
        bail!(
            "of {len} connections {} answers arrived",
            answered.packets()?
        )
    }

    /// Empties the table of connections.
    pub(crate) fn forget(&self) -> Result<()> {
        match &self.router {
            Router::Switch(topology) => topology.switch.vsctl(&["dpctl", "flush-conntrack"]),
            Router::Kernel(router) => router.must("conntrack", &["--flush"]),
            Router::Ovs(ovs) => ovs.appctl(&["dpctl/flush-conntrack"]),
        }?;
        Ok(())
    }
}

/// Frames of this many connections, from the first host.
pub(crate) fn established(len: u32) -> Copies {
    Copies {
        len,
        words: &[(SRC_PORT_AT, Word::Low)],
        ..Copies::alike(datagram(to_right(), FIRST_PORT, PORT))
    }
}

/// What the second host answers: translation has kept the ports.
fn answers(len: u32) -> Copies {
    let back = Builder::eth(HOST_MACS[1], ROUTER_MACS[1]);
    let back = back.ipv4(RIGHT.octets(), GATEWAYS[1].octets());
    Copies {
        len,
        words: &[(DST_PORT_AT, Word::Low)],
        ..Copies::alike(datagram(back, PORT, FIRST_PORT))
    }
}

/// Frames that begin a connection each.
pub(crate) fn new_connections(new: New) -> Copies {
    let (frame, words) = match new {
        New::Udp => (datagram(to_right(), 0, 0), NEW_UDP),
        New::Tcp => (syn(), NEW_TCP),
    };
    Copies {
        len: NEW_LEN,
        words,
        // A call that goes on after the window fills tables no further than this.
        call_len: 100_000,
        ..Copies::alike(frame)
    }
}

fn to_right() -> Builder {
    Builder::eth(HOST_MACS[0], ROUTER_MACS[0]).ipv4(LEFT.octets(), RIGHT.octets())
}

/// A frame of 60 bytes without a checksum of UDP's.
fn datagram(packet: Builder, src_port: u16, dst_port: u16) -> Vec<u8> {
    without_checksum(packet.udp(src_port, dst_port).payload(&[0; 18]).build())
}

/// A SYN of 60 bytes. Words that will differ are 0 in its checksum, as one and its inverse are
/// together (RFC 1071 §2).
fn syn() -> Vec<u8> {
    let repr = tcp::Repr {
        src_port: 0,
        dst_port: 0,
        seq: 0,
        ack: 0,
        flags: tcp::SYN,
        window: 0xffff,
    };
    to_right().tcp_with(repr, &[]).pad_to(60).build()
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Gives a host its addresses and tells it of the router.
fn settle(host: &Namespace, at: usize) -> Result<()> {
    let address = [LEFT, RIGHT][at];
    let (gateway, mac) = (GATEWAYS[at].to_string(), text(ROUTER_MACS[at]));
    host.ip(&["addr", "flush", "dev", "eth0"])?;
    host.ip(&["link", "set", "eth0", "address", &text(HOST_MACS[at])])?;
    device::addresses(host, "eth0", &[&format!("{address}/24")])?;
    device::await_carrier(host, "eth0")?;
    host.ip(&["neigh", "replace", &gateway, "lladdr", &mac, "dev", "eth0"])?;
    host.ip(&["route", "replace", "default", "via", &gateway])?;
    Ok(())
}

/// A masquerade router between two ports, as small as it can be. All ARP is known.
fn flows(left: &str, right: &str) -> String {
    let leave = |at: usize, port: &str| {
        format!(
            "dec_ttl,set_field:{}->eth_src,set_field:{}->eth_dst,output:{port}",
            text(ROUTER_MACS[at]),
            text(HOST_MACS[at]),
        )
    };
    format!(
        "table=0,in_port={left},ip actions=ct(zone=1,nat,table=1)\n\
         table=0,in_port={right},ip actions=ct(zone=1,nat,table=2)\n\
         table=1,ip,ct_state=+trk+new actions=ct(commit,zone=1,nat(src={shown})),{there}\n\
         table=1,ip,ct_state=+trk+est actions={there}\n\
         table=2,ip,ct_state=+trk+est actions={back}\n",
        shown = GATEWAYS[1],
        there = leave(1, right),
        back = leave(0, left),
    )
}

fn switch(kind: Kind) -> Result<([Namespace; 2], Router)> {
    let topology = Topology::with_bridge(Switch::start()?, "nsbr", MTU)?;
    let [left, right] = [(); 2].map(|()| topology.host(kind, true, &[]));
    let (left, right) = (left?, right?);
    let file = topology.switch.rundir().join("flows");
    std::fs::write(&file, flows(&left.port, &right.port))?;
    let file = file.to_str().context("a path of text")?;
    topology
        .switch
        .vsctl(&["replace-flows", &topology.bridge, file])?;
    Ok(([left.namespace, right.namespace], Router::Switch(topology)))
}

fn kernel() -> Result<([Namespace; 2], Router)> {
    let name = "nk-router";
    let (hosts, router) = (Namespace::pair("nk")?, Namespace::create(name)?);
    for (at, device) in ["left", "right"].into_iter().enumerate() {
        device::veth((&router, device), (&hosts[at], "eth0"), MTU)?;
        router.ip(&["link", "set", device, "address", &text(ROUTER_MACS[at])])?;
        device::addresses(&router, device, &[&format!("{}/24", GATEWAYS[at])])?;
        // XDP frames are received by NAPI only, which a veth has with GRO. That runs where the source
        // does; the router is given the other core, as the switches are.
        router.must("ethtool", &["-K", device, "gro", "on"])?;
        let queue = format!("/sys/class/net/{device}/queues/rx-0/rps_cpus");
        let steer = format!("echo {:x} > {queue}", 1 << SWITCH_CORE);
        must(limited("ip").args(["netns", "exec", name, "sh", "-c", &steer]))?;
        let (host, mac) = ([LEFT, RIGHT][at].to_string(), text(HOST_MACS[at]));
        router.ip(&["neigh", "replace", &host, "lladdr", &mac, "dev", device])?;
    }
    router.sysctl("net/ipv4/ip_forward", "1")?;
    router.must(
        "nft",
        &["add table ip nat; \
             add chain ip nat out { type nat hook postrouting priority 100; }; \
             add rule ip nat out oifname right masquerade"],
    )?;
    Ok((hosts, Router::Kernel(router)))
}

fn open_vswitch() -> Result<([Namespace; 2], Router)> {
    let here = Namespace::here()?;
    let (hosts, ovs, bridge) = (Namespace::pair("no")?, Ovs::start()?, "nobr");
    ovs.bridge(bridge, "02:00:00:00:03:01")?;
    ovs.serve_ports_on(SWITCH_CORE)?;
    for ((host, end), number) in hosts.iter().zip(["nol", "nor"]).zip(1..) {
        ovs.afxdp_host(bridge, (&here, end), number, host, MTU)?;
    }
    let file = ovs.rundir().join("flows");
    std::fs::write(&file, flows("1", "2"))?;
    let file = file.to_str().context("a path of text")?;
    ovs.ofctl(&["add-flows", bridge, file])?;
    Ok((hosts, Router::Ovs(ovs)))
}
