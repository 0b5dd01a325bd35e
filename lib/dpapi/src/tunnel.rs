//! What a tunnel port is, and what is known of the network that carries tunnels.
//!
//! The kernel's routes, neighbours, addresses and devices of `vswitchd`'s namespace are followed
//! there and told here: the whole of it first ([`Underlay`]), then what changes
//! ([`UnderlayChange`]). The datapath looks up in them where a tunnel's packets go.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::desired::PortId;

/// The protocols of tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TunnelKind {
    /// RFC 7348.
    Vxlan,
    /// RFC 8926.
    Geneve,
}

/// An end of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Endpoint {
    /// This address.
    Address(IpAddr),
    /// The one that flows say, of whatever packet.
    Flow,
}

/// Which network's packets a tunnel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TunnelKey {
    /// This identifier, 24 bits.
    Id(u32),
    /// The one that flows say (`tun_id`).
    Flow,
}

/// Which type of service the outer header has. Its ECN bits follow RFC 6040 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TunnelTos {
    /// These bits, of which the ECN ones are not looked at.
    Set(u8),
    /// Those of the packet inside, 0 when it is no IP packet.
    Inherit,
}

/// How tunnelled packets get onto the network that carries them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TunnelWay {
    /// The first of these that the route's device offers.
    #[default]
    Auto,
    /// Through the bridge whose internal port the route's device is.
    Bridge,
    /// By the uplink that shares the route's device with the host.
    Uplink,
    /// By a UDP socket of the host.
    Socket,
}

/// A tunnel port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TunnelSpec {
    /// Its protocol.
    pub kind: TunnelKind,
    /// The far end.
    pub remote: Endpoint,
    /// The near end; `None` leaves it to the route, and takes packets to any of the host's addresses.
    pub local: Option<Endpoint>,
    /// The key of packets that come.
    pub in_key: TunnelKey,
    /// The key of packets that go.
    pub out_key: TunnelKey,
    /// UDP port, of packets that come and that go.
    pub udp_port: u16,
    /// Whether outer UDP headers have a checksum; `None`: over IPv6 they do, over IPv4 not.
    pub csum: Option<bool>,
    /// TTL of the outer header; `None` is that of the packet inside, 64 when it is no IP packet.
    pub ttl: Option<u8>,
    /// Type of service of the outer header.
    pub tos: TunnelTos,
    /// Outer IPv4 headers forbid fragments.
    pub dont_fragment: bool,
    /// How packets go.
    pub way: TunnelWay,
    /// Packets must come from an address to which the host has a route by the device that leads
    /// there; others are dropped.
    pub check_source: bool,
}

/// What is known of the network that carries tunnels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underlay {
    /// The host's devices.
    pub devices: Vec<UnderlayDevice>,
    /// The host's addresses.
    pub addresses: Vec<UnderlayAddress>,
    /// Its routes.
    pub routes: Vec<UnderlayRoute>,
    /// Its neighbours, those whose address is known.
    pub neighbours: Vec<UnderlayNeighbour>,
}

/// A device of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderlayDevice {
    /// Its number.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its address; zero when it has none.
    pub mac: [u8; 6],
    /// Largest layer-3 packet, bytes.
    pub mtu: u32,
    /// It passes packets.
    pub up: bool,
    /// The internal port that it is.
    pub internal: Option<PortId>,
    /// The uplink port that sends by it.
    pub uplink: Option<PortId>,
    /// The socket port whose packets leave by it when the host's routes say so.
    pub socket: Option<PortId>,
}

/// An address of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UnderlayAddress {
    /// On which device.
    pub device: u32,
    /// The address.
    pub address: IpAddr,
    /// Bits that its network's addresses share.
    pub prefix_len: u8,
}

/// What a route does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RouteKind {
    /// Sends them on by one of its hops.
    Unicast,
    /// They are for this host.
    Local,
    /// Drops them (`blackhole`, `unreachable`, `prohibit`, and what else leads nowhere).
    Nowhere,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RouteHop {
    /// The device.
    pub device: u32,
    /// The next router; `None` when the destination is a neighbour itself.
    pub gateway: Option<IpAddr>,
    /// Its share of flows, at least 1.
    pub weight: u16,
}

/// A route. Prefix, its length and the metric name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UnderlayRoute {
    /// To addresses that begin like this.
    pub prefix: IpAddr,
    /// In so many bits.
    pub prefix_len: u8,
    /// Of routes to the same addresses the smallest is taken.
    pub metric: u32,
    /// What it does.
    pub kind: RouteKind,
    /// Where it leads.
    pub hops: Vec<RouteHop>,
    /// The host's address that packets come from, if it says one.
    pub source: Option<IpAddr>,
    /// Largest layer-3 packet on the way, if it says one.
    pub mtu: Option<u32>,
}

/// A neighbour whose address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UnderlayNeighbour {
    /// On which device.
    pub device: u32,
    /// Who.
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: [u8; 6],
}

/// A change of the network that carries tunnels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnderlayChange {
    /// A device is there, or is other than it was.
    Device(UnderlayDevice),
    /// A device is gone.
    NoDevice(u32),
    /// An address is there.
    Address(UnderlayAddress),
    /// An address is gone.
    NoAddress(UnderlayAddress),
    /// A route is there, or is other than it was.
    Route(UnderlayRoute),
    /// The route with this prefix, length and metric is gone.
    NoRoute {
        /// Its prefix.
        prefix: IpAddr,
        /// Its length.
        prefix_len: u8,
        /// Its metric.
        metric: u32,
    },
    /// A neighbour is known, or has another address.
    Neighbour(UnderlayNeighbour),
    /// A neighbour is not known any more.
    NoNeighbour {
        /// On which device.
        device: u32,
        /// Who.
        address: IpAddr,
    },
}
