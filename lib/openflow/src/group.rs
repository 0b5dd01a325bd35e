//! Groups: changes, descriptions, counters and what is possible.
//!
//! 1.3 and 1.4 have buckets with fixed fields; those of 1.5 are numbered and have properties, and
//! Nicira's extension for 1.0 has the same layout.
//!
//! Spec: OpenFlow 1.3.5 §7.3.4.2, §7.3.5.9 to §7.3.5.11; 1.5.1 §7.3.4.3; Open vSwitch's
//! `include/openflow/netronome-ext.h` for selection methods.

use vswitch_flow::group::{
    BUCKET_ALL, BUCKET_FIRST, BUCKET_LAST, BUCKET_MAX, BucketPlace, SelectionMethod,
};
use vswitch_flow::rule::GROUP_ANY;
use vswitch_flow::{Bucket, Group, GroupKind, GroupMod, OfPort};

use crate::action;
use crate::elapsed::{self, Elapsed};
use crate::error::{ErrorCode, OfError};
use crate::header::Version;
use crate::oxm::masks::{decode_masks, encode_masks};
use crate::property;
use crate::wire::{Reader, Text, Writer, bits, require};

/// All groups, in requests (`OFPG_ALL`).
pub const GROUP_ALL: u32 = 0xffff_fffc;

const ADD: u16 = 0;
const MODIFY: u16 = 1;
const DELETE: u16 = 2;
const INSERT_BUCKET: u16 = 3;
const REMOVE_BUCKET: u16 = 5;
/// Open vSwitch's.
const ADD_OR_MODIFY: u16 = 0x8000;

const WEIGHT: u16 = 0;
const WATCH_PORT: u16 = 1;
const WATCH_GROUP: u16 = 2;

/// Netronome's number as an experimenter, and the one it used by mistake.
const NETRONOME: u32 = 0x0000_154d;
const NETRONOME_OLD: u32 = 0x0000_1540;
const SELECTION_METHOD: u32 = 1;

/// Whether buckets have numbers in a version: those of 1.5, in 1.0 as Nicira's.
fn is_numbered(version: Version) -> bool {
    matches!(version, Version::V10 | Version::V15)
}

fn kind_number(kind: GroupKind) -> u8 {
    match kind {
        GroupKind::All => 0,
        GroupKind::Select => 1,
        GroupKind::Indirect => 2,
        GroupKind::FastFailover => 3,
    }
}

fn kind_from_number(number: u8) -> Result<GroupKind, OfError> {
    match number {
        0 => Ok(GroupKind::All),
        1 => Ok(GroupKind::Select),
        2 => Ok(GroupKind::Indirect),
        3 => Ok(GroupKind::FastFailover),
        _ => Err(ErrorCode::GmfcBadType.about("a group")),
    }
}

/// A change.
pub(crate) fn decode_mod(from: &mut Reader<'_>, version: Version) -> Result<GroupMod, OfError> {
    let command = from.u16()?;
    let kind = kind_from_number(from.u8()?)?;
    from.skip(1)?;
    let id = from.u32()?;
    let mut selection = SelectionMethod::Default;
    let (place, buckets) = if is_numbered(version) {
        let size = usize::from(from.u16()?);
        from.skip(2)?;
        let place = from.u32()?;
        let numbered = matches!(command, INSERT_BUCKET | REMOVE_BUCKET);
        let known = match place {
            BUCKET_ALL => command != INSERT_BUCKET,
            0..=BUCKET_MAX | BUCKET_FIRST | BUCKET_LAST => numbered,
            _ => false,
        };
        require(known, ErrorCode::GmfcBadBucket, "the bucket that is named")?;
        let buckets = decode_buckets(&mut from.part(size)?, version)?;
        selection = decode_properties(from, kind)?;
        (place, buckets)
    } else {
        (BUCKET_ALL, decode_buckets(from, version)?)
    };
    for bucket in &buckets {
        let strict = command != INSERT_BUCKET;
        check_bucket(kind, bucket, strict)?;
    }
    if command != DELETE && command != REMOVE_BUCKET && kind == GroupKind::Indirect {
        let about = "the buckets of an indirect group";
        require(buckets.len() == 1, ErrorCode::GmfcInvalidGroup, about)?;
    }
    let group = |buckets| Group {
        id,
        kind,
        selection,
        buckets,
    };
    match command {
        ADD => Ok(GroupMod::Add(group(buckets))),
        MODIFY => Ok(GroupMod::Modify(group(buckets))),
        ADD_OR_MODIFY => Ok(GroupMod::AddOrModify(group(buckets))),
        DELETE => {
            let about = "a deletion with buckets";
            require(buckets.is_empty(), ErrorCode::GmfcInvalidGroup, about)?;
            Ok(match id {
                GROUP_ALL => GroupMod::DeleteAll,
                id => GroupMod::Delete(id),
            })
        }
        INSERT_BUCKET if is_numbered(version) => Ok(GroupMod::InsertBuckets {
            id,
            place: match place {
                BUCKET_FIRST => BucketPlace::First,
                BUCKET_LAST => BucketPlace::Last,
                id => BucketPlace::After(id),
            },
            buckets,
        }),
        REMOVE_BUCKET if is_numbered(version) => {
            let about = "a bucket to remove with buckets";
            require(buckets.is_empty(), ErrorCode::GmfcBadBucket, about)?;
            Ok(GroupMod::RemoveBucket { id, bucket: place })
        }
        _ => Err(ErrorCode::GmfcBadCommand.about("a change to a group")),
    }
}

