//! What a router says itself: answers to ARP and neighbour discovery, echoes, ICMP errors, router
//! advertisements, DHCP, and questions for neighbours.
//!
//! Not for deciding where packets go: that is translation's, which sends here what is for the router or
//! goes nowhere. Not for remembering neighbours: [`crate::neigh`].
//!
//! Law: a packet that comes in is handed back as answers, taken, or dropped with a reason, and its frame
//! goes back to the pool. An answer enters the pipeline by the router port for which it speaks, so flows,
//! VLANs and mirrors of the bridge apply to it. Nothing is answered that could multiply: no errors about
//! errors, about fragments or to groups. Everything that a stranger can ask for has a bucket of its port,
//! so one port's flood does not silence another, and the same ticks give the same answers.
//!
//! Packets come here without VLAN tags: the IP or ARP header is [`LINK_SIZE`] bytes in.
//!
//! Threads: workers; the lock is held for one packet's answer. Cost: off the hit path; microseconds.
//!
//! Formats are those of `smoltcp::wire` where it has them; it has no server for DHCP and advertises no
//! router, so leases and timers are ours. Spec: RFC 826, 1122, 1812, 4443, 4861, and of each file its own.

mod advert;
mod dhcp;
mod dhcpv6;
mod error;
mod frame;
mod local;
mod resolve;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use vswitch_dpapi::PortId;
use vswitch_dpapi::router::{LeaseRow, RouterPortSpec};
use vswitch_flow::Prefix;

use crate::buffer::{FramePool, Packet};
use crate::counters::DropReason;
use crate::neigh::Neighbours;
use crate::port::PortIndex;
use crate::rate::Bucket;
use crate::tick::Tick;

use advert::Advertiser;
use dhcp::Leases;

pub use error::Trouble;
pub use resolve::pass_on;

/// Bytes of the Ethernet header, which has no tags here.
pub const LINK_SIZE: usize = 14;

/// Answers that a port gives a second, and at once: ARP, neighbour discovery and echoes.
const ANSWERS_RATE: u32 = 10_000;
const ANSWERS_BURST: u32 = 1_000;

/// Messages of DHCP and router solicitations that a port answers a second, and at once.
const SERVICE_RATE: u32 = 100;
const SERVICE_BURST: u32 = 50;

/// Servers of names in one message, of whatever kind.
const DNS_MAX: usize = 8;

/// ICMP errors at once: traceroute sends 16 packets of each kind.
const ERRORS_BURST: u32 = 50;

/// Milliseconds between two announcements of an address (`ANNOUNCE_INTERVAL` of RFC 5227), and how many
/// there are.
const ANNOUNCE_MS: u64 = 2_000;
const ANNOUNCEMENTS: u8 = 2;

/// Milliseconds in which an address that others take is defended once (`DEFEND_INTERVAL` of RFC 5227):
/// two who do not give way would otherwise answer each other for ever.
const DEFEND_MS: u64 = 10_000;

/// A router's port, as the gateway is shown it.
pub struct Seat<'a> {
    /// The port.
    pub index: PortIndex,
    /// Largest layer-3 packet on its network.
    pub mtu: u32,
    /// What was asked for.
    pub spec: &'a RouterPortSpec,
    /// Its address for the link alone, if it has IPv6 addresses.
    pub link_local: Option<Ipv6Addr>,
    /// ICMP errors a second.
    pub errors_rate: u32,
    /// Its router's neighbours.
    pub neighbours: &'a Neighbours,
    /// Which ways its router has to an address.
    pub leads: &'a dyn Fn(IpAddr) -> Leads,
}

/// Which ways a router has to an address, as one of its ports sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leads {
    /// There is one by another port.
    pub elsewhere: bool,
    /// A route says that the address is on the port's network, though no address of the port does.
    pub direct: bool,
}

