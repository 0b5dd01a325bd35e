//! Routers: what they are, and what they know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use vswitch_flow::Prefix;

use crate::desired::PortId;

/// A router's number, chosen by `vswitchd` and never used again for another router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouterId(pub u32);

/// A router: addresses and routes that have nothing to do with another router's (a VRF). Its routes are
/// sent by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterSpec {
    /// Its number.
    pub id: RouterId,
    /// Its name, for traces and dumps.
    pub name: String,
    /// Most neighbours that it knows.
    pub neighbours_max: u32,
    /// Most ICMP errors that each of its ports sends a second; 0 is none.
    pub errors_rate: u32,
    /// The zone of the connections whose addresses it translates. No other router has it, and flows had
    /// better not.
    pub zone: u16,
}

/// Where a router meets a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterPortSpec {
    /// Whose port it is.
    pub router: RouterId,
    /// Its address on the bridge.
    pub mac: [u8; 6],
    /// Its addresses, with the lengths of their networks.
    pub addresses: Vec<Prefix>,
    /// It answers ARP for addresses that it has routes to by other ports.
    pub proxy_arp: bool,
    /// It tells hosts that it is a router, and its IPv6 networks.
    pub advertise: Option<AdvertiseSpec>,
    /// It gives IPv4 addresses to hosts.
    pub dhcp: Option<DhcpSpec>,
    /// It answers who asks for the servers of names by DHCPv6.
    pub dhcpv6: bool,
    /// Servers of names that hosts are told of.
    pub dns: Vec<IpAddr>,
    /// What the router has leave by it with another source, in each family by the first that is of it.
    pub snat: Vec<SnatSpec>,
    /// What comes to one of its addresses for somebody else, the first that covers it.
    pub dnat: Vec<DnatSpec>,
}

/// The source that packets leave with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnatSpec {
    /// First and last address, both of the port.
    pub addresses: (IpAddr, IpAddr),
    /// First and last port; `None` is any.
    pub ports: Option<(u16, u16)>,
}

/// Whom connections to an address of the port are for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DnatSpec {
    /// Of this protocol: TCP, UDP or SCTP by number.
    pub protocol: u8,
    /// To this address.
    pub address: IpAddr,
    /// And a port from the first to the last.
    pub ports: (u16, u16),
    /// For this host.
    pub to: IpAddr,
    /// At this port, or as far behind it as the packet's port is behind the first.
    pub to_port: u16,
}

impl DnatSpec {
    /// Where a connection goes, if this is about it.
    #[must_use]
    pub fn leads(&self, protocol: u8, address: IpAddr, port: u16) -> Option<(IpAddr, u16)> {
        let (first, last) = self.ports;
        let covers =
            self.protocol == protocol && self.address == address && (first..=last).contains(&port);
        covers.then(|| (self.to, self.to_port.saturating_add(port - first)))
    }
}

impl RouterPortSpec {
    /// Its address for the link alone, if it has IPv6 addresses: one that was given, or the one that goes
    /// with its MAC address (RFC 4291 appendix A).
    #[must_use]
    pub fn link_local(&self) -> Option<Ipv6Addr> {
        let v6 = |prefix: &Prefix| match prefix.address {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        };
        let mut own = self.addresses.iter().filter_map(v6).peekable();
        own.peek()?;
        let [a, b, c, d, e, f] = self.mac;
        let made = [
            0xfe,
            0x80,
            0,
            0,
            0,
            0,
            0,
            0,
            a ^ 2,
            b,
            c,
            0xff,
            0xfe,
            d,
            e,
            f,
        ];
        let given = own.find(Ipv6Addr::is_unicast_link_local);
        Some(given.unwrap_or(made.into()))
    }
}

/// How a router advertises itself (RFC 4861 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvertiseSpec {
    /// Seconds between two unasked-for advertisements, at most.
    pub interval: u16,
    /// Seconds that it is a default router after one; 0 is never.
    pub lifetime: u16,
}