/// What a group's type asks of a bucket.
fn check_bucket(kind: GroupKind, bucket: &Bucket, strict: bool) -> Result<(), OfError> {
    let unweighted = bucket.weight == 0 || kind == GroupKind::Select || !strict;
    let about = "a weight in a group that does not select";
    require(unweighted, ErrorCode::GmfcInvalidGroup, about)?;
    let watches = bucket.watch_port != OfPort::ANY || bucket.watch_group != GROUP_ANY;
    match kind {
        GroupKind::All | GroupKind::Indirect => {
            let about = "a bucket that watches in a group that does not";
            require(!watches, ErrorCode::GmfcWatchUnsupported, about)
        }
        GroupKind::FastFailover => {
            let about = "a fast failover bucket that watches nothing";
            require(watches, ErrorCode::GmfcInvalidGroup, about)
        }
        GroupKind::Select => Ok(()),
    }
}

pub(crate) fn encode_mod(change: &GroupMod, to: &mut Writer, version: Version) {
    let none: &[Bucket] = &[];
    let plain = (GroupKind::All, &SelectionMethod::Default);
    let (command, id, (kind, selection), buckets, place) = match change {
        GroupMod::Add(group) => (ADD, group.id, of(group), &group.buckets[..], BUCKET_ALL),
        GroupMod::Modify(group) => (MODIFY, group.id, of(group), &group.buckets[..], BUCKET_ALL),
        GroupMod::AddOrModify(group) => {
            let buckets = &group.buckets[..];
            (ADD_OR_MODIFY, group.id, of(group), buckets, BUCKET_ALL)
        }
        GroupMod::Delete(id) => (DELETE, *id, plain, none, BUCKET_ALL),
        GroupMod::DeleteAll => (DELETE, GROUP_ALL, plain, none, BUCKET_ALL),
        GroupMod::InsertBuckets { id, place, buckets } => {
            let place = match place {
                BucketPlace::First => BUCKET_FIRST,
                BucketPlace::Last => BUCKET_LAST,
                BucketPlace::After(id) => *id,
            };
            // The type must fit what the buckets watch, which only the group itself knows.
            let select = (GroupKind::Select, &SelectionMethod::Default);
            (INSERT_BUCKET, *id, select, &buckets[..], place)
        }
        GroupMod::RemoveBucket { id, bucket } => (REMOVE_BUCKET, *id, plain, none, *bucket),
    };
    if !is_numbered(version) && matches!(command, INSERT_BUCKET | REMOVE_BUCKET) {
        to.not_in("inserting and removing buckets", version);
    }
    to.u16(command);
    to.u8(kind_number(kind));
    to.zeros(1);
    to.u32(id);
    if is_numbered(version) {
        let length = to.length();
        to.zeros(2);
        to.u32(place);
        let start = to.size();
        encode_buckets(buckets, kind, to, version);
        to.fill_length(length, start, "a group's buckets");
    } else {
        encode_buckets(buckets, kind, to, version);
    }
    encode_properties(selection, to, version);
}

fn of(group: &Group) -> (GroupKind, &SelectionMethod) {
    (group.kind, &group.selection)
}

fn decode_buckets(from: &mut Reader<'_>, version: Version) -> Result<Vec<Bucket>, OfError> {
    let mut buckets: Vec<Bucket> = Vec::new();
    let bad_len = ErrorCode::GmfcBadBucket.about("a group's bucket");
    while !from.is_empty() {
        let size = usize::from(from.peek_u16().map_err(|_| bad_len)?);
        let mut one = from.part_with(size, bad_len).map_err(|_| bad_len)?;
        one.skip(2)?;
        let bucket = if is_numbered(version) {
            decode_bucket_15(&mut one, version)?
        } else {
            // Buckets have no numbers of their own: their places serve.
            let id = u32::try_from(buckets.len()).map_err(|_| bad_len)?;
            decode_bucket(&mut one, version, id)?
        };
        let twice = buckets.iter().any(|other| other.id == bucket.id);
        let about = "two buckets with one number";
        require(
            !is_numbered(version) || !twice,
            ErrorCode::GmfcBadBucket,
            about,
        )?;
        buckets.push(bucket);
    }
    Ok(buckets)
}

