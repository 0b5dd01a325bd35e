//! The outer headers of packets that go into a tunnel: ready but for what differs between packets.
//!
//! Law: what is written here is a whole frame. A super-frame stays one: its metadata says that it
//! lies in a tunnel now. The sum of any other packet is finished.
//!
//! Cost: one copy of the headers, the sum of an IPv4 header; a sum over the packet where its own is
//! only begun, or outer UDP headers are to have checksums.
//!
//! Spec: RFC 6040 §4.1 (ECN), RFC 6864 (identification), RFC 7348 §5, RFC 8926 §3.3 (source port).

use std::net::IpAddr;

use vswitch_dpapi::TunnelKind;
use vswitch_packet::checksum::Sum;
use vswitch_packet::{EtherType, MacAddr, Protocol, eth, geneve, ipv4, ipv6, udp, vxlan};

use crate::buffer::Packet;
use crate::counters::DropReason;
use crate::offload::{Tunnel, checksum};
use crate::port::PortIndex;

/// UDP source ports are from here on (what Linux leaves to applications, `ip_local_port_range`) ...
const SOURCE_MIN: u16 = 32_768;

/// ... and so many.
const SOURCES: u64 = 28_232;

/// Bytes of a packet that is cut later: what an IP header can say.
const SIZE_MAX: usize = 65_535;

/// What the headers say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Headers {
    /// The neighbour that takes the packets.
    pub dst_mac: MacAddr,
    /// The device's address.
    pub src_mac: MacAddr,
    /// The near end.
    pub local: IpAddr,
    /// The far end.
    pub remote: IpAddr,
    /// Type of service, ECN bits zero.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4: fragments are forbidden.
    pub dont_fragment: bool,
    /// UDP headers have a checksum.
    pub csum: bool,
    /// UDP destination.
    pub udp_port: u16,
    /// The tunnel's protocol.
    pub kind: TunnelKind,
    /// The network.
    pub key: u32,
    /// Geneve: a control packet.
    pub oam: bool,
    /// Geneve: the options as they are on the wire.
    pub options: Box<[u8]>,
}

/// Headers to be put before packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The tunnel port for which they are made.
    pub port: PortIndex,
    /// What they say.
    pub headers: Headers,
    /// Their bytes.
    bytes: Box<[u8]>,
    /// Where the UDP header begins.
    transport: usize,
    /// Largest frame that fits inside, its Ethernet header included: where what is outside may be cut
    /// into fragments on its way, as much as an IP header can say.
    room: usize,
    /// The pseudo header's sum without the datagram's size.
    pseudo: Sum,
}

impl Template {
    /// Headers for a port whose packets find only `mtu` bytes of layer 3 on their way.
    #[must_use]
    pub fn new(port: PortIndex, headers: Headers, mtu: u32) -> Self {
        let network_size = match headers.remote {
            IpAddr::V4(_) => ipv4::HEADER_SIZE,
            IpAddr::V6(_) => ipv6::HEADER_SIZE,
        };
        let transport = eth::HEADER_SIZE + network_size;
        let size = transport + udp::HEADER_SIZE + headers.tunnel_size();
        let mut bytes = vec![0; size].into_boxed_slice();
        let pseudo = headers.write(&mut bytes, transport);
        let is_v6 = headers.remote.is_ipv6();
        let most = (SIZE_MAX + eth::HEADER_SIZE).saturating_sub(size);
        let way = (mtu as usize + eth::HEADER_SIZE).saturating_sub(size);
        Self {
            port,
            bytes,
            transport,
            room: match is_v6 || headers.dont_fragment {
                true => way.min(most),
                false => most,
            },
            headers,
            pseudo,
        }
    }

    /// The same for packets whose layer 3 has at most so many bytes.
    #[must_use]
    pub fn within(mut self, mtu: u32) -> Self {
        let most = mtu as usize + eth::HEADER_SIZE;
        self.room = self.room.min(most);
        self
    }

    /// Bytes of all headers.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Where the UDP header begins.
    #[must_use]
    pub fn transport(&self) -> usize {
        self.transport
    }

    /// Largest frame that fits inside, its Ethernet header included.
    #[must_use]
    pub fn room(&self) -> usize {
        self.room
    }

    /// Whether a packet has to be cut before it can be put into the tunnel.
    #[must_use]
    pub fn is_hard(&self, packet: &Packet) -> bool {
        packet
            .offload
            .gso
            .is_some_and(|gso| gso.tunnel.is_some() || packet.len() + self.size() > SIZE_MAX)
    }

