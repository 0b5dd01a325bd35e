//! Router advertisements: that a port is a router, the networks of its addresses, the MTU and servers of
//! names; and what ports do by themselves as time passes.
//!
//! Law: a port that advertises has said so [`INITIAL`] times soon after it began or what it says changed,
//! then at random-looking times between three quarters of its interval and all of it, and to everybody
//! who asks: alone, or, where the asker has no address, to all. All hear it once in [`PAUSE_MS`] at most.
//! A port that advertises no more says so [`INITIAL`] times.
//!
//! Spec: RFC 4861 §6.2 (when, what); RFC 4862 §5.5.3 (autonomous prefixes are of 64 bits); RFC 8106
//! (servers of names).

use std::net::{IpAddr, Ipv6Addr};

use smoltcp::time::Duration;
use smoltcp::wire::{
    EthernetAddress, Icmpv6Packet, NdiscOption, NdiscOptionRepr, NdiscPrefixInfoFlags,
    NdiscPrefixInformation, NdiscRepr, NdiscRouterFlags,
};
use vswitch_dpapi::router::AdvertiseSpec;
use vswitch_flow::Prefix;

use super::frame::{self, ALL_NODES, Link};
use super::{Gateway, Out, Seat};
use crate::buffer::{FramePool, Packet};
use crate::counters::DropReason;
use crate::port::PortIndex;
use crate::tick::Tick;

/// Advertisements after which the interval is the port's own, and milliseconds between them before
/// (`MAX_INITIAL_RTR_ADVERTISEMENTS`, and a quarter of `MAX_INITIAL_RTR_ADVERT_INTERVAL`).
const INITIAL: u32 = 3;
const INITIAL_MS: u64 = 4_000;

/// Milliseconds between two advertisements to all (`MIN_DELAY_BETWEEN_RAS`).
const PAUSE_MS: u64 = 3_000;

/// Hops that hosts are to give their packets.
const HOPS: u8 = 64;

/// Seconds for which a network is on the link, and its addresses are used for new connections
/// (`AdvValidLifetime` and `AdvPreferredLifetime`).
const VALID: u64 = 2_592_000;
const PREFERRED: u64 = 604_800;

/// Bits of a network whose hosts choose their own addresses.
const AUTONOMOUS: u8 = 64;

/// Option of RFC 8106 with servers of names; bytes of its beginning and of an address.
const DNS_OPTION: u8 = 25;
const DNS_SIZE: usize = 8;
const ADDRESS_SIZE: usize = 16;

/// Bytes of a prefix option.
const PREFIX_SIZE: usize = 32;

/// Networks of one advertisement, so that it fits every link.
const PREFIXES_MAX: usize = 24;

impl Gateway {
    /// Does what a port does by itself: announces and advertises.
    pub fn tick(&self, seat: &Seat<'_>, now: Tick, pool: &mut FramePool, out: &mut Out) {
        self.announce(seat, now, pool, out);
        self.advertise(seat, now, pool, out);
    }

    fn advertise(&self, seat: &Seat<'_>, now: Tick, pool: &mut FramePool, out: &mut Out) {
        let terms = Terms::of(seat);
        self.with(seat.index, |desk| {
            let advertiser = &mut desk.advertiser;
            advertiser.turn_to(terms, now);
            if let Some(terms) = advertiser.due(seat.index, now) {
                out.packets
                    .extend(advert(seat, &terms, ALL_NODES, None, pool));
            }
        });
    }

    /// Somebody asks for routers.
    pub(super) fn hear_router_solicit(
        &self,
        packet: Packet,
        asker: Ipv6Addr,
        seat: &Seat<'_>,
        now: Tick,
        pool: &mut FramePool,
        out: &mut Out,
    ) {
        let Some(terms) = Terms::of(seat) else {
            return out.drop(packet, DropReason::RouterIgnored, pool);
        };
        if !self.with(seat.index, |desk| desk.service.take(now)) {
            return out.drop(packet, DropReason::RouterBusy, pool);
        }
        if asker.is_unspecified() {
            // Who has no address yet hears it as one of all, and so may others who ask just now.
            self.with(seat.index, |desk| desk.advertiser.hasten(now));
        } else {
            let (station, _) = frame::stations(&packet);
            let answer = advert(seat, &terms, asker, Some(station), pool);
            out.packets.extend(answer);
        }
        out.take(packet, pool);
    }
}

/// What a port says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Terms {
    /// From which address.
    src: Ipv6Addr,
    /// Where the router is; not said at the end.
    mac: Option<[u8; 6]>,
    mtu: u32,
    /// Servers of names can be asked for by DHCPv6.
    asks_dhcp: bool,
    spec: AdvertiseSpec,
    networks: Vec<Prefix>,
    dns: Vec<Ipv6Addr>,
    /// Seconds that the servers are good for.
    dns_lifetime: u32,
}

impl Terms {
    /// What a port has to say now, if it advertises.
    fn of(seat: &Seat<'_>) -> Option<Self> {
        let (spec, src) = (seat.spec.advertise?, seat.link_local?);
        Some(Self {
            src,
            mac: Some(seat.spec.mac),
            mtu: seat.mtu,
            asks_dhcp: seat.spec.dhcpv6,
            spec,
            networks: networks(seat).take(PREFIXES_MAX).collect(),
            dns: seat.dns_v6().collect(),
            dns_lifetime: u32::from(spec.interval).saturating_mul(3),
        })
    }

    /// What it says at the end: it is no default router any more, and its servers are not to be asked.
    /// The addresses of hosts stay as good as they were.
    fn farewell(mut self) -> Self {
        self.mac = None;
        self.spec.lifetime = 0;
        self.dns_lifetime = 0;
        self.networks.clear();
        self
    }

