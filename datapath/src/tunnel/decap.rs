//! Taking the outer headers off packets that came by a tunnel.
//!
//! Law: a packet is taken out whole or refused with a reason and as it was. What the outer headers
//! say is believed only after their lengths and sums agree with the packet. What is known of sums
//! and segments inside stays known.
//!
//! Cost: the headers; a sum over the whole packet only when its sender put one into the outer UDP
//! header and nobody has verified it.
//!
//! Spec: RFC 7348 §4.1 and §5, RFC 8926 §3.4 and §3.5, RFC 6040 §4.2 (ECN), RFC 6935 (zero
//! checksums over IPv6); `vxlan_rcv` of Linux and `netdev_vxlan_pop_header` of Open vSwitch, which
//! refuse flags that they do not know.

use std::net::IpAddr;

use vswitch_dpapi::TunnelKind;
use vswitch_packet::checksum::{Sum, update};
use vswitch_packet::{EtherType, Protocol, eth, geneve, ipv4, ipv6, udp, vlan, vxlan};

use super::ports::{Outer, TunnelPorts};
use super::underlay::Underlay;
use crate::buffer::{FramePool, Packet};
use crate::counters::DropReason;
use crate::offload::Checksum;
use crate::port::PortIndex;

/// The VLAN of a tag's control information.
const VID: u16 = 0x0fff;

/// ECN: congestion was experienced.
const CE: u8 = 0b11;

/// ECN: the transport knows marks, two ways to say so.
const ECT0: u8 = 0b10;
const ECT1: u8 = 0b01;

/// What the outer headers said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// The tunnel port to which the packet belongs.
    pub port: PortIndex,
    /// Key and addresses.
    pub outer: Outer,
    /// Type of service, ECN included.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Geneve: a control packet.
    pub oam: bool,
}

/// The outer headers as far as they were read.
struct Read {
    outer: Outer,
    tos: u8,
    ttl: u8,
    oam: bool,
    /// Where the UDP header begins, and the frame inside.
    transport: usize,
    inner: usize,
    /// Where the datagram ends.
    end: usize,
    udp_checksum: u16,
    pseudo: Sum,
}

/// Takes a packet out of its tunnel: the port to which it belongs is its `in_port` then. `at` is
/// the port by which it came from the network that carries tunnels.
///
/// # Errors
/// Why it is refused; it is as it was.
pub fn strip(
    packet: &mut Packet,
    ports: &TunnelPorts,
    underlay: &Underlay,
    at: PortIndex,
    pool: &mut FramePool,
) -> Result<Came, DropReason> {
    let read = read(packet, ports)?;
    verify(packet, &read)?;
    let (port, spec) = ports.find(&read.outer).ok_or(DropReason::TunnelUnknown)?;
    if spec.check_source {
        let device = underlay.device_of(at).map(|device| device.ifindex);
        if !underlay.leads_by(read.outer.remote, device) {
            return Err(DropReason::TunnelSource);
        }
    }
    let inner = packet.head().get(read.inner..).unwrap_or_default();
    let ecn = Ecn::of(inner).after(read.tos & CE);
    if ecn == Err(()) {
        return Err(DropReason::TunnelCongested);
    }
    // What comes behind the datagram is padding.
    packet.truncate(read.end, |frame| pool.free(frame));
    let sum_begins_inside = match packet.offload.csum {
        Checksum::Partial { start, .. } => usize::from(start) >= read.inner,
        Checksum::Unknown | Checksum::Valid => true,
    };
    if !sum_begins_inside {
        // It was that of the outer header, which goes.
        packet.offload.csum = Checksum::Unknown;
    } else if packet.offload.csum == Checksum::Valid {
        // That was said of the outermost sum.
        packet.offload.csum = Checksum::Unknown;
    }
    if let Some(gso) = &mut packet.offload.gso {
        gso.tunnel = None;
    }
    if !packet.strip(read.inner) {
        debug_assert!(false, "the headers were read from the head");
        return Err(DropReason::TunnelTruncated);
    }
    if let Ok(Some(ecn)) = ecn {
        ecn.write(packet.head_mut());
    }
    packet.in_port = *port;
    Ok(Came {
        port: *port,
        outer: read.outer,
        tos: read.tos,
        ttl: read.ttl,
        oam: read.oam,
    })
}

