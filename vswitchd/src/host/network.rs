//! The network of our own namespace: addresses, routes and neighbours, read and followed.
//!
//! Law: news of neighbours are taken at their word, because there are many and each says all there
//! is to know. Other news are only a hint that addresses, routes or devices are to be read again,
//! since the kernel tells of some changes of a route in parts; so lost or reordered messages do no
//! harm. When the kernel had to drop some, neighbours are read again as well.
//!
//! Only the main table of routes is read: who sends tunnels by rules gives the tunnel a device of
//! its own. Spec: rtnetlink(7), net/ipv4/fib_semantics.c (`fib_dump_info`), net/core/neighbour.c.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::StreamExt;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::address::{AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteNextHop, RouteType,
    RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::{AsyncSocket, SocketAddr};
use vswitch_dpapi::tunnel::{RouteHop, RouteKind, UnderlayAddress, UnderlayRoute};

use super::netlink::{self, Link, Netlink};

/// Bytes of news that may wait for us: tens of thousands of neighbours that change at once.
const RECEIVE_SIZE: i32 = 16 << 20;

/// What names a route.
pub type RouteName = (IpAddr, u8, u32);

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Devices by number.
    pub links: BTreeMap<u32, Link>,
    /// Addresses.
    pub addresses: Vec<UnderlayAddress>,
    /// Routes by prefix, length and metric.
    pub routes: BTreeMap<RouteName, UnderlayRoute>,
    /// Neighbours whose address is known, by device and address.
    pub neighbours: BTreeMap<(u32, IpAddr), [u8; 6]>,
}

/// Something has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A neighbour is as it says here.
    Neighbour {
        /// On which device.
        device: u32,
        /// Who.
        address: IpAddr,
        /// Its address; `None` when it is not known, or not any more.
        mac: Option<[u8; 6]>,
        /// It has not been heard of for some time.
        stale: bool,
    },
    /// Devices, addresses or routes.
    Routes,
    /// News were lost: about anything.
    Everything,
}

type Messages =
    futures::channel::mpsc::UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// The stream of news.
#[derive(Debug)]
pub struct Follow {
    messages: Messages,
}

impl Follow {
    /// Listens from now on, in the namespace of the calling thread, inside a tokio runtime.
    pub fn start() -> io::Result<Self> {
        let (mut connection, _, messages) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ])?;
        let socket = connection.socket_mut().socket_mut();
        if let Err(error) = socket.set_rx_buf_sz(RECEIVE_SIZE) {
            tracing::debug!(%error, "small buffer for news of neighbours");
        }
        tokio::spawn(connection);
        Ok(Self { messages })
    }

    /// Waits for the next piece of news.
    pub async fn next(&mut self) -> Heard {
        loop {
            let Some((message, _)) = self.messages.next().await else {
                return std::future::pending().await;
            };
            if let Some(heard) = read(message.payload) {
                return heard;
            }
        }
    }
}

fn read(payload: NetlinkPayload<RouteNetlinkMessage>) -> Option<Heard> {
    let message = match payload {
        NetlinkPayload::InnerMessage(message) => message,
        NetlinkPayload::Overrun(_) => return Some(Heard::Everything),
        _ => return None,
    };
    match message {
        RouteNetlinkMessage::NewNeighbour(message) => neighbour(&message),
        RouteNetlinkMessage::DelNeighbour(message) => {
            let (device, address) = neighbour_name(&message)?;
            Some(Heard::Neighbour {
                device,
                address,
                mac: None,
                stale: false,
            })
        }
        RouteNetlinkMessage::NewLink(_)
        | RouteNetlinkMessage::DelLink(_)
        | RouteNetlinkMessage::NewAddress(_)
        | RouteNetlinkMessage::DelAddress(_)
        | RouteNetlinkMessage::NewRoute(_)
        | RouteNetlinkMessage::DelRoute(_) => Some(Heard::Routes),
        _ => None,
    }
}

fn neighbour_name(message: &NeighbourMessage) -> Option<(u32, IpAddr)> {
    let mut destinations = message.attributes.iter();
    let address = destinations.find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })?;
    Some((message.header.ifindex, address))
}

