//! Groups (OpenFlow 1.3.5 §5.6) and their selection methods (Open vSwitch's
//! `NTR_SELECTION_METHOD`, OpenFlow 1.5).

use serde::{Deserialize, Serialize};

use crate::action::{Action, OfPort};
use crate::field::Field;

/// Largest number of a group.
pub const GROUP_MAX: u32 = 0xffff_ff00;

/// Largest number of a bucket.
pub const BUCKET_MAX: u32 = 0xffff_ff00;

/// A bucket's number that stands for the first one.
pub const BUCKET_FIRST: u32 = 0xffff_fffd;

/// A bucket's number that stands for the last one.
pub const BUCKET_LAST: u32 = 0xffff_fffe;

/// A bucket's number that stands for all of them.
pub const BUCKET_ALL: u32 = 0xffff_ffff;

/// What a group does with its buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GroupKind {
    /// Each bucket gets a copy.
    All,
    /// One bucket, chosen by a hash and weights.
    Select,
    /// The one bucket there is.
    Indirect,
    /// The first bucket that is alive.
    FastFailover,
}

/// How a select group chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SelectionMethod {
    /// The switch's own way: a hash of layers 2 to 4, the same in both directions.
    #[default]
    Default,
    /// A hash of these fields, each with the bits that count.
    Hash {
        /// Fields and masks; none means the default ones.
        fields: Vec<(Field, u128)>,
        /// Varies the hash.
        param: u64,
    },
    /// A hash that the datapath has computed.
    DpHash {
        /// Varies the hash.
        param: u64,
    },
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bucket {
    /// Its number (OpenFlow 1.5); its place from 0 where the peer does not give one.
    pub id: u32,
    /// Its share among those of a select group; 0 gets nothing.
    pub weight: u16,
    /// It is alive while this port is; [`OfPort::ANY`] watches none.
    pub watch_port: OfPort,
    /// It is alive while this group has a bucket that is; [`crate::rule::GROUP_ANY`] watches none.
    pub watch_group: u32,
    /// What it does, as an action set does it.
    pub actions: Vec<Action>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Group {
    /// Its number, up to [`GROUP_MAX`].
    pub id: u32,
    /// What it does with its buckets.
    pub kind: GroupKind,
    /// How it chooses, if it is a select group.
    pub selection: SelectionMethod,
    /// Its buckets.
    pub buckets: Vec<Bucket>,
}

/// A change to groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupMod {
    /// Adds one.
    Add(Group),
    /// Replaces one.
    Modify(Group),
    /// Replaces one or adds it (Open vSwitch's `--may-create`).
    AddOrModify(Group),
    /// Deletes one and the flows that use it; one that is not there is no error.
    Delete(u32),
    /// Deletes all.
    DeleteAll,
    /// Puts buckets into a group (OpenFlow 1.5): before this number, `None` for last.
    InsertBuckets {
        /// Which group.
        id: u32,
        /// Before the bucket of this number, or [`BUCKET_FIRST`]; at the end if `None`.
        before: Option<u32>,
        /// What is put in.
        buckets: Vec<Bucket>,
    },
    /// Takes a bucket out of a group (OpenFlow 1.5); [`BUCKET_FIRST`], [`BUCKET_LAST`] and
    /// [`BUCKET_ALL`] are understood.
    RemoveBucket {
        /// Which group.
        id: u32,
        /// Which bucket.
        bucket: u32,
    },
}
