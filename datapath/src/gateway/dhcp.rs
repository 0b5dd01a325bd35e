//! DHCP for IPv4: a server on a router's port.
//!
//! Law: an address is given to one station at a time. Addresses of hosts are kept for them; of ranges
//! whoever asks gets the one it had, else the one it wants, else the first free one from where its
//! station's hash says, else one from where the last search ended. Not given are our own, those that
//! others were found to use (for [`DECLINED_MS`]), and those that a neighbour with another station has.
//! An offer that is not taken up is free again after [`OFFER_MS`]. We are not taken for the only server of
//! the network: a client is refused only what we know it must not have.
//!
//! Bounds: no more leases than addresses in ranges, at most [`RANGE_MAX`]; messages a second are bounded by
//! the port, and one message looks at [`SEARCH_MAX`] addresses and as many hosts as there are. Leases are
//! not kept on disk: after a restart of the datapath a host that renews gets the address that it has,
//! unless it was given to another meanwhile. Relays are not served.
//!
//! Spec: RFC 2131 (states, table 3 and §4.3), RFC 2132 (options).

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use hashbrown::HashMap;
use smoltcp::wire::{DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress};
use vswitch_dpapi::router::DhcpSpec;
use vswitch_packet::MacAddr;
use vswitch_packet::udp::{self, Udp};

use super::frame::{self, Link, stations};
use super::{DNS_MAX, Gateway, Out, Seat};
use crate::buffer::{FramePool, Packet};
use crate::counters::DropReason;
use crate::neigh::{NeighbourKey, Seen};
use crate::tick::Tick;

/// Addresses in the ranges of one port.
const RANGE_MAX: u32 = 65_536;

/// Addresses that one message looks at before the next one goes on: all of a network of 24 bits. With a
/// hundred messages a second it is a small part of a worker's time however full a range is.
const SEARCH_MAX: u32 = 256;

/// Milliseconds that an offer is kept for the one who got it.
const OFFER_MS: u64 = 60_000;

/// Milliseconds that an address is not given after somebody found another one using it.
const DECLINED_MS: u64 = 600_000;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// Options of RFC 2132 that smoltcp has no field for.
const DNS: u8 = 6;
const MTU: u8 = 26;
const BROADCAST: u8 = 28;
const RENEW: u8 = 58;
const REBIND: u8 = 59;

/// Smallest message that every client takes (RFC 2131 §2: 576 bytes of IP, of which BOOTP's 300 are the
/// least that old ones expect).
const SIZE_MIN: usize = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lease {
    /// Whose; `None` of an address that somebody else uses.
    mac: Option<[u8; 6]>,
    until: Tick,
}

/// What a port has given.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_address: HashMap<Ipv4Addr, Lease>,
    by_mac: HashMap<[u8; 6], Ipv4Addr>,
    /// Where the next search goes on that finds nothing near where its station's hash says.
    next: u32,
}

impl Leases {
    pub(super) fn rows(&self, now: Tick) -> impl Iterator<Item = (Ipv4Addr, [u8; 6], u32)> {
        self.by_address.iter().filter_map(move |(address, lease)| {
            let left = lease.until.since(now).div_ceil(1000);
            (left > 0).then_some((*address, lease.mac?, left as u32))
        })
    }

    fn is_free(&self, address: Ipv4Addr, mac: [u8; 6], now: Tick) -> bool {
        let lease = self.by_address.get(&address);
        lease.is_none_or(|lease| lease.until <= now || lease.mac == Some(mac))
    }

    /// Keeps an address for a station.
    fn give(&mut self, address: Ipv4Addr, mac: [u8; 6], until: Tick) {
        if let Some(old) = self.by_mac.insert(mac, address)
            && old != address
        {
            self.by_address.remove(&old);
        }
        let lease = Lease {
            mac: Some(mac),
            until,
        };
        if let Some(Lease {
            mac: Some(last), ..
        }) = self.by_address.insert(address, lease)
            && last != mac
        {
            self.by_mac.remove(&last);
        }
    }

