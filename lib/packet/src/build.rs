//! Whole frames from a list of headers, with every length, type and checksum filled in.
//!
//! For tests, benches and answers that are made rarely: it allocates. What a header says of the
//! next one (Ethernet type, protocol, sizes) follows from what was added next.
//!
//! ```
//! use vswitch_packet::build::Builder;
//!
//! let frame = Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
//!     .vlan(100)
//!     .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
//!     .udp(1234, 53)
//!     .payload(b"hello")
//!     .build();
//! assert_eq!(frame.len(), 14 + 4 + 20 + 8 + 5);
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::checksum::Sum;
use crate::eth::EtherType;
use crate::header::MacAddr;
use crate::ipv4::Protocol;
use crate::{arp, eth, icmp, icmpv6, ipv4, ipv6, mpls, sctp, tcp, udp, vlan};

#[derive(Clone, Debug)]
enum Layer {
    Eth(eth::Repr),
    /// Tag protocol and TCI.
    Vlan(EtherType, u16),
    Mpls(mpls::Repr),
    Arp(arp::Repr),
    Ipv4(ipv4::Repr, Vec<u8>),
    Ipv6(ipv6::Repr),
    /// An extension header: its number and its bytes, the first of which is filled in.
    Extension(Protocol, Vec<u8>),
    Icmp(icmp::Repr),
    Icmpv6(icmpv6::Repr),
    Tcp(tcp::Repr, Vec<u8>),
    Udp(udp::Repr),
    Sctp(sctp::Repr),
    Payload(Vec<u8>),
}

/// A frame under construction; headers are added from the outside in.
#[derive(Clone, Debug)]
pub struct Builder {
    layers: Vec<Layer>,
    ethertype: Option<EtherType>,
    pad: usize,
}

impl Builder {
    /// A frame between two stations.
    #[must_use]
    pub fn eth(src: [u8; 6], dst: [u8; 6]) -> Self {
        Self {
            layers: vec![Layer::Eth(eth::Repr {
                dst: MacAddr(dst),
                src: MacAddr(src),
                ethertype: EtherType::default(),
            })],
            ethertype: None,
            pad: 0,
        }
    }

