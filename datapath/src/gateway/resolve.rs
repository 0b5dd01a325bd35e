//! Where stations are: answers to who asks for our addresses, questions for neighbours, announcements of
//! our addresses, and packets that go on when a neighbour is found.
//!
//! Law: what is heard of a neighbour counts only if the frame comes from the station that it names and
//! the address is on the port's network, or a route says so ([`DropReason::RouterForged`]); the rest of
//! the caution is [`crate::neigh`]'s.
//!
//! Spec: RFC 826; RFC 1027 (proxy ARP); RFC 5227 (probes, announcements, defence); RFC 4861 §7.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, Icmpv6Packet, Icmpv6Repr,
    NdiscNeighborFlags, NdiscRepr, RawHardwareAddress,
};
use vswitch_packet::checksum::update;
use vswitch_packet::eth::Eth;
use vswitch_packet::ipv6::{self, solicited_node};
use vswitch_packet::{EtherType, MacAddr};

use super::frame::{self, ALL_NODES, Link, ipv6_of, stations};
use super::{ANNOUNCE_MS, ANNOUNCEMENTS, DEFEND_MS, Desk, Gateway, LINK_SIZE, Out, Seat, Trouble};
use crate::buffer::{FramePool, Packet};
use crate::counters::DropReason;
use crate::neigh::{Due, Heard, Neighbour, NeighbourKey, Parked, Waiting, Word};
use crate::offload::Checksum;
use crate::tick::Tick;

/// Bytes of an ARP packet.
const ARP_SIZE: usize = 28;

impl Desk {
    /// Whether somebody who uses an address of ours is told now. Only our own addresses are remembered.
    fn defends(&mut self, own: Ipv4Addr, now: Tick) -> bool {
        self.defended.retain(|(_, at)| now.since(*at) < DEFEND_MS);
        let is_due = !self.defended.iter().any(|(known, _)| *known == own);
        if is_due {
            self.defended.push((own, now));
        }
        is_due
    }
}

