//! What of one packet tracking looks at.
//!
//! Made by `parse` from bytes and by tests from numbers; tracking itself never reads a packet, so
//! a property test can drive it with millions of packets that never existed.
//!
//! Law: a [`Seen`] is of a packet whose lengths and checksums were found right. What could not be
//! parsed never becomes one; the packet is invalid and tracking is not asked.

use super::tuple::Tuple;

/// Bits of [`TcpSeen::flags`] (RFC 9293 §3.1).
pub mod flag {
    /// The sender is done.
    pub const FIN: u16 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u16 = 0x02;
    /// Break the connection.
    pub const RST: u16 = 0x04;
    /// Hand the data up.
    pub const PSH: u16 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u16 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u16 = 0x20;
}

/// A packet, as tracking sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Its addresses and ports as they stand. Of an ICMP error the outer addresses, with ports 0.
    pub tuple: Tuple,
    /// Octets of the whole packet, for the counters.
    pub len: u32,
    /// What its protocol says.
    pub kind: Kind,
}

impl Seen {
    /// Whether it reports an error about another packet.
    #[inline]
    #[must_use]
    pub const fn is_error(&self) -> bool {
        matches!(self.kind, Kind::IcmpError { .. })
    }
}

/// What tracking needs of a protocol's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// TCP.
    Tcp(TcpSeen),
    /// UDP and UDP-Lite.
    Udp,
    /// A query or an answer of ICMP or ICMPv6 ([`Tuple::reversed`] is `Some`).
    IcmpQuery,
    /// An error of ICMP or ICMPv6 about a packet.
    IcmpError {
        /// The tuple of the packet in the error, as it was sent.
        inner: Tuple,
    },
    /// SCTP: its ports count, its chunks do not.
    Sctp,
    /// Any other protocol: only addresses.
    Other,
}

/// What tracking needs of a TCP header (RFC 9293 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpSeen {
    /// The bits of [`flag`].
    pub flags: u16,
    /// Sequence number of the first octet, or of SYN.
    pub seq: u32,
    /// Acknowledgement number, meaningful with [`flag::ACK`].
    pub ack: u32,
    /// The window as it stands in the header, not scaled.
    pub window: u16,
    /// Octets after the header; those of all segments of a super-frame.
    pub payload: u32,
    /// The window scale option, at most 14 (RFC 7323 §2.3).
    pub wscale: Option<u8>,
}