fn read(packet: &Packet, ports: &TunnelPorts) -> Result<Read, DropReason> {
    let head = packet.head();
    let cut = DropReason::TunnelTruncated;
    let mut ethertype = eth::Eth::new_unchecked(head).ethertype();
    let mut network = eth::HEADER_SIZE;
    if ethertype.is_vlan() {
        let tag = head.get(network..network + vlan::HEADER_SIZE).ok_or(cut)?;
        let tag = vlan::Vlan::new_unchecked(tag);
        // A tag of no VLAN says only how urgent the frame is (802.1Q-2018 §6.9.1).
        if tag.tci() & VID == 0 {
            (ethertype, network) = (tag.ethertype(), network + vlan::HEADER_SIZE);
        }
    }
    let ip = head.get(network..).ok_or(cut)?;
    let (remote, local, tos, ttl, transport, ip_end, pseudo): (IpAddr, IpAddr, _, _, _, _, _);
    match ethertype {
        EtherType::IPV4 => {
            let view = ipv4::Ipv4::new_unchecked(ip);
            let header = ip.get(..view.header_size()).ok_or(cut)?;
            if header.len() < ipv4::HEADER_SIZE || view.version_ihl() >> 4 != 4 {
                return Err(DropReason::Malformed);
            }
            let mut sum = Sum::new();
            sum.add(header);
            if !sum.is_whole() {
                return Err(DropReason::TunnelChecksum);
            }
            if view.is_fragment() {
                return Err(DropReason::TunnelFragment);
            }
            // An uplink brings whatever it is told to steer.
            if view.protocol() != Protocol::UDP {
                return Err(DropReason::TunnelUnknown);
            }
            transport = network + header.len();
            ip_end = network + usize::from(view.total_size());
            (remote, local) = (view.src().into(), view.dst().into());
            (tos, ttl) = (view.tos(), view.ttl());
            let protocol = Protocol::UDP.0;
            pseudo = Sum::pseudo_v4(view.src().octets(), view.dst().octets(), protocol, 0);
        }
        EtherType::IPV6 => {
            let (header, behind) = ip.split_at_checked(ipv6::HEADER_SIZE).ok_or(cut)?;
            let view = ipv6::Ipv6::new_unchecked(header);
            let chain = ipv6::walk(view.next(), behind).map_err(|_| cut)?;
            if view.first_word() >> 28 != 6 {
                return Err(DropReason::Malformed);
            }
            if chain.fragment.is_some() {
                return Err(DropReason::TunnelFragment);
            }
            if chain.protocol != Protocol::UDP {
                return Err(DropReason::TunnelUnknown);
            }
            transport = network + ipv6::HEADER_SIZE + chain.offset;
            ip_end = network + ipv6::HEADER_SIZE + usize::from(view.payload_size());
            (remote, local) = (view.src().into(), view.dst().into());
            (tos, ttl) = (view.traffic_class(), view.hop_limit());
            let protocol = Protocol::UDP.0;
            pseudo = Sum::pseudo_v6(view.src().octets(), view.dst().octets(), protocol, 0);
        }
        _ => return Err(DropReason::Malformed),
    }
    // A super-frame's headers tell sizes that cutting will put right.
    let is_super = packet.offload.gso.is_some();
    let datagram = head.get(transport..).ok_or(cut)?;
    let Some((udp_bytes, tunnel)) = datagram.split_at_checked(udp::HEADER_SIZE) else {
        return Err(cut);
    };
    let view = udp::Udp::new_unchecked(udp_bytes);
    let mut end = packet.len();
    if !is_super {
        let udp_end = transport + usize::from(view.size());
        if ip_end > packet.len() || udp_end > ip_end {
            return Err(cut);
        }
        end = udp_end;
    }
    let udp_port = view.dst_port();
    let kind = ports.protocol(udp_port).ok_or(DropReason::TunnelUnknown)?;
    let (key, oam, size) = match kind {
        TunnelKind::Vxlan => {
            let view = vxlan::Vxlan::new_checked(tunnel).map_err(|_| cut)?;
            // Linux and Open vSwitch refuse other flags, too, and what is reserved beside them.
            let reserved = view.policy() != 0 || view.group() != 0 || view.vni_word() & 0xff != 0;
            if view.flags() != vxlan::FLAG_VNI || reserved {
                return Err(DropReason::TunnelFlags);
            }
            (view.vni(), false, vxlan::HEADER_SIZE)
        }
        TunnelKind::Geneve => {
            let view = geneve::Geneve::new_unchecked(tunnel);
            if tunnel.len() < geneve::HEADER_SIZE {
                return Err(cut);
            }
            if view.version() != 0 || view.protocol() != geneve::ETHERNET.0 {
                return Err(DropReason::TunnelFlags);
            }
            let size = geneve::HEADER_SIZE + view.options_size();
            if tunnel.len() < size || view.options().any(|option| option.is_err()) {
                return Err(cut);
            }
            let mut options = view.options().map_while(Result::ok);
            if options.any(|option| option.kind & geneve::CRITICAL != 0) {
                return Err(DropReason::TunnelCritical);
            }
            let oam = view.flags() & geneve::FLAG_OAM != 0;
            (view.vni(), oam, size)
        }
    };
    let inner = transport + udp::HEADER_SIZE + size;
    if inner + eth::HEADER_SIZE > end || inner + eth::HEADER_SIZE > head.len() {
        return Err(cut);
    }
    Ok(Read {
        outer: Outer {
            udp_port,
            key,
            remote,
            local,
        },
        tos,
        ttl,
        oam,
        transport,
        inner,
        end,
        udp_checksum: view.checksum(),
        pseudo,
    })
}