    /// A station gives its address back.
    fn release(&mut self, address: Ipv4Addr, mac: [u8; 6]) {
        if self.by_mac.get(&mac) == Some(&address) {
            self.by_mac.remove(&mac);
            self.by_address.remove(&address);
        }
    }

    /// Somebody else uses an address that was given to a station.
    fn decline(&mut self, address: Ipv4Addr, mac: [u8; 6], now: Tick) {
        if self.by_mac.get(&mac) == Some(&address) {
            self.by_mac.remove(&mac);
            let until = Tick(now.0 + DECLINED_MS);
            self.by_address.insert(address, Lease { mac: None, until });
        }
    }
}

/// An address that a server can give.
struct Book<'a> {
    spec: &'a DhcpSpec,
    seat: &'a Seat<'a>,
    mac: [u8; 6],
    now: Tick,
}

impl Book<'_> {
    /// The address that is kept for the station.
    fn fixed(&self) -> Option<Ipv4Addr> {
        let mut hosts = self.spec.hosts.iter();
        hosts
            .find(|(mac, _)| *mac == self.mac)
            .map(|(_, address)| *address)
    }

    /// Whether the station may have this address.
    fn may_have(&self, address: Ipv4Addr, leases: &Leases) -> bool {
        if let Some(fixed) = self.fixed() {
            return fixed == address;
        }
        let in_range = |(first, last): &(Ipv4Addr, Ipv4Addr)| (*first..=*last).contains(&address);
        self.spec.ranges.iter().any(in_range) && self.is_open(address, leases)
    }

    /// Whether we know that the station must not have an address.
    fn is_barred(&self, address: Ipv4Addr, leases: &Leases) -> bool {
        if let Some(fixed) = self.fixed() {
            return fixed != address;
        }
        !self.is_open(address, leases)
    }

    /// Whether an address is nobody's but perhaps the station's.
    fn is_open(&self, address: Ipv4Addr, leases: &Leases) -> bool {
        leases.is_free(address, self.mac, self.now)
            && !self.seat.has(IpAddr::V4(address))
            && !self.spec.hosts.iter().any(|(_, kept)| *kept == address)
            && !self.is_elsewhere(address)
    }

    /// Whether a neighbour has the address that is another station.
    fn is_elsewhere(&self, address: Ipv4Addr) -> bool {
        let key = NeighbourKey {
            port: self.seat.index,
            address: IpAddr::V4(address),
        };
        let (_, seen) = self.seat.neighbours.lookup(key);
        matches!(seen, Seen::Known(known) if known.mac() != self.mac)
    }

    /// The address that the station is to have.
    fn choose(&self, wanted: Option<Ipv4Addr>, leases: &mut Leases) -> Option<Ipv4Addr> {
        if let Some(fixed) = self.fixed() {
            return Some(fixed);
        }
        let had = leases.by_mac.get(&self.mac).copied();
        let known = [had, wanted].into_iter().flatten();
        if let Some(known) = known.into_iter().find(|one| self.may_have(*one, leases)) {
            return Some(known);
        }
        let sizes = self.spec.ranges.iter().map(|(first, last)| {
            let len = last.to_bits().saturating_sub(first.to_bits());
            len.saturating_add(1)
        });
        let total = sizes
            .clone()
            .fold(0_u32, u32::saturating_add)
            .min(RANGE_MAX);
        let [.., a, b, c, d] = self.mac;
        let nth = |mut number: u32| {
            let pairs = self.spec.ranges.iter().zip(sizes.clone());
            for ((first, _), size) in pairs {
                if number < size {
                    return Some(Ipv4Addr::from_bits(first.to_bits() + number));
                }
                number -= size;
            }
            None
        };
        if total == 0 {
            return None;
        }
        // Where the station belongs first, so that it gets the same address when nothing is remembered;
        // then from where the last search ended, so that several see all of a large range.
        let own = u32::from_be_bytes([a, b, c, d]).wrapping_mul(0x9e37_79b9) % total;
        // Neither sum is larger than twice RANGE_MAX.
        let search = |begin: u32, len: u32, leases: &Leases| {
            (begin..begin + len).find_map(|place| {
                nth(place % total).filter(|address| self.is_open(*address, leases))
            })
        };
        if total <= SEARCH_MAX {
            return search(own, total, leases);
        }
        let len = SEARCH_MAX / 2;
        let begin = leases.next % total;
        search(own, len, leases).or_else(|| {
            let found = search(begin, len, leases);
            if found.is_none() {
                leases.next = begin + len;
            }
            found
        })
    }
}

