//! Routers and what is set on their ports.
//!
//! Law, of a [`Switch`](super::Switch) with routers: networks of one router's ports do not overlap, no
//! two ports of a bridge's VLAN have one MAC address, and no two ports on a bridge's VLAN have one
//! address. Different routers may have the same networks: they know nothing of each other.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use vswitch_dpapi::router::{AdvertiseSpec, DhcpSpec};
use vswitch_dpapi::{RouterId, RouterPortSpec};
use vswitch_flow::Prefix;

use super::key::{self, Key};
use super::nat::{self, Dnat, Snat};

/// Neighbours that a router knows unless told otherwise: every host of a large network.
pub const NEIGHBOURS: u32 = 16_384;

/// ICMP errors of a port in a second: what Linux sends (`icmp_msgs_per_sec` is 1000 for all).
pub const ICMP_RATE: u32 = 100;

/// Addresses of a router's port.
const ADDRESSES_MAX: usize = 64;

/// Addresses in the ranges of one port: as many as the datapath remembers.
const RANGE_MAX: u32 = 65_536;

/// Ranges and hosts of one port: each message of a client is compared with all.
const RANGES_MAX: usize = 64;
const HOSTS_MAX: usize = 1024;

/// Seconds for which an address is given: an hour.
const LEASE: u32 = 3600;

/// Seconds between advertisements, at most (`MaxRtrAdvInterval` of RFC 4861).
const INTERVAL: u16 = 600;

/// Servers of names.
const DNS_MAX: usize = 8;

/// A router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Router {
    /// Its number, never given again.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// What can be set.
    #[serde(default)]
    pub settings: RouterSettings,
}

/// What was set on a router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouterSettings {
    /// Most neighbours.
    pub neighbours: u32,
    /// ICMP errors of each port in a second.
    pub icmp_rate: u32,
    /// The zone of connections that it translates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<u16>,
}

impl Default for RouterSettings {
    fn default() -> Self {
        Self {
            neighbours: NEIGHBOURS,
            icmp_rate: ICMP_RATE,
            zone: None,
        }
    }
}

/// The settings of a router.
pub const KEYS: &[Key<RouterSettings>] = &[
    Key {
        name: "neighbours",
        live: true,
        takes: "a number of neighbours from 1 to 1000000",
        set: |router, text| {
            router.neighbours = key::number(text, 1..=1_000_000)?;
            Some(())
        },
        clear: |router| router.neighbours = NEIGHBOURS,
        show: |router| Some(router.neighbours.to_string()),
    },
    Key {
        name: "icmp_rate",
        live: true,
        takes: "a number of ICMP errors a second from 0 (none) to 100000",
        set: |router, text| {
            router.icmp_rate = key::number(text, 0..=100_000)?;
            Some(())
        },
        clear: |router| router.icmp_rate = ICMP_RATE,
        show: |router| Some(router.icmp_rate.to_string()),
    },
    Key {
        name: "zone",
        live: true,
        takes: "the zone of the connections that it translates, from 1 to 65535, which no other router has",
        set: |router, text| {
            router.zone = Some(key::number(text, 1..=65_535)?);
            Some(())
        },
        clear: |router| router.zone = None,
        show: |router| router.zone.map(|zone| zone.to_string()),
    },
];

/// Zones that routers have unless told otherwise: those from here up.
const ZONES: u16 = 0xf000;

impl Router {
    /// The zone of the connections that it translates.
    pub fn zone(&self) -> u16 {
        // Fewer bits than a zone has, so nothing is lost.
        self.settings
            .zone
            .unwrap_or(ZONES | (self.id & u32::from(!ZONES)) as u16)
    }
}

/// What was set on a router's port, besides what all ports have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouterPort {
    /// The router.
    pub router: Option<String>,
    /// Its addresses, with the lengths of their networks.
    pub address: Vec<Prefix>,
    /// It answers ARP for what is behind the router.
    pub proxy_arp: bool,
    /// It says that it is a router.
    pub advertise: bool,
    /// Seconds between two times.
    pub advertise_interval: Option<u16>,
    /// Seconds that it is a default router for.
    pub advertise_lifetime: Option<u16>,
    /// Addresses that are given to hosts.
    pub dhcp_range: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// Addresses of certain hosts.
    pub dhcp_host: Vec<([u8; 6], Ipv4Addr)>,
    /// Seconds for which an address is given.
    pub dhcp_lease: Option<u32>,
    /// It answers DHCPv6.
    pub dhcpv6: bool,
    /// Servers of names.
    pub dns: Vec<IpAddr>,
    /// The sources that packets leave with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snat: Vec<Snat>,
    /// Whom connections to its addresses are for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dnat: Vec<Dnat>,
}