/// Whether the outer UDP checksum is right, where there is one that somebody has to look at.
fn verify(packet: &Packet, read: &Read) -> Result<(), DropReason> {
    let looked_at = match packet.offload.csum {
        Checksum::Unknown => packet.offload.gso.is_some(),
        // A sum that is only begun comes from this host.
        Checksum::Valid | Checksum::Partial { .. } => true,
    };
    if read.udp_checksum == 0 || looked_at {
        return Ok(());
    }
    let mut sum = read.pseudo;
    let size = read.end - read.transport;
    sum.add(&(size as u32).to_be_bytes());
    let mut left = size;
    let head = packet.head().get(read.transport..).unwrap_or_default();
    let tail = packet.tail_segments().iter().map(|piece| piece.bytes());
    for piece in std::iter::once(head).chain(tail) {
        let piece = piece.get(..left.min(piece.len())).unwrap_or_default();
        sum.add(piece);
        left -= piece.len();
    }
    if sum.is_whole() {
        Ok(())
    } else {
        Err(DropReason::TunnelChecksum)
    }
}

/// Where the ECN bits of a frame's IP header are, and what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ecn {
    Ipv4 { at: usize, bits: u8 },
    Ipv6 { at: usize, bits: u8 },
    None,
}

impl Ecn {
    fn of(frame: &[u8]) -> Self {
        let mut at = eth::HEADER_SIZE;
        let mut ethertype = eth::Eth::new_unchecked(frame).ethertype();
        while ethertype.is_vlan() && at + vlan::HEADER_SIZE <= frame.len() {
            let tag = frame.get(at..).unwrap_or_default();
            ethertype = vlan::Vlan::new_unchecked(tag).ethertype();
            at += vlan::HEADER_SIZE;
        }
        let ip = frame.get(at..).unwrap_or_default();
        match ethertype {
            EtherType::IPV4 if ip.len() >= ipv4::HEADER_SIZE => {
                let bits = ipv4::Ipv4::new_unchecked(ip).tos() & CE;
                Self::Ipv4 { at, bits }
            }
            EtherType::IPV6 if ip.len() >= ipv6::HEADER_SIZE => {
                let bits = ipv6::Ipv6::new_unchecked(ip).traffic_class() & CE;
                Self::Ipv6 { at, bits }
            }
            _ => Self::None,
        }
    }

    /// What the bits become with these of the outer header (RFC 6040 figure 4): `None` when they
    /// stay, an error when the packet is to be dropped.
    fn after(self, outer: u8) -> Result<Option<Self>, ()> {
        let bits = match self {
            Self::Ipv4 { bits, .. } | Self::Ipv6 { bits, .. } => bits,
            // Marks on what knows none are passed over, as Linux does.
            Self::None => return Ok(None),
        };
        let new = match (bits, outer) {
            (0, CE) => return Err(()),
            (ECT0 | ECT1, CE) => CE,
            (ECT0, ECT1) => ECT1,
            _ => return Ok(None),
        };
        Ok(Some(match self {
            Self::Ipv4 { at, .. } => Self::Ipv4 { at, bits: new },
            Self::Ipv6 { at, .. } => Self::Ipv6 { at, bits: new },
            Self::None => self,
        }))
    }

