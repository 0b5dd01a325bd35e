//! Tracked connections: how they are to be tracked, and what the datapath tells of them.
//!
//! How is a part of the desired state ([`CtSettings`]), so a restarted datapath has it again. What
//! is asked is bounded: connections come in parts, and events are taken from a ring that loses the
//! oldest and says how many.
//!
//! Law: a setting that is not in [`CtSettings`] is the default, which is named here.
//!
//! Spec: `ovs-dpctl(8)`, connection tracking commands; `ovs-vswitchd.conf.db(5)`,
//! `CT_Timeout_Policy`; `lib/conntrack.c`, `lib/conntrack-tp.c` and `lib/ipf.c` of Open vSwitch for
//! the defaults.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vswitch_flow::action::CtHelper;

/// Connections that may be tracked, unless another number is set.
pub const CONNECTIONS_MAX: u32 = 3_000_000;

/// The largest number of connections that can be set: what a datapath's table can hold.
pub const CONNECTIONS_MAX_LIMIT: u32 = 1 << 25;

/// Fragments that may be held, unless another number is set.
pub const FRAGMENTS_MAX: u32 = 1000;

/// The largest number of fragments to be held that can be set.
pub const FRAGMENTS_MAX_LIMIT: u32 = 5000;

/// The least that can be set as the smallest fragment, bytes of the IP packet.
pub const FRAGMENT_MIN_LIMIT: u32 = 400;

/// How connections are to be tracked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CtSettings {
    /// Connections at a time.
    pub max_connections: u32,
    /// Segments outside the window of their TCP connection are invalid.
    pub tcp_seq_chk: bool,
    /// A TCP connection may be seen first in its middle.
    pub tcp_loose: bool,
    /// Connections of a zone without a limit of its own; 0 is no limit.
    pub default_limit: u32,
    /// Connections of these zones; 0 is none at all.
    pub limits: BTreeMap<u16, u32>,
    /// Seconds that differ from [`CtTimeout::seconds`].
    pub timeouts: CtTimeouts,
    /// Seconds that differ from those, by zone.
    pub zone_timeouts: BTreeMap<u16, CtTimeouts>,
    /// Fragments at a time, of both families; at most [`FRAGMENTS_MAX_LIMIT`].
    pub max_fragments: u32,
    /// Fragments of IPv4.
    pub fragments_v4: FragmentSettings,
    /// Fragments of IPv6.
    pub fragments_v6: FragmentSettings,
}

impl Default for CtSettings {
    fn default() -> Self {
        let fragments = |min_size| FragmentSettings {
            collect: true,
            min_size,
        };
        Self {
            max_connections: CONNECTIONS_MAX,
            tcp_seq_chk: true,
            tcp_loose: true,
            default_limit: 0,
            limits: BTreeMap::new(),
            timeouts: CtTimeouts::new(),
            zone_timeouts: BTreeMap::new(),
            max_fragments: FRAGMENTS_MAX,
            fragments_v4: fragments(1200),
            fragments_v6: fragments(1280),
        }
    }
}

impl CtSettings {
    /// Seconds of all timeouts, in the order of [`CtTimeout::ALL`]: of a zone, or of those that
    /// have none of their own.
    #[must_use]
    pub fn seconds(&self, zone: Option<u16>) -> [u32; CtTimeout::ALL.len()] {
        let own = zone.and_then(|zone| self.zone_timeouts.get(&zone));
        CtTimeout::ALL.map(|timeout| {
            let set = own.and_then(|own| own.get(&timeout));
            let set = set.or_else(|| self.timeouts.get(&timeout));
            set.copied().unwrap_or(timeout.seconds())
        })
    }
}

/// Seconds of some timeouts.
pub type CtTimeouts = BTreeMap<CtTimeout, u32>;