    /// Puts the headers before a packet that is not [hard](Self::is_hard). `flow` tells its flow from
    /// others, `tos` is the type of service inside (0 without an IP header), `network` the place of
    /// the network header inside, `ident` names the datagram where it may be cut.
    ///
    /// # Errors
    /// [`DropReason::NoHeadroom`], or [`DropReason::Malformed`] when a sum is to be where the packet is
    /// not.
    pub fn push(
        &self,
        packet: &mut Packet,
        flow: u64,
        tos: u8,
        network: usize,
        ident: u16,
    ) -> Result<(), DropReason> {
        let size = self.size();
        // Behind outer headers nobody looks for a sum that is only begun: the far end of a veth
        // would take it for a wrong one.
        if packet.offload.gso.is_none() && !checksum::finish(packet) {
            return Err(DropReason::Malformed);
        }
        if !packet.prepend(size) {
            return Err(DropReason::NoHeadroom);
        }
        if let Some(gso) = &mut packet.offload.gso {
            gso.tunnel = Some(Tunnel {
                outer_transport: self.transport as u16,
                inner_network: (size + network) as u16,
                is_v6: self.headers.remote.is_ipv6(),
                csum: self.headers.csum,
            });
        }
        let total = packet.len();
        let Some(place) = packet.head_mut().get_mut(..size) else {
            debug_assert!(false, "the room was made just now");
            return Err(DropReason::NoHeadroom);
        };
        place.copy_from_slice(&self.bytes);
        let (link, datagram) = place.split_at_mut(self.transport);
        let ip = link.get_mut(eth::HEADER_SIZE..).unwrap_or_default();
        // RFC 6040 §4.1, normal mode: as inside.
        let tos = self.headers.tos | tos & 0b11;
        match self.headers.remote {
            IpAddr::V4(_) => {
                let mut view = ipv4::Ipv4::new_unchecked(ip);
                view.set_tos(tos);
                view.set_total_size((total - eth::HEADER_SIZE) as u16);
                if !self.headers.dont_fragment {
                    view.set_ident(ident);
                }
                view.fill_checksum();
            }
            IpAddr::V6(_) => {
                let mut view = ipv6::Ipv6::new_unchecked(ip);
                let word = view.first_word();
                view.set_first_word(word & !(0xff << 20) | u32::from(tos) << 20);
                view.set_payload_size((total - self.transport) as u16);
            }
        }
        let mut view = udp::Udp::new_unchecked(datagram);
        view.set_src_port(source_port(flow));
        let datagram_size = total - self.transport;
        view.set_size(datagram_size as u16);
        if self.headers.csum && packet.offload.gso.is_none() {
            self.sum(packet, datagram_size);
        }
        Ok(())
    }

    /// Writes the datagram's checksum.
    fn sum(&self, packet: &mut Packet, size: usize) {
        let mut sum = self.pseudo;
        sum.add(&(size as u32).to_be_bytes());
        sum.add(packet.head().get(self.transport..).unwrap_or_default());
        for piece in packet.tail_segments() {
            sum.add(piece.bytes());
        }
        let value = sum.finish_udp();
        let head = packet.head_mut().get_mut(self.transport..);
        udp::Udp::new_unchecked(head.unwrap_or_default()).set_checksum(value);
    }
}

/// The UDP source port of a flow: the same for all its packets, different for most other flows.
fn source_port(flow: u64) -> u16 {
    let high = flow >> 32;
    SOURCE_MIN + ((high * SOURCES) >> 32) as u16
}

impl Headers {
    fn tunnel_size(&self) -> usize {
        match self.kind {
            TunnelKind::Vxlan => vxlan::HEADER_SIZE,
            TunnelKind::Geneve => geneve::HEADER_SIZE + self.options.len(),
        }
    }

    /// Writes everything but what differs between packets, and answers the pseudo header's sum.
    fn write(&self, bytes: &mut [u8], transport: usize) -> Sum {
        let ethertype = match self.remote {
            IpAddr::V4(_) => EtherType::IPV4,
            IpAddr::V6(_) => EtherType::IPV6,
        };
        eth::Repr {
            dst: self.dst_mac,
            src: self.src_mac,
            ethertype,
        }
        .emit(bytes);
        let ip = bytes.get_mut(eth::HEADER_SIZE..).unwrap_or_default();
        let pseudo = match (self.local, self.remote) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                ipv4::Repr {
                    src,
                    dst,
                    protocol: Protocol::UDP,
                    ttl: self.ttl,
                    tos: self.tos,
                    ident: 0,
                    fragment: if self.dont_fragment {
                        ipv4::DONT_FRAGMENT
                    } else {
                        0
                    },
                    payload_size: 0,
                }
                .emit(ip);
                Sum::pseudo_v4(src.octets(), dst.octets(), Protocol::UDP.0, 0)
            }
            (src, dst) => {
                let (src, dst) = (v6(src), v6(dst));
                ipv6::Repr {
                    src,
                    dst,
                    next: Protocol::UDP,
                    hop_limit: self.ttl,
                    traffic_class: self.tos,
                    flow_label: 0,
                    payload_size: 0,
                }
                .emit(ip);
                Sum::pseudo_v6(src.octets(), dst.octets(), Protocol::UDP.0, 0)
            }
        };
        let datagram = bytes.get_mut(transport..).unwrap_or_default();
        udp::Udp::new_unchecked(&mut *datagram).set_dst_port(self.udp_port);
        let tunnel = datagram.get_mut(udp::HEADER_SIZE..).unwrap_or_default();
        match self.kind {
            TunnelKind::Vxlan => vxlan::Repr { vni: self.key }.emit(tunnel),
            TunnelKind::Geneve => {
                geneve::Repr {
                    vni: self.key,
                    oam: self.oam,
                    critical: self.has_critical(),
                    options_size: self.options.len(),
                }
                .emit(tunnel);
                if let Some(place) = tunnel.get_mut(geneve::HEADER_SIZE..) {
                    place.copy_from_slice(&self.options);
                }
            }
        }
        pseudo
    }

    fn has_critical(&self) -> bool {
        let mut options = geneve::options(&self.options).map_while(Result::ok);
        options.any(|option| option.kind & geneve::CRITICAL != 0)
    }
}