fn neighbour(message: &NeighbourMessage) -> Option<Heard> {
    let (device, address) = neighbour_name(message)?;
    let usable = matches!(
        message.header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp
    );
    let mut attributes = message.attributes.iter();
    let mac = attributes.find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    });
    Some(Heard::Neighbour {
        device,
        address,
        mac: mac.filter(|_| usable),
        stale: message.header.state == NeighbourState::Stale,
    })
}

impl Network {
    /// Everything, as it is now.
    pub fn read() -> io::Result<Self> {
        let mut network = Self::default();
        network.read_routes()?;
        network.read_neighbours()?;
        Ok(network)
    }

    /// Reads devices, addresses and routes again.
    pub fn read_routes(&mut self) -> io::Result<()> {
        let mut netlink = Netlink::open()?;
        let links = netlink.links()?;
        let mut addresses = BTreeSet::new();
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        for answer in netlink.request(message, NLM_F_DUMP)? {
            if let RouteNetlinkMessage::NewAddress(message) = answer
                && let Some(address) = address(&message)
            {
                let key = (address.device, address.address, address.prefix_len);
                addresses.insert(key);
            }
        }
        let mut routes = BTreeMap::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let request = RouteNetlinkMessage::GetRoute(message);
            for answer in netlink.request(request, NLM_F_DUMP)? {
                if let RouteNetlinkMessage::NewRoute(message) = answer
                    && let Some(route) = route(&message)
                {
                    add(&mut routes, route);
                }
            }
        }
        self.links = links.into_iter().map(|link| (link.ifindex, link)).collect();
        self.addresses = addresses
            .into_iter()
            .map(|(device, address, prefix_len)| UnderlayAddress {
                device,
                address,
                prefix_len,
            })
            .collect();
        self.routes = routes;
        Ok(())
    }

    /// Reads neighbours again.
    pub fn read_neighbours(&mut self) -> io::Result<()> {
        let mut netlink = Netlink::open()?;
        let message = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let answers = netlink.request(message, NLM_F_DUMP)?;
        self.neighbours.clear();
        for answer in answers {
            if let RouteNetlinkMessage::NewNeighbour(message) = answer
                && let Some(heard) = neighbour(&message)
            {
                self.note(heard);
            }
        }
        Ok(())
    }

    /// Takes note of news of a neighbour. Answers whether its address is another.
    pub fn note(&mut self, heard: Heard) -> bool {
        let Heard::Neighbour {
            device,
            address,
            mac,
            ..
        } = heard
        else {
            return false;
        };
        match mac {
            Some(mac) => self.neighbours.insert((device, address), mac) != Some(mac),
            None => self.neighbours.remove(&(device, address)).is_some(),
        }
    }
}

/// Has the kernel find out a neighbour's address, or confirm it.
pub fn resolve(device: u32, address: IpAddr) -> io::Result<()> {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = device;
    message.header.flags = NeighbourFlags::Use;
    let (family, destination) = match address {
        IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
    };
    message.header.family = family;
    let attribute = NeighbourAttribute::Destination(destination);
    message.attributes.push(attribute);
    let request = RouteNetlinkMessage::NewNeighbour(message);
    Netlink::open()?
        .request(request, NLM_F_ACK | NLM_F_CREATE)
        .map(drop)
}

fn address(message: &AddressMessage) -> Option<UnderlayAddress> {
    // One that another host may have is not ours yet.
    if message.header.flags.contains(AddressHeaderFlags::Tentative) {
        return None;
    }
    let address = netlink::own(message)?;
    Some(UnderlayAddress {
        device: message.header.index,
        address,
        prefix_len: message.header.prefix_len,
    })
}