    fn with(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// An Ethernet type for a payload that the builder does not know.
    #[must_use]
    pub fn ethertype(mut self, ethertype: u16) -> Self {
        self.ethertype = Some(EtherType(ethertype));
        self
    }

    /// An 802.1Q tag of priority 0.
    #[must_use]
    pub fn vlan(self, vid: u16) -> Self {
        self.tag(EtherType::VLAN, vid)
    }

    /// A tag with its tag protocol and all bits of its TCI.
    #[must_use]
    pub fn tag(self, tpid: EtherType, tci: u16) -> Self {
        self.with(Layer::Vlan(tpid, tci))
    }

    /// A label stack entry.
    #[must_use]
    pub fn mpls(self, entry: mpls::Repr) -> Self {
        self.with(Layer::Mpls(entry))
    }

    /// An ARP packet.
    #[must_use]
    pub fn arp(self, repr: arp::Repr) -> Self {
        self.with(Layer::Arp(repr))
    }

    /// Asks who has `tpa`, from the frame's source.
    #[must_use]
    pub fn arp_request(self, spa: [u8; 4], tpa: [u8; 4]) -> Self {
        let sha = match self.layers.first() {
            Some(Layer::Eth(eth)) => eth.src,
            _ => MacAddr::default(),
        };
        self.arp(arp::Repr {
            op: arp::REQUEST,
            sha,
            spa: Ipv4Addr::from(spa),
            tha: MacAddr::default(),
            tpa: Ipv4Addr::from(tpa),
        })
    }

    /// An IPv4 header with TTL 64 and the don't-fragment flag.
    #[must_use]
    pub fn ipv4(self, src: [u8; 4], dst: [u8; 4]) -> Self {
        self.ipv4_with(
            ipv4::Repr {
                src: Ipv4Addr::from(src),
                dst: Ipv4Addr::from(dst),
                protocol: Protocol::default(),
                ttl: 64,
                tos: 0,
                ident: 0,
                fragment: ipv4::DONT_FRAGMENT,
                payload_size: 0,
            },
            &[],
        )
    }

    /// An IPv4 header with options, a multiple of 4 bytes. The protocol is that of the next
    /// header where the builder knows it, else the one given.
    #[must_use]
    pub fn ipv4_with(self, repr: ipv4::Repr, options: &[u8]) -> Self {
        self.with(Layer::Ipv4(repr, options.to_vec()))
    }

    /// An IPv6 header with hop limit 64.
    #[must_use]
    pub fn ipv6(self, src: Ipv6Addr, dst: Ipv6Addr) -> Self {
        self.ipv6_with(ipv6::Repr {
            src,
            dst,
            next: Protocol::NONE,
            hop_limit: 64,
            traffic_class: 0,
            flow_label: 0,
            payload_size: 0,
        })
    }

    /// An IPv6 header. Next header as in [`Self::ipv4_with`].
    #[must_use]
    pub fn ipv6_with(self, repr: ipv6::Repr) -> Self {
        self.with(Layer::Ipv6(repr))
    }

    /// An IPv6 extension header: all its bytes, of which the first, the next header, is filled in
    /// where the builder knows it.
    #[must_use]
    pub fn extension(self, number: Protocol, bytes: &[u8]) -> Self {
        self.with(Layer::Extension(number, bytes.to_vec()))
    }

    /// An IPv6 fragment header; `offset` in bytes.
    #[must_use]
    pub fn fragment(self, offset: u16, more: bool, ident: u32) -> Self {
        let [a, b] = (offset & 0xfff8 | u16::from(more)).to_be_bytes();
        let [c, d, e, f] = ident.to_be_bytes();
        self.extension(Protocol::FRAGMENT, &[0, 0, a, b, c, d, e, f])
    }

    /// An ICMP header.
    #[must_use]
    pub fn icmp(self, kind: u8, code: u8, rest: u32) -> Self {
        self.with(Layer::Icmp(icmp::Repr { kind, code, rest }))
    }

    /// An ICMPv6 header.
    #[must_use]
    pub fn icmpv6(self, kind: u8, code: u8, rest: u32) -> Self {
        self.with(Layer::Icmpv6(icmpv6::Repr { kind, code, rest }))
    }

    /// A neighbour solicitation or advertisement with a link-layer address option.
    #[must_use]
    pub fn neighbour(self, kind: u8, target: Ipv6Addr, mac: [u8; 6]) -> Self {
        let option = match kind {
            icmpv6::NEIGHBOUR_SOLICIT => icmpv6::OPTION_SOURCE,
            _ => icmpv6::OPTION_TARGET,
        };
        let mut rest = target.octets().to_vec();
        rest.extend([option, 1]);
        rest.extend(mac);
        self.icmpv6(kind, 0, 0).payload(&rest)
    }

    /// A TCP header without options.
    #[must_use]
    pub fn tcp(self, src_port: u16, dst_port: u16, flags: u16) -> Self {
        self.tcp_with(
            tcp::Repr {
                src_port,
                dst_port,
                seq: 1,
                ack: 0,
                flags,
                window: 0xffff,
            },
            &[],
        )
    }

    /// A TCP header with options, a multiple of 4 bytes.
    #[must_use]
    pub fn tcp_with(self, repr: tcp::Repr, options: &[u8]) -> Self {
        self.with(Layer::Tcp(repr, options.to_vec()))
    }

    /// A UDP header.
    #[must_use]
    pub fn udp(self, src_port: u16, dst_port: u16) -> Self {
        self.with(Layer::Udp(udp::Repr { src_port, dst_port }))
    }

    /// An SCTP header with a zero checksum.
    #[must_use]
    pub fn sctp(self, src_port: u16, dst_port: u16) -> Self {
        self.with(Layer::Sctp(sctp::Repr {
            src_port,
            dst_port,
            ..sctp::Repr::default()
        }))
    }

    /// Bytes after the last header.
    #[must_use]
    pub fn payload(self, bytes: &[u8]) -> Self {
        self.with(Layer::Payload(bytes.to_vec()))
    }

    /// Fills the frame up to `size` bytes with zeros that belong to no packet, as Ethernet
    /// hardware does up to 60 bytes.
    #[must_use]
    pub fn pad_to(mut self, size: usize) -> Self {
        self.pad = size;
        self
    }

    /// The frame's bytes.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        // From the inside out, because lengths and checksums cover what is inside.
        let mut frame = Vec::new();
        for (index, layer) in self.layers.iter().enumerate().rev() {
            let header = self.header(index, layer, frame);
            frame = header;
        }
        frame.resize(frame.len().max(self.pad), 0);
        frame
    }

