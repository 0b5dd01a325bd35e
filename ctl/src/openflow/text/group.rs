//! Groups, their counters, and changes to them.

use std::time::Duration;

use vswitch_flow::group::{BUCKET_ALL, BUCKET_FIRST, BUCKET_LAST, BucketPlace, SelectionMethod};
use vswitch_flow::text::GroupLine;
use vswitch_flow::{Group, GroupKind, GroupMod};
use vswitch_openflow::Version;
use vswitch_openflow::group::{GroupFeatures, GroupStats};

use super::flow::duration;
use super::{Style, bits};

fn spell(group: &Group, version: Version, style: Style<'_>) -> String {
    GroupLine {
        group,
        numbered: matches!(version, Version::V10 | Version::V15),
        names: style.names,
    }
    .to_string()
}

/// Groups as they can be typed in.
pub(super) fn descs(groups: &[Group], version: Version, style: Style<'_>, to: &mut String) {
    to.push('\n');
    for group in groups {
        *to += &format!(" {}\n", spell(group, version, style));
    }
}

/// Counters of groups.
pub(super) fn stats(groups: &[GroupStats], to: &mut String) {
    to.push('\n');
    for group in groups {
        *to += &format!(" group_id={},", group.id);
        if let Some(elapsed) = group.duration {
            *to += &format!("duration={},", duration(Duration::from(elapsed)));
        }
        *to += &format!(
            "ref_count={},packet_count={},byte_count={}",
            group.references, group.packets, group.bytes
        );
        for (at, (packets, bytes)) in group.buckets.iter().enumerate() {
            *to += &format!(",bucket{at}:packet_count={packets},byte_count={bytes}");
        }
        to.push('\n');
    }
}

/// What groups are possible.
pub(super) fn features(features: &GroupFeatures, to: &mut String) {
    *to += &format!(
        "\n Group table:\n    Types:  {:#x}\n    Capabilities:  {:#x}\n",
        features.types, features.capabilities.0
    );
    let kinds = ["all", "select", "indirect", "fast failover"];
    let lists = features.max_groups.iter().zip(features.actions);
    for (at, (name, (max, actions))) in kinds.iter().zip(lists).enumerate() {
        if features.types >> at & 1 == 1 {
            *to += &format!("    {name} group:\n       max_groups={max:#x}\n");
            *to += &format!("       actions: {}\n", bits::actions(actions));
        }
    }
}

/// A change to groups.
pub(super) fn change(change: &GroupMod, version: Version, style: Style<'_>, to: &mut String) {
    *to += "\n ";
    *to += &match change {
        GroupMod::Add(group) => format!("ADD {}", spell(group, version, style)),
        GroupMod::Modify(group) => format!("MOD {}", spell(group, version, style)),
        GroupMod::AddOrModify(group) => format!("ADD_OR_MOD {}", spell(group, version, style)),
        GroupMod::Delete(id) => format!("DEL group_id={id},type=all"),
        GroupMod::DeleteAll => "DEL group_id=4294967292,type=all".to_owned(),
        GroupMod::InsertBuckets { id, place, buckets } => {
            let place = match place {
                BucketPlace::First => "first".to_owned(),
                BucketPlace::Last => "last".to_owned(),
                BucketPlace::After(id) => id.to_string(),
            };
            // Their kind of group is not said.
            let group = Group {
                id: *id,
                kind: GroupKind::All,
                selection: SelectionMethod::Default,
                buckets: buckets.clone(),
            };
            let text = spell(&group, version, style).replacen(",type=all", "", 1);
            format!("INSERT_BUCKET command_bucket_id:{place},{text}")
        }
        GroupMod::RemoveBucket { id, bucket } => {
            let bucket = match *bucket {
                BUCKET_FIRST => "first".to_owned(),
                BUCKET_LAST => "last".to_owned(),
                BUCKET_ALL => "all".to_owned(),
                bucket => bucket.to_string(),
            };
            format!("REMOVE_BUCKET command_bucket_id:{bucket},group_id={id}")
        }
    };
    to.push('\n');
}
