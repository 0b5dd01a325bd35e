//! What is for a router itself: who it is for within, echoes, and ports that nobody listens on.
//!
//! Spec: RFC 1122 §3.2.2.6 (echo), RFC 1812 §4.3.3.6, RFC 4443 §4.

use std::net::Ipv6Addr;

use vswitch_packet::checksum::update;
use vswitch_packet::eth::Eth;
use vswitch_packet::ipv4::{self, Ipv4};
use vswitch_packet::ipv6::{self, Ipv6};
use vswitch_packet::{EtherType, MacAddr, Protocol, icmp, icmpv6};

use super::frame::stations;
use super::{Gateway, LINK_SIZE, Out, Seat, Trouble};
use crate::buffer::{FramePool, Packet};
use crate::counters::DropReason;
use crate::tick::Tick;

/// Hops of our answers.
const HOPS: u8 = 64;

/// UDP ports of the servers that a router has.
const DHCP_SERVER: u16 = 67;
const DHCPV6_SERVER: u16 = 547;

/// All DHCP servers and relays of a link.
const DHCP_AGENTS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

impl Gateway {
    /// A packet for the router that came by a port: to an address of ours, to all, or ARP.
    pub fn hear(
        &self,
        packet: Packet,
        seat: &Seat<'_>,
        now: Tick,
        pool: &mut FramePool,
        out: &mut Out,
    ) {
        match Eth::new_unchecked(packet.head()).ethertype() {
            EtherType::ARP => self.hear_arp(packet, seat, now, pool, out),
            EtherType::IPV4 => self.hear_v4(packet, seat, now, pool, out),
            EtherType::IPV6 => self.hear_v6(packet, seat, now, pool, out),
            _ => out.drop(packet, DropReason::RouterIgnored, pool),
        }
    }

    fn hear_v4(
        &self,
        packet: Packet,
        seat: &Seat<'_>,
        now: Tick,
        pool: &mut FramePool,
        out: &mut Out,
    ) {
        let head = packet.head().get(LINK_SIZE..).unwrap_or_default();
        let ip = Ipv4::new_unchecked(head);
        let size = ip.header_size();
        let Some(payload) = head
            .get(size..)
            .filter(|_| size >= ipv4::HEADER_SIZE && ip.is_whole())
        else {
            return out.drop(packet, DropReason::Malformed, pool);
        };
        let group = ip.dst().is_multicast() || stations(&packet).1[0] & 1 == 1;
        if ip.is_fragment() {
            return out.drop(packet, DropReason::RouterIgnored, pool);
        }
        match ip.protocol() {
            Protocol::ICMP if payload.first() == Some(&icmp::ECHO_REQUEST) && !group => {
                self.echo(packet, LINK_SIZE + size, seat, now, pool, out);
            }
            Protocol::UDP if port_of(payload) == Some(DHCP_SERVER) && seat.spec.dhcp.is_some() => {
                self.hear_dhcp(packet, LINK_SIZE + size, seat, now, pool, out);
            }
            Protocol::ICMP => out.drop(packet, DropReason::RouterIgnored, pool),
            Protocol::UDP | Protocol::TCP => {
                self.refuse(packet, Trouble::PortClosed, seat, now, pool, out);
            }
            _ => self.refuse(packet, Trouble::ProtocolUnknown, seat, now, pool, out),
        }
    }

