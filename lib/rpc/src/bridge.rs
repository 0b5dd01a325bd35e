//! Bridges and what they have learned.

use serde::{Deserialize, Serialize};

use crate::method::Options;

/// `add-br`: makes a bridge with its LOCAL port. A new bridge is standalone unless the options say
/// `fail_mode=secure`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddBr {
    /// The bridge and its device.
    pub name: String,
    /// As for `set-br`.
    #[serde(default)]
    pub options: Options,
}

/// `del-br`: removes a bridge and gives its ports' devices back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelBr {
    /// The bridge.
    pub name: String,
}

/// `list-br`: the names of all bridges, sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListBr {}

/// `set-br`: changes settings; those not named stay as they are. All are set or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetBr {
    /// The bridge.
    pub name: String,
    /// `fail_mode`, `mac_table_size` (entries), `mac_aging_time` (seconds), ...
    pub options: Options,
}

/// `get-br`: the settings in force, defaults included, in the words `set-br` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadBr {
    /// The bridge.
    pub name: String,
}

/// What a bridge does with packets while nobody tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailMode {
    /// It learns and forwards: one NORMAL flow.
    #[default]
    Standalone,
    /// Its table is empty: nothing is forwarded.
    Secure,
}

impl FailMode {
    /// The word for the setting.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Secure => "secure",
        }
    }
}

/// `fdb-show`: the forwarding table, sorted by VLAN and address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FdbShow {
    /// The bridge.
    pub bridge: String,
}

/// One learned address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbEntry {
    /// The OpenFlow number of the port behind which the address is.
    pub of_port: u32,
    /// The port's name.
    pub port: String,
    /// The VLAN, 0 without one.
    pub vlan: u16,
    /// `50:54:00:00:00:05`.
    pub mac: String,
    /// Seconds since the address was last seen as a source.
    pub age_s: u64,
}

/// `fdb-flush`: forgets what was learned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FdbFlush {
    /// The bridge.
    pub bridge: String,
}

/// `fdb-stats`: how full the forwarding table is, and who fills it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FdbStats {
    /// The bridge.
    pub bridge: String,
}

/// How full one forwarding table is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbCounters {
    /// Addresses known now.
    pub entries: u64,
    /// `mac_table_size`.
    pub limit: u64,
    /// Addresses learned since the table was made, moves not counted.
    #[serde(default)]
    pub learned: u64,
    /// Addresses forgotten because they were not seen.
    #[serde(default)]
    pub expired: u64,
    /// Addresses that made room for others.
    #[serde(default)]
    pub evicted: u64,
    /// Addresses that were seen on another port than before.
    #[serde(default)]
    pub moved: u64,
    /// Addresses known now, by port; ports without one are left out.
    pub by_port: Vec<FdbShare>,
}

/// One port's part of a forwarding table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbShare {
    /// The port's name.
    pub port: String,
    /// Addresses behind it.
    pub entries: u64,
}