fn decode_bucket(from: &mut Reader<'_>, version: Version, id: u32) -> Result<Bucket, OfError> {
    let weight = from.u16()?;
    let (watch_port, watch_group) = (from.port()?, from.u32()?);
    from.skip(4)?;
    Ok(Bucket {
        id,
        weight,
        watch_port,
        watch_group,
        actions: action::decode_list(from, version)?,
    })
}

fn decode_bucket_15(from: &mut Reader<'_>, version: Version) -> Result<Bucket, OfError> {
    let (actions, id) = (usize::from(from.u16()?), from.u32()?);
    let about = "a bucket's number";
    require(id <= BUCKET_MAX, ErrorCode::GmfcBadBucket, about)?;
    let mut actions = from.part(actions)?;
    let mut bucket = Bucket {
        id,
        weight: 0,
        watch_port: OfPort::ANY,
        watch_group: GROUP_ANY,
        actions: action::decode_list(&mut actions, version)?,
    };
    while !from.is_empty() {
        let (kind, mut value) = property::read(from)?;
        match kind {
            WEIGHT => bucket.weight = value.u16()?,
            WATCH_PORT => bucket.watch_port = value.port()?,
            WATCH_GROUP => bucket.watch_group = value.u32()?,
            _ => return Err(property::unknown(kind, "a group's bucket")),
        }
    }
    Ok(bucket)
}

fn encode_buckets(buckets: &[Bucket], kind: GroupKind, to: &mut Writer, version: Version) {
    for bucket in buckets {
        let start = to.size();
        let length = to.length();
        if is_numbered(version) {
            let actions = to.length();
            to.u32(bucket.id);
            let begin = to.size();
            action::encode_list(to, version, &bucket.actions);
            to.fill_length(actions, begin, "a bucket's actions");
            if kind == GroupKind::Select || bucket.weight != 0 {
                property::write_u16(to, WEIGHT, bucket.weight);
            }
            if bucket.watch_port != OfPort::ANY {
                property::write_u32(to, WATCH_PORT, bucket.watch_port.0);
            }
            if bucket.watch_group != GROUP_ANY {
                property::write_u32(to, WATCH_GROUP, bucket.watch_group);
            }
        } else {
            to.u16(bucket.weight);
            to.port(bucket.watch_port);
            to.u32(bucket.watch_group);
            to.zeros(4);
            action::encode_list(to, version, &bucket.actions);
        }
        to.fill_length(length, start, "a group's bucket");
    }
}

fn decode_properties(from: &mut Reader<'_>, kind: GroupKind) -> Result<SelectionMethod, OfError> {
    let about = "a group's selection method";
    let mut selection = SelectionMethod::Default;
    while !from.is_empty() {
        let (number, mut value) = property::read(from)?;
        if number != property::EXPERIMENTER {
            return Err(property::unknown(number, "a group"));
        }
        let (who, what) = (value.u32()?, value.u32()?);
        let known = who == NETRONOME || who == NETRONOME_OLD;
        require(known, ErrorCode::BpcBadExperimenter, "a group")?;
        require(
            what == SELECTION_METHOD,
            ErrorCode::BpcBadExpType,
            "a group",
        )?;
        require(kind == GroupKind::Select, ErrorCode::BpcBadValue, about)?;
        value.skip(4)?;
        let method = value.text::<16>()?.to_text();
        let param = value.u64()?;
        selection = match method.as_str() {
            "hash" => SelectionMethod::Hash {
                fields: decode_masks(&mut value)?,
                param,
            },
            "dp_hash" => {
                require(value.is_empty(), ErrorCode::BpcBadValue, about)?;
                SelectionMethod::DpHash { param }
            }
            _ => return Err(ErrorCode::BpcBadValue.about(about)),
        };
    }
    Ok(selection)
}

fn encode_properties(selection: &SelectionMethod, to: &mut Writer, version: Version) {
    let (method, param) = match selection {
        SelectionMethod::Default => return,
        SelectionMethod::Hash { param, .. } => ("hash", param),
        SelectionMethod::DpHash { param } => ("dp_hash", param),
    };
    if !is_numbered(version) {
        to.not_in("a group's selection method", version);
        return;
    }
    property::write(to, property::EXPERIMENTER, |to| {
        to.u32(NETRONOME);
        to.u32(SELECTION_METHOD);
        to.zeros(4);
        to.text(&Text::<16>::from(method));
        to.u64(*param);
        if let SelectionMethod::Hash { fields, .. } = selection {
            encode_masks(to, version, fields);
        }
    });
}

