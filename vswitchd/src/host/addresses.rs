//! Addresses and routes of one device, and what routes there are.
//!
//! Addresses of IPv6 are good at once: duplicates are looked for when addresses are given (`ipam`), not on the
//! link, so that what is told "done" can be used.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::Netlink;

impl Netlink {
    /// Gives a device an address. One that it has stays.
    pub fn add_address(&mut self, ifindex: u32, address: IpNet) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr());
        message.header.prefix_len = address.prefix_len();
        message.header.index = ifindex;
        message.header.scope = AddressScope::Universe;
        message.attributes = vec![
            AddressAttribute::Local(address.addr()),
            AddressAttribute::Address(address.addr()),
        ];
        match address {
            IpNet::V4(net) if net.prefix_len() < 31 => {
                let broadcast = AddressAttribute::Broadcast(net.broadcast());
                message.attributes.push(broadcast);
            }
            IpNet::V4(_) => {}
            IpNet::V6(_) => {
                message.header.flags = AddressHeaderFlags::Nodad;
                let flags = AddressAttribute::Flags(AddressFlags::Nodad);
                message.attributes.push(flags);
            }
        }
        let message = RouteNetlinkMessage::NewAddress(message);
        match self.request(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result.map(drop),
        }
    }

    /// Makes a gateway behind a device the way to everywhere else, whatever was before.
    pub fn set_default_route(&mut self, ifindex: u32, gateway: IpAddr) -> io::Result<()> {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = family(gateway);
        header.table = RouteHeader::RT_TABLE_MAIN;
        header.protocol = RouteProtocol::Static;
        header.scope = RouteScope::Universe;
        header.kind = RouteType::Unicast;
        message.attributes = vec![
            RouteAttribute::Oif(ifindex),
            RouteAttribute::Gateway(gateway.into()),
        ];
        let message = RouteNetlinkMessage::NewRoute(message);
        self.request(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE)
            .map(drop)
    }

    /// Where the namespace's routes lead, with the devices that they go by.
    pub fn destinations(&mut self) -> io::Result<Vec<(IpNet, u32)>> {
        let mut all = Vec::new();
        for unspecified in [
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ] {
            let mut message = RouteMessage::default();
            message.header.address_family = family(unspecified);
            let message = RouteNetlinkMessage::GetRoute(message);
            let answers = self.request(message, NLM_F_DUMP)?;
            all.extend(
                answers
                    .iter()
                    .filter_map(|one| destination(one, unspecified)),
            );
        }
        Ok(all)
    }
}

/// Where a route of the main table leads, if it leads to hosts.
fn destination(answer: &RouteNetlinkMessage, unspecified: IpAddr) -> Option<(IpNet, u32)> {
    let RouteNetlinkMessage::NewRoute(route) = answer else {
        return None;
    };
    let header = &route.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
        return None;
    }
    let mut destination = unspecified;
    let mut device = 0;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                destination = IpAddr::V4(*address);
            }
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                destination = IpAddr::V6(*address);
            }
            RouteAttribute::Oif(index) => device = *index,
            _ => {}
        }
    }
    let net = IpNet::new(destination, header.destination_prefix_length).ok()?;
    let on_link = matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local());
    (!on_link).then_some((net, device))
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
