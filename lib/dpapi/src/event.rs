//! What the datapath tells without being asked.
//!
//! Packets for controllers may be lost when nobody takes them: they are counted then, and the
//! packets that follow say how many. What became of flows is never lost.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vswitch_flow::action::Reason;
use vswitch_flow::{FlowMod, FlowRule, Match, OfPort};

use crate::desired::BridgeId;

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A packet for the controller.
    PacketIn(Box<PacketIn>),
    /// A flow has gone by itself or to make room, or was deleted and had asked for this to be told.
    FlowRemoved {
        /// On which bridge.
        bridge: BridgeId,
        /// The flow.
        rule: Box<FlowRule>,
        /// Why.
        reason: Removal,
        /// Packets that it decided.
        packets: u64,
        /// Bytes of them.
        bytes: u64,
        /// Milliseconds it lived.
        age_ms: u64,
    },
    /// A `learn` action has changed the tables; the change was made.
    Learned {
        /// On which bridge.
        bridge: BridgeId,
        /// The change.
        change: Box<FlowMod>,
    },
    /// A `fin_timeout` action has given a flow other timeouts.
    Timeouts {
        /// On which bridge.
        bridge: BridgeId,
        /// The flow with its new timeouts.
        rule: Box<FlowRule>,
    },
    /// A tunnel needs the Ethernet address of a neighbour that is not known. Told at most once a
    /// second for each.
    Resolve {
        /// The number of the device on which it is.
        device: u32,
        /// Who.
        address: IpAddr,
    },
}

/// Why a flow has gone (`ofp_flow_removed_reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removal {
    /// Its idle timeout.
    Idle,
    /// Its hard timeout.
    Hard,
    /// A change deleted it.
    Delete,
    /// Its group was deleted.
    GroupDelete,
    /// Its meter was deleted (1.4).
    MeterDelete,
    /// It had to make room (1.4).
    Eviction,
}

/// A packet for controllers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketIn {
    /// On which bridge.
    pub bridge: BridgeId,
    /// Why.
    pub reason: Reason,
    /// No flow matched, not even one for what nothing else matches: OpenFlow 1.3 controllers do not
    /// hear of it.
    pub implicit_miss: bool,
    /// Table of the flow that sent it.
    pub table: u8,
    /// Cookie of the flow that sent it; `u64::MAX` without a flow.
    pub cookie: u64,
    /// Which controller is meant; 0 is any.
    pub controller: u16,
    /// Bytes that the action asked for; 65535 is all. `packet` is not cut: who sends it on is to.
    pub max_len: u16,
    /// Where the packet came in.
    pub in_port: OfPort,
    /// The frame as it was then, offloads finished.
    pub packet: Vec<u8>,
    /// Fields that are not in the frame (metadata, registers, tunnel, connection), where they are
    /// not zero.
    pub fields: Match,
    /// Bytes of the action that sent it.
    pub userdata: Vec<u8>,
    /// What brings a paused packet back on its way; only the datapath reads it.
    pub continuation: Option<Vec<u8>>,
    /// Packets lost since the one before, because nobody took them.
    pub lost: u64,
}