/// What is answered.
enum Reply {
    /// An offer or a confirmation of an address, for so many seconds; for none if the client has it
    /// from elsewhere.
    Give(DhcpMessageType, Ipv4Addr, Option<u32>),
    /// The client is to begin anew.
    Refuse,
    Nothing,
}

impl Gateway {
    /// A message to the server, whose UDP header begins at `at`.
    pub(super) fn hear_dhcp(
        &self,
        packet: Packet,
        at: usize,
        seat: &Seat<'_>,
        now: Tick,
        pool: &mut FramePool,
        out: &mut Out,
    ) {
        let (station, _) = stations(&packet);
        let bytes = packet.head().get(at..).unwrap_or_default();
        let datagram = Udp::new_unchecked(bytes);
        let payload = datagram.payload();
        let view = DhcpPacket::new_checked(payload);
        let parsed = view
            .as_ref()
            .ok()
            .and_then(|view| DhcpRepr::parse(view).ok());
        let (Some(spec), Some(request)) = (&seat.spec.dhcp, parsed) else {
            return out.drop(packet, DropReason::Malformed, pool);
        };
        let mac = request.client_hardware_address.0;
        if mac != station || !request.relay_agent_ip.is_unspecified() || mac[0] & 1 == 1 {
            return out.drop(packet, DropReason::RouterForged, pool);
        }
        let server = server_of(seat, spec);
        let Some((server, mask, broadcast)) = server else {
            return out.drop(packet, DropReason::RouterIgnored, pool);
        };
        let reply = self.with(seat.index, |desk| {
            if !desk.service.take(now) {
                return None;
            }
            let book = Book {
                spec,
                seat,
                mac,
                now,
            };
            Some(decide(&request, &book, server, &mut desk.leases))
        });
        match reply {
            None => return out.drop(packet, DropReason::RouterBusy, pool),
            Some(Reply::Nothing) => {}
            Some(reply) => {
                let terms = Terms {
                    server,
                    mask,
                    broadcast,
                };
                out.packets
                    .extend(answer(&request, &reply, &terms, seat, pool));
            }
        }
        out.take(packet, pool);
    }
}

/// Decides about a message (RFC 2131 §4.3).
fn decide(request: &DhcpRepr<'_>, book: &Book<'_>, server: Ipv4Addr, leases: &mut Leases) -> Reply {
    let (mac, now) = (book.mac, book.now);
    let lease_time = book.spec.lease_time;
    let bound = Tick(now.0 + u64::from(lease_time) * 1000);
    match request.message_type {
        DhcpMessageType::Discover => match book.choose(request.requested_ip, leases) {
            Some(address) => {
                let offered = Tick(now.0 + OFFER_MS);
                let kept = leases.by_address.get(&address);
                let until = kept.map_or(offered, |lease| lease.until.max(offered));
                leases.give(address, mac, until);
                Reply::Give(DhcpMessageType::Offer, address, Some(lease_time))
            }
            None => Reply::Nothing,
        },
        DhcpMessageType::Request => {
            if let Some(other) = request.server_identifier
                && other != server
            {
                // It takes another server's offer; ours is free again.
                if let Some(address) = leases.by_mac.get(&mac).copied() {
                    leases.release(address, mac);
                }
                return Reply::Nothing;
            }
            let renews = !request.client_ip.is_unspecified();
            let wanted = match request.requested_ip {
                Some(wanted) => wanted,
                None if renews => request.client_ip,
                None => return Reply::Nothing,
            };
            if book.may_have(wanted, leases) {
                leases.give(wanted, mac, bound);
                return Reply::Give(DhcpMessageType::Ack, wanted, Some(lease_time));
            }
            // Another server may have given the address, and it is for that one to say that it is not
            // the client's. We say so of what we offered, of what we know the client must not have, and to who
            // begins again with an address of another network.
            let chose_us = request.server_identifier.is_some();
            let is_far = !renews && book.seat.network_of(IpAddr::V4(wanted)).is_none();
            if chose_us || is_far || book.is_barred(wanted, leases) {
                Reply::Refuse
            } else {
                Reply::Nothing
            }
        }
        DhcpMessageType::Decline => {
            if let Some(address) = request.requested_ip {
                leases.decline(address, mac, now);
            }
            Reply::Nothing
        }
        DhcpMessageType::Release => {
            leases.release(request.client_ip, mac);
            Reply::Nothing
        }
        DhcpMessageType::Inform if !request.client_ip.is_unspecified() => {
            Reply::Give(DhcpMessageType::Ack, request.client_ip, None)
        }
        _ => Reply::Nothing,
    }
}