/// How addresses are given by DHCP (RFC 2131).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpSpec {
    /// First and last addresses of those that are given to whoever asks.
    pub ranges: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// Addresses of hosts with these MAC addresses.
    pub hosts: Vec<([u8; 6], Ipv4Addr)>,
    /// Seconds that an address is given for.
    pub lease_time: u32,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RouteSpec {
    /// Where to.
    pub prefix: Prefix,
    /// Only packets from there.
    pub source: Option<Prefix>,
    /// Which way.
    pub target: RouteTarget,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RouteTarget {
    /// By one of these ways, chosen by a hash of the packet.
    Via(Vec<HopSpec>),
    /// Nowhere, and nobody is told.
    Blackhole,
    /// Nowhere: the sender is told that it is forbidden.
    Prohibit,
    /// Nowhere: the sender is told that the host cannot be reached.
    Unreachable,
}

/// One way of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HopSpec {
    /// The next router; without one the destination itself is on the port's network.
    pub gateway: Option<IpAddr>,
    /// By which port; without one by the port on whose network the gateway is.
    pub port: Option<PortId>,
    /// Its part of the flows, relative to the other ways.
    pub weight: u16,
}

/// What a router would do with a packet to an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteAnswer {
    /// The address is the router's own, on this port.
    Local(PortId),
    /// The address is on the network of this port.
    Connected {
        /// The network.
        network: Prefix,
        /// The port.
        port: PortId,
    },
    /// This route.
    Route(RouteSpec),
    /// There is no way.
    None,
}

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NeighbourState {
    /// It was asked for and has not answered yet.
    Incomplete,
    /// It is known and has been confirmed lately.
    Reachable,
    /// It is known, and nobody has asked it lately because nothing was sent to it.
    Stale,
    /// It is known and is being asked whether it is still there.
    Probe,
    /// It did not answer.
    Failed,
}

impl NeighbourState {
    /// Its name in dumps.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Reachable => "reachable",
            Self::Stale => "stale",
            Self::Probe => "probe",
            Self::Failed => "failed",
        }
    }
}

/// A neighbour of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourRow {
    /// By which port.
    pub port: PortId,
    /// Its address.
    pub address: IpAddr,
    /// Its address on the bridge, once known.
    pub mac: Option<[u8; 6]>,
    /// What is known of it.
    pub state: NeighbourState,
    /// Seconds since it was confirmed.
    pub confirmed: u32,
    /// Packets that wait for it.
    pub waiting: u32,
}

/// What has happened to the neighbours of a router since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourStats {
    /// Held now.
    pub len: u64,
    /// Packets that wait now.
    pub waiting: u64,
    /// Questions asked.
    pub asked: u64,
    /// Neighbours that became known.
    pub learned: u64,
    /// Neighbours that answered from another address than before.
    pub moved: u64,
    /// Claims to be a known neighbour that were not believed.
    pub refused: u64,
    /// Neighbours that did not answer.
    pub failed: u64,
    /// Neighbours that made room for others.
    pub evicted: u64,
}

/// An address that a router has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// By which port.
    pub port: PortId,
    /// The address.
    pub address: Ipv4Addr,
    /// To whom.
    pub mac: [u8; 6],
    /// Seconds until it may be given to another.
    pub left: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_a_prefix_that_is_too_long_is_refused() {
        for (text, max) in [("10.0.0.0/32", 32), ("2001:db8::/128", 128)] {
            let prefix: Prefix = text.parse().unwrap();
            let mut bytes = postcard::to_extend(&prefix, Vec::new()).unwrap();
            let read = |bytes: &[u8]| postcard::from_bytes::<Prefix>(bytes);
            assert_eq!(read(&bytes), Ok(prefix));
            for len in [max + 1, 255] {
                *bytes.last_mut().unwrap() = len;
                assert!(read(&bytes).is_err(), "{text} with {len} bits");
            }
        }
    }
}
