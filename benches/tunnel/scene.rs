//! The contenders: two guests, and the hosts that they are on.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use vswitch_benches::traffic::without_checksum;
use vswitch_packet::build::Builder;
use vswitch_tests::device;
use vswitch_tests::netns::Namespace;
use vswitch_tests::ovs::Ovs;
use vswitch_tests::process::Switch;
use vswitch_tests::programs::{limited, must};

use crate::{BRIDGED, KERNEL, OVS, ROUTED, SOCKET_TAP, UPLINK, UPLINK_TAP};

pub(crate) const SOURCE_CORE: usize = 0;
const SWITCH_CORE: u32 = 1;

/// Of the network between hosts, and of guests, whose packets are to fit a tunnel.
const WIRE_MTU: u32 = 1500;
const MTU: u32 = 1450;

/// The hosts' addresses.
const HOSTS: [Ipv4Addr; 2] = [Ipv4Addr::new(172, 31, 0, 1), Ipv4Addr::new(172, 31, 0, 2)];

/// The guests' addresses, on one network and on two, and the router's on these.
const GUESTS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 1, 0, 2), Ipv4Addr::new(10, 1, 0, 3)];
const APART: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 1, 0, 2), Ipv4Addr::new(10, 2, 0, 2)];
const GATEWAYS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 2, 0, 1)];

/// Who takes a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Uplink,
    UplinkTap,
    SocketTap,
    Kernel,
    Ovs,
    Bridged,
    Routed,
}

/// What runs on a host. It ends before the namespaces that it has devices in.
#[derive(Debug)]
enum Runs {
    Ours {
        _switch: Switch,
    },
    Ovs {
        _ovs: Ovs,
    },
    /// The kernel.
    Nothing,
}

/// A contender during its turn.
#[derive(Debug)]
pub(crate) struct Standing {
    contender: Contender,
    _runs: Vec<Runs>,
    guests: [Namespace; 2],
    _hosts: Vec<Namespace>,
}

/// Makes sure that what contenders need is there.
pub(crate) fn prepare() -> Result<()> {
    let here = Namespace::here()?;
    here.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
    if !Ovs::installed() {
        bail!("Open vSwitch is missing: apt-get install openvswitch-switch");
    }
    Ok(())
}

impl Contender {
    pub(crate) const ALL: [Self; 7] = [
        Self::Uplink,
        Self::Kernel,
        Self::Ovs,
        Self::UplinkTap,
        Self::SocketTap,
        Self::Bridged,
        Self::Routed,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uplink => UPLINK,
            Self::UplinkTap => UPLINK_TAP,
            Self::SocketTap => SOCKET_TAP,
            Self::Kernel => KERNEL,
            Self::Ovs => OVS,
            Self::Bridged => BRIDGED,
            Self::Routed => ROUTED,
        }
    }

    /// Whether both guests are on one host.
    pub(crate) fn is_local(self) -> bool {
        matches!(self, Self::Bridged | Self::Routed)
    }

    /// Whether frames of the XDP source are sent over it.
    pub(crate) fn has_frames(self) -> bool {
        !matches!(self, Self::UplinkTap | Self::SocketTap)
    }

    /// Whether TCP is sent over it.
    pub(crate) fn has_stream(self) -> bool {
        !self.is_local() && self != Self::Uplink
    }

    pub(crate) fn start(self) -> Result<Standing> {
        let guests = Namespace::pair("guest")?;
        let hosts = if self.is_local() {
            vec![Namespace::create("host")?]
        } else {
            let pair = Namespace::pair("host")?;
            device::veth((&pair[0], "wire"), (&pair[1], "wire"), WIRE_MTU)?;
            pair.into()
        };
        let mut runs = Vec::new();
        if let [host] = hosts.as_slice() {
            runs.push(self.local(host, &guests)?);
        }
        for (at, (host, guest)) in hosts.iter().zip(&guests).enumerate() {
            match self {
                Self::Uplink => runs.push(ours(host, guest, at, "afxdp", "uplink")?),
                Self::UplinkTap => runs.push(ours(host, guest, at, "tap", "uplink")?),
                Self::SocketTap => runs.push(ours(host, guest, at, "tap", "socket")?),
                Self::Kernel => runs.push(kernel(host, guest, at)?),
                Self::Ovs => runs.push(open_vswitch(host, guest, at)?),
                Self::Bridged | Self::Routed => {}
            }
        }
        for (guest, address) in guests.iter().zip(self.addresses()) {
            device::addresses(guest, "eth0", &[&format!("{address}/24")])?;
            device::await_carrier(guest, "eth0")?;
        }
        if self == Self::Routed {
            for (guest, gateway) in guests.iter().zip(GATEWAYS) {
                guest.ip(&["route", "add", "default", "via", &gateway.to_string()])?;
            }
        }
        Ok(Standing {
            contender: self,
            _runs: runs,
            guests,
            _hosts: hosts,
        })
    }

    fn addresses(self) -> [Ipv4Addr; 2] {
        match self {
            Self::Routed => APART,
            _ => GUESTS,
        }
    }

    /// A switch with both guests on it.
    fn local(self, host: &Namespace, guests: &[Namespace; 2]) -> Result<Runs> {
        let switch = host.run(Switch::start)?;
        let bridges = match self {
            Self::Routed => ["br0", "br1"],
            _ => ["br0", "br0"],
        };
        switch.vsctl(&["add-br", "br0"])?;
        if self == Self::Routed {
            switch.vsctl(&["add-br", "br1"])?;
            switch.vsctl(&["router", "add", "r1"])?;
            for (bridge, gateway) in bridges.into_iter().zip(GATEWAYS) {
                let port = format!("gw-{bridge}");
                let address = format!("address={gateway}/24");
                switch.vsctl(&["router", "port", "add", "r1", &port, bridge, &address])?;
            }
        }
        for ((guest, bridge), port) in guests.iter().zip(bridges).zip(["left", "right"]) {
            add_guest(&switch, host, (bridge, port), guest, "afxdp")?;
        }
        Ok(Runs::Ours { _switch: switch })
    }
}

