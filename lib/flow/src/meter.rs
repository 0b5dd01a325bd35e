//! Meters (OpenFlow 1.3.5 §5.7).

use serde::{Deserialize, Serialize};

/// Largest number of an ordinary meter.
pub const METER_MAX: u32 = 0xffff_0000;

/// The meter of packets that the slow path handles.
pub const METER_SLOWPATH: u32 = 0xffff_fffd;

/// The meter of packets to the controller.
pub const METER_CONTROLLER: u32 = 0xffff_fffe;

/// All meters, in requests.
pub const METER_ALL: u32 = 0xffff_ffff;

/// What a rate counts, and what else is said of a meter (`ofp_meter_flags`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MeterFlags(pub u16);

impl MeterFlags {
    /// Rates are kilobits a second.
    pub const KBPS: Self = Self(1);
    /// Rates are packets a second.
    pub const PKTPS: Self = Self(1 << 1);
    /// Bands have a burst size.
    pub const BURST: Self = Self(1 << 2);
    /// Statistics are wanted.
    pub const STATS: Self = Self(1 << 3);

    /// Whether all of `flags` are set.
    #[must_use]
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// What happens to packets beyond a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BandKind {
    /// They are dropped.
    Drop,
    /// Their drop precedence in the DSCP rises by so much (RFC 2597).
    DscpRemark {
        /// By how many levels.
        levels: u8,
    },
}

/// A band.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Band {
    /// What happens.
    pub kind: BandKind,
    /// Beyond this rate, in the unit that the meter's flags say.
    pub rate: u32,
    /// Burst, in kilobits or packets.
    pub burst: u32,
}

/// A meter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Meter {
    /// Its number, up to [`METER_MAX`] or one of the two special ones.
    pub id: u32,
    /// Unit and wishes.
    pub flags: MeterFlags,
    /// Its bands; the one with the highest rate that is exceeded applies.
    pub bands: Vec<Band>,
}

/// A change to meters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MeterMod {
    /// Adds one.
    Add(Meter),
    /// Replaces one.
    Modify(Meter),
    /// Deletes one and the flows that use it; one that is not there is no error.
    Delete(u32),
    /// Deletes all.
    DeleteAll,
}
