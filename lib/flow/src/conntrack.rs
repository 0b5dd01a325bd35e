//! Which tracked connections are meant: the conditions that dumps and flushes share.
//!
//! One value whether it was typed (`ct_nw_src=10.1.1.1,ct_nw_proto=6`, [`crate::text`]), came over
//! OpenFlow (`NXT_CT_FLUSH`) or goes to the datapath. What fits is decided there, where the
//! connections are.
//!
//! Law: a condition that is absent, or 0 where no connection has 0, is none
//! ([`CtTupleFilter::meant`]). A filter that says a whole tuple and nothing else means one
//! connection ([`CtFilter::is_tuple`]).
//!
//! Spec: `ovs-ofctl(8)`, `ct-flush`; `ovs-dpctl(8)`, `flush-conntrack`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// ICMP over IPv4 (IANA, "Protocol Numbers").
const ICMP: u8 = 1;
/// ICMP over IPv6.
const ICMPV6: u8 = 58;

/// What a connection's packets in one direction have; `None` is no condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CtTupleFilter {
    /// Source address.
    pub src: Option<IpAddr>,
    /// Destination address.
    pub dst: Option<IpAddr>,
    /// Source port.
    pub src_port: Option<u16>,
    /// Destination port.
    pub dst_port: Option<u16>,
    /// Identifier of ICMP queries.
    pub icmp_id: Option<u16>,
    /// Type of ICMP.
    pub icmp_type: Option<u8>,
    /// Code of ICMP.
    pub icmp_code: Option<u8>,
}

impl CtTupleFilter {
    /// Without conditions that are none: port 0, and the identifier, type and code that clients of
    /// OpenFlow send as 0 when nobody gave them one.
    #[must_use]
    pub fn meant(self) -> Self {
        let port = |port: Option<u16>| port.filter(|port| *port != 0);
        let icmp = (self.icmp_id, self.icmp_type, self.icmp_code);
        let (icmp_id, icmp_type, icmp_code) = match icmp {
            (Some(0), Some(0), Some(0)) => (None, None, None),
            icmp => icmp,
        };
        Self {
            src_port: port(self.src_port),
            dst_port: port(self.dst_port),
            icmp_id,
            icmp_type,
            icmp_code,
            ..self
        }
    }
}

/// Which connections are meant: those that fit every condition. The default means all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CtFilter {
    /// IP protocol; 0 is any.
    pub protocol: u8,
    /// Packets in the direction of the first.
    pub original: CtTupleFilter,
    /// Packets in the other direction.
    pub reply: CtTupleFilter,
    /// The zone.
    pub zone: Option<u16>,
    /// The mark: value and the bits that count.
    pub mark: Option<(u32, u32)>,
    /// The labels: value and the bits that count.
    pub labels: Option<(u128, u128)>,
}

impl CtFilter {
    /// All connections of a zone.
    #[must_use]
    pub fn zone(zone: u16) -> Self {
        Self {
            zone: Some(zone),
            ..Self::default()
        }
    }

    /// Without conditions that are none.
    #[must_use]
    pub fn meant(self) -> Self {
        Self {
            original: self.original.meant(),
            reply: self.reply.meant(),
            mark: self.mark.filter(|(_, mask)| *mask != 0),
            labels: self.labels.filter(|(_, mask)| *mask != 0),
            ..self
        }
    }

    /// Whether this is a whole tuple of the original direction and nothing but perhaps a zone. It
    /// means the connection that has a packet with this tuple, whoever sends it, in zone 0 unless
    /// one is given.
    #[must_use]
    pub fn is_tuple(&self) -> bool {
        let meant = self.meant();
        let tuple = &meant.original;
        let ends = match meant.protocol {
            0 => false,
            ICMP | ICMPV6 => {
                tuple.icmp_id.is_some() && tuple.icmp_type.is_some() && tuple.icmp_code.is_some()
            }
            _ => tuple.src_port.is_some() && tuple.dst_port.is_some(),
        };
        let only = Self {
            protocol: meant.protocol,
            original: meant.original,
            zone: meant.zone,
            ..Self::default()
        };
        ends && tuple.src.is_some() && tuple.dst.is_some() && meant == only
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp() -> CtFilter {
        CtFilter {
            protocol: 6,
            original: CtTupleFilter {
                src: Some([10, 1, 1, 1].into()),
                dst: Some([10, 1, 1, 2].into()),
                src_port: Some(1),
                dst_port: Some(2),
                ..CtTupleFilter::default()
            },
            ..CtFilter::default()
        }
    }

    #[test]
    fn a_whole_tuple_and_nothing_else_is_one_connection() {
        assert!(tcp().is_tuple());
        assert!(
            CtFilter {
                zone: Some(5),
                ..tcp()
            }
            .is_tuple()
        );
        // A mask that keeps nothing is no condition.
        assert!(
            CtFilter {
                mark: Some((1, 0)),
                ..tcp()
            }
            .is_tuple()
        );
        let mut less = [tcp(); 7];
        less[0].protocol = 0;
        less[1].original.src = None;
        less[2].original.dst_port = Some(0);
        less[3].reply.src_port = Some(2);
        less[4].mark = Some((1, 1));
        less[5].labels = Some((1, 1));
        less[6].protocol = ICMP;
        for filter in less {
            assert!(!filter.is_tuple(), "{filter:?}");
        }
        assert!(!CtFilter::default().is_tuple());
    }

    #[test]
    fn a_query_is_whole_with_its_identifier_type_and_code() {
        let mut ping = tcp();
        ping.protocol = ICMP;
        ping.original = CtTupleFilter {
            src_port: None,
            dst_port: None,
            icmp_id: Some(7),
            icmp_type: Some(8),
            icmp_code: Some(0),
            ..ping.original
        };
        assert!(ping.is_tuple());
        ping.original.icmp_id = Some(0);
        ping.original.icmp_type = Some(0);
        assert!(!ping.is_tuple(), "what ovs-ofctl sends of itself");
        assert_eq!(ping.meant().original.icmp_code, None);
    }
}