    fn hear_v6(
        &self,
        packet: Packet,
        seat: &Seat<'_>,
        now: Tick,
        pool: &mut FramePool,
        out: &mut Out,
    ) {
        let head = packet.head().get(LINK_SIZE..).unwrap_or_default();
        let ip = Ipv6::new_unchecked(head);
        let rest = head.get(ipv6::HEADER_SIZE..).unwrap_or_default();
        let Ok(chain) = ipv6::walk(ip.next(), rest) else {
            return out.drop(packet, DropReason::Malformed, pool);
        };
        let at = LINK_SIZE + ipv6::HEADER_SIZE + chain.offset;
        let payload = packet.head().get(at..).unwrap_or_default();
        let dst = ip.dst();
        if chain.fragment.is_some() {
            return out.drop(packet, DropReason::RouterIgnored, pool);
        }
        match (chain.protocol, payload.first()) {
            (
                Protocol::ICMPV6,
                Some(
                    &(icmpv6::NEIGHBOUR_SOLICIT
                    | icmpv6::NEIGHBOUR_ADVERT
                    | icmpv6::ROUTER_SOLICIT),
                ),
            ) if chain.offset == 0 => self.hear_discovery(packet, seat, now, pool, out),
            (Protocol::ICMPV6, Some(&icmpv6::ECHO_REQUEST)) if !dst.is_multicast() => {
                self.echo(packet, at, seat, now, pool, out);
            }
            (Protocol::UDP, _)
                if port_of(payload) == Some(DHCPV6_SERVER)
                    && (dst == DHCP_AGENTS || !dst.is_multicast())
                    && seat.spec.dhcpv6 =>
            {
                self.hear_dhcpv6(packet, at, seat, now, pool, out);
            }
            (Protocol::ICMPV6, _) => out.drop(packet, DropReason::RouterIgnored, pool),
            (Protocol::UDP | Protocol::TCP, _) => {
                self.refuse(packet, Trouble::PortClosed, seat, now, pool, out);
            }
            _ => self.refuse(packet, Trouble::ProtocolUnknown, seat, now, pool, out),
        }
    }

    /// Turns an echo request around, whose message begins at `at`. Its checksum is updated and not
    /// computed, so that one that was wrong stays wrong, and nothing has to be read of a large one.
    fn echo(
        &self,
        mut packet: Packet,
        at: usize,
        seat: &Seat<'_>,
        now: Tick,
        pool: &mut FramePool,
        out: &mut Out,
    ) {
        let (src, _) = stations(&packet);
        if !self.with(seat.index, |desk| desk.answers.take(now)) {
            return out.drop(packet, DropReason::RouterBusy, pool);
        }
        let turned = turn(&mut packet, at, src, seat.spec.mac);
        if !turned {
            return out.drop(packet, DropReason::Malformed, pool);
        }
        // What came has been taken, and what goes is an answer, in the same frame.
        out.taken += 1;
        packet.in_port = seat.index;
        out.packets.push(packet);
    }
}

/// The destination port of UDP.
fn port_of(datagram: &[u8]) -> Option<u16> {
    let bytes = datagram.get(2..4)?;
    Some(u16::from_be_bytes(*bytes.first_chunk()?))
}

/// Makes an echo request the reply. False when the headers are not there.
fn turn(packet: &mut Packet, at: usize, station: [u8; 6], mac: [u8; 6]) -> bool {
    let head = packet.head_mut();
    let Some((link, ip)) = head.split_at_mut_checked(LINK_SIZE) else {
        return false;
    };
    let mut eth = Eth::new_unchecked(link);
    eth.set_dst(MacAddr(station));
    eth.set_src(MacAddr(mac));
    let at = at - LINK_SIZE;
    let (reply, is_v4) = match ip.first().map(|byte| byte >> 4) {
        Some(4) => (icmp::ECHO_REPLY, true),
        Some(6) => (icmpv6::ECHO_REPLY, false),
        _ => return false,
    };
    let Some((header, message)) = ip.split_at_mut_checked(at) else {
        return false;
    };
    if is_v4 {
        let mut view = Ipv4::new_unchecked(header);
        let (src, dst) = (view.src(), view.dst());
        view.set_src(dst);
        view.set_dst(src);
        view.set_ttl(HOPS);
        view.fill_checksum();
    } else {
        let mut view = Ipv6::new_unchecked(header);
        let (src, dst) = (view.src(), view.dst());
        view.set_src(dst);
        view.set_dst(src);
        view.set_hop_limit(HOPS);
    }
    let Some([kind, code, high, low]) = message.first_chunk_mut::<4>() else {
        return false;
    };
    let old = u16::from_be_bytes([*kind, *code]);
    *kind = reply;
    let new = u16::from_be_bytes([*kind, *code]);
    let sum = update(u16::from_be_bytes([*high, *low]), old, new);
    [*high, *low] = sum.to_be_bytes();
    true
}