impl Gateway {
    pub(super) fn hear_arp(
        &self,
        packet: Packet,
        seat: &Seat<'_>,
        now: Tick,
        pool: &mut FramePool,
        out: &mut Out,
    ) {
        let (from, _) = stations(&packet);
        let body = packet.head().get(LINK_SIZE..).unwrap_or_default();
        let parsed = ArpPacket::new_checked(body).and_then(|view| ArpRepr::parse(&view));
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: sender,
            source_protocol_addr: spa,
            target_hardware_addr: target,
            target_protocol_addr: tpa,
        }) = parsed
        else {
            return out.drop(packet, DropReason::Malformed, pool);
        };
        let mac = seat.spec.mac;
        if sender.0 != from || sender.0 == mac {
            return out.drop(packet, DropReason::RouterForged, pool);
        }
        let asks = operation == ArpOperation::Request;
        if !asks && operation != ArpOperation::Reply {
            return out.drop(packet, DropReason::RouterIgnored, pool);
        }
        let is_probe = spa.is_unspecified();
        if seat.has(IpAddr::V4(spa)) {
            // Somebody uses our address: we say once more whose it is.
            if self.with(seat.index, |desk| desk.defends(spa, now)) {
                out.packets.extend(announcement(seat, spa, pool));
            }
            return out.drop(packet, DropReason::RouterForged, pool);
        }
        if !is_probe && !seat.is_near(IpAddr::V4(spa)) {
            return out.drop(packet, DropReason::RouterForged, pool);
        }
        if !is_probe {
            let word = if !asks && target.0 == mac {
                Word::Answer
            } else {
                Word::Remark
            };
            self.heard(IpAddr::V4(spa), sender.0, word, seat, now, pool, out);
        }
        if !asks {
            return out.take(packet, pool);
        }
        // Who asks for itself tells only where it is.
        let proxies = || {
            seat.spec.proxy_arp
                && tpa != spa
                && !is_probe
                && !seat.is_near(IpAddr::V4(tpa))
                && (seat.leads)(IpAddr::V4(tpa)).elsewhere
        };
        if !seat.has(IpAddr::V4(tpa)) && !proxies() {
            return out.drop(packet, DropReason::RouterIgnored, pool);
        }
        if !self.with(seat.index, |desk| desk.answers.take(now)) {
            return out.drop(packet, DropReason::RouterBusy, pool);
        }
        let reply = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: EthernetAddress(mac),
            source_protocol_addr: tpa,
            target_hardware_addr: sender,
            target_protocol_addr: spa,
        };
        out.packets.extend(arp(seat, from, reply, pool));
        out.take(packet, pool);
    }

    /// Neighbour and router solicitations and neighbour advertisements.
    pub(super) fn hear_discovery(
        &self,
        packet: Packet,
        seat: &Seat<'_>,
        now: Tick,
        pool: &mut FramePool,
        out: &mut Out,
    ) {
        let (from, _) = stations(&packet);
        let Some(ip) = ipv6_of(&packet) else {
            return out.drop(packet, DropReason::Malformed, pool);
        };
        let (src, dst) = (ip.src(), ip.dst());
        // A sum that is only begun is one that a host on this machine has not finished.
        let checks = match packet.offload.csum {
            Checksum::Partial { .. } => ChecksumCapabilities::ignored(),
            Checksum::Unknown | Checksum::Valid => ChecksumCapabilities::default(),
        };
        let parsed = Icmpv6Packet::new_checked(ip.payload())
            .and_then(|view| Icmpv6Repr::parse(&src, &dst, &view, &checks));
        let Ok(Icmpv6Repr::Ndisc(message)) = parsed else {
            return out.drop(packet, DropReason::Malformed, pool);
        };
        // One hop fewer, and it would come from another network.
        if ip.hop_limit() != 255 || from == seat.spec.mac || seat.has(IpAddr::V6(src)) {
            return out.drop(packet, DropReason::RouterForged, pool);
        }
        match message {
            NdiscRepr::NeighborSolicit {
                target_addr,
                lladdr,
            } => {
                if !self.heard_option(src, lladdr, from, seat, now, pool, out) {
                    return out.drop(packet, DropReason::RouterForged, pool);
                }
                self.tell(packet, target_addr, src, from, seat, now, pool, out);
            }
            NdiscRepr::NeighborAdvert {
                flags,
                target_addr,
                lladdr,
            } => {
                let station = lladdr.and_then(station).unwrap_or(from);
                let target = IpAddr::V6(target_addr);
                if station != from || seat.has(target) || !seat.is_near(target) {
                    return out.drop(packet, DropReason::RouterForged, pool);
                }
                let word = if flags.contains(NdiscNeighborFlags::SOLICITED) && !dst.is_multicast() {
                    Word::Answer
                } else {
                    Word::Remark
                };
                self.heard(target, station, word, seat, now, pool, out);
                out.take(packet, pool);
            }
            NdiscRepr::RouterSolicit { lladdr } => {
                if !self.heard_option(src, lladdr, from, seat, now, pool, out) {
                    return out.drop(packet, DropReason::RouterForged, pool);
                }
                self.hear_router_solicit(packet, src, seat, now, pool, out);
            }
            _ => out.drop(packet, DropReason::RouterIgnored, pool),
        }
    }

    /// What a solicitation says of its sender. False when it is a lie.
    #[expect(clippy::too_many_arguments, reason = "a message and where it is heard")]
    fn heard_option(
        &self,
        src: Ipv6Addr,
        option: Option<RawHardwareAddress>,
        from: [u8; 6],
        seat: &Seat<'_>,
        now: Tick,
        pool: &mut FramePool,
        out: &mut Out,
    ) -> bool {
        let said = option.and_then(station);
        if src.is_unspecified() {
            return said.is_none();
        }
        if said.is_some_and(|said| said != from) || !seat.is_near(IpAddr::V6(src)) {
            return false;
        }
        self.heard(IpAddr::V6(src), from, Word::Remark, seat, now, pool, out);
        true
    }

    /// Answers who asks where an IPv6 address is, if it is here.
    #[expect(clippy::too_many_arguments, reason = "a message and where it is heard")]
    fn tell(
        &self,
        packet: Packet,
        target: Ipv6Addr,
        src: Ipv6Addr,
        from: [u8; 6],
        seat: &Seat<'_>,
        now: Tick,
        pool: &mut FramePool,
        out: &mut Out,
    ) {
        if !seat.has(IpAddr::V6(target)) {
            return out.drop(packet, DropReason::RouterIgnored, pool);
        }
        if !self.with(seat.index, |desk| desk.answers.take(now)) {
            return out.drop(packet, DropReason::RouterBusy, pool);
        }
        // Who has no address yet hears it as one of all.
        let (to, station, flags) = if src.is_unspecified() {
            let station = frame::group_station(ALL_NODES);
            (ALL_NODES, station, NdiscNeighborFlags::empty())
        } else {
            (src, from, NdiscNeighborFlags::SOLICITED)
        };
        let flags = flags | NdiscNeighborFlags::OVERRIDE | NdiscNeighborFlags::ROUTER;
        out.packets
            .extend(advert(seat, target, (to, station), flags, pool));
        out.take(packet, pool);
    }

    /// Something was heard of a neighbour: packets that waited go on.
    #[expect(clippy::too_many_arguments, reason = "a message and where it is heard")]
    fn heard(
        &self,
        address: IpAddr,
        mac: [u8; 6],
        word: Word,
        seat: &Seat<'_>,
        now: Tick,
        pool: &mut FramePool,
        out: &mut Out,
    ) {
        let key = NeighbourKey {
            port: seat.index,
            address,
        };
        match seat.neighbours.hear(key, mac, word, now) {
            Heard::Learned(neighbour, packets) => {
                for waiting in packets {
                    out.packets
                        .push(pass_on(waiting.packet, &neighbour, seat.spec.mac));
                }
            }
            Heard::Doubted(Some(station)) => ask(seat, address, Some(station), pool, out),
            Heard::Stranger | Heard::Confirmed | Heard::Doubted(None) => {}
        }
    }

    /// Has a packet that came by `from` wait for a neighbour at `seat`.
    #[expect(
        clippy::too_many_arguments,
        reason = "a packet, two ports and the tools"
    )]
    pub fn wait(
        &self,
        packet: Packet,
        from: &Seat<'_>,
        next: IpAddr,
        seat: &Seat<'_>,
        now: Tick,
        pool: &mut FramePool,
        out: &mut Out,
    ) {
        let key = NeighbourKey {
            port: seat.index,
            address: next,
        };
        let waiting = Waiting {
            packet,
            from: from.index,
        };
        match seat.neighbours.park(key, waiting, now) {
            Parked::Waits(displaced) => {
                out.taken += 1;
                give_up(displaced, pool, out);
            }
            Parked::Asks(displaced) => {
                out.taken += 1;
                give_up(displaced, pool, out);
                ask(seat, next, None, pool, out);
            }
            Parked::Known(waiting, neighbour) => {
                out.taken += 1;
                out.packets
                    .push(pass_on(waiting.packet, &neighbour, seat.spec.mac));
            }
            Parked::Failed(waiting) => {
                self.refuse(waiting.packet, Trouble::HostDown, from, now, pool, out);
            }
            Parked::Full(waiting) => out.drop(waiting.packet, DropReason::NeighbourBusy, pool),
        }
    }

    /// Does what the time of a neighbour brings. Who waited is told by the port by which it came, which
    /// `from` shows if it is still there.
    pub fn time_came<'a>(
        &self,
        due: Due,
        seat: &Seat<'_>,
        from: impl Fn(crate::port::PortIndex) -> Option<Seat<'a>>,
        now: Tick,
        pool: &mut FramePool,
        out: &mut Out,
    ) {
        match due {
            Due::Ask(key, station) => ask(seat, key.address, station, pool, out),
            Due::Failed(_, packets) => {
                for waiting in packets {
                    out.returned += 1;
                    match from(waiting.from) {
                        Some(seat) => {
                            self.refuse(waiting.packet, Trouble::HostDown, &seat, now, pool, out);
                        }
                        None => out.drop(waiting.packet, DropReason::NeighbourFailed, pool),
                    }
                }
            }
        }
    }

    /// Announces addresses of a port that have not been announced often enough.
    pub(super) fn announce(&self, seat: &Seat<'_>, now: Tick, pool: &mut FramePool, out: &mut Out) {
        self.with(seat.index, |desk| {
            let own = &seat.spec.addresses;
            desk.announced.retain(|(prefix, _)| own.contains(prefix));
            for prefix in own {
                if !desk.announced.iter().any(|(known, _)| known == prefix) {
                    desk.announced.push((*prefix, 0));
                    desk.next_announcement = now;
                }
            }
            if now >= desk.next_announcement {
                let open = |(_, times): &&mut (_, u8)| *times < ANNOUNCEMENTS;
                for (prefix, times) in desk.announced.iter_mut().filter(open) {
                    *times += 1;
                    out.packets.extend(match prefix.address {
                        IpAddr::V4(v4) => announcement(seat, v4, pool),
                        IpAddr::V6(v6) => {
                            let flags = NdiscNeighborFlags::OVERRIDE | NdiscNeighborFlags::ROUTER;
                            let all = (ALL_NODES, frame::group_station(ALL_NODES));
                            advert(seat, v6, all, flags, pool)
                        }
                    });
                }
                desk.next_announcement = Tick(now.0 + ANNOUNCE_MS);
            }
        });
    }
}

