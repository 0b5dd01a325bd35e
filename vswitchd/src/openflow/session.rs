//! What is known of one peer: its version, its role, and what it wants to hear of.
//!
//! Not for I/O, and not for what its requests do to the switch.
//!
//! Spec: OpenFlow 1.3.5 §6.3.5 (roles), §6.1.1 (asynchronous messages); Open vSwitch's "Asynchronous
//! Messages" in `Documentation/topics/design.rst` for service connections and controller ids.

use std::collections::BTreeMap;

use vswitch_flow::action::Reason;
use vswitch_openflow::async_config::{AsyncConfig, AsyncForm, Reasons};
use vswitch_openflow::nicira::PacketInFormat;
use vswitch_openflow::role::Role;
use vswitch_openflow::{Layout, Version};

use super::bundle::Bundle;
use super::link::DoorId;
use super::monitor::Monitors;
use super::push::Pusher;

/// Bytes of a missed packet that a controller gets unless it says otherwise.
const MISS_SEND_LEN: u16 = 128;

/// Kinds of messages that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A packet.
    PacketIn,
    /// News of a port.
    PortStatus,
    /// A flow has gone.
    FlowRemoved,
    /// The peer's role has changed.
    RoleStatus,
    /// A table gets full.
    TableStatus,
    /// Another controller has changed a group or a meter.
    RequestForward,
}

/// Which kinds of each reason a peer wants, as the bits of its reasons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wishes {
    primary: [u32; 6],
    secondary: [u32; 6],
}

/// A peer.
#[derive(Debug)]
pub struct Session {
    /// The way it came.
    pub door: DoorId,
    /// The bridge it speaks of.
    pub bridge: u32,
    /// It came by itself, so it is told nothing until it says how much of a packet it wants.
    pub service: bool,
    /// The version that was agreed.
    pub version: Version,
    /// Where messages go that it did not ask for.
    pub pusher: Pusher,
    /// What it may do.
    pub role: Role,
    /// Bytes of a missed packet that it wants.
    pub miss_send_len: u16,
    /// In which form it gets packets.
    pub packet_in_format: PacketInFormat,
    /// In 1.0, in which form it hears of flows.
    pub layout: Layout,
    /// Which of a bridge's controllers it is.
    pub controller_id: u16,
    /// Changes that wait to be made together.
    pub bundles: BTreeMap<u32, Bundle>,
    /// Flows that it watches.
    pub monitors: Monitors,
    wishes: Wishes,
}

impl Session {
    /// A peer that has said hello.
    pub fn new(door: DoorId, bridge: u32, service: bool, version: Version, pusher: Pusher) -> Self {
        let mut wishes = Wishes::default();
        // Everything but used up TTLs; what a role does not get is told to it by nobody else.
        wishes.primary[Kind::PacketIn as usize] = 0x3f & !(1 << 2);
        wishes.primary[Kind::PortStatus as usize] = 0x07;
        wishes.secondary[Kind::PortStatus as usize] = 0x07;
        wishes.primary[Kind::FlowRemoved as usize] = 0x3f;
        if version >= Version::V14 {
            wishes.primary[Kind::TableStatus as usize] = 0x18;
            wishes.secondary[Kind::RoleStatus as usize] = 0x07;
            wishes.primary[Kind::RoleStatus as usize] = 0x07;
        }
        Self {
            door,
            bridge,
            service,
            version,
            pusher,
            role: Role::Equal,
            miss_send_len: if service { 0 } else { MISS_SEND_LEN },
            packet_in_format: PacketInFormat::Standard,
            layout: Layout::Standard,
            controller_id: 0,
            bundles: BTreeMap::new(),
            monitors: Monitors::default(),
            wishes,
        }
    }

    /// Whether it wants to hear of something that has this reason.
    pub fn wants(&self, kind: Kind, reason: u32) -> bool {
        if self.service && self.miss_send_len == 0 {
            return false;
        }
        let wishes = if self.role == Role::Secondary {
            &self.wishes.secondary
        } else {
            &self.wishes.primary
        };
        wishes[kind as usize] >> reason & 1 == 1
    }

    /// Whether it is to get a packet for the controller of this number.
    pub fn wants_packet(&self, controller: u16, reason: Reason, implicit_miss: bool) -> bool {
        self.controller_id == controller
            && (!implicit_miss || self.version == Version::V10)
            && self.wants(Kind::PacketIn, reason_bit(reason))
    }

    /// Whether packets that nothing matches are to be sent to it.
    pub fn wants_misses(&self) -> bool {
        self.version == Version::V10 && self.wants_packet(0, Reason::NoMatch, true)
    }

    /// Whether it wants to hear of any change that another makes to groups or meters.
    pub fn wants_forwarded(&self) -> bool {
        self.wants(Kind::RequestForward, 0) || self.wants(Kind::RequestForward, 1)
    }

    /// Whether it may change anything.
    pub fn may_change(&self) -> bool {
        self.role != Role::Secondary
    }

    /// Packets whose TTL is used up are wanted or not (the bit of `OFPT_SET_CONFIG`).
    pub fn set_invalid_ttl(&mut self, wanted: bool) {
        let packets = &mut self.wishes.primary[Kind::PacketIn as usize];
        let bit = 1 << reason_bit(Reason::InvalidTtl);
        *packets = if wanted {
            *packets | bit
        } else {
            *packets & !bit
        };
    }

    /// Whether [`Session::set_invalid_ttl`] was.
    pub fn invalid_ttl(&self) -> bool {
        let bit = reason_bit(Reason::InvalidTtl);
        self.wishes.primary[Kind::PacketIn as usize] >> bit & 1 == 1
    }

    /// Takes what it says it wants to hear of; what it says nothing of stays.
    pub fn set_wishes(&mut self, config: &AsyncConfig) {
        for (kind, reasons) in [
            (Kind::PacketIn, config.packet_in),
            (Kind::PortStatus, config.port_status),
            (Kind::FlowRemoved, config.flow_removed),
            (Kind::RoleStatus, config.role_status),
            (Kind::TableStatus, config.table_status),
            (Kind::RequestForward, config.request_forward),
        ] {
            if let Some(bits) = reasons.primary {
                self.wishes.primary[kind as usize] = bits;
            }
            if let Some(bits) = reasons.secondary {
                self.wishes.secondary[kind as usize] = bits;
            }
        }
    }

    /// What it wants to hear of.
    pub fn wishes(&self, form: AsyncForm) -> AsyncConfig {
        let reasons = |kind: Kind| Reasons {
            primary: Some(self.wishes.primary[kind as usize]),
            secondary: Some(self.wishes.secondary[kind as usize]),
        };
        AsyncConfig {
            form,
            packet_in: reasons(Kind::PacketIn),
            port_status: reasons(Kind::PortStatus),
            flow_removed: reasons(Kind::FlowRemoved),
            role_status: reasons(Kind::RoleStatus),
            table_status: reasons(Kind::TableStatus),
            request_forward: reasons(Kind::RequestForward),
        }
    }
}

/// The bit of a reason for a packet-in, those of 1.4 in all versions: older ones call them actions.
pub fn reason_bit(reason: Reason) -> u32 {
    match reason {
        Reason::NoMatch => 0,
        Reason::Action => 1,
        Reason::InvalidTtl => 2,
        Reason::ActionSet => 3,
        Reason::Group => 4,
        Reason::PacketOut => 5,
    }
}
