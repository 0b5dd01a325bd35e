//! Frames of our own: a chunk of the pool, filled from the Ethernet header on.

use std::net::{Ipv6Addr, SocketAddrV4};

use vswitch_packet::checksum::Sum;
use vswitch_packet::eth::{self, Eth};
use vswitch_packet::ipv4::{self, Ipv4};
use vswitch_packet::ipv6::{self, Ipv6};
use vswitch_packet::{EtherType, MacAddr, Protocol, udp};

use super::LINK_SIZE;
use crate::buffer::{FramePool, HEADROOM, Packet};
use crate::offload::Offload;
use crate::port::PortIndex;

/// Hops of what goes to other networks.
const HOPS: u8 = 64;

/// All nodes of a link.
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Stations and the type of what is between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) src: [u8; 6],
    pub(super) dst: [u8; 6],
}

/// A frame whose payload `fill` writes, which is zero before.
pub(super) fn make(
    port: PortIndex,
    link: Link,
    ethertype: EtherType,
    size: usize,
    pool: &mut FramePool,
    fill: impl FnOnce(&mut [u8]),
) -> Option<Packet> {
    let mut frame = pool.chunk()?;
    let range = HEADROOM..HEADROOM + LINK_SIZE + size;
    let Some(bytes) = frame.bytes_mut().get_mut(range.clone()) else {
        pool.free(frame);
        return None;
    };
    bytes.fill(0);
    let (header, payload) = bytes.split_at_mut(LINK_SIZE);
    let repr = eth::Repr {
        dst: MacAddr(link.dst),
        src: MacAddr(link.src),
        ethertype,
    };
    repr.emit(header);
    fill(payload);
    Some(Packet::new(frame, range, port, Offload::default()))
}

/// A UDP packet over IPv4 whose payload `fill` writes.
pub(super) fn udp_v4(
    port: PortIndex,
    link: Link,
    (src, dst): (SocketAddrV4, SocketAddrV4),
    size: usize,
    pool: &mut FramePool,
    fill: impl FnOnce(&mut [u8]),
) -> Option<Packet> {
    let datagram_size = udp::HEADER_SIZE + size;
    let whole = ipv4::HEADER_SIZE + datagram_size;
    make(port, link, EtherType::IPV4, whole, pool, |bytes| {
        let (header, datagram) = bytes.split_at_mut(ipv4::HEADER_SIZE);
        let repr = ipv4::Repr {
            src: *src.ip(),
            dst: *dst.ip(),
            protocol: Protocol::UDP,
            ttl: HOPS,
            tos: 0,
            ident: 0,
            fragment: ipv4::DONT_FRAGMENT,
            payload_size: datagram_size as u16,
        };
        repr.emit(header);
        fill(&mut datagram[udp::HEADER_SIZE..]);
        let (from, to) = (src.ip().octets(), dst.ip().octets());
        let sum = Sum::pseudo_v4(from, to, Protocol::UDP.0, datagram_size as u32);
        let repr = udp::Repr {
            src_port: src.port(),
            dst_port: dst.port(),
        };
        repr.emit(datagram, sum);
    })
}

/// An IPv6 packet whose payload `fill` writes, its checksums included.
pub(super) fn ipv6(
    port: PortIndex,
    link: Link,
    repr: &ipv6::Repr,
    pool: &mut FramePool,
    fill: impl FnOnce(&mut [u8]),
) -> Option<Packet> {
    let whole = ipv6::HEADER_SIZE + usize::from(repr.payload_size);
    make(port, link, EtherType::IPV6, whole, pool, |bytes| {
        let (header, payload) = bytes.split_at_mut(ipv6::HEADER_SIZE);
        repr.emit(header);
        fill(payload);
    })
}

/// An ICMPv6 message of neighbour discovery, which no router forwards.
pub(super) fn discovery(
    port: PortIndex,
    link: Link,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    size: usize,
    pool: &mut FramePool,
    fill: impl FnOnce(&mut [u8]),
) -> Option<Packet> {
    let repr = ipv6::Repr {
        src,
        dst,
        next: Protocol::ICMPV6,
        hop_limit: 255,
        traffic_class: 0,
        flow_label: 0,
        payload_size: size as u16,
    };
    ipv6(port, link, &repr, pool, fill)
}

/// The stations of a frame.
pub(super) fn stations(packet: &Packet) -> ([u8; 6], [u8; 6]) {
    let view = Eth::new_unchecked(packet.head());
    (view.src().0, view.dst().0)
}

/// The IPv4 header of a packet that has one.
pub(super) fn ipv4_of(packet: &Packet) -> Option<Ipv4<&[u8]>> {
    Ipv4::new_checked(packet.head().get(LINK_SIZE..)?).ok()
}

/// The IPv6 header of a packet that has one.
pub(super) fn ipv6_of(packet: &Packet) -> Option<Ipv6<&[u8]>> {
    Ipv6::new_checked(packet.head().get(LINK_SIZE..)?).ok()
}

/// The station address of an IPv6 group (RFC 2464 §7).
pub(super) fn group_station(group: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}