/// Drops packets that lost their places.
fn give_up(displaced: impl IntoIterator<Item = Waiting>, pool: &mut FramePool, out: &mut Out) {
    for waiting in displaced {
        out.returned += 1;
        out.drop(waiting.packet, DropReason::NeighbourBusy, pool);
    }
}

/// Routes a packet: one hop fewer, from our station to the neighbour's, by the neighbour's port.
pub fn pass_on(mut packet: Packet, neighbour: &Neighbour, mac: [u8; 6]) -> Packet {
    packet.in_port = neighbour.key().port;
    let head = packet.head_mut();
    let Some((link, ip)) = head.split_at_mut_checked(LINK_SIZE) else {
        return packet;
    };
    let mut eth = Eth::new_unchecked(link);
    eth.set_src(MacAddr(mac));
    eth.set_dst(MacAddr(neighbour.mac()));
    match ip.first().map(|byte| byte >> 4) {
        Some(4) => {
            // TTL and protocol are one word of the sum.
            if let Some([ttl, protocol, high, low]) =
                ip.get_mut(8..).and_then(|ip| ip.first_chunk_mut::<4>())
            {
                let old = u16::from_be_bytes([*ttl, *protocol]);
                *ttl = ttl.saturating_sub(1);
                let new = u16::from_be_bytes([*ttl, *protocol]);
                let sum = update(u16::from_be_bytes([*high, *low]), old, new);
                [*high, *low] = sum.to_be_bytes();
            }
        }
        Some(6) => {
            if let Some(hops) = ip.get_mut(7) {
                *hops = hops.saturating_sub(1);
            }
        }
        _ => {}
    }
    packet
}

