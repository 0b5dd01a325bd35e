//! Uplinks: devices that the switch shares with the host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::method::Options;
use crate::port::State;

/// `uplink-add`: shares a device with the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UplinkAdd {
    /// The device.
    pub device: String,
    /// `steer`, `mode`, `queues`.
    #[serde(default)]
    pub options: Options,
}

/// `uplink-rm`: takes back what `uplink-add` asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UplinkRm {
    /// The device.
    pub device: String,
}

/// `uplink-ls`: the uplinks there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UplinkLs {}

/// A port that is on no bridge: an uplink, or the host's UDP sockets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The device's name when it became an uplink.
    pub name: String,
    /// Whether packets pass.
    pub state: State,
    /// A person asked for it.
    pub asked: bool,
    /// Why it works the way it does, as a sentence; empty when there was no choice.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Facts about it as it is now: `mode` (native, generic, zerocopy), `queues`, `device` (its
    /// present name), `ifindex`, `mtu`, `netns`; of sockets `receives`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detail: BTreeMap<String, String>,
    /// What is the switch's and not the host's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steered: Vec<Steered>,
    /// Why it does not work, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Packets that came by it.
    pub rx_packets: u64,
    /// Packets that went by it.
    pub tx_packets: u64,
}

/// Packets of an uplink that are the switch's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steered {
    /// `PROTOCOL:ADDRESS:PORTS`.
    pub rule: String,
    /// For whom: ports of bridges, or `uplink add`.
    pub users: Vec<String>,
}
