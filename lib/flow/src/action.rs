//! What a flow does with a packet.

use serde::{Deserialize, Serialize};

use crate::field::Field;

/// An OpenFlow port number, 32 bits as since OpenFlow 1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OfPort(pub u32);

impl OfPort {
    /// Largest number of an ordinary port: Open vSwitch keeps to 16 bits so that OpenFlow 1.0
    /// clients can name every port.
    pub const MAX: Self = Self(0xfeff);
    /// Back to where the packet came from.
    pub const IN_PORT: Self = Self(0xffff_fff8);
    /// Through the tables (packet-out only).
    pub const TABLE: Self = Self(0xffff_fff9);
    /// As a learning switch forwards.
    pub const NORMAL: Self = Self(0xffff_fffa);
    /// All ports that flood, but not where it came from.
    pub const FLOOD: Self = Self(0xffff_fffb);
    /// All ports but the one where it came from.
    pub const ALL: Self = Self(0xffff_fffc);
    /// To the controller.
    pub const CONTROLLER: Self = Self(0xffff_fffd);
    /// The bridge's own port.
    pub const LOCAL: Self = Self(0xffff_fffe);
    /// No port in particular.
    pub const ANY: Self = Self(0xffff_ffff);
}

/// One action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Send to a port; reserved ports included. A packet goes back to the port it came by only
    /// when [`OfPort::IN_PORT`] says so.
    Output(OfPort),
    /// Write the bits `mask` of a field. A packet without the field stays as it is.
    SetField {
        /// Which field.
        field: Field,
        /// New value.
        value: u128,
        /// Which bits of it.
        mask: u128,
    },
    /// Push a VLAN tag with this tag protocol (0x8100 or 0x88a8), VLAN 0 or a copy of the outer
    /// tag's TCI.
    PushVlan(u16),
    /// Take the outer VLAN tag off, if there is one.
    PopVlan,
}