/// Things with commas between.
pub(super) fn several<T>(text: &str, one: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split(',').map(one).collect()
}

fn address(text: &str) -> Option<Prefix> {
    let prefix: Prefix = text.parse().ok()?;
    let is_host = match prefix.address {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            !matches!(first, 0 | 127 | 224..)
        }
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_loopback() && !v6.is_multicast(),
    };
    // The first and the last address of an IPv4 network are nobody's, unless it has two (RFC 3021).
    let is_edge = prefix.address.is_ipv4()
        && prefix.len < 31
        && (prefix.network().address == prefix.address || prefix.last() == prefix.address);
    (text.contains('/') && prefix.len > 0 && is_host && !is_edge).then_some(prefix)
}

fn range(text: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (Ipv4Addr, Ipv4Addr) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

fn host(text: &str) -> Option<([u8; 6], Ipv4Addr)> {
    let (mac, address) = text.split_once('@')?;
    Some((key::mac(mac)?, address.parse().ok()?))
}

/// Values as they would be typed, with commas between.
pub(super) fn list<T>(values: &[T], show: impl Fn(&T) -> String) -> Option<String> {
    let texts: Vec<_> = values.iter().map(show).collect();
    (!texts.is_empty()).then(|| texts.join(","))
}

/// How the values of a router port's keys are read.
pub(super) mod read {
    use super::*;

    pub(in super::super) fn addresses(text: &str) -> Option<Vec<Prefix>> {
        let all = several(text, address)?;
        (all.len() <= ADDRESSES_MAX).then_some(all)
    }

    pub(in super::super) fn ranges(text: &str) -> Option<Vec<(Ipv4Addr, Ipv4Addr)>> {
        let all = several(text, range)?;
        let len = all.iter().fold(0_u32, |len, (first, last)| {
            let more = last.to_bits() - first.to_bits();
            len.saturating_add(more).saturating_add(1)
        });
        (len <= RANGE_MAX && all.len() <= RANGES_MAX).then_some(all)
    }

    pub(in super::super) fn hosts(text: &str) -> Option<Vec<([u8; 6], Ipv4Addr)>> {
        let all = several(text, host)?;
        (all.len() <= HOSTS_MAX).then_some(all)
    }

    pub(in super::super) use crate::model::nat::{read_dnat as dnat, read_snat as snat};

    pub(in super::super) fn servers(text: &str) -> Option<Vec<IpAddr>> {
        let all = several(text, |one| one.parse().ok())?;
        (all.len() <= DNS_MAX).then_some(all)
    }
}

/// Refuses addresses that mean the network of a port itself or all on it. A range that lies within the
/// network has them at its ends or not at all.
fn check_edges(own: &Prefix, mut given: impl Iterator<Item = IpAddr>) -> Result<(), String> {
    let (network, all) = (own.network(), own.last());
    // RFC 3021: a network of two has neither, and one of one is the port's own address.
    let is_edge = |address: &IpAddr| own.len < 31 && [network.address, all].contains(address);
    match given.find(is_edge) {
        Some(edge) => Err(format!(
            "{edge} cannot be given to a host: {} and {all} mean the network {network} itself and all on it; \
             hosts have the addresses between",
            network.address
        )),
        None => Ok(()),
    }
}

impl RouterPort {
    /// Refuses settings that contradict each other, with a sentence.
    pub fn check(&self) -> Result<(), String> {
        for (at, own) in self.address.iter().enumerate() {
            if let Some(other) = self.address[..at].iter().find(|other| own.overlaps(other)) {
                return Err(format!(
                    "the networks of {other} and {own} overlap; addresses of one port are on different \
                     networks"
                ));
            }
        }
        let v4 = || self.address.iter().filter(|own| own.address.is_ipv4());
        let networks = || {
            let texts: Vec<_> = v4().map(|own| own.network().to_string()).collect();
            match texts.as_slice() {
                [] => "has no IPv4 network".to_owned(),
                texts => format!("has {}", texts.join(", ")),
            }
        };
        let ranges = self.dhcp_range.iter().flat_map(|(a, b)| [*a, *b]);
        let hosts = self.dhcp_host.iter().map(|(_, address)| *address);
        let mut given = ranges.chain(hosts).map(IpAddr::V4);
        let all = given.clone();
        if let Some(first) = given.next() {
            let Some(own) = v4().find(|own| own.contains(first)) else {
                return Err(format!(
                    "{first} cannot be given: it is on no network of the port, which {}",
                    networks()
                ));
            };
            if let Some(far) = given.find(|address| !own.contains(*address)) {
                return Err(format!(
                    "{far} cannot be given: it is not on the network {} that {first} is on",
                    own.network()
                ));
            }
            check_edges(own, all)?;
        }
        for (at, (mac, address)) in self.dhcp_host.iter().enumerate() {
            let before = &self.dhcp_host[..at];
            if before.iter().any(|(m, a)| m == mac || a == address) {
                return Err(format!(
                    "dhcp_host names {} or {address} twice; each host has one address",
                    key::show_mac(*mac)
                ));
            }
            if v4().any(|own| own.address == IpAddr::V4(*address)) {
                return Err(format!(
                    "{address} is the port's own address and cannot be given"
                ));
            }
        }
        let interval = self.advertise_interval.unwrap_or(INTERVAL);
        if self
            .advertise_lifetime
            .is_some_and(|life| life != 0 && life < interval)
        {
            return Err(format!(
                "advertise_lifetime must be 0 or at least the interval of {interval} seconds; hosts would \
                 lose the router between two advertisements"
            ));
        }
        let is_v6 = self.address.iter().any(|own| own.address.is_ipv6());
        if (self.advertise || self.dhcpv6) && !is_v6 {
            return Err(
                "advertise and dhcpv6 are for IPv6, and the port has no IPv6 address; give it one \
                 with address="
                    .to_owned(),
            );
        }
        nat::check(&self.snat, &self.dnat, &self.address)
    }

    /// The same in the datapath's words.
    pub fn spec(&self, router: RouterId, mac: [u8; 6]) -> RouterPortSpec {
        let interval = self.advertise_interval.unwrap_or(INTERVAL);
        let gives = !self.dhcp_range.is_empty() || !self.dhcp_host.is_empty();
        RouterPortSpec {
            router,
            mac,
            addresses: self.address.clone(),
            proxy_arp: self.proxy_arp,
            advertise: self.advertise.then(|| AdvertiseSpec {
                interval,
                lifetime: self
                    .advertise_lifetime
                    .unwrap_or_else(|| interval.saturating_mul(3).min(9000)),
            }),
            dhcp: gives.then(|| DhcpSpec {
                ranges: self.dhcp_range.clone(),
                hosts: self.dhcp_host.clone(),
                lease_time: self.dhcp_lease.unwrap_or(LEASE),
            }),
            dhcpv6: self.dhcpv6,
            dns: self.dns.clone(),
            snat: nat::snat_spec(&self.snat, &self.address),
            dnat: nat::dnat_spec(&self.dnat),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_port_gives_by_dhcp_is_bounded() {
        let hosts = |len: usize| {
            let host = |at| format!("02:00:00:00:{:02x}:{:02x}@10.0.0.9", at >> 8, at & 0xff);
            let texts: Vec<_> = (0..len).map(host).collect();
            read::hosts(&texts.join(",")).is_some()
        };
        assert!(hosts(HOSTS_MAX) && !hosts(HOSTS_MAX + 1));
        let ranges = |len| read::ranges(&vec!["10.0.0.9"; len].join(",")).is_some();
        assert!(ranges(RANGES_MAX) && !ranges(RANGES_MAX + 1));
        assert!(read::ranges("10.0.0.0-10.0.255.255").is_some());
        assert!(read::ranges("10.0.0.0-10.1.0.0").is_none());
    }
}
