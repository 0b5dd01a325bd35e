//! Router advertisements: that a port is a router, the networks of its addresses, the MTU and servers of
//! names; and what ports do by themselves as time passes.
//!
//! Law: a port that advertises has said so [`INITIAL`] times soon after it began, then at random-looking
//! times between three quarters of its interval and all of it, and to everybody who asks.
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

use super::frame::{self, ALL_NODES, Link};
use super::{Gateway, Out, Seat};
use crate::buffer::{FramePool, Packet};
use crate::counters::DropReason;
use crate::tick::Tick;

/// Advertisements after which the interval is the port's own, and milliseconds between them before
/// (`MAX_INITIAL_RTR_ADVERTISEMENTS`, and a quarter of `MAX_INITIAL_RTR_ADVERT_INTERVAL`).
const INITIAL: u32 = 3;
const INITIAL_MS: u64 = 4_000;

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
        let Some(src) = seat.link_local else { return };
        self.with(seat.index, |desk| {
            let Some(spec) = &seat.spec.advertise else {
                desk.adverts = 0;
                desk.next_advert = Tick(0);
                return;
            };
            if now >= desk.next_advert {
                out.packets
                    .extend(advert(seat, spec, src, ALL_NODES, None, pool));
                desk.adverts = desk.adverts.saturating_add(1);
                let interval = u64::from(spec.interval) * 1000;
                let pause = if desk.adverts < INITIAL {
                    INITIAL_MS.min(interval)
                } else {
                    // Different ports at different times, and the same in every run.
                    let mix = u64::from(desk.adverts).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                        ^ u64::from(seat.index.0).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    interval - (mix >> 40) % (interval / 4).max(1)
                };
                desk.next_advert = Tick(now.0 + pause);
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
        let (Some(spec), Some(src)) = (&seat.spec.advertise, seat.link_local) else {
            return out.drop(packet, DropReason::RouterIgnored, pool);
        };
        if !self.with(seat.index, |desk| desk.service.take(now)) {
            return out.drop(packet, DropReason::RouterBusy, pool);
        }
        let (station, _) = frame::stations(&packet);
        // Who has no address yet hears it as one of all.
        let (to, station) = if asker.is_unspecified() {
            (ALL_NODES, None)
        } else {
            (asker, Some(station))
        };
        out.packets
            .extend(advert(seat, spec, src, to, station, pool));
        out.take(packet, pool);
    }
}

/// An advertisement to one host's station, or to all.
fn advert(
    seat: &Seat<'_>,
    spec: &AdvertiseSpec,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    station: Option<[u8; 6]>,
    pool: &mut FramePool,
) -> Option<Packet> {
    let mac = seat.spec.mac;
    let mut flags = NdiscRouterFlags::empty();
    flags.set(NdiscRouterFlags::OTHER, seat.spec.dhcpv6);
    let repr = NdiscRepr::RouterAdvert {
        hop_limit: HOPS,
        flags,
        router_lifetime: Duration::from_secs(spec.lifetime.into()),
        reachable_time: Duration::ZERO,
        retrans_time: Duration::ZERO,
        lladdr: Some(EthernetAddress(mac).into()),
        mtu: Some(seat.mtu),
        prefix_info: None,
    };
    let mut prefixes: Vec<_> = networks(seat).collect();
    prefixes.truncate(PREFIXES_MAX);
    let dns: Vec<_> = seat.dns_v6().collect();
    let dns_size = match dns.len() {
        0 => 0,
        len => DNS_SIZE + len * ADDRESS_SIZE,
    };
    let fixed = repr.buffer_len();
    let size = fixed + prefixes.len() * PREFIX_SIZE + dns_size;
    let link = Link {
        src: mac,
        dst: station.unwrap_or(frame::group_station(ALL_NODES)),
    };
    frame::discovery(seat.index, link, src, dst, size, pool, |bytes| {
        let (head, options) = bytes.split_at_mut(fixed);
        repr.emit(&mut Icmpv6Packet::new_unchecked(head));
        let (infos, rest) = options.split_at_mut(prefixes.len() * PREFIX_SIZE);
        for (info, place) in prefixes.iter().zip(infos.chunks_mut(PREFIX_SIZE)) {
            let mut option = NdiscOption::new_unchecked(place);
            NdiscOptionRepr::PrefixInformation(*info).emit(&mut option);
        }
        if !dns.is_empty() {
            let lifetime = u32::from(spec.interval).saturating_mul(3).to_be_bytes();
            let data: Vec<u8> = [0, 0]
                .into_iter()
                .chain(lifetime)
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
fn networks(seat: &Seat<'_>) -> impl Iterator<Item = NdiscPrefixInformation> {
    seat.spec.addresses.iter().filter_map(|own| {
        let network = own.network();
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
    })
}