    fn write(self, frame: &mut [u8]) {
        match self {
            Self::Ipv4 { at, bits } => {
                let ip = frame.get_mut(at..).unwrap_or_default();
                let mut view = ipv4::Ipv4::new_unchecked(ip);
                let word = |tos: u8| u16::from(view.version_ihl()) << 8 | u16::from(tos);
                let tos = view.tos() & !CE | bits;
                let checksum = update(view.checksum(), word(view.tos()), word(tos));
                view.set_tos(tos);
                view.set_checksum(checksum);
            }
            Self::Ipv6 { at, bits } => {
                let ip = frame.get_mut(at..).unwrap_or_default();
                let mut view = ipv6::Ipv6::new_unchecked(ip);
                view.set_traffic_class(view.traffic_class() & !CE | bits);
            }
            Self::None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use vswitch_dpapi::{Endpoint, TunnelKey, TunnelSpec, TunnelTos, TunnelWay};
    use vswitch_packet::build::Builder;

    use super::*;
    use crate::buffer::SharedFrames;
    use crate::offload::{Gso, GsoKind, Offload, Tunnel};

    const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

    fn ports() -> TunnelPorts {
        let spec = |kind, udp_port| {
            Arc::new(TunnelSpec {
                kind,
                remote: Endpoint::Flow,
                local: None,
                in_key: TunnelKey::Flow,
                out_key: TunnelKey::Flow,
                udp_port,
                csum: None,
                ttl: None,
                tos: TunnelTos::Inherit,
                dont_fragment: true,
                way: TunnelWay::Auto,
                check_source: false,
            })
        };
        let specs = [
            spec(TunnelKind::Vxlan, vxlan::PORT),
            spec(TunnelKind::Geneve, geneve::PORT),
        ];
        TunnelPorts::new((1..).map(PortIndex).zip(&specs))
    }

    fn pool() -> FramePool {
        FramePool::new(SharedFrames::new(64, 4).expect("memory for frames"))
    }

    fn inner() -> Vec<u8> {
        Builder::eth(MACS[0], MACS[1])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
            .tcp(7, 8, 0x10)
            .payload(&[5; 100])
            .build()
    }

    fn outer(udp_port: u16, tunnel: &[u8], v6: bool) -> Vec<u8> {
        let frame = Builder::eth(MACS[1], MACS[0]);
        let frame = match v6 {
            false => frame.ipv4([172, 31, 0, 1], [172, 31, 0, 2]),
            true => frame.ipv6("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap()),
        };
        let payload = [tunnel, &inner()].concat();
        frame.udp(40_000, udp_port).payload(&payload).build()
    }

    fn take(frame: &[u8], offload: Offload) -> (Result<Came, DropReason>, Vec<u8>, Offload) {
        let mut pool = pool();
        let mut packet = pool.packet(frame, PortIndex(9)).expect("a frame");
        packet.offload = offload;
        let came = strip(
            &mut packet,
            &ports(),
            &Underlay::default(),
            PortIndex(1),
            &mut pool,
        );
        let (bytes, offload) = (packet.to_vec(), packet.offload);
        pool.drop_packet(packet);
        (came, bytes, offload)
    }

    const VXLAN: [u8; 8] = [8, 0, 0, 0, 0, 0, 42, 0];

    #[test]
    fn both_protocols_come_out_over_both_families() {
        let geneve: &[u8] = &[1, 0x80, 0x65, 0x58, 0, 0, 42, 0, 0, 1, 2, 0];
        for v6 in [false, true] {
            let cases = [(vxlan::PORT, &VXLAN[..], 1), (geneve::PORT, geneve, 2)];
            for (udp_port, header, port) in cases {
                let frame = outer(udp_port, header, v6);
                let (came, bytes, _) = take(&frame, Offload::default());
                let came = came.expect("it is whole");
                assert_eq!((came.port.0, came.outer.key), (port, 42));
                assert_eq!(came.outer.remote.is_ipv6(), v6);
                assert_eq!((came.ttl, came.oam), (64, port == 2));
                assert_eq!(bytes, inner());
                // Padding of a small frame is no part of it.
                let mut padded = frame;
                padded.resize(padded.len() + 10, 0);
                assert_eq!(take(&padded, Offload::default()).1, inner());
            }
        }
    }

    #[test]
    fn what_is_no_udp_is_no_tunnel_whatever_its_bytes_say() {
        for (v6, protocol_at) in [(false, 23), (true, 20)] {
            let mut frame = outer(vxlan::PORT, &VXLAN, v6);
            frame[protocol_at] = Protocol::TCP.0;
            if !v6 {
                let mut view = ipv4::Ipv4::new_unchecked(&mut frame[14..34]);
                view.fill_checksum();
            }
            let (came, bytes, _) = take(&frame, Offload::default());
            assert_eq!(came, Err(DropReason::TunnelUnknown));
            assert_eq!(bytes, frame);
        }
    }

    #[test]
    fn a_tag_that_only_says_how_urgent_a_frame_is_is_taken_off_with_the_rest() {
        let frame = outer(vxlan::PORT, &VXLAN, false);
        let tagged = |tci: [u8; 2]| [&frame[..12], &[0x81, 0], &tci, &frame[12..]].concat();
        let (came, bytes, _) = take(&tagged([0xe0, 0]), Offload::default());
        assert!(came.is_ok());
        assert_eq!(bytes, inner());
        let (came, ..) = take(&tagged([0, 9]), Offload::default());
        assert_eq!(came, Err(DropReason::Malformed));
    }

    #[test]
    fn geneve_headers_that_cannot_be_are_refused() {
        let header = |bytes: &[u8]| take(&outer(geneve::PORT, bytes, false), Offload::default()).0;
        let option =
            |kind, size| [&[1, 0, 0x65, 0x58, 0, 0, 42, 0][..], &[0, 1, kind, size]].concat();
        assert!(header(&option(2, 0)).is_ok());
        assert_eq!(header(&option(2, 1)), Err(DropReason::TunnelTruncated));
        assert_eq!(header(&option(0x82, 0)), Err(DropReason::TunnelCritical));
        let version = [0x40, 0, 0x65, 0x58, 0, 0, 42, 0];
        assert_eq!(header(&version), Err(DropReason::TunnelFlags));
        let protocol = [0, 0, 0x08, 0x00, 0, 0, 42, 0];
        assert_eq!(header(&protocol), Err(DropReason::TunnelFlags));
        let beyond = [0x3f, 0, 0x65, 0x58, 0, 0, 42, 0];
        assert_eq!(header(&beyond), Err(DropReason::TunnelTruncated));
    }

    #[test]
    fn what_is_known_of_sums_and_segments_inside_stays_known() {
        let mut frame = outer(vxlan::PORT, &VXLAN, false);
        frame[40..42].fill(0);
        let inside = 50 + 34;
        let gso = |tunnel| Gso {
            kind: GsoKind::Tcp4,
            size: 40,
            ecn: false,
            tunnel,
        };
        let tunnel = Tunnel {
            outer_transport: 34,
            inner_network: 64,
            is_v6: false,
            csum: false,
        };
        let begun = |start| Checksum::Partial { start, offset: 16 };
        let given = Offload {
            csum: begun(inside),
            gso: Some(gso(Some(tunnel))),
        };
        let (came, _, left) = take(&frame, given);
        assert!(came.is_ok());
        let wanted = Offload {
            csum: begun(34),
            gso: Some(gso(None)),
        };
        assert_eq!(left, wanted);
        // A sum of the outer header goes with it, and nobody has looked at the one inside.
        for csum in [
            Checksum::Valid,
            Checksum::Partial {
                start: 34,
                offset: 6,
            },
        ] {
            let given = Offload { csum, gso: None };
            assert_eq!(take(&frame, given).2, Offload::default());
        }
    }

    proptest! {
        /// What is refused is as it was, and no bytes make it panic.
        #[test]
        fn refused_packets_are_as_they_were(
            which in 0..4_usize,
            changes in prop::collection::vec((14..110_usize, any::<u8>()), 0..4),
            len in 0..200_usize,
        ) {
            let (udp_port, header) = match which % 2 {
                0 => (vxlan::PORT, VXLAN),
                _ => (geneve::PORT, [0, 0, 0x65, 0x58, 0, 0, 42, 0]),
            };
            let mut frame = outer(udp_port, &header, which > 1);
            for (at, value) in changes {
                frame[at] = value;
            }
            frame.truncate(len.max(1));
            let (came, bytes, offload) = take(&frame, Offload::default());
            match came {
                Err(_) => {
                    prop_assert_eq!(bytes, frame);
                    prop_assert_eq!(offload, Offload::default());
                }
                Ok(_) => prop_assert!(bytes.len() >= 14 && bytes.len() + 50 <= frame.len()),
            }
        }
    }
}