/// What a connection waits for before it is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CtTimeout {
    /// TCP: only one end was seen.
    TcpSynSent,
    /// TCP: the handshake is not over.
    TcpSynRecv,
    /// TCP: both ends have been heard.
    TcpEstablished,
    /// TCP: one end has closed.
    TcpFinWait,
    /// TCP: both ends have closed.
    TcpTimeWait,
    /// TCP: closed and acknowledged, or reset.
    TcpClose,
    /// All but TCP and ICMP: one packet was seen.
    UdpFirst,
    /// All but TCP and ICMP: several packets one way.
    UdpSingle,
    /// All but TCP and ICMP: packets both ways.
    UdpMultiple,
    /// ICMP: a query without an answer.
    IcmpFirst,
    /// ICMP: an answered query.
    IcmpReply,
}

impl CtTimeout {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::TcpSynSent,
        Self::TcpSynRecv,
        Self::TcpEstablished,
        Self::TcpFinWait,
        Self::TcpTimeWait,
        Self::TcpClose,
        Self::UdpFirst,
        Self::UdpSingle,
        Self::UdpMultiple,
        Self::IcmpFirst,
        Self::IcmpReply,
    ];

    /// Its key in a timeout policy.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpSynSent => "tcp_syn_sent",
            Self::TcpSynRecv => "tcp_syn_recv",
            Self::TcpEstablished => "tcp_established",
            Self::TcpFinWait => "tcp_fin_wait",
            Self::TcpTimeWait => "tcp_time_wait",
            Self::TcpClose => "tcp_close",
            Self::UdpFirst => "udp_first",
            Self::UdpSingle => "udp_single",
            Self::UdpMultiple => "udp_multiple",
            Self::IcmpFirst => "icmp_first",
            Self::IcmpReply => "icmp_reply",
        }
    }

    /// Its seconds unless others are set.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        match self {
            Self::TcpSynSent | Self::TcpSynRecv => 30,
            Self::TcpEstablished => 24 * 60 * 60,
            Self::TcpFinWait => 15 * 60,
            Self::TcpTimeWait => 45,
            Self::TcpClose => 30,
            Self::UdpFirst | Self::UdpSingle | Self::IcmpFirst => 60,
            Self::UdpMultiple | Self::IcmpReply => 30,
        }
    }
}

/// How fragments of a family are collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentSettings {
    /// They are held until their packet is whole. Else they are not tracked.
    pub collect: bool,
    /// The smallest that is not a last one, bytes of the IP packet; at least
    /// [`FRAGMENT_MIN_LIMIT`].
    pub min_size: u32,
}

/// What packets of a connection show in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CtTuple {
    /// IP protocol.
    pub protocol: u8,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// What follows the addresses.
    pub ends: CtEnds,
}

/// What tells connections between two addresses apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CtEnds {
    /// Ports, 0 of a protocol that has none.
    Ports {
        /// Source.
        src: u16,
        /// Destination.
        dst: u16,
    },
    /// An ICMP query.
    Icmp {
        /// Identifier.
        id: u16,
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
}

/// A tracked connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CtEntry {
    /// No other connection that lives has this number.
    pub id: u32,
    /// What its first packet showed.
    pub original: CtTuple,
    /// What its answers show.
    pub reply: CtTuple,
    /// What the first packet of the connection that it belongs to showed, where a helper expected
    /// it.
    pub parent: Option<CtTuple>,
    /// The zone.
    pub zone: u16,
    /// The mark.
    pub mark: u32,
    /// The labels.
    pub labels: u128,
    /// Where it stands.
    pub state: CtState,
    /// Its source is translated.
    pub snat: bool,
    /// Its destination is translated.
    pub dnat: bool,
    /// Who reads its payload.
    pub helper: Option<CtHelper>,
    /// Milliseconds until it is forgotten.
    pub timeout_ms: u64,
    /// Milliseconds since its first packet.
    pub age_ms: u64,
    /// Packets and bytes in the original direction and in the other.
    pub counters: [(u64, u64); 2],
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CtState {
    /// TCP: who sent the first packet, and the other end.
    Tcp([TcpEnd; 2]),
    /// Any other protocol.
    Other {
        /// Packets were seen both ways.
        replied: bool,
    },
}

/// One end of a TCP connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpEnd {
    /// Its state.
    pub state: TcpState,
    /// The window scale that its SYN named.
    pub scale: Option<u8>,
    /// Its SYN was not seen, so its scale is not known.
    pub missed: bool,
}