/// The six bytes of a station, if it has six.
fn station(address: RawHardwareAddress) -> Option<[u8; 6]> {
    address.as_bytes().try_into().ok()
}

/// Asks where an address is: one station, or all.
pub(super) fn ask(
    seat: &Seat<'_>,
    address: IpAddr,
    to: Option<[u8; 6]>,
    pool: &mut FramePool,
    out: &mut Out,
) {
    let mac = seat.spec.mac;
    let Some(own) = seat.source_for(address) else {
        return;
    };
    match (address, own) {
        (IpAddr::V4(target), IpAddr::V4(own)) => {
            let question = ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Request,
                source_hardware_addr: EthernetAddress(mac),
                source_protocol_addr: own,
                target_hardware_addr: EthernetAddress([0; 6]),
                target_protocol_addr: target,
            };
            let to = to.unwrap_or(MacAddr::BROADCAST.0);
            out.packets.extend(arp(seat, to, question, pool));
        }
        (IpAddr::V6(target), IpAddr::V6(own)) => {
            let group = solicited_node(target);
            let (dst, station) = match to {
                Some(station) => (target, station),
                None => (group, frame::group_station(group)),
            };
            let question = NdiscRepr::NeighborSolicit {
                target_addr: target,
                lladdr: Some(EthernetAddress(mac).into()),
            };
            let link = Link {
                src: mac,
                dst: station,
            };
            out.packets
                .extend(discovery(seat, link, own, dst, question, pool));
        }
        _ => {}
    }
}

fn arp(seat: &Seat<'_>, to: [u8; 6], repr: ArpRepr, pool: &mut FramePool) -> Option<Packet> {
    let link = Link {
        src: seat.spec.mac,
        dst: to,
    };
    frame::make(seat.index, link, EtherType::ARP, ARP_SIZE, pool, |bytes| {
        repr.emit(&mut ArpPacket::new_unchecked(bytes));
    })
}

/// Says that an address is ours (RFC 5227 §2.3: a request, which all understand).
fn announcement(seat: &Seat<'_>, address: Ipv4Addr, pool: &mut FramePool) -> Option<Packet> {
    let repr = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(seat.spec.mac),
        source_protocol_addr: address,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: address,
    };
    arp(seat, MacAddr::BROADCAST.0, repr, pool)
}

/// Says where one of our IPv6 addresses is.
fn advert(
    seat: &Seat<'_>,
    target: Ipv6Addr,
    (to, station): (Ipv6Addr, [u8; 6]),
    flags: NdiscNeighborFlags,
    pool: &mut FramePool,
) -> Option<Packet> {
    let link = Link {
        src: seat.spec.mac,
        dst: station,
    };
    let repr = NdiscRepr::NeighborAdvert {
        flags,
        target_addr: target,
        lladdr: Some(EthernetAddress(seat.spec.mac).into()),
    };
    // A neighbour that knows us by our address for the link hears from it.
    let src = if to.is_unicast_link_local() {
        seat.link_local.unwrap_or(target)
    } else {
        target
    };
    discovery(seat, link, src, to, repr, pool)
}

fn discovery(
    seat: &Seat<'_>,
    link: Link,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    repr: NdiscRepr<'_>,
    pool: &mut FramePool,
) -> Option<Packet> {
    let size = repr.buffer_len();
    debug_assert!(size + ipv6::HEADER_SIZE < 1280);
    frame::discovery(seat.index, link, src, dst, size, pool, |bytes| {
        let mut view = Icmpv6Packet::new_unchecked(bytes);
        repr.emit(&mut view);
        view.fill_checksum(&src, &dst);
    })
}