impl std::fmt::Debug for Seat<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl Seat<'_> {
    /// Whether an address is the port's own.
    fn has(&self, address: IpAddr) -> bool {
        let mut own = self.spec.addresses.iter();
        own.any(|prefix| prefix.address == address)
            || self
                .link_local
                .is_some_and(|local| IpAddr::V6(local) == address)
    }

    /// The port's own address on the network that has this one.
    fn network_of(&self, address: IpAddr) -> Option<&Prefix> {
        let mut own = self.spec.addresses.iter();
        own.find(|prefix| prefix.contains(address))
    }

    /// Whether an address is on one of the port's networks.
    fn is_on_link(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => self.link_local.is_some(),
            _ => self.network_of(address).is_some(),
        }
    }

    /// Whether somebody with this address can be a neighbour by this port.
    fn is_near(&self, address: IpAddr) -> bool {
        self.is_on_link(address) || (self.leads)(address).direct
    }

    fn first_v4(&self) -> Option<Ipv4Addr> {
        self.spec
            .addresses
            .iter()
            .find_map(|prefix| match prefix.address {
                IpAddr::V4(v4) => Some(v4),
                IpAddr::V6(_) => None,
            })
    }

    fn first_v6(&self) -> Option<Ipv6Addr> {
        self.spec
            .addresses
            .iter()
            .find_map(|prefix| match prefix.address {
                IpAddr::V6(v6) if !v6.is_unicast_link_local() => Some(v6),
                _ => None,
            })
    }

    /// The IPv6 servers of names that hosts are told of.
    fn dns_v6(&self) -> impl Iterator<Item = Ipv6Addr> {
        let v6 = |address: &IpAddr| match address {
            IpAddr::V6(v6) => Some(*v6),
            IpAddr::V4(_) => None,
        };
        self.spec.dns.iter().filter_map(v6).take(DNS_MAX)
    }

    /// The address from which the port speaks to another one.
    fn source_for(&self, other: IpAddr) -> Option<IpAddr> {
        if let Some(own) = self.network_of(other) {
            return Some(own.address);
        }
        match other {
            IpAddr::V4(_) => self.first_v4().map(IpAddr::V4),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => self.link_local.map(IpAddr::V6),
            IpAddr::V6(_) => self.first_v6().or(self.link_local).map(IpAddr::V6),
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Out {
    /// Packets that enter the pipeline by their ports.
    pub packets: Vec<Packet>,
    /// Packets that were dropped, by reason.
    pub drops: Vec<DropReason>,
    /// Packets that the router took: answered, understood, or waiting for a neighbour.
    pub taken: u64,
    /// Packets that had been taken, since they waited, and are dropped now.
    pub returned: u64,
}

impl Out {
    fn drop(&mut self, packet: Packet, reason: DropReason, pool: &mut FramePool) {
        self.drops.push(reason);
        pool.drop_packet(packet);
    }

    fn take(&mut self, packet: Packet, pool: &mut FramePool) {
        self.taken += 1;
        pool.drop_packet(packet);
    }
}

/// What a port remembers.
#[derive(Debug)]
struct Desk {
    errors: Bucket,
    answers: Bucket,
    service: Bucket,
    leases: Leases,
    /// Addresses that have been announced as often as is due.
    announced: Vec<(Prefix, u8)>,
    /// Addresses that have been defended lately.
    defended: Vec<(Ipv4Addr, Tick)>,
    next_announcement: Tick,
    advertiser: Advertiser,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            errors: Bucket::new(0, 0),
            answers: Bucket::new(ANSWERS_RATE, ANSWERS_BURST),
            service: Bucket::new(SERVICE_RATE, SERVICE_BURST),
            leases: Leases::default(),
            announced: Vec::new(),
            defended: Vec::new(),
            next_announcement: Tick(0),
            advertiser: Advertiser::default(),
        }
    }
}

/// What all routers' ports remember, shared by all workers.
#[derive(Debug, Default)]
pub struct Gateway {
    desks: Mutex<HashMap<PortIndex, Desk>>,
}

impl Gateway {
    fn lock(&self) -> MutexGuard<'_, HashMap<PortIndex, Desk>> {
        // A desk is a value at any moment, so what a panicking thread left is whole.
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a port's desk.
    fn with<T>(&self, port: PortIndex, work: impl FnOnce(&mut Desk) -> T) -> T {
        work(self.lock().entry(port).or_default())
    }

    /// Forgets ports that `which` does not say.
    pub fn keep(&self, which: impl Fn(PortIndex) -> bool) {
        self.lock().retain(|port, _| which(*port));
    }

    /// Addresses that are given, in the order of ports and addresses.
    #[must_use]
    pub fn leases(&self, now: Tick) -> Vec<LeaseRow> {
        let desks = self.lock();
        let mut rows: Vec<_> = desks
            .iter()
            .flat_map(|(port, desk)| {
                desk.leases.rows(now).map(|(address, mac, left)| LeaseRow {
                    port: PortId(port.0),
                    address,
                    mac,
                    left,
                })
            })
            .collect();
        rows.sort_by_key(|row| (row.port, row.address));
        rows
    }
}

#[cfg(test)]
mod tests;
