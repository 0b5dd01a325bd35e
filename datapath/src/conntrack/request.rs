//! What `ct()` asks of tracking, and what it is told.
//!
//! Values only: they are made at translation and read while actions run. [`Request`] is compared
//! and hashed, because it stands in a cached list of actions.
//!
//! Spec: OpenFlow/Nicira extensions `NXAST_CT`, `NXAST_NAT`; `ovs-fields(7)` for the bits of
//! `ct_state`.

use vswitch_flow::action::{CtHelper, Nat};

use super::tuple::{Direction, Tuple};

/// Bits of `ct_state` (`ovs-fields(7)`).
pub mod state {
    /// The packet would begin a connection, or no reply was seen yet.
    pub const NEW: u8 = 0x01;
    /// Packets were seen both ways.
    pub const ESTABLISHED: u8 = 0x02;
    /// Belongs to another connection: an ICMP error, or a helper's data connection.
    pub const RELATED: u8 = 0x04;
    /// Goes against the direction of the connection's first packet.
    pub const REPLY: u8 = 0x08;
    /// Cannot be tracked.
    pub const INVALID: u8 = 0x10;
    /// Tracking was asked.
    pub const TRACKED: u8 = 0x20;
    /// The connection's source is translated.
    pub const SNAT: u8 = 0x40;
    /// The connection's destination is translated.
    pub const DNAT: u8 = 0x80;
}

/// What `ct()` asks, with every field resolved to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Request {
    /// Connections of one zone do not meet those of another.
    pub zone: u16,
    /// A new connection is kept.
    pub commit: bool,
    /// A connection whose first packet went the other way is forgotten first.
    pub force: bool,
    /// Value and mask: what is written into the connection's mark. Nothing with mask 0.
    pub mark: (u32, u32),
    /// Value and mask: what is written into the connection's label.
    pub label: (u128, u128),
    /// Translation. `Some` without a range translates only as the connection says already.
    pub nat: Option<Nat>,
    /// The helper that reads a new connection's payload.
    pub helper: Option<CtHelper>,
}

/// What `ct()` tells the packet: it goes into the `ct_*` fields of its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Meta {
    /// Bits of [`state`]; 0 when nobody asked.
    pub state: u8,
    /// The zone that was asked.
    pub zone: u16,
    /// The connection's mark.
    pub mark: u32,
    /// The connection's label.
    pub label: u128,
    /// The connection's tuple in its original direction, before translation. Of a connection that
    /// a helper expected, its parent's.
    pub original: Option<Tuple>,
}

impl Meta {
    /// Of a packet that cannot be tracked.
    #[must_use]
    pub const fn invalid(zone: u16) -> Self {
        Self {
            state: state::TRACKED | state::INVALID,
            zone,
            mark: 0,
            label: 0,
            original: None,
        }
    }
}

/// Why a packet is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// It is of no connection and cannot begin one: an ICMP answer or error, or TCP flags that
    /// begin nothing.
    NotNew,
    /// TCP: outside the window, or flags that do not fit the connection.
    Window,
    /// The zone has as many connections as it may.
    ZoneLimit,
    /// The table has as many connections as it may, and none could be given up.
    TableFull,
    /// Every address and port that the translation may use is in use; without translation, the
    /// replies would be another connection's.
    NatExhausted,
}

/// The answer about one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// For the packet's key.
    pub meta: Meta,
    /// Why [`state::INVALID`] is set; `None` when it is not.
    pub refused: Option<Refused>,
    /// What the packet has to become; `None` when it may stay as it is.
    pub rewrite: Option<Rewrite>,
    /// The connection has a helper or shifted sequence numbers.
    pub follow: Option<Box<Follow>>,
}

/// What a packet has to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rewrite {
    /// Addresses and ports of the packet afterwards. Of an ICMP error the outer addresses; its
    /// ports mean nothing. Of an ICMP query only addresses and the identifier ever differ.
    pub to: Tuple,
    /// Of an ICMP error: the tuple of the packet in it afterwards, as it was sent.
    pub inner: Option<Tuple>,
}

/// A connection, for asking about it again. Worth nothing once the connection is gone: it never
/// names another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle {
    /// Where its entry is.
    pub slot: u32,
    /// Which of the entries that stood there.
    pub generation: u32,
}

/// How far a stream's sequence numbers were moved by what a helper wrote into it.
///
/// A number at or before `from` moves by `before`, one after it by `after`; compare in the
/// sequence space of the sender (RFC 9293 §3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shift {
    /// Sequence number, as the sender wrote it, of the segment that changed its length last.
    pub from: u32,
    /// Octets added up to `from`; negative when some were taken away.
    pub before: i32,
    /// Octets added after `from`.
    pub after: i32,
}

/// What a helper needs to know of the packet's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Follow {
    /// The connection.
    pub connection: Handle,
    /// Which way the packet goes.
    pub direction: Direction,
    /// Who reads the payload; `None` when only sequence numbers move.
    pub helper: Option<CtHelper>,
    /// The tuple its first packet showed.
    pub original: Tuple,
    /// The tuple that its answers show, before they are translated back.
    pub reply: Tuple,
    /// Of the packet's direction: its sequence number moves by it.
    pub seq: Shift,
    /// Of the other direction: its acknowledgement number moves back by it, and so do the blocks
    /// of a SACK option.
    pub ack: Shift,
}

/// A connection that a helper expects because of what it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expected {
    /// The tuple its first packet will show to `ct()`, in the zone of the parent. `src_port` 0
    /// stands for any.
    pub tuple: Tuple,
    /// The source address it will be given.
    pub source: Option<u128>,
    /// The destination it will be given.
    pub destination: Option<(u128, u16)>,
}
