//! Ports of a bridge.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Refusal};
use crate::method::Options;

/// `add-port`: attaches a device, or makes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddPort {
    /// The bridge.
    pub bridge: String,
    /// The port, and its device unless `ifname` says otherwise.
    pub name: String,
    /// `type`, `of_port`, `tag`, `trunks`, `vlan_mode`, `mtu`, `queues`, `netns`, `ifname`, ...
    #[serde(default)]
    pub options: Options,
}

/// What became of an `add-port`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// The number the port got.
    pub of_port: u32,
    /// The kind that was asked for or chosen.
    pub kind: Kind,
    /// Why this kind and this mode.
    pub why: String,
}

/// `del-port`: takes a port from its bridge and gives its device back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelPort {
    /// The bridge.
    pub bridge: String,
    /// The port.
    pub name: String,
}

/// `list-ports`: the names of the ports of a bridge in the order of their numbers, LOCAL left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListPorts {
    /// The bridge.
    pub bridge: String,
}

/// `set-port`: changes settings; those not named stay as they are. All are set or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetPort {
    /// The bridge.
    pub bridge: String,
    /// The port.
    pub name: String,
    /// As for `add-port`; an empty value puts a setting back to its default.
    pub options: Options,
}

/// `get-port`: the settings in force, defaults included, in the words `set-port` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadPort {
    /// The bridge.
    pub bridge: String,
    /// The port.
    pub name: String,
}

/// `ports`: counters of the ports of a bridge, LOCAL included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DumpPorts {
    /// The bridge.
    pub bridge: String,
    /// Only this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
}

/// How a port reaches its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// AF_XDP sockets on a NIC or veth.
    Afxdp,
    /// A TAP device.
    Tap,
    /// AF_PACKET sockets on a veth or NIC.
    Packet,
    /// A TAP left in the host's namespace; LOCAL is one.
    Internal,
    /// A cable to another bridge.
    Patch,
    /// Swallows everything.
    Null,
    /// Replays a capture file, or writes one.
    Pcap,
    /// A VXLAN tunnel.
    Vxlan,
    /// A Geneve tunnel.
    Geneve,
    /// AF_XDP sockets on a device that the host goes on using. On no bridge.
    Uplink,
    /// UDP sockets of the host, for tunnels. On no bridge.
    Socket,
    /// A router's port.
    Router,
}

impl Kind {
    /// Every kind that a port of a bridge can be.
    pub const ALL: [Self; 10] = [
        Self::Afxdp,
        Self::Tap,
        Self::Packet,
        Self::Internal,
        Self::Patch,
        Self::Null,
        Self::Pcap,
        Self::Vxlan,
        Self::Geneve,
        Self::Router,
    ];

    /// The word for `type=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Afxdp => "afxdp",
            Self::Tap => "tap",
            Self::Packet => "packet",
            Self::Internal => "internal",
            Self::Patch => "patch",
            Self::Null => "null",
            Self::Pcap => "pcap",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Uplink => "uplink",
            Self::Socket => "socket",
            Self::Router => "router",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| {
                Refusal::new(Code::Refused, format!("there is no port type {text:?}"))
                    .allowed(Self::ALL.map(Self::name))
            })
    }
}

/// Whether packets pass through a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// They do.
    Up,
    /// The device is set down, or has no carrier.
    Down,
    /// The device is gone; the port waits for its return.
    Missing,
    /// The port could not be set up; [`Info::error`] says why.
    Error,
}

impl State {
    /// The word in texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Missing => "missing",
            Self::Error => "error",
        }
    }
}

/// How a port deals with VLAN tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VlanMode {
    /// Untagged outside, one VLAN inside.
    Access,
    /// Tagged outside as inside.
    #[default]
    Trunk,
    /// A trunk whose own VLAN is tagged when it leaves.
    NativeTagged,
    /// A trunk whose own VLAN is untagged when it leaves.
    NativeUntagged,
}

impl VlanMode {
    /// Every mode.
    pub const ALL: [Self; 4] = [
        Self::Access,
        Self::Trunk,
        Self::NativeTagged,
        Self::NativeUntagged,
    ];

    /// The word for `vlan_mode=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Trunk => "trunk",
            Self::NativeTagged => "native-tagged",
            Self::NativeUntagged => "native-untagged",
        }
    }
}

impl FromStr for VlanMode {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| {
                Refusal::new(Code::Refused, format!("there is no vlan_mode {text:?}"))
                    .allowed(Self::ALL.map(Self::name))
            })
    }
}

/// The VLAN settings of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vlan {
    /// How tags are dealt with.
    pub mode: VlanMode,
    /// The port's own VLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<u16>,
    /// The VLANs a trunk carries; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trunks: Vec<u16>,
}

/// One port in the answer to `show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The port's name.
    pub name: String,
    /// Its OpenFlow number.
    pub of_port: u32,
    /// How it reaches its device.
    pub kind: Kind,
    /// Whether packets pass.
    pub state: State,
    /// Why this kind and this mode, as a sentence; empty when there was no choice.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Facts about the device as it is now: `mode` (native, generic, zero-copy), `queues`,
    /// `offloads`, `netns`, `ifindex`, `mtu`, `device` (its present name), `peer`, `file`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detail: BTreeMap<String, String>,
    /// VLAN settings.
    #[serde(default)]
    pub vlan: Vlan,
    /// Why the port does not work, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Traffic of one port, all its queues together. A super-frame counts as one packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Its OpenFlow number.
    pub of_port: u32,
    /// The port's name.
    pub port: String,
    /// Packets into the switch.
    pub rx_packets: u64,
    /// Bytes into the switch, from the Ethernet header on.
    pub rx_bytes: u64,
    /// Lost before the switch: no free frame, ring full.
    pub rx_dropped: u64,
    /// Received but unusable.
    pub rx_errors: u64,
    /// Packets out of the switch.
    pub tx_packets: u64,
    /// Bytes out of the switch, from the Ethernet header on.
    pub tx_bytes: u64,
    /// Not sent for want of room or because the device is down or gone.
    pub tx_dropped: u64,
    /// Not sent: the kernel refused the packet.
    pub tx_errors: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_means_the_same_as_an_option_and_in_a_reply() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>().unwrap(), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        for mode in VlanMode::ALL {
            assert_eq!(mode.name().parse::<VlanMode>().unwrap(), mode);
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.name());
        }
    }

    #[test]
    fn an_unknown_type_is_answered_with_the_types_there_are() {
        let refusal = "dpdk".parse::<Kind>().unwrap_err();
        assert_eq!(refusal.message, "there is no port type \"dpdk\"");
        assert_eq!(
            refusal.data.allowed,
            [
                "afxdp", "tap", "packet", "internal", "patch", "null", "pcap", "vxlan", "geneve",
                "router"
            ]
        );
    }
}
