//! The contenders: two namespaces each, with different things between them.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result};
use vswitch_benches::bare_afxdp::BareForwarder;
use vswitch_benches::bare_tap::Forwarder;
use vswitch_benches::traffic::{Copies, Window, frame_rate};
use vswitch_packet::build::Builder;
use vswitch_sys::tap::{self, TapOffloads, TapSpec};
use vswitch_tests::device;
use vswitch_tests::netns::Namespace;
use vswitch_tests::process::Switch;
use vswitch_tests::topology::{Host, Kind, Topology};

use crate::{BARE, BARE_TAP, BRIDGE, CABLE, OURS, OURS_TAP};

pub(crate) const SOURCE_CORE: usize = 0;
const SWITCH_CORE: usize = 1;
const MTU: u32 = 1500;

/// Two hosts with what is between them, if that runs all the time.
#[derive(Debug)]
pub(crate) struct Pair {
    hosts: [Namespace; 2],
    address: IpAddr,
    /// Dropped last: the hosts' devices are its ports.
    _topology: Option<Topology>,
    _forwarder: Option<Forwarder>,
}

impl Pair {
    pub(crate) fn hosts(&self) -> &[Namespace; 2] {
        &self.hosts
    }

    /// The second host's.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }
}

/// What is between the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    SwitchAfxdp,
    BareAfxdp,
    Bridge,
    Cable,
    SwitchTap,
    BareTap,
    BridgeForTcp,
    CableForTcp,
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Contender {
    between: Between,
    pair: Pair,
}

/// What runs during a contender's turn only, because it never sleeps.
#[derive(Debug)]
pub(crate) struct Running {
    _forwarder: Option<BareForwarder>,
}

/// All contenders, those for frames first.
pub(crate) fn all() -> Result<Vec<Contender>> {
    let here = Namespace::here()?;
    // Idle devices that announce themselves would not be idle.
    here.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
    let contender = |between, pair| Contender { between, pair };
    Ok(vec![
        contender(Between::SwitchAfxdp, switch("sx", Kind::Afxdp)?),
        contender(Between::BareAfxdp, veths(&here, "xd", false)?),
        contender(Between::Bridge, veths(&here, "lb", true)?),
        contender(Between::Cable, cable("cx")?),
        contender(Between::SwitchTap, switch("st", Kind::Tap)?),
        contender(Between::BareTap, bare_tap()?),
        contender(Between::BridgeForTcp, veths(&here, "lt", true)?),
        contender(Between::CableForTcp, cable("ct")?),
    ])
}

impl Contender {
    pub(crate) fn name(&self) -> &'static str {
        match self.between {
            Between::SwitchAfxdp => OURS,
            Between::BareAfxdp => BARE,
            Between::Bridge | Between::BridgeForTcp => BRIDGE,
            Between::Cable | Between::CableForTcp => CABLE,
            Between::SwitchTap => OURS_TAP,
            Between::BareTap => BARE_TAP,
        }
    }

    pub(crate) fn hosts(&self) -> &[Namespace; 2] {
        &self.pair.hosts
    }

    pub(crate) fn address(&self) -> IpAddr {
        self.pair.address
    }

    /// Whether frames of the XDP source are sent over it; else TCP.
    pub(crate) fn has_xdp(&self) -> bool {
        matches!(
            self.between,
            Between::SwitchAfxdp | Between::BareAfxdp | Between::Bridge | Between::Cable
        )
    }

    /// Whether round trips are noted; bridge and cable have theirs once.
    pub(crate) fn has_latency(&self) -> bool {
        !matches!(self.between, Between::BridgeForTcp | Between::CableForTcp)
    }

    /// Starts what runs during a turn only.
    pub(crate) fn start(&self) -> Result<Running> {
        let mut forwarder = None;
        if self.between == Between::BareAfxdp {
            let here = Namespace::here()?;
            forwarder = Some(BareForwarder::start(&here, ["xd0", "xd1"], SWITCH_CORE)?);
        }
        Ok(Running {
            _forwarder: forwarder,
        })
    }

    /// Frames of 60 bytes (64 with the checksum of a wire) that arrive in a second.
    pub(crate) fn frame_rate(&self, window: Window) -> Result<f64> {
        let [left, right] = &self.pair.hosts;
        let frame = Builder::eth(device::mac(left, "eth0")?, device::mac(right, "eth0")?)
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
            .udp(1000, 2000)
            .payload(&[0; 18])
            .build();
        frame_rate([left, right], Copies::alike(frame), SOURCE_CORE, window)
    }
}

fn addressed(hosts: [Namespace; 2], forwarder: Option<Forwarder>) -> Result<Pair> {
    for (host, address) in hosts.iter().zip(["10.0.0.1/24", "10.0.0.2/24"]) {
        device::addresses(host, "eth0", &[address])?;
        host.ip(&["link", "set", "eth0", "up"])?;
        if forwarder.is_none() {
            device::await_carrier(host, "eth0")?;
        }
    }
    Ok(Pair {
        hosts,
        address: Ipv4Addr::new(10, 0, 0, 2).into(),
        _topology: None,
        _forwarder: forwarder,
    })
}

