//! A bridge and its settings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vswitch_dpapi::Fragments;
use vswitch_rpc::bridge::FailMode;

use super::key::{self, Key};
use super::mirror::Mirror;
use super::port::Port;
use super::target::{self, Target};

/// Addresses a bridge learns unless told otherwise (as Open vSwitch since 3.1).
pub const MAC_TABLE_SIZE: u32 = 8192;

/// Seconds after which an unseen address is forgotten unless told otherwise (IEEE 802.1D).
pub const MAC_AGING_TIME: u32 = 300;

/// A bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Its number in the datapath, never given to another.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// What can be set.
    pub settings: BridgeSettings,
    /// The address of its LOCAL device.
    pub mac: [u8; 6],
    /// By name, LOCAL included.
    pub ports: BTreeMap<String, Port>,
    /// By name.
    pub mirrors: BTreeMap<String, Mirror>,
    /// The id of the container network that it is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// What can be set on a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BridgeSettings {
    /// What it does while nobody tells it.
    pub fail_mode: FailMode,
    /// How many addresses it learns.
    pub mac_table_size: u32,
    /// Seconds after which an unseen address is forgotten.
    pub mac_aging_time: u32,
    /// Who tells it, and where those are listened for who want to.
    pub controllers: Vec<Target>,
    /// Its OpenFlow number, where it is not made from the address of LOCAL.
    pub datapath_id: Option<u64>,
    /// Most flows that table 0 takes.
    pub flow_limit: Option<u32>,
    /// What its flows see of fragments.
    pub fragments: Fragments,
}

impl Default for BridgeSettings {
    fn default() -> Self {
        Self {
            fail_mode: FailMode::Standalone,
            mac_table_size: MAC_TABLE_SIZE,
            mac_aging_time: MAC_AGING_TIME,
            controllers: Vec::new(),
            datapath_id: None,
            flow_limit: None,
            fragments: Fragments::Normal,
        }
    }
}

/// The settings of a bridge.
pub const KEYS: &[Key<BridgeSettings>] = &[
    Key {
        name: "fail_mode",
        live: true,
        takes: "standalone or secure",
        set: |bridge, text| {
            bridge.fail_mode = match text {
                "standalone" => FailMode::Standalone,
                "secure" => FailMode::Secure,
                _ => return None,
            };
            Some(())
        },
        clear: |bridge| bridge.fail_mode = FailMode::Standalone,
        show: |bridge| Some(bridge.fail_mode.name().into()),
    },
    Key {
        name: "mac_table_size",
        live: true,
        takes: "a number of addresses from 1 to 1000000",
        set: |bridge, text| {
            bridge.mac_table_size = key::number(text, 1..=1_000_000)?;
            Some(())
        },
        clear: |bridge| bridge.mac_table_size = MAC_TABLE_SIZE,
        show: |bridge| Some(bridge.mac_table_size.to_string()),
    },
    Key {
        name: "mac_aging_time",
        live: true,
        takes: "a number of seconds from 1 to 1000000",
        set: |bridge, text| {
            bridge.mac_aging_time = key::number(text, 1..=1_000_000)?;
            Some(())
        },
        clear: |bridge| bridge.mac_aging_time = MAC_AGING_TIME,
        show: |bridge| Some(bridge.mac_aging_time.to_string()),
    },
    Key {
        name: "controller",
        live: true,
        takes: "tcp:ADDRESS[:PORT], ssl:ADDRESS[:PORT], ptcp:[PORT][:ADDRESS] and \
                pssl:[PORT][:ADDRESS], separated by commas",
        set: |bridge, text| {
            bridge.controllers = target::parse_list(text)?;
            Some(())
        },
        clear: |bridge| bridge.controllers.clear(),
        show: |bridge| {
            let targets: Vec<String> = bridge.controllers.iter().map(Target::to_string).collect();
            (!targets.is_empty()).then(|| targets.join(","))
        },
    },
    Key {
        name: "datapath_id",
        live: true,
        takes: "16 hexadecimal digits that are not all zero",
        set: |bridge, text| {
            let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let number = u64::from_str_radix(text, 16).ok().filter(|_| digits);
            bridge.datapath_id = Some(number.filter(|number| *number != 0)?);
            Some(())
        },
        clear: |bridge| bridge.datapath_id = None,
        show: |bridge| Some(format!("{:016x}", bridge.datapath_id?)),
    },
    Key {
        name: "flow_limit",
        live: true,
        takes: "a number of flows of table 0 from 1 to 4294967295",
        set: |bridge, text| {
            bridge.flow_limit = Some(key::number(text, 1..=u32::MAX)?);
            Some(())
        },
        clear: |bridge| bridge.flow_limit = None,
        show: |bridge| Some(bridge.flow_limit?.to_string()),
    },
    Key {
        name: "fragments",
        live: true,
        takes: "normal, drop or nx-match",
        set: |bridge, text| {
            bridge.fragments = match text {
                "normal" => Fragments::Normal,
                "drop" => Fragments::Drop,
                "nx-match" => Fragments::NxMatch,
                _ => return None,
            };
            Some(())
        },
        clear: |bridge| bridge.fragments = Fragments::Normal,
        show: |bridge| match bridge.fragments {
            Fragments::Normal => None,
            Fragments::Drop => Some("drop".into()),
            Fragments::NxMatch => Some("nx-match".into()),
        },
    },
];

impl Bridge {
    /// The OpenFlow datapath id: the one that was set, else the address of LOCAL in the lower 48 bits.
    pub fn datapath_id(&self) -> u64 {
        let [a, b, c, d, e, f] = self.mac;
        let from_mac = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        self.settings.datapath_id.unwrap_or(from_mac)
    }

    /// Its ports in the order of their numbers, so LOCAL is the last.
    pub fn ports_by_number(&self) -> Vec<&Port> {
        let mut ports: Vec<&Port> = self.ports.values().collect();
        ports.sort_by_key(|port| port.of_port);
        ports
    }

    /// The ports that can be removed, by name.
    pub fn removable(&self) -> Vec<String> {
        self.ports_by_number()
            .iter()
            .filter(|port| !port.is_local())
            .map(|port| port.name.clone())
            .collect()
    }
}
