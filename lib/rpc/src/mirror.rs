//! Mirrors: copies of a bridge's traffic to one of its ports or to a VLAN.

use serde::{Deserialize, Serialize};

use crate::method::Options;

/// `add-mirror`: starts copying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddMirror {
    /// The bridge.
    pub bridge: String,
    /// The mirror, unique in its bridge.
    pub name: String,
    /// `select_all`, `select_src`, `select_dst`, `select_vlan`, `output_port`, `output_vlan`.
    #[serde(default)]
    pub options: Options,
}

/// `del-mirror`: stops copying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelMirror {
    /// The bridge.
    pub bridge: String,
    /// The mirror.
    pub name: String,
}

/// One mirror in the answer to `show`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Info {
    /// The mirror's name.
    pub name: String,
    /// Every packet is copied.
    pub select_all: bool,
    /// Packets that come in through these ports are copied.
    pub select_src: Vec<String>,
    /// Packets that go out through these ports are copied.
    pub select_dst: Vec<String>,
    /// Only packets of these VLANs are copied; empty means any.
    pub select_vlan: Vec<u16>,
    /// Copies leave here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_port: Option<String>,
    /// Copies are flooded in this VLAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_vlan: Option<u16>,
}