impl Standing {
    pub(crate) fn contender(&self) -> Contender {
        self.contender
    }

    pub(crate) fn guests(&self) -> &[Namespace; 2] {
        &self.guests
    }

    /// The second guest's.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.contender.addresses()[1]
    }

    /// A frame of 60 bytes from the first guest to the second, without a checksum of UDP's.
    pub(crate) fn frame(&self) -> Result<Vec<u8>> {
        let [left, right] = &self.guests;
        let [from, to] = self.contender.addresses();
        let next = match self.contender {
            Contender::Routed => device::neighbour(left, GATEWAYS[0].into())?,
            _ => device::mac(right, "eth0")?,
        };
        let frame = Builder::eth(device::mac(left, "eth0")?, next)
            .ipv4(from.octets(), to.octets())
            .udp(1000, 2000)
            .payload(&[0; 18])
            .build();
        Ok(without_checksum(frame))
    }
}

/// Adds a port of this type with the guest behind it.
fn add_guest(
    switch: &Switch,
    host: &Namespace,
    (bridge, port): (&str, &str),
    guest: &Namespace,
    kind: &str,
) -> Result<()> {
    let (kind_key, mtu) = (format!("type={kind}"), format!("mtu={MTU}"));
    let is_tap = kind == "tap";
    if !is_tap {
        device::veth((host, port), (guest, "eth0"), MTU)?;
    }
    switch.vsctl(&["add-port", bridge, port, &kind_key, &mtu])?;
    if is_tap {
        device::move_to(host, port, guest, "eth0")?;
    }
    Ok(())
}

fn address_wire(host: &Namespace, device: &str, at: usize) -> Result<()> {
    device::addresses(host, device, &[&format!("{}/24", HOSTS[at])])
}

/// The switch, with a tunnel that goes this way.
fn ours(host: &Namespace, guest: &Namespace, at: usize, kind: &str, way: &str) -> Result<Runs> {
    address_wire(host, "wire", at)?;
    let switch = host.run(Switch::start)?;
    switch.vsctl(&["add-br", "br0"])?;
    let remote = format!("remote_ip={}", HOSTS[1 - at]);
    let way = format!("underlay={way}");
    let words = [
        "add-port",
        "br0",
        "tunnel",
        "type=vxlan",
        &remote,
        "key=42",
        &way,
    ];
    switch.vsctl(&words)?;
    add_guest(&switch, host, ("br0", "guest"), guest, kind)?;
    Ok(Runs::Ours { _switch: switch })
}

/// A bridge with a VXLAN device, whose work is on the switches' core.
fn kernel(host: &Namespace, guest: &Namespace, at: usize) -> Result<Runs> {
    address_wire(host, "wire", at)?;
    device::veth((host, "guest"), (guest, "eth0"), MTU)?;
    let (local, remote) = (HOSTS[at].to_string(), HOSTS[1 - at].to_string());
    host.ip(&["link", "add", "br0", "type", "bridge"])?;
    host.ip(&[
        "link", "add", "tunnel", "type", "vxlan", "id", "42", "dstport", "4789", "local", &local,
        "remote", &remote,
    ])?;
    for device in ["tunnel", "guest"] {
        host.ip(&["link", "set", device, "mtu", &MTU.to_string()])?;
        host.ip(&["link", "set", device, "master", "br0"])?;
    }
    for device in ["tunnel", "br0"] {
        host.ip(&["link", "set", device, "up"])?;
    }
    let name = host.name().context("a host has a name")?;
    for device in ["guest", "wire"] {
        // XDP frames are received by NAPI only, which a veth has with GRO. That runs where the source
        // does; the bridge is given the other core, as the switches are.
        host.must("ethtool", &["-K", device, "gro", "on"])?;
        let queue = format!("/sys/class/net/{device}/queues/rx-0/rps_cpus");
        let steer = format!("echo {:x} > {queue}", 1 << SWITCH_CORE);
        must(limited("ip").args(["netns", "exec", name, "sh", "-c", &steer]))?;
    }
    Ok(Runs::Nothing)
}

fn open_vswitch(host: &Namespace, guest: &Namespace, at: usize) -> Result<Runs> {
    // It passes no checksum on that is only begun.
    host.must("ethtool", &["-K", "wire", "tx", "off"])?;
    let ovs = host.run(Ovs::start)?;
    for (bridge, number) in [("br-u", 1), ("br0", 2)] {
        ovs.bridge(bridge, &format!("02:00:00:00:9{at}:0{number}"))?;
        ovs.ofctl(&["add-flow", bridge, "actions=normal"])?;
    }
    ovs.serve_ports_on(SWITCH_CORE)?;
    ovs.vsctl(&[
        "add-port",
        "br-u",
        "wire",
        "--",
        "set",
        "Interface",
        "wire",
        "type=afxdp",
        "ofport_request=1",
    ])?;
    host.ip(&["link", "set", "br-u", "up"])?;
    address_wire(host, "br-u", at)?;
    let remote = format!("options:remote_ip={}", HOSTS[1 - at]);
    ovs.vsctl(&[
        "add-port",
        "br0",
        "tunnel",
        "--",
        "set",
        "Interface",
        "tunnel",
        "type=vxlan",
        &remote,
        "options:key=42",
    ])?;
    ovs.afxdp_host("br0", (host, "guest"), 2, guest, MTU)?;
    Ok(Runs::Ovs { _ovs: ovs })
}