/// The address of ours on the network of what is given, that network's mask and broadcast address.
fn server_of(seat: &Seat<'_>, spec: &DhcpSpec) -> Option<(Ipv4Addr, Ipv4Addr, Ipv4Addr)> {
    let given = spec.ranges.first().map(|(first, _)| *first);
    let given = given.or(spec.hosts.first().map(|(_, address)| *address))?;
    let own = seat.network_of(IpAddr::V4(given))?;
    match (own.address, own.last()) {
        (IpAddr::V4(server), IpAddr::V4(last)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(own.len)).unwrap_or(0);
            Some((server, Ipv4Addr::from_bits(mask), last))
        }
        _ => None,
    }
}

struct Terms {
    server: Ipv4Addr,
    mask: Ipv4Addr,
    broadcast: Ipv4Addr,
}

fn answer(
    request: &DhcpRepr<'_>,
    reply: &Reply,
    terms: &Terms,
    seat: &Seat<'_>,
    pool: &mut FramePool,
) -> Option<Packet> {
    let (kind, address, lease) = match *reply {
        Reply::Give(kind, address, lease) => (kind, address, lease),
        Reply::Refuse => (DhcpMessageType::Nak, Ipv4Addr::UNSPECIFIED, None),
        Reply::Nothing => return None,
    };
    let is_nak = kind == DhcpMessageType::Nak;
    let v4 = |address: &IpAddr| match address {
        IpAddr::V4(v4) => Some(v4.octets()),
        IpAddr::V6(_) => None,
    };
    let servers = seat.spec.dns.iter().filter_map(v4).take(DNS_MAX);
    let dns: Vec<u8> = servers.flatten().collect();
    let mtu = (seat.mtu.min(u32::from(u16::MAX)) as u16).to_be_bytes();
    let last = terms.broadcast.octets();
    let times = lease.map(|seconds| {
        // RFC 2131 §4.4.5: half of the time, and seven eighths.
        let rebind = seconds / 8 * 7;
        ((seconds / 2).to_be_bytes(), rebind.to_be_bytes())
    });
    let mut options = Vec::new();
    if !is_nak {
        let mut add = |kind, data| options.push(DhcpOption { kind, data });
        add(MTU, &mtu[..]);
        add(BROADCAST, &last[..]);
        if !dns.is_empty() {
            add(DNS, &dns);
        }
        if let Some((renew, rebind)) = &times {
            add(RENEW, renew);
            add(REBIND, rebind);
        }
    }
    let is_inform = request.message_type == DhcpMessageType::Inform;
    let repr = DhcpRepr {
        message_type: kind,
        transaction_id: request.transaction_id,
        secs: 0,
        client_hardware_address: request.client_hardware_address,
        client_ip: if is_nak {
            Ipv4Addr::UNSPECIFIED
        } else {
            request.client_ip
        },
        your_ip: if is_inform {
            Ipv4Addr::UNSPECIFIED
        } else {
            address
        },
        server_ip: Ipv4Addr::UNSPECIFIED,
        router: (!is_nak).then_some(terms.server),
        subnet_mask: (!is_nak).then_some(terms.mask),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: request.broadcast,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(terms.server),
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: lease,
        renew_duration: None,
        rebind_duration: None,
        additional_options: &options,
    };
    let EthernetAddress(mac) = request.client_hardware_address;
    // RFC 2131 §4.1: who has an address hears it there, who cannot yet hears it as one of all.
    let (dst, station) = if !is_nak && !request.client_ip.is_unspecified() {
        (request.client_ip, mac)
    } else if is_nak || request.broadcast {
        (Ipv4Addr::BROADCAST, MacAddr::BROADCAST.0)
    } else {
        (address, mac)
    };
    let link = Link {
        src: seat.spec.mac,
        dst: station,
    };
    let ends = (
        SocketAddrV4::new(terms.server, SERVER_PORT),
        SocketAddrV4::new(dst, CLIENT_PORT),
    );
    let size = repr.buffer_len().max(SIZE_MIN);
    debug_assert!(size + udp::HEADER_SIZE < 1200);
    let mut whole = true;
    let packet = frame::udp_v4(seat.index, link, ends, size, pool, |bytes| {
        whole = repr.emit(&mut DhcpPacket::new_unchecked(bytes)).is_ok();
    })?;
    if whole {
        return Some(packet);
    }
    pool.drop_packet(packet);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Leads;
    use crate::neigh::Neighbours;
    use crate::port::PortIndex;

    const BASE: u32 = u32::from_be_bytes([10, 0, 0, 10]);

    /// Discovers of a station, of a range of `len` addresses all of which but the `open` ones are given:
    /// how many it takes until it is offered one, and which.
    fn tries(mac: [u8; 6], len: u32, open: &[u32]) -> (u32, Ipv4Addr) {
        let spec = vswitch_dpapi::RouterPortSpec {
            router: vswitch_dpapi::RouterId(1),
            mac: [2, 0, 0, 0, 0, 1],
            addresses: vec!["10.0.0.1/16".parse().unwrap()],
            proxy_arp: false,
            advertise: None,
            dhcp: None,
            dhcpv6: false,
            dns: Vec::new(),
            snat: Vec::new(),
            dnat: Vec::new(),
        };
        let dhcp = DhcpSpec {
            ranges: vec![(BASE.into(), (BASE + len - 1).into())],
            hosts: Vec::new(),
            lease_time: 600,
        };
        let mut leases = Leases::default();
        for number in (0..len).filter(|number| !open.contains(number)) {
            let [.., a, b, c] = number.to_be_bytes();
            leases.give((BASE + number).into(), [2, 1, 0, a, b, c], Tick(1));
        }
        let book = Book {
            spec: &dhcp,
            seat: &Seat {
                index: PortIndex(1),
                mtu: 1500,
                spec: &spec,
                link_local: None,
                errors_rate: 0,
                neighbours: &Neighbours::new(1, 8),
                leads: &|_| Leads::default(),
            },
            mac,
            now: Tick(0),
        };
        let found = (1..=len).find_map(|tries| Some((tries, book.choose(None, &mut leases)?)));
        found.expect("an address is free")
    }

    #[test]
    fn the_last_address_of_a_range_is_found_wherever_a_station_begins() {
        // The hash of this station is the largest number, which is the first of three places.
        let mac = [2, 9, 0xeb, 0xb3, 0x43, 0x77];
        let [.., a, b, c, d] = mac;
        let hash = u32::from_be_bytes([a, b, c, d]).wrapping_mul(0x9e37_79b9);
        assert_eq!(hash, u32::MAX);
        for open in 0..3 {
            assert_eq!(tries(mac, 3, &[open]), (1, (BASE + open).into()));
        }
    }

    #[test]
    fn a_message_looks_at_so_many_addresses_and_several_see_all() {
        let mac = [2, 9, 0, 0, 0, 7];
        let (len, looks) = (10 * SEARCH_MAX, SEARCH_MAX / 2);
        let (_, own) = tries(mac, len, &(0..len).collect::<Vec<_>>());
        let own = own.to_bits() - BASE;
        assert_eq!(tries(mac, len, &[(own + looks - 1) % len]).0, 1);
        let far = (own + len - 1) % len;
        let (tries, found) = tries(mac, len, &[far]);
        assert_eq!(found.to_bits() - BASE, far);
        assert_eq!(tries, far / looks + 1, "the others looked elsewhere");
    }
}
