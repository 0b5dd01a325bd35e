//! Changes to flows, groups and meters, and why one cannot be made.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vswitch_flow::{FlowMod, GroupMod, MeterMod};

/// One change to what a bridge holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// To flows.
    Flow(Box<FlowMod>),
    /// To groups.
    Group(Box<GroupMod>),
    /// To meters.
    Meter(Box<MeterMod>),
}

impl From<FlowMod> for Change {
    fn from(change: FlowMod) -> Self {
        Self::Flow(Box::new(change))
    }
}

/// Why a change cannot be made. Each is an error of OpenFlow (1.3.5 §7.4.4), which the agent names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum ChangeRefusal {
    /// `OFPFMFC_BAD_TABLE_ID`, `OFPBIC_BAD_TABLE_ID` for a goto.
    #[error("there is no table {0}: tables are 0 to 253")]
    NoTable(u8),
    /// `OFPBIC_BAD_TABLE_ID`.
    #[error("goto leads from table {from} to {to}: it has to lead to a later one, up to 253")]
    GotoBack {
        /// From.
        from: u8,
        /// To.
        to: u8,
    },
    /// `OFPFMFC_OVERLAP`.
    #[error("a flow of the same priority overlaps it")]
    Overlap,
    /// `OFPFMFC_TABLE_FULL`.
    #[error("table {0} is full")]
    TableFull(u8),
    /// `OFPBAC_BAD_OUT_GROUP`.
    #[error("there is no group {0}")]
    NoOutGroup(u32),
    /// `OFPMMFC_INVALID_METER`, as Open vSwitch answers.
    #[error("there is no meter {0}")]
    NoFlowMeter(u32),
    /// `OFPGMFC_GROUP_EXISTS`.
    #[error("there is a group {0} already")]
    GroupExists(u32),
    /// `OFPGMFC_UNKNOWN_GROUP`.
    #[error("there is no group {0} to change")]
    NoGroup(u32),
    /// `OFPGMFC_OUT_OF_GROUPS`.
    #[error("there are as many groups as there can be")]
    TooManyGroups,
    /// `OFPGMFC_LOOP`.
    #[error("group {0} would lead to itself")]
    GroupLoop(u32),
    /// `OFPGMFC_INVALID_GROUP`.
    #[error("a group {0} cannot have these buckets")]
    BadBuckets(u32),
    /// `OFPGMFC_BAD_WATCH`.
    #[error("there is nothing to watch under the number {0}")]
    BadWatch(u32),
    /// `OFPGMFC_BUCKET_EXISTS` (1.5).
    #[error("there is a bucket {0} already")]
    BucketExists(u32),
    /// `OFPGMFC_UNKNOWN_BUCKET` (1.5).
    #[error("there is no bucket {0}")]
    NoBucket(u32),
    /// `OFPMMFC_METER_EXISTS`.
    #[error("there is a meter {0} already")]
    MeterExists(u32),
    /// `OFPMMFC_UNKNOWN_METER`.
    #[error("there is no meter {0} to change")]
    NoMeter(u32),
    /// `OFPMMFC_OUT_OF_METERS`.
    #[error("there are as many meters as there can be")]
    TooManyMeters,
}