fn v6(address: IpAddr) -> std::net::Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        // Both ends are of one family; who mixes them gets an address that nobody has.
        IpAddr::V4(address) => address.to_ipv6_mapped(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{FramePool, SharedFrames};
    use crate::offload::{Checksum, Gso, GsoKind, Offload};

    fn headers(v6: bool, csum: bool) -> Headers {
        let ip = |last: u8| -> IpAddr {
            if v6 {
                [0xfd00, 0, 0, 0, 0, 0, 0, last.into()].into()
            } else {
                [10, 0, 0, last].into()
            }
        };
        Headers {
            dst_mac: MacAddr([2, 0, 0, 0, 0, 2]),
            src_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            local: ip(1),
            remote: ip(2),
            tos: 0x28,
            ttl: 9,
            dont_fragment: true,
            csum,
            udp_port: vxlan::PORT,
            kind: TunnelKind::Vxlan,
            key: 42,
            oam: false,
            options: Box::default(),
        }
    }

    fn template(v6: bool, csum: bool) -> Template {
        Template::new(PortIndex(7), headers(v6, csum), 1500)
    }

    fn pool() -> FramePool {
        FramePool::new(SharedFrames::new(64, 4).expect("memory for frames"))
    }

    #[test]
    fn the_bytes_are_those_that_linux_sends() {
        // `ip link add vxlan0 type vxlan id 42 remote 10.0.0.2 local 10.0.0.1 ttl 9 tos 0x28 df set`
        let mut pool = pool();
        let mut packet = pool.packet(&[0xee; 60], PortIndex(1)).expect("a frame");
        let pushed = template(false, false).push(&mut packet, 0, 0, 14, 0);
        assert_eq!(pushed, Ok(()));
        let link = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0x28];
        assert_eq!(packet.head()[..16], link);
        assert_eq!(packet.head()[16..18], 96_u16.to_be_bytes());
        assert_eq!(packet.head()[20..24], [0x40, 0, 9, 17]);
        assert_eq!(packet.head()[34..42], [0x80, 0, 0x12, 0xb5, 0, 76, 0, 0]);
        assert_eq!(packet.head()[42..50], [8, 0, 0, 0, 0, 0, 42, 0]);
        assert_eq!(packet.head()[50..], [0xee; 60]);
        pool.drop_packet(packet);
    }

    #[test]
    fn room_is_what_the_way_leaves() {
        assert_eq!(template(false, false).room(), 1514 - 50);
        assert_eq!(template(true, false).room(), 1514 - 70);
        assert_eq!(template(false, false).within(1400).room(), 1414);
        let cut = Headers {
            dont_fragment: false,
            ..headers(false, false)
        };
        // What an IP header can say, less the other headers behind it.
        let room = Template::new(PortIndex(7), cut, 1500).room();
        assert_eq!(room, 65_535 - 36);
    }

    #[test]
    fn a_super_frame_stays_whole_and_says_where_it_is() {
        let mut pool = pool();
        let mut packet = pool.packet(&[0; 3000], PortIndex(1)).expect("a frame");
        packet.offload = Offload {
            csum: Checksum::Partial {
                start: 34,
                offset: 16,
            },
            gso: Some(Gso {
                kind: GsoKind::Tcp4,
                size: 1000,
                ecn: false,
                tunnel: None,
            }),
        };
        let template = template(true, true);
        assert!(!template.is_hard(&packet));
        assert_eq!(template.push(&mut packet, 0, 0, 14, 0), Ok(()));
        let wanted = Tunnel {
            outer_transport: 54,
            inner_network: 70 + 14,
            is_v6: true,
            csum: true,
        };
        assert_eq!(packet.offload.gso.and_then(|gso| gso.tunnel), Some(wanted));
        let begins = Checksum::Partial {
            start: 34 + 70,
            offset: 16,
        };
        assert_eq!(packet.offload.csum, begins);
        // In a second tunnel there would be no saying where.
        assert!(template.is_hard(&packet));
        pool.drop_packet(packet);
    }

    #[test]
    fn source_ports_are_in_their_range() {
        assert_eq!(source_port(0), SOURCE_MIN);
        assert_eq!(source_port(u64::MAX), 60_999);
    }
}
