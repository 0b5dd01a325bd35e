//! Where the headers of a packet lie, as far as cutting and summing needs to know.
//!
//! Not the flow key: that is `extract`. This reads only packets that something has to be done to,
//! and lengths that a cut will rewrite anyway are not checked here.

use vswitch_packet::{EtherType, Protocol, ipv4, ipv6};

/// Bytes of the Ethernet addresses, before the first type field.
const ADDRESSES_SIZE: usize = 12;

/// Tags that are read over; more are no honest packet.
const TAGS_MAX: usize = 8;

/// Bytes of a type field and of a VLAN tag's information.
const TYPE_SIZE: usize = 2;
const TAG_SIZE: usize = 4;

/// The network protocols that can be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

/// The headers of an IP packet, each by its first byte. All of them lie in the head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// The IP header.
    pub network: usize,
    pub family: Family,
    /// What comes after the IP header with options or extension headers.
    pub transport: usize,
    pub protocol: Protocol,
    /// The packet is a piece of a larger one.
    pub is_fragment: bool,
    /// It is a piece that does not begin with the transport header.
    pub is_later_fragment: bool,
}

/// Where the network header begins: behind the Ethernet header and any VLAN tags. `None` when the
/// head ends before.
#[inline]
pub(super) fn network_offset(head: &[u8]) -> Option<(EtherType, usize)> {
    let mut at = ADDRESSES_SIZE;
    for _ in 0..=TAGS_MAX {
        let ethertype = EtherType(u16::from_be_bytes(*head.get(at..)?.first_chunk()?));
        if !ethertype.is_vlan() {
            return Some((ethertype, at + TYPE_SIZE));
        }
        at += TAG_SIZE;
    }
    None
}

/// Reads the headers at the start of a packet. `None` when it is no IP packet or its headers are
/// cut off or contradict themselves.
pub(super) fn read(head: &[u8]) -> Option<Layout> {
    let (ethertype, network) = network_offset(head)?;
    match ethertype {
        EtherType::IPV4 => read_ip(head, network, Family::Ipv4),
        EtherType::IPV6 => read_ip(head, network, Family::Ipv6),
        _ => None,
    }
}

/// Reads the headers from an IP header on that begins at byte `network`.
pub(super) fn read_ip(head: &[u8], network: usize, family: Family) -> Option<Layout> {
    let ip = head.get(network..)?;
    match family {
        Family::Ipv4 => {
            let fixed = ip.get(..ipv4::HEADER_SIZE)?;
            let view = ipv4::Ipv4::new_unchecked(fixed);
            let size = view.header_size();
            if view.version_ihl() >> 4 != 4 || size < ipv4::HEADER_SIZE || size > ip.len() {
                return None;
            }
            Some(Layout {
                network,
                family: Family::Ipv4,
                transport: network + size,
                protocol: view.protocol(),
                is_fragment: view.is_fragment(),
                is_later_fragment: view.fragment_offset() != 0,
            })
        }
        Family::Ipv6 => {
            let (fixed, payload) = ip.split_at_checked(ipv6::HEADER_SIZE)?;
            let view = ipv6::Ipv6::new_unchecked(fixed);
            if view.first_word() >> 28 != 6 {
                return None;
            }
            let chain = ipv6::walk(view.next(), payload).ok()?;
            Some(Layout {
                network,
                family: Family::Ipv6,
                transport: network + ipv6::HEADER_SIZE + chain.offset,
                protocol: chain.protocol,
                is_fragment: chain.fragment.is_some(),
                is_later_fragment: chain.fragment.is_some_and(|f| f.offset != 0),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vswitch_packet::build::Builder;

    const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

    #[test]
    fn headers_are_found_behind_tags_options_and_extensions() {
        let frame = Builder::eth(MACS[0], MACS[1])
            .tag(EtherType::QINQ, 5)
            .vlan(7)
            .ipv6("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())
            .extension(Protocol::DESTINATION, &[0, 0, 1, 4, 0, 0, 0, 0])
            .tcp(1, 2, 0x10)
            .build();
        let layout = read(&frame).expect("IPv6");
        assert_eq!((layout.network, layout.family), (22, Family::Ipv6));
        assert_eq!(
            (layout.transport, layout.protocol),
            (22 + 40 + 8, Protocol::TCP)
        );
        assert!(!layout.is_fragment);
    }

    #[test]
    fn no_cut_of_a_frame_makes_it_panic_and_endless_tags_end() {
        let frame = Builder::eth(MACS[0], MACS[1])
            .vlan(7)
            .ipv6("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())
            .fragment(8, true, 1)
            .payload(&[1; 8])
            .build();
        for len in 0..frame.len() {
            let _ = read(&frame[..len]);
        }
        let layout = read(&frame).expect("IPv6");
        assert!(layout.is_fragment && layout.is_later_fragment);
        let tags = [0x81, 0x00, 0x00, 0x01].repeat(1000);
        assert!(network_offset(&tags).is_none());
    }
}