/// An entry of the reply to a request for descriptions.
pub(crate) fn decode_desc(from: &mut Reader<'_>, version: Version) -> Result<Group, OfError> {
    let mut from = from.part(usize::from(from.peek_u16()?))?;
    from.skip(2)?;
    let kind = kind_from_number(from.u8()?)?;
    from.skip(1)?;
    let id = from.u32()?;
    let mut selection = SelectionMethod::Default;
    let buckets = if is_numbered(version) {
        let size = usize::from(from.u16()?);
        from.skip(6)?;
        let buckets = decode_buckets(&mut from.part(size)?, version)?;
        selection = decode_properties(&mut from, kind)?;
        buckets
    } else {
        decode_buckets(&mut from, version)?
    };
    Ok(Group {
        id,
        kind,
        selection,
        buckets,
    })
}

pub(crate) fn encode_desc(group: &Group, to: &mut Writer, version: Version) {
    let start = to.size();
    let length = to.length();
    to.u8(kind_number(group.kind));
    to.zeros(1);
    to.u32(group.id);
    if is_numbered(version) {
        let size = to.length();
        to.zeros(6);
        let begin = to.size();
        encode_buckets(&group.buckets, group.kind, to, version);
        to.fill_length(size, begin, "a group's buckets");
        encode_properties(&group.selection, to, version);
    } else {
        // A selection method has no place in these versions' descriptions.
        encode_buckets(&group.buckets, group.kind, to, version);
    }
    to.fill_length(length, start, "a group");
}

/// A request's body: one group or [`GROUP_ALL`].
pub(crate) fn decode_select(from: &mut Reader<'_>) -> Result<u32, OfError> {
    let id = from.u32()?;
    from.skip(4)?;
    Ok(id)
}

pub(crate) fn encode_select(id: u32, to: &mut Writer) {
    to.u32(id);
    to.zeros(4);
}

/// A group's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStats {
    /// Which group.
    pub id: u32,
    /// Flows and groups that send to it.
    pub references: u32,
    /// Packets it got.
    pub packets: u64,
    /// Bytes it got.
    pub bytes: u64,
    /// How long it has been there, if that is known.
    pub duration: Option<Elapsed>,
    /// Packets and bytes that each bucket got.
    pub buckets: Vec<(u64, u64)>,
}

impl GroupStats {
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut from = from.part(usize::from(from.peek_u16()?))?;
        from.skip(4)?;
        let (id, references) = (from.u32()?, from.u32()?);
        from.skip(4)?;
        let (packets, bytes) = (from.u64()?, from.u64()?);
        let duration = elapsed::decode(&mut from)?;
        let mut buckets = Vec::new();
        while !from.is_empty() {
            buckets.push((from.u64()?, from.u64()?));
        }
        Ok(Self {
            id,
            references,
            packets,
            bytes,
            duration,
            buckets,
        })
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        let start = to.size();
        let length = to.length();
        to.zeros(2);
        to.u32(self.id);
        to.u32(self.references);
        to.zeros(4);
        to.u64(self.packets);
        to.u64(self.bytes);
        elapsed::encode(self.duration, to);
        for (packets, bytes) in &self.buckets {
            to.u64(*packets);
            to.u64(*bytes);
        }
        to.fill_length(length, start, "a group's counters");
    }
}

bits! {
    /// What groups can do here (`ofp_group_capabilities`).
    GroupCapabilities: u32 {
        /// Select groups weigh their buckets.
        SELECT_WEIGHT = 1;
        /// Select groups know which buckets are alive.
        SELECT_LIVENESS = 1 << 1;
        /// Groups may send to groups.
        CHAINING = 1 << 2;
        /// Loops of groups are refused, and deleting one that others send to.
        CHAINING_CHECKS = 1 << 3;
    }
}

/// What groups are possible. Lists are by type: all, select, indirect, fast failover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupFeatures {
    /// Bit `n` is type `n`.
    pub types: u32,
    /// What they can do.
    pub capabilities: GroupCapabilities,
    /// Most groups of each type.
    pub max_groups: [u32; 4],
    /// Actions in each type: bit `n` is action `n`.
    pub actions: [u32; 4],
}

impl GroupFeatures {
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut features = Self {
            types: from.u32()?,
            capabilities: GroupCapabilities(from.u32()?),
            ..Self::default()
        };
        let lists = [&mut features.max_groups, &mut features.actions];
        for number in lists.into_iter().flatten() {
            *number = from.u32()?;
        }
        Ok(features)
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        to.u32(self.types);
        to.u32(self.capabilities.0);
        let lists = [self.max_groups, self.actions];
        lists.iter().flatten().for_each(|number| to.u32(*number));
    }
}