    fn is_farewell(&self) -> bool {
        self.mac.is_none()
    }
}

/// What a port has said to all, and when it says more.
#[derive(Debug, Default)]
pub(super) struct Advertiser {
    terms: Option<Terms>,
    /// How often these have been said.
    sent: u32,
    next: Tick,
    /// When something was said last.
    last: Option<Tick>,
}

impl Advertiser {
    /// The port has this to say from now on. What is new is said soon; what has ended is taken back
    /// first, from the address that said it.
    fn turn_to(&mut self, wanted: Option<Terms>, now: Tick) {
        if self.terms == wanted {
            return;
        }
        let terms = match (self.terms.take(), wanted) {
            (Some(old), wanted) if old.is_farewell() => {
                // One is enough when another router takes its place.
                let len = if wanted.is_some() { 1 } else { INITIAL };
                if self.sent < len {
                    self.terms = Some(old);
                    return;
                }
                wanted
            }
            (Some(old), Some(new)) if old.src == new.src => Some(new),
            (Some(old), _) => Some(old.farewell()),
            (None, new) => new,
        };
        self.terms = terms;
        self.sent = 0;
        self.next = self.earliest(now);
    }

    /// When something may be said to all.
    fn earliest(&self, now: Tick) -> Tick {
        let free = self.last.map(|last| Tick(last.0 + PAUSE_MS));
        free.map_or(now, |free| free.max(now))
    }

    /// Has what is said next be said soon.
    fn hasten(&mut self, now: Tick) {
        self.next = self.next.min(self.earliest(now));
    }

    /// What is to be said now.
    fn due(&mut self, port: PortIndex, now: Tick) -> Option<Terms> {
        let terms = self.terms.as_ref().filter(|_| now >= self.next)?;
        self.sent = self.sent.saturating_add(1);
        self.last = Some(now);
        let interval = u64::from(terms.spec.interval) * 1000;
        let pause = if self.sent < INITIAL {
            INITIAL_MS.min(interval)
        } else {
            // Different ports at different times, and the same in every run.
            let mix = u64::from(self.sent).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                ^ u64::from(port.0).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            interval - (mix >> 40) % (interval / 4).max(1)
        };
        self.next = Tick(now.0 + pause);
        Some(terms.clone())
    }
}

/// An advertisement to one host's station, or to all.
fn advert(
    seat: &Seat<'_>,
    terms: &Terms,
    dst: Ipv6Addr,
    station: Option<[u8; 6]>,
    pool: &mut FramePool,
) -> Option<Packet> {
    let mut flags = NdiscRouterFlags::empty();
    flags.set(NdiscRouterFlags::OTHER, terms.asks_dhcp);
    let repr = NdiscRepr::RouterAdvert {
        hop_limit: HOPS,
        flags,
        router_lifetime: Duration::from_secs(terms.spec.lifetime.into()),
        reachable_time: Duration::ZERO,
        retrans_time: Duration::ZERO,
        lladdr: terms.mac.map(|mac| EthernetAddress(mac).into()),
        mtu: Some(terms.mtu),
        prefix_info: None,
    };
    let (src, dns) = (terms.src, &terms.dns);
    let dns_size = match dns.len() {
        0 => 0,
        len => DNS_SIZE + len * ADDRESS_SIZE,
    };
    let fixed = repr.buffer_len();
    let size = fixed + terms.networks.len() * PREFIX_SIZE + dns_size;
    let link = Link {
        src: seat.spec.mac,
        dst: station.unwrap_or(frame::group_station(ALL_NODES)),
    };
    frame::discovery(seat.index, link, src, dst, size, pool, |bytes| {
        let (head, options) = bytes.split_at_mut(fixed);
        repr.emit(&mut Icmpv6Packet::new_unchecked(head));
        let (infos, rest) = options.split_at_mut(terms.networks.len() * PREFIX_SIZE);
        for (network, place) in terms.networks.iter().zip(infos.chunks_mut(PREFIX_SIZE)) {
            if let Some(info) = information(network) {
                let mut option = NdiscOption::new_unchecked(place);
                NdiscOptionRepr::PrefixInformation(info).emit(&mut option);
            }
        }
        if !dns.is_empty() {
            let data: Vec<u8> = [0, 0]
                .into_iter()
                .chain(terms.dns_lifetime.to_be_bytes())
                .chain(dns.iter().flat_map(Ipv6Addr::octets))
                .collect();
            NdiscOptionRepr::Unknown {
                type_: DNS_OPTION,
                length: (dns_size / 8) as u8,
                data: &data,
            }
            .emit(&mut NdiscOption::new_unchecked(rest));
        }
        Icmpv6Packet::new_unchecked(bytes).fill_checksum(&src, &dst);
    })
}

/// The networks of a port's IPv6 addresses.
fn networks(seat: &Seat<'_>) -> impl Iterator<Item = Prefix> {
    let all = seat.spec.addresses.iter().map(Prefix::network);
    all.filter(|network| information(network).is_some())
}

/// What hosts are told of a network.
fn information(network: &Prefix) -> Option<NdiscPrefixInformation> {
    let IpAddr::V6(prefix) = network.address else {
        return None;
    };
    if prefix.is_unicast_link_local() {
        return None;
    }
    let mut flags = NdiscPrefixInfoFlags::ON_LINK;
    flags.set(NdiscPrefixInfoFlags::ADDRCONF, network.len == AUTONOMOUS);
    Some(NdiscPrefixInformation {
        prefix_len: network.len,
        flags,
        valid_lifetime: Duration::from_secs(VALID),
        preferred_lifetime: Duration::from_secs(PREFERRED),
        prefix,
    })
}
