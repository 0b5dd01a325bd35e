//! The whole switch in one answer.

use serde::{Deserialize, Serialize};

use crate::bridge::FailMode;
use crate::{mirror, port, uplink};

/// `show`: what the switch consists of. `vswitchd` is ready when it answers this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Show {}

/// The answer to `show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// The version of `vswitchd`.
    pub version: String,
    /// The packet process.
    pub datapath: Datapath,
    /// Sorted by name.
    pub bridges: Vec<Bridge>,
    /// Devices shared with the host, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uplinks: Vec<uplink::Info>,
    /// The host's UDP sockets, while tunnels are carried by them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<uplink::Info>,
}

/// The packet process as `vswitchd` sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datapath {
    /// Its process id while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Whether it does.
    pub state: DatapathState,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// How its workers wait.
    pub mode: PollMode,
    /// In the order of their numbers.
    pub workers: Vec<Worker>,
}

/// Whether the packet process is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatapathState {
    /// It forwards.
    Running,
    /// It has been started and is being told what to do.
    Starting,
    /// It is gone and will be started again.
    Down,
}

impl DatapathState {
    /// The word in texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Starting => "starting",
            Self::Down => "down",
        }
    }
}

/// How workers wait for packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PollMode {
    /// Poll while there is work, then sleep until an event.
    #[default]
    Adaptive,
    /// Never sleep.
    Busy,
}

impl PollMode {
    /// The word for `poll=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Busy => "busy",
        }
    }
}

/// One thread that moves packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// From 0.
    pub id: u32,
    /// The core it is pinned to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<u32>,
    /// The ports of which it has at least one queue.
    pub ports: Vec<String>,
}

/// One bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// What it does while nobody tells it.
    pub fail_mode: FailMode,
    /// The OpenFlow datapath id, 16 hex digits.
    pub datapath_id: String,
    /// How many addresses it may learn.
    pub mac_table_size: u64,
    /// Seconds after which an unseen address is forgotten.
    pub mac_aging_time: u64,
    /// Its controllers and the places where controllers may come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<Controller>,
    /// In the order of their numbers, so LOCAL is the last.
    pub ports: Vec<port::Info>,
    /// Sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<mirror::Info>,
}

/// A controller, or a place where controllers may come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controller {
    /// As `set-br controller=` takes it.
    pub target: String,
    /// `connecting`, `active`, `backoff` (it will be tried again) or `listening`.
    pub state: String,
    /// Connections that speak now.
    pub connections: u64,
    /// The OpenFlow version of the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its role: `primary`, `secondary` or `equal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Seconds for which it has been so.
    pub since_s: u64,
    /// Why there is no connection, or why the last one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
