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

/// Where buckets are put into a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BucketPlace {
    /// Before all others.
    First,
    /// Behind all others.
    Last,
    /// Right behind the bucket of this number.
    After(u32),
}

impl Group {
    /// Puts buckets in.
    ///
    /// # Errors
    /// The number of the bucket that they were to stand behind, if there is none; nothing has
    /// changed.
    pub fn insert(&mut self, place: BucketPlace, buckets: Vec<Bucket>) -> Result<(), u32> {
        let at = match place {
            BucketPlace::First => 0,
            BucketPlace::Last => self.buckets.len(),
            BucketPlace::After(id) => self.find(id)? + 1,
        };
        self.buckets.splice(at..at, buckets);
        Ok(())
    }

    /// Takes the bucket of this number out; [`BUCKET_FIRST`], [`BUCKET_LAST`] and [`BUCKET_ALL`] are
    /// understood, and are no error where there is none.
    ///
    /// # Errors
    /// The number, if no bucket has it.
    pub fn remove(&mut self, id: u32) -> Result<(), u32> {
        match id {
            BUCKET_ALL => self.buckets.clear(),
            BUCKET_FIRST => drop(self.buckets.drain(..self.buckets.len().min(1))),
            BUCKET_LAST => drop(self.buckets.pop()),
            id => drop(self.buckets.remove(self.find(id)?)),
        }
        Ok(())
    }

    fn find(&self, id: u32) -> Result<usize, u32> {
        let at = self.buckets.iter().position(|bucket| bucket.id == id);
        at.ok_or(id)
    }
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
    /// Puts buckets into a group (OpenFlow 1.5).
    InsertBuckets {
        /// Which group.
        id: u32,
        /// Where.
        place: BucketPlace,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(id: u32) -> Bucket {
        Bucket {
            id,
            weight: 0,
            watch_port: OfPort::ANY,
            watch_group: crate::rule::GROUP_ANY,
            actions: Vec::new(),
        }
    }

    fn group(ids: &[u32]) -> Group {
        Group {
            id: 1,
            kind: GroupKind::All,
            selection: SelectionMethod::Default,
            buckets: ids.iter().copied().map(bucket).collect(),
        }
    }

    #[test]
    fn buckets_stand_behind_the_one_that_is_named() {
        let inserted = |place, ids: &[u32]| {
            let mut group = group(ids);
            let new = vec![bucket(8), bucket(9)];
            group.insert(place, new)?;
            Ok(group.buckets.iter().map(|bucket| bucket.id).collect())
        };
        let found: Result<Vec<u32>, u32> = inserted(BucketPlace::After(1), &[1, 2]);
        assert_eq!(found, Ok(vec![1, 8, 9, 2]));
        assert_eq!(inserted(BucketPlace::First, &[1]), Ok(vec![8, 9, 1]));
        assert_eq!(inserted(BucketPlace::Last, &[1, 2]), Ok(vec![1, 2, 8, 9]));
        assert_eq!(inserted(BucketPlace::Last, &[]), Ok(vec![8, 9]));
        assert_eq!(inserted(BucketPlace::After(3), &[1]), Err(3));
    }

    #[test]
    fn buckets_go_by_number_or_place() {
        let left = |id, ids: &[u32]| {
            let mut group = group(ids);
            group.remove(id)?;
            Ok(group.buckets.iter().map(|bucket| bucket.id).collect())
        };
        let found: Result<Vec<u32>, u32> = left(2, &[1, 2, 3]);
        assert_eq!(found, Ok(vec![1, 3]));
        assert_eq!(left(BUCKET_FIRST, &[1, 2]), Ok(vec![2]));
        assert_eq!(left(BUCKET_LAST, &[1, 2]), Ok(vec![1]));
        assert_eq!(left(BUCKET_ALL, &[1, 2]), Ok(vec![]));
        assert_eq!(left(BUCKET_FIRST, &[]), Ok(vec![]));
        assert_eq!(left(4, &[1]), Err(4));
    }
}