    fn header(&self, index: usize, layer: &Layer, inside: Vec<u8>) -> Vec<u8> {
        let next = self.layers.get(index + 1);
        let protocol = next.and_then(Layer::protocol);
        let ethertype = next
            .and_then(Layer::ethertype)
            .or(self.ethertype)
            .unwrap_or_default();
        let size = inside.len();
        let mut bytes = layer.blank();
        let header_size = bytes.len();
        bytes.extend(inside);
        let pseudo = |protocol| self.pseudo(index, protocol, bytes.len());
        match layer {
            Layer::Eth(repr) => eth::Repr { ethertype, ..*repr }.emit(&mut bytes),
            Layer::Vlan(_, tci) => vlan::Repr {
                tci: *tci,
                ethertype,
            }
            .emit(&mut bytes),
            Layer::Mpls(repr) => repr.emit(&mut bytes),
            Layer::Arp(repr) => repr.emit(&mut bytes),
            Layer::Ipv4(repr, options) => {
                ipv4::Repr {
                    protocol: protocol.unwrap_or(repr.protocol),
                    payload_size: (size + options.len()) as u16,
                    ..*repr
                }
                .emit(&mut bytes);
                let mut ip = ipv4::Ipv4::new_unchecked(&mut bytes[..]);
                ip.set_version_ihl(0x40 | (header_size / 4) as u8);
                ip.fill_checksum();
            }
            Layer::Ipv6(repr) => ipv6::Repr {
                next: protocol.unwrap_or(repr.next),
                payload_size: size as u16,
                ..*repr
            }
            .emit(&mut bytes),
            Layer::Extension(..) => {
                if let (Some(protocol), Some(first)) = (protocol, bytes.first_mut()) {
                    *first = protocol.0;
                }
            }
            Layer::Icmp(repr) => repr.emit(&mut bytes),
            Layer::Icmpv6(repr) => {
                let (src, dst) = self.addresses(index);
                repr.emit(&mut bytes, src, dst);
            }
            Layer::Tcp(repr, _) => {
                let pseudo = pseudo(Protocol::TCP);
                repr.emit(&mut bytes, pseudo);
                let mut tcp = tcp::Tcp::new_unchecked(&mut bytes[..]);
                tcp.set_offset_flags((header_size as u16 / 4) << 12 | repr.flags & 0x0fff);
                tcp.fill_checksum(pseudo);
            }
            Layer::Udp(repr) => {
                let pseudo = pseudo(Protocol::UDP);
                repr.emit(&mut bytes, pseudo);
            }
            Layer::Sctp(repr) => repr.emit(&mut bytes),
            Layer::Payload(_) => {}
        }
        bytes
    }

    /// The innermost IPv6 addresses outside layer `index`.
    fn addresses(&self, index: usize) -> (Ipv6Addr, Ipv6Addr) {
        let outside = self.layers.iter().take(index).rev();
        outside
            .filter_map(|layer| match layer {
                Layer::Ipv6(repr) => Some((repr.src, repr.dst)),
                _ => None,
            })
            .next()
            .unwrap_or((Ipv6Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED))
    }

    fn pseudo(&self, index: usize, protocol: Protocol, size: usize) -> Sum {
        let size = size as u32;
        for layer in self.layers.iter().take(index).rev() {
            match layer {
                Layer::Ipv4(ip, _) => {
                    return Sum::pseudo_v4(ip.src.octets(), ip.dst.octets(), protocol.0, size);
                }
                Layer::Ipv6(ip) => {
                    return Sum::pseudo_v6(ip.src.octets(), ip.dst.octets(), protocol.0, size);
                }
                _ => {}
            }
        }
        Sum::new()
    }
}

impl Layer {
    /// The layer's bytes before its fields are written; options and payload are there already.
    fn blank(&self) -> Vec<u8> {
        let with = |size: usize, rest: &[u8]| {
            let mut bytes = vec![0; size];
            bytes.extend(rest);
            bytes
        };
        match self {
            Self::Eth(_) => with(eth::HEADER_SIZE, &[]),
            Self::Vlan(..) => with(vlan::HEADER_SIZE, &[]),
            Self::Mpls(_) => with(mpls::HEADER_SIZE, &[]),
            Self::Arp(_) => with(arp::HEADER_SIZE, &[]),
            Self::Ipv4(_, options) => with(ipv4::HEADER_SIZE, options),
            Self::Ipv6(_) => with(ipv6::HEADER_SIZE, &[]),
            Self::Icmp(_) => with(icmp::HEADER_SIZE, &[]),
            Self::Icmpv6(_) => with(icmpv6::HEADER_SIZE, &[]),
            Self::Tcp(_, options) => with(tcp::HEADER_SIZE, options),
            Self::Udp(_) => with(udp::HEADER_SIZE, &[]),
            Self::Sctp(_) => with(sctp::HEADER_SIZE, &[]),
            Self::Extension(_, bytes) | Self::Payload(bytes) => bytes.clone(),
        }
    }

    fn ethertype(&self) -> Option<EtherType> {
        match self {
            Self::Vlan(tpid, _) => Some(*tpid),
            Self::Mpls(_) => Some(EtherType::MPLS),
            Self::Arp(_) => Some(EtherType::ARP),
            Self::Ipv4(..) => Some(EtherType::IPV4),
            Self::Ipv6(_) => Some(EtherType::IPV6),
            _ => None,
        }
    }

    fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::Extension(number, _) => Some(*number),
            Self::Icmp(_) => Some(Protocol::ICMP),
            Self::Icmpv6(_) => Some(Protocol::ICMPV6),
            Self::Tcp(..) => Some(Protocol::TCP),
            Self::Udp(_) => Some(Protocol::UDP),
            Self::Sctp(_) => Some(Protocol::SCTP),
            _ => None,
        }
    }
}