fn route(message: &RouteMessage) -> Option<UnderlayRoute> {
    let header = &message.header;
    let any: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let mut table = u32::from(header.table);
    let mut route = UnderlayRoute {
        prefix: any,
        prefix_len: header.destination_prefix_length,
        metric: 0,
        kind: match header.kind {
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => {
                RouteKind::Nowhere
            }
            _ => return None,
        },
        hops: Vec::new(),
        source: None,
        mtu: None,
    };
    let (mut device, mut gateway) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => route.prefix = host(address)?,
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::PrefSource(address) => route.source = host(address),
            RouteAttribute::Oif(number) => device = Some(*number),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => gateway = by(attribute),
            RouteAttribute::MultiPath(hops) => route.hops = hops.iter().map(hop).collect(),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu).filter(|mtu| *mtu > 0),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) || header.tos != 0 {
        return None;
    }
    if let Some(device) = device
        && route.kind == RouteKind::Unicast
        && route.hops.is_empty()
    {
        route.hops.push(RouteHop {
            device,
            gateway,
            weight: 1,
        });
    }
    Some(route)
}

fn host(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// The next router that an attribute names.
fn by(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => host(address),
        RouteAttribute::Via(RouteVia::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Via(RouteVia::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn hop(hop: &RouteNextHop) -> RouteHop {
    RouteHop {
        device: hop.interface_index,
        gateway: hop.attributes.iter().find_map(by),
        // The kernel counts from 0.
        weight: u16::from(hop.hops) + 1,
    }
}

/// Adds a route. IPv6 routes of equal name are hops of one.
fn add(routes: &mut BTreeMap<RouteName, UnderlayRoute>, route: UnderlayRoute) {
    let name = (route.prefix, route.prefix_len, route.metric);
    match routes.get_mut(&name) {
        Some(same) if same.kind == route.kind => {
            for hop in route.hops {
                if !same.hops.contains(&hop) {
                    same.hops.push(hop);
                }
            }
        }
        // The kernel takes the first of two that differ.
        Some(_) => {}
        None => {
            routes.insert(name, route);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = 24;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.kind = kind;
        message.attributes = attributes;
        message
    }

    #[test]
    fn a_route_is_read_with_all_that_decides_about_packets() {
        let prefix = Ipv4Addr::new(10, 1, 1, 0);
        let gateway = Ipv4Addr::new(10, 0, 0, 9);
        let attributes = vec![
            RouteAttribute::Destination(RouteAddress::Inet(prefix)),
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)),
            RouteAttribute::Oif(3),
            RouteAttribute::Priority(100),
            RouteAttribute::PrefSource(RouteAddress::Inet(Ipv4Addr::new(10, 0, 0, 1))),
            RouteAttribute::Metrics(vec![RouteMetric::Mtu(1400)]),
        ];
        let read = route(&message(RouteType::Unicast, attributes.clone())).unwrap();
        let wanted = UnderlayRoute {
            prefix: prefix.into(),
            prefix_len: 24,
            metric: 100,
            kind: RouteKind::Unicast,
            hops: vec![RouteHop {
                device: 3,
                gateway: Some(gateway.into()),
                weight: 1,
            }],
            source: Some(Ipv4Addr::new(10, 0, 0, 1).into()),
            mtu: Some(1400),
        };
        assert_eq!(read, wanted);
        let mut other = attributes;
        other.push(RouteAttribute::Table(7));
        assert_eq!(route(&message(RouteType::Unicast, other)), None);
        assert_eq!(route(&message(RouteType::Local, Vec::new())), None);
        let none = route(&message(RouteType::BlackHole, Vec::new())).unwrap();
        assert_eq!((none.kind, none.hops), (RouteKind::Nowhere, Vec::new()));
    }

    #[test]
    fn a_neighbour_counts_while_its_address_may_be_used() {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = 3;
        let address = Ipv4Addr::new(10, 0, 0, 2);
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)),
            NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 2]),
        ];
        let mut network = Network::default();
        let mut hear = |state| {
            message.header.state = state;
            network.note(neighbour(&message).unwrap())
        };
        assert!(!hear(NeighbourState::Incomplete));
        assert!(hear(NeighbourState::Reachable));
        assert!(!hear(NeighbourState::Stale), "nothing new");
        assert!(hear(NeighbourState::Failed));
    }
}
