//! Tunnels between hosts: ours to ours, to Linux and to Open vSwitch, over both families and several
//! kinds of port, with all that passes through a switch.
//!
//! Each host is a namespace; a veth joins them. Behind each is a guest, which knows nothing of
//! tunnels.

use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use vswitch_tests::netns::Namespace;
use vswitch_tests::ovs::Ovs;
use vswitch_tests::process::Switch;
use vswitch_tests::{device, traffic, wait};

use crate::failed;

/// Bytes of a transfer: some hundred super-frames.
const TRANSFER: u64 = 5_000_001;

/// How long the first packet may take: both ends ask for neighbours.
const FIRST: Duration = Duration::from_secs(5);

/// What speaks at the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Far {
    Ours,
    Linux,
    OpenVswitch,
}

/// A trial's world.
#[derive(Clone, Copy, Debug)]
struct World {
    far: Far,
    /// `vxlan` or `geneve`.
    kind: &'static str,
    /// The type of the port that the tunnel's packets leave by, or another way than by a port of a
    /// bridge: `uplink` or `socket`.
    wire: &'static str,
    v6: bool,
    /// The guests' VLAN inside the tunnel.
    tag: Option<&'static str>,
    /// The guests' MTU.
    mtu: u32,
}

const WORLD: World = World {
    far: Far::Ours,
    kind: "vxlan",
    wire: "packet",
    v6: false,
    tag: None,
    mtu: 1400,
};

/// The trials that differ in their world only.
const WORLDS: &[(&str, World)] = &[
    ("ours/vxlan", WORLD),
    (
        "ours/vxlan_afxdp",
        World {
            wire: "afxdp",
            ..WORLD
        },
    ),
    ("ours/vxlan_v6", World { v6: true, ..WORLD }),
    (
        "ours/geneve_vlan",
        World {
            kind: "geneve",
            tag: Some("tag=5"),
            ..WORLD
        },
    ),
    (
        "linux/vxlan",
        World {
            far: Far::Linux,
            ..WORLD
        },
    ),
    (
        "linux/vxlan_v6",
        World {
            far: Far::Linux,
            v6: true,
            ..WORLD
        },
    ),
    (
        "linux/vxlan_afxdp",
        World {
            far: Far::Linux,
            wire: "afxdp",
            ..WORLD
        },
    ),
    (
        "linux/vxlan_v6_afxdp",
        World {
            far: Far::Linux,
            wire: "afxdp",
            v6: true,
            ..WORLD
        },
    ),
    (
        "linux/vxlan_socket",
        World {
            far: Far::Linux,
            wire: "socket",
            ..WORLD
        },
    ),
    (
        "ovs/vxlan",
        World {
            far: Far::OpenVswitch,
            ..WORLD
        },
    ),
    (
        "ovs/geneve_vlan",
        World {
            far: Far::OpenVswitch,
            kind: "geneve",
            tag: Some("tag=5"),
            ..WORLD
        },
    ),
    (
        "ours/vxlan_uplink",
        World {
            wire: "uplink",
            ..WORLD
        },
    ),
    (
        "ours/vxlan_socket",
        World {
            wire: "socket",
            ..WORLD
        },
    ),
    (
        "ours/geneve_v6_socket",
        World {
            kind: "geneve",
            wire: "socket",
            v6: true,
            ..WORLD
        },
    ),
    (
        "ours/geneve_v6_uplink",
        World {
            kind: "geneve",
            wire: "uplink",
            v6: true,
            ..WORLD
        },
    ),
    (
        "linux/vxlan_uplink",
        World {
            far: Far::Linux,
            wire: "uplink",
            ..WORLD
        },
    ),
    (
        "ovs/vxlan_uplink",
        World {
            far: Far::OpenVswitch,
            wire: "uplink",
            ..WORLD
        },
    ),
    (
        "ovs/geneve_socket",
        World {
            far: Far::OpenVswitch,
            kind: "geneve",
            wire: "socket",
            ..WORLD
        },
    ),
];

/// What is tried.
type Trying = fn() -> Result<()>;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<_> = WORLDS
        .iter()
        .map(|(name, world)| {
            Trial::test(format!("tunnels/{name}"), || {
                everything_passes(*world).map_err(|error| failed(&error))
            })
        })
        .collect();
    let others: [(&str, Trying); 5] = [
        ("tunnels/what_the_page_says_works", the_page_works),
        ("tunnels/guests_need_no_smaller_mtu", sizes_adapt),
        ("tunnels/the_kernel_is_followed", the_kernel_is_followed),
        ("tunnels/either_process_may_die", either_process_may_die),
        (
            "tunnels/a_taken_port_is_had_later",
            a_taken_port_is_had_later,
        ),
    ];
    trials.extend(
        others.map(|(name, trying)| {
            Trial::test(name, move || trying().map_err(|error| failed(&error)))
        }),
    );
    trials
}