/// State of an end, in the order in which an end goes through them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum TcpState {
    /// Nothing was seen of it.
    #[default]
    Closed,
    /// It has sent its SYN, or whatever was seen of it first.
    SynSent,
    /// Its SYN was acknowledged.
    Established,
    /// It has sent its FIN.
    Closing,
    /// Its FIN was acknowledged.
    FinWait2,
    /// One end broke the connection.
    TimeWait,
}

impl TcpState {
    /// As Open vSwitch writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::SynSent => "SYN_SENT",
            Self::Established => "ESTABLISHED",
            Self::Closing => "CLOSING",
            Self::FinWait2 => "FIN_WAIT_2",
            Self::TimeWait => "TIME_WAIT",
        }
    }
}

/// A connection that a helper expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CtExpectation {
    /// What its first packet will show; source port 0 is any.
    pub original: CtTuple,
    /// What the first packet of the connection that expects it showed.
    pub parent: CtTuple,
    /// The zone.
    pub zone: u16,
    /// The mark that it will have.
    pub mark: u32,
    /// The labels that it will have.
    pub labels: u128,
}

/// Connections that live, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CtCounts {
    /// All of them.
    pub total: u64,
    /// By IP protocol.
    pub protocols: BTreeMap<u8, u64>,
    /// Those of TCP, by the state of the end that is further on.
    pub tcp: BTreeMap<TcpState, u64>,
}

/// What has happened to connections since the datapath began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CtHappened {
    /// Connections held now.
    pub len: u64,
    /// Connections that were committed.
    pub created: u64,
    /// Connections of which nothing was heard for long enough.
    pub expired: u64,
    /// Connections that were to be forgotten.
    pub flushed: u64,
    /// Connections that made room for others.
    pub evicted: u64,
    /// Connections that another one with the same tuple replaced.
    pub replaced: u64,
    /// Packets that could not begin a connection and were of none.
    pub not_new: u64,
    /// TCP segments outside the window of their connection.
    pub outside_window: u64,
    /// Packets whose zone had as many connections as it may.
    pub zone_full: u64,
    /// Packets for which there was no room in the table.
    pub table_full: u64,
    /// Packets for which no address and port was free.
    pub nat_exhausted: u64,
    /// Connections that a helper could not expect because it expected too many.
    pub unexpected: u64,
}

/// The limit of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CtZoneCount {
    /// The zone.
    pub zone: u16,
    /// Connections that it has.
    pub count: u32,
}

/// What is known of fragments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentStats {
    /// Fragments held now.
    pub held: u32,
    /// Of IPv4.
    pub v4: FragmentCounts,
    /// Of IPv6.
    pub v6: FragmentCounts,
    /// Packets that are not whole, the oldest first.
    pub waiting: Vec<FragmentsWaiting>,
}

/// What has become of fragments of a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentCounts {
    /// They were held.
    pub accepted: u64,
    /// They went on with their whole packet.
    pub completed: u64,
    /// Their packet was not whole in time.
    pub expired: u64,
    /// They were refused for their size.
    pub too_small: u64,
    /// They were refused because they overlap others.
    pub overlapped: u64,
    /// They were held, and given up with their packet.
    pub purged: u64,
}

/// A packet that is not whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentsWaiting {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// The sender's number of the packet.
    pub ident: u32,
    /// In which zone.
    pub zone: u16,
    /// What it carries; 0 over IPv6.
    pub protocol: u8,
    /// Fragments that are there.
    pub len: u32,
    /// The first is there.
    pub has_first: bool,
    /// The last is there.
    pub has_last: bool,
    /// Fragments overlapped; the others are refused.
    pub is_spoiled: bool,
}

/// Something that happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CtEvent {
    /// It was committed.
    New(CtEntry),
    /// It is gone.
    Destroyed(CtEntry, CtEnd),
}

/// Why a connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CtEnd {
    /// Nothing was heard of it for long enough.
    Expired,
    /// It was to be forgotten.
    Flushed,
    /// It made room for another.
    Evicted,
    /// Another one with the same tuple replaced it.
    Replaced,
}