/// A switch of its own, whose bridge has this name.
fn topology(bridge: &str) -> Result<Topology> {
    Topology::with_bridge(Switch::start()?, bridge, MTU)
}

/// Two hosts on a switch of their own, which learns.
fn switch(bridge: &str, kind: Kind) -> Result<Pair> {
    switch_with(topology(bridge)?, kind)
}

fn switch_with(topology: Topology, kind: Kind) -> Result<Pair> {
    let mut hosts = Vec::new();
    let mut address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    for _ in 0..2 {
        let Host { namespace, v4, .. } = topology.host(kind, true, &[])?;
        address = v4;
        hosts.push(namespace);
    }
    Ok(Pair {
        hosts: hosts.try_into().ok().context("two hosts")?,
        address,
        _topology: Some(topology),
        _forwarder: None,
    })
}

fn cable(label: &str) -> Result<Pair> {
    let hosts = Namespace::pair(label)?;
    device::veth((&hosts[0], "eth0"), (&hosts[1], "eth0"), MTU)?;
    addressed(hosts, None)
}

/// Two hosts whose veth pairs end here, on a bridge or for a forwarder.
fn veths(here: &Namespace, label: &str, bridged: bool) -> Result<Pair> {
    let hosts = Namespace::pair(label)?;
    let bridge = format!("{label}br");
    if bridged {
        here.ip(&["link", "add", &bridge, "type", "bridge"])?;
        here.ip(&["link", "set", &bridge, "up"])?;
    }
    for (number, host) in hosts.iter().enumerate() {
        let end = format!("{label}{number}");
        device::veth((here, &end), (host, "eth0"), MTU)?;
        if bridged {
            here.ip(&["link", "set", &end, "master", &bridge])?;
            // XDP frames are received by NAPI only, which a veth has with GRO.
            here.must("ethtool", &["-K", &end, "gro", "on"])?;
        } else {
            // The forwarder passes no checksum on that is only begun.
            host.must("ethtool", &["-K", "eth0", "tx", "off"])?;
        }
    }
    addressed(hosts, None)
}

fn bare_tap() -> Result<Pair> {
    let hosts = Namespace::pair("bt")?;
    let open = |host: &Namespace| -> Result<OwnedFd> {
        let tap = host.run(|| {
            Ok(tap::open(&TapSpec {
                name: "eth0",
                queues: 1,
                exclusive: true,
                offloads: TapOffloads::all(),
            })?)
        })?;
        tap.queues.into_iter().next().context("a TAP without queue")
    };
    let fds = [open(&hosts[0])?, open(&hosts[1])?];
    let forwarder = Forwarder::bare(SWITCH_CORE, fds)?;
    addressed(hosts, Some(forwarder))
}

/// Two busy pairs of TAP ports: one alone on its switch, one among idle ports.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) without: Pair,
    pub(crate) with: Pair,
}

impl Idle {
    pub(crate) fn new(idle: usize) -> Result<Self> {
        Ok(Self {
            without: switch("sa", Kind::Tap)?,
            with: switch_with(with_idle_ports("i", idle)?, Kind::Tap)?,
        })
    }
}

/// A switch with TAP ports that nobody uses, their devices here and up.
fn with_idle_ports(prefix: &str, len: usize) -> Result<Topology> {
    let topology = topology(&format!("{prefix}br"))?;
    for number in 0..len {
        let name = format!("{prefix}{number}");
        topology
            .switch
            .vsctl(&["add-port", &topology.bridge, &name, "type=tap"])
            .with_context(|| format!("idle port {number} of {len}"))?;
        topology.here.ip(&["link", "set", &name, "up"])?;
    }
    Ok(topology)
}

/// A switch that has ports and nothing to do.
pub(crate) fn quiet(ports: usize) -> Result<Topology> {
    with_idle_ports("q", ports)
}

/// Shares of a core that the processes of a switch use during `time`.
pub(crate) fn cpu_shares(topology: &Topology, time: Duration) -> Result<[(&'static str, f64); 2]> {
    let control = topology.switch.control_pid().context("no vswitchd")?;
    let datapath = topology.switch.datapath_pid().context("no datapath")?;
    let before = [cpu_ticks(control)?, cpu_ticks(datapath)?];
    std::thread::sleep(time);
    let after = [cpu_ticks(control)?, cpu_ticks(datapath)?];
    // The kernel counts in hundredths of a second towards user space.
    let share = |at: usize| (after[at] - before[at]) as f64 / 100.0 / time.as_secs_f64();
    Ok([("vswitchd", share(0)), ("vswitch-datapath", share(1))])
}

/// User and system time of a process, in ticks.
fn cpu_ticks(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces; what is wanted is the 12th and 13th field after it.
    let (_, rest) = text.rsplit_once(')').context("a stat line has a name")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || -> Result<u64> { Ok(fields.next().context("a short stat line")?.parse()?) };
    Ok(next()? + next()?)
}