/// What a host runs.
#[derive(Debug)]
enum Runs {
    Ours(Switch),
    OpenVswitch(Ovs),
    Nothing,
}

/// A host and its guest.
#[derive(Debug)]
struct End {
    // Ended before its namespaces go.
    runs: Runs,
    here: Namespace,
    /// `None`: the host is its own guest.
    guest: Option<Namespace>,
    v4: IpAddr,
    v6: IpAddr,
}

impl End {
    fn guest(&self) -> &Namespace {
        self.guest.as_ref().unwrap_or(&self.here)
    }

    fn ours(&self) -> Result<&Switch> {
        match &self.runs {
            Runs::Ours(switch) => Ok(switch),
            _ => anyhow::bail!("the host does not run our switch"),
        }
    }

    fn said(&self) -> String {
        let switch = match &self.runs {
            Runs::Ours(switch) => switch,
            Runs::OpenVswitch(ovs) => {
                let ask = |words: &[&str]| ovs.appctl(words).unwrap_or_default();
                return ask(&["dpctl/dump-flows"]) + &ask(&["tnl/neigh/show"]);
            }
            Runs::Nothing => return String::new(),
        };
        let ask = |words: &[&str]| switch.vsctl(words).unwrap_or_default();
        format!(
            "{}\n{}{}{}",
            switch.log_tail(),
            ask(&["show"]),
            ask(&["drops"]),
            ask(&["dpctl", "dump-flows"])
        )
    }
}

/// A name that no other namespace of the run has.
fn named(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("tun-{what}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The address of a host on the network between them.
fn outside(host: u8, v6: bool) -> String {
    if v6 {
        format!("fd00:31::{host}")
    } else {
        format!("172.31.9.{host}")
    }
}

fn outside_net(host: u8, v6: bool) -> String {
    format!("{}/{}", outside(host, v6), if v6 { 64 } else { 24 })
}

/// Two hosts with a tunnel between their guests.
fn ends(world: World) -> Result<[End; 2]> {
    let [a, b] = Namespace::pair(&named("host"))?;
    device::veth((&a, "wire"), (&b, "wire"), 1500)?;
    if world.far == Far::OpenVswitch {
        // It takes no checksum that is only begun, and no super-frame.
        for host in [&a, &b] {
            host.must("ethtool", &["-K", "wire", "tx", "off"])?;
        }
    }
    let far = match world.far {
        Far::Ours => ours(b, 2, world)?,
        Far::Linux => linux(b, 2, world)?,
        Far::OpenVswitch => open_vswitch(b, 2, world)?,
    };
    Ok([ours(a, 1, world)?, far])
}

fn inside(host: u8) -> Result<([String; 2], IpAddr, IpAddr)> {
    let (v4, v6) = (format!("10.99.0.{host}"), format!("fd00:99::{host}"));
    let nets = [format!("{v4}/24"), format!("{v6}/64")];
    Ok((nets, v4.parse()?, v6.parse()?))
}

fn ours(here: Namespace, host: u8, world: World) -> Result<End> {
    let switch = here.run(Switch::start)?;
    let guest = Namespace::create(&named("guest"))?;
    let vsctl = |words: &[&str]| switch.vsctl(words);
    let address = outside_net(host, world.v6);
    let by_bridge = !matches!(world.wire, "uplink" | "socket");
    if by_bridge {
        vsctl(&["add-br", "br-u"])?;
        vsctl(&["add-port", "br-u", "wire", &format!("type={}", world.wire)])?;
        here.ip(&["link", "set", "br-u", "up"])?;
        device::addresses(&here, "br-u", &[&address])?;
    } else {
        device::addresses(&here, "wire", &[&address])?;
    }
    vsctl(&["add-br", "br0"])?;
    let remote = format!("remote_ip={}", outside(3 - host, world.v6));
    let kind = format!("type={}", world.kind);
    let way = format!("underlay={}", world.wire);
    let mut words = vec!["add-port", "br0", "tunnel", &kind, &remote, "key=42"];
    if !by_bridge {
        words.push(&way);
    }
    vsctl(&words)?;
    let mtu = format!("mtu={}", world.mtu);
    let mut words = vec!["add-port", "br0", "guest", "type=tap", &mtu];
    words.extend(world.tag);
    vsctl(&words)?;
    device::move_to(&here, "guest", &guest, "eth0")?;
    let (nets, v4, v6) = inside(host)?;
    device::addresses(&guest, "eth0", &nets.each_ref().map(String::as_str))?;
    Ok(End {
        runs: Runs::Ours(switch),
        here,
        guest: Some(guest),
        v4,
        v6,
    })
}

/// Linux is host and guest in one.
fn linux(here: Namespace, host: u8, world: World) -> Result<End> {
    device::addresses(&here, "wire", &[&outside_net(host, world.v6)])?;
    let (local, remote) = (outside(host, world.v6), outside(3 - host, world.v6));
    let words = [
        "link", "add", "eth0", "type", world.kind, "id", "42", "dstport", "4789", "local", &local,
        "remote", &remote,
    ];
    here.ip(&words)?;
    here.ip(&["link", "set", "eth0", "mtu", &world.mtu.to_string(), "up"])?;
    let (nets, v4, v6) = inside(host)?;
    device::addresses(&here, "eth0", &nets.each_ref().map(String::as_str))?;
    Ok(End {
        runs: Runs::Nothing,
        guest: None,
        here,
        v4,
        v6,
    })
}

fn open_vswitch(here: Namespace, host: u8, world: World) -> Result<End> {
    let ovs = here.run(Ovs::start)?;
    let guest = Namespace::create(&named("guest"))?;
    device::veth((&here, "guest"), (&guest, "eth0"), world.mtu)?;
    guest.must("ethtool", &["-K", "eth0", "tx", "off"])?;
    for (bridge, mac) in [("br-u", "02:00:00:00:99:01"), ("br0", "02:00:00:00:99:02")] {
        ovs.bridge(bridge, mac)?;
        ovs.ofctl(&["add-flow", bridge, "actions=normal"])?;
    }
    ovs.port("br-u", "wire", 1)?;
    here.ip(&["link", "set", "br-u", "up"])?;
    device::addresses(&here, "br-u", &[&outside_net(host, world.v6)])?;
    let (kind, remote) = (
        format!("type={}", world.kind),
        format!("options:remote_ip={}", outside(3 - host, world.v6)),
    );
    ovs.vsctl(&[
        "add-port",
        "br0",
        "tunnel",
        "--",
        "set",
        "Interface",
        "tunnel",
        &kind,
        &remote,
        "options:key=42",
    ])?;
    ovs.port("br0", "guest", 2)?;
    if let Some(tag) = world.tag {
        ovs.vsctl(&["set", "Port", "guest", tag])?;
    }
    let (nets, v4, v6) = inside(host)?;
    device::addresses(&guest, "eth0", &nets.each_ref().map(String::as_str))?;
    Ok(End {
        runs: Runs::OpenVswitch(ovs),
        here,
        guest: Some(guest),
        v4,
        v6,
    })
}

/// Does `work` with both ends; its error comes with what our switches said.
fn hold(ends: &[End; 2], work: impl FnOnce(&End, &End) -> Result<()>) -> Result<()> {
    let [a, b] = ends;
    work(a, b).with_context(|| format!("a said:\n{}\nb said:\n{}", a.said(), b.said()))
}

fn everything_passes(world: World) -> Result<()> {
    let ends = ends(world)?;
    hold(&ends, |a, b| {
        // The first question is a broadcast, ARP or a solicitation, across the tunnel.
        for (from, to) in [(a, b), (b, a)] {
            traffic::await_ping(from.guest(), to.v4, FIRST)?;
            traffic::await_ping(from.guest(), to.v6, FIRST)?;
        }
        for (from, to) in [(a, b), (b, a)] {
            for address in [to.v4, to.v6] {
                for size in [1, 56, 1300, 1372, 1373, 3200, 8000] {
                    traffic::ping(from.guest(), address, size, 2)?;
                }
                traffic::tcp(from.guest(), to.guest(), address, TRANSFER)?;
                traffic::udp_echo(from.guest(), to.guest(), address, &[1, 500, 1372, 4000])?;
            }
        }
        Ok(())
    })
}

/// Guests with the MTU of the network outside are told what fits.
fn sizes_adapt() -> Result<()> {
    let ends = ends(World { mtu: 1500, ..WORLD })?;
    hold(&ends, |a, b| {
        for address in [b.v4, b.v6] {
            traffic::await_ping(a.guest(), address, FIRST)?;
            traffic::tcp(a.guest(), b.guest(), address, TRANSFER)?;
        }
        // IPv4 in pieces without a mark against it is cut once more.
        traffic::ping(a.guest(), b.v4, 3000, 2)?;
        let drops = a.ours()?.vsctl(&["drops"])?;
        ensure!(drops.contains("mtu_exceeded"), "nobody was told: {drops}");
        Ok(())
    })
}

/// Routes and addresses that change under traffic.
fn the_kernel_is_followed() -> Result<()> {
    let ends = ends(WORLD)?;
    hold(&ends, |a, b| {
        traffic::await_ping(a.guest(), b.v4, FIRST)?;
        let remote = outside(2, false);
        a.here
            .ip(&["route", "add", "blackhole", &format!("{remote}/32")])?;
        wait::until(FIRST, "the route is noticed", || {
            let shown = a.ours()?.vsctl(&["show"])?;
            Ok(shown.contains("no route leads to").then_some(()))
        })?;
        traffic::ensure_no_ping(a.guest(), b.v4, 56)?;
        a.here.ip(&["route", "del", "blackhole", &remote])?;
        traffic::await_ping(a.guest(), b.v4, FIRST)?;
        a.here.ip(&["neigh", "flush", "dev", "br-u"])?;
        traffic::await_ping(a.guest(), b.v4, FIRST)?;
        Ok(())
    })
}

/// Tunnels outlive the control process, and come back with a new datapath.
fn either_process_may_die() -> Result<()> {
    let mut ends = ends(WORLD)?;
    hold(&ends, |a, b| {
        traffic::await_ping(a.guest(), b.v4, FIRST).map(drop)
    })?;
    let [a, _] = &mut ends;
    let Runs::Ours(switch) = &mut a.runs else {
        anyhow::bail!("the host does not run our switch");
    };
    switch.kill_control()?;
    hold(&ends, |a, b| traffic::ping(a.guest(), b.v4, 1000, 10))?;
    let [End { runs, here, .. }, _] = &mut ends;
    let Runs::Ours(switch) = runs else {
        anyhow::bail!("the host does not run our switch");
    };
    here.run(|| switch.start_control())?;
    hold(&ends, |a, b| {
        traffic::ping(a.guest(), b.v4, 1000, 10)?;
        a.ours()?.kill_datapath()?;
        traffic::await_ping(a.guest(), b.v4, FIRST).map(drop)
    })
}

/// A UDP port of the host that somebody else has is had when it is free, though no news say so.
fn a_taken_port_is_had_later() -> Result<()> {
    let here = Namespace::create(&named("host"))?;
    here.ip(&["tuntap", "add", "wire", "mode", "tap"])?;
    here.ip(&["link", "set", "wire", "up"])?;
    device::addresses(&here, "wire", &[&outside_net(1, false)])?;
    let holder = here.run(|| Ok(UdpSocket::bind(("0.0.0.0", 4789))?))?;
    let switch = here.run(Switch::start)?;
    switch.vsctl(&["add-br", "br0"])?;
    let remote = format!("remote_ip={}", outside(2, false));
    let words = ["add-port", "br0", "tunnel", "type=vxlan", &remote, "key=42"];
    switch.vsctl(&words)?;
    let mut shown = String::new();
    let mut is_short = || -> Result<bool> {
        shown = switch.vsctl(&["show"])?;
        Ok(shown.contains("error:"))
    };
    let waited = wait::until(
        FIRST,
        "the port is missed",
        || Ok(is_short()?.then_some(())),
    );
    drop(holder);
    let waited = waited.and_then(|()| {
        wait::until(
            FIRST,
            "the port is had",
            || Ok((!is_short()?).then_some(())),
        )
    });
    waited.with_context(|| format!("{shown}\n{}", switch.log_tail()))
}

/// The page that people paste from.
const PAGE: &str = include_str!("../../docs/tunnels.md");

/// The commands of `docs/tunnels.md`, as they stand there.
fn the_page_works() -> Result<()> {
    let [a, b] = Namespace::pair(&named("page"))?;
    device::veth((&a, "eth1"), (&b, "eth1"), 1500)?;
    device::addresses(&a, "eth1", &["192.0.2.1/24"])?;
    device::addresses(&b, "eth1", &["192.0.2.2/24"])?;
    let switch = a.run(Switch::start)?;
    let blocks: Vec<&str> = PAGE
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```").map(|(block, _)| block))
        .collect();
    let [ours, linux, many, ..] = blocks.as_slice() else {
        anyhow::bail!("the page has {} blocks of commands", blocks.len());
    };
    let paste = |host: &Namespace, block: &str| {
        let script = format!(
            "PATH={}:$PATH VSWITCH_RUNDIR={}; export PATH VSWITCH_RUNDIR\n{block}",
            switch.binaries().display(),
            switch.rundir().display()
        );
        host.must("sh", &["-ec", &script]).map(drop)
    };
    paste(&a, ours)?;
    paste(&b, linux)?;
    traffic::await_ping(&a, "10.0.0.2".parse()?, FIRST)?;
    let shown = switch.vsctl(&["show"])?;
    ensure!(
        shown.contains("way=bridge br-u: the route leads by br-u"),
        "{shown}"
    );
    // The same with one port for all remotes.
    switch.vsctl(&["del-port", "br0", "vx0"])?;
    paste(&a, many)?;
    let flows = switch.vsctl(&["dump-flows", "br0"])?;
    ensure!(flows.contains("tun_dst"), "{flows}");
    Ok(())
}
