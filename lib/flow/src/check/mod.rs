//! Whether what a flow, group or meter says can be done: what no single part of it shows.
//!
//! A change is checked before it is stored, by whoever takes it from outside: the text parser and
//! the OpenFlow agent. The checks are those of OpenFlow 1.3.5 §5.12 and of Open vSwitch
//! (`ofpacts_check_consistency`, `ofpacts_verify`, `learn_check`, `ofputil_check_group_mod`): an
//! action needs the header it works on, a field must be writable and the value must fit, ports must
//! be ports. An action changes what the next ones find: after `push_mpls` there is no IP header.
//!
//! Not here: what only the switch's state decides (is there such a group, is the table full).
//!
//! Each [`Fault`] stands for one OpenFlow error code, which the codec puts on the wire, and is a
//! sentence for people.
//!
//! Cost: one key for the match, then some comparisons for each action.

mod actions;

#[cfg(test)]
mod tests;

use thiserror::Error;

use crate::action::{Instructions, OfPort};
use crate::field::{Field, Prerequisite};
use crate::group::{Bucket, GROUP_MAX, Group, GroupKind, GroupMod};
use crate::key::{FlowKey, FlowMask};
use crate::matches::Match;
use crate::meter::{
    BandKind, METER_CONTROLLER, METER_MAX, METER_SLOWPATH, Meter, MeterFlags, MeterMod,
};
use crate::rule::{FlowCommand, FlowMod, GROUP_ANY, TABLE_MAX};

pub use actions::Checker;

/// Why a switch refuses something; the OpenFlow error's name stands beside each.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Fault {
    /// `OFPBAC_BAD_TYPE`.
    #[error("{0} cannot be in an action set")]
    NotInActionSet(&'static str),
    /// `OFPBAC_BAD_OUT_PORT`.
    #[error("port {} cannot be sent to: ports are 1 to {}, or reserved ones with a name", .0.0, OfPort::MAX.0)]
    OutPort(OfPort),
    /// `OFPBAC_BAD_OUT_GROUP`.
    #[error("group {0} is no group: groups are 0 to {GROUP_MAX}")]
    OutGroup(u32),
    /// `OFPBAC_BAD_ARGUMENT`.
    #[error("{0}")]
    Argument(&'static str),
    /// `OFPBAC_BAD_TAG`.
    #[error("a packet has at most two VLAN tags, and both are there already")]
    Tag,
    /// `OFPBAC_BAD_SET_LEN`.
    #[error("{field} has {} bits; these are not within it", .field.info().bits)]
    SetLength {
        /// The field whose bits were named.
        field: Field,
    },
    /// `OFPBAC_BAD_SET_ARGUMENT`.
    #[error("{field} {reason}")]
    SetArgument {
        /// The field that would be written.
        field: Field,
        /// Why it cannot.
        reason: &'static str,
    },
    /// `OFPBAC_BAD_SET_MASK` (OpenFlow 1.5; `OFPBAC_BAD_SET_ARGUMENT` before).
    #[error("{field} is written whole: it takes no mask")]
    SetMask {
        /// The field that would be written.
        field: Field,
    },
    /// `OFPBAC_MATCH_INCONSISTENT`.
    #[error("{what} needs {needs} in the match")]
    Inconsistent {
        /// The action or field.
        what: &'static str,
        /// What must be said as well.
        needs: &'static str,
    },
    /// `NXBAC_BAD_CONJUNCTION`.
    #[error("{0}")]
    Conjunction(&'static str),
    /// `OFPBIC_BAD_TABLE_ID`.
    #[error("goto_table:{to} does not lead to a later table: from table {from} only {} to {TABLE_MAX} can be reached", u16::from(*.from) + 1)]
    Goto {
        /// The flow's table.
        from: u8,
        /// The table it wants to go to.
        to: u8,
    },
    /// `OFPMMFC_INVALID_METER`.
    #[error("{0} is no meter's number: they are 1 to {METER_MAX}")]
    Meter(u32),
    /// `OFPBMC_BAD_PREREQ`.
    #[error("{field} needs {needs} in the match")]
    MatchPrerequisite {
        /// The field that is matched.
        field: Field,
        /// What must be said as well.
        needs: &'static str,
    },
    /// `OFPBMC_BAD_MASK`.
    #[error("{field} takes no mask: it is matched whole or not at all")]
    MatchMask {
        /// The field that is matched.
        field: Field,
    },
    /// `OFPFMFC_BAD_TABLE_ID`.
    #[error("table {0} is not there: tables are 0 to {TABLE_MAX}")]
    Table(u8),
    /// `OFPGMFC_INVALID_GROUP`.
    #[error("{0}")]
    Group(&'static str),
    /// `OFPGMFC_WATCH_UNSUPPORTED`.
    #[error("only buckets of select and ff groups watch a port or group")]
    Watch,
    /// `OFPGMFC_BUCKET_EXISTS`.
    #[error("two buckets have the number {0}")]
    BucketTwice(u32),
    /// `OFPMMFC_BAD_FLAGS`.
    #[error("a meter counts either kbps or pktps")]
    MeterFlags,
    /// `OFPMMFC_BAD_RATE`.
    #[error("a band has a rate above 0")]
    Rate,
    /// `OFPMMFC_BAD_BURST`.
    #[error("a band has a burst_size above 0 where the meter says burst, and none elsewhere")]
    Burst,
    /// `OFPMMFC_BAD_BAND_VALUE`.
    #[error("a dscp_remark band has a prec_level above 0")]
    BandValue,
}

/// What a person writes to meet a prerequisite.
#[must_use]
pub const fn needs(prerequisite: Prerequisite) -> &'static str {
    match prerequisite {
        Prerequisite::None => "nothing",
        Prerequisite::Vlan => "a VLAN tag (dl_vlan=N or vlan_tci=0x1000/0x1000)",
        Prerequisite::Mpls => "mpls or mplsm",
        Prerequisite::Arp => "arp or rarp",
        Prerequisite::Ipv4 => "ip",
        Prerequisite::Ipv6 => "ipv6",
        Prerequisite::Ip => "ip or ipv6",
        Prerequisite::Tcp => "tcp or tcp6",
        Prerequisite::Udp => "udp or udp6",
        Prerequisite::Sctp => "sctp or sctp6",
        Prerequisite::Icmp4 => "icmp",
        Prerequisite::Icmp6 => "icmp6",
        Prerequisite::Nd => "icmp6 with icmp_type=135 or icmp_type=136",
        Prerequisite::NdSolicit => "icmp6 with icmp_type=135",
        Prerequisite::NdAdvert => "icmp6 with icmp_type=136",
        Prerequisite::Pbb => "dl_type=0x88e7",
        Prerequisite::Ct => "ct_state=+trk",
        Prerequisite::Ct4 => "ip and ct_state=+trk",
        Prerequisite::Ct6 => "ipv6 and ct_state=+trk",
    }
}

/// Whether every packet under the mask with these values has the field.
#[must_use]
pub fn promised(field: Field, key: &FlowKey, mask: &FlowMask) -> bool {
    let prerequisite = field.info().prerequisite;
    let said = |field: &Field| {
        let bits = mask.field(*field);
        match field {
            Field::VlanTci => bits & 0x1000 != 0,
            Field::CtState => bits & 0x20 != 0,
            field => bits == field.info().max(),
        }
    };
    prerequisite.holds(key) && prerequisite.fields().iter().all(said)
}

/// Checks that a match says nothing of fields that its packets need not have.
///
/// # Errors
/// [`Fault::MatchPrerequisite`], [`Fault::MatchMask`].
pub fn check_match(matches: &Match) -> Result<(), Fault> {
    if matches.is_any() {
        return Ok(());
    }
    let (key, mask) = (matches.key(), matches.mask());
    let mut left = mask;
    for field in Field::all() {
        let row = field.info();
        let bits = mask.field(field);
        if bits == 0 || !promised(field, &key, &mask) {
            continue;
        }
        left.set(field, 0);
        // Parts of a tag that are matched by another field of the same bits.
        let part = matches!(field, Field::VlanPcp | Field::IpDscp | Field::IpTos);
        if !row.maskable && bits != row.max() && !part {
            return Err(Fault::MatchMask { field });
        }
    }
    let lacking = Field::all().find(|field| left.field(*field) != 0);
    match lacking {
        Some(field) => Err(Fault::MatchPrerequisite {
            field,
            needs: needs(field.info().prerequisite),
        }),
        None => Ok(()),
    }
}

/// Checks instructions against the match and table they belong to. With `strict`, an action needs
/// what it works on, as since OpenFlow 1.1; without, it may come to nothing.
///
/// # Errors
/// The first fault.
pub fn check_instructions(
    matches: &Match,
    table: u8,
    instructions: &Instructions,
    strict: bool,
) -> Result<(), Fault> {
    if let Some(meter) = instructions.meter {
        check_meter_number(meter)?;
    }
    let mut checker = Checker::new(matches, strict);
    checker.list(&instructions.apply)?;
    checker.action_set(&instructions.write)?;
    if let Some(goto) = instructions.goto {
        check_goto(table, goto)?;
    }
    Ok(())
}

/// Checks the number of a meter that a flow names.
///
/// # Errors
/// [`Fault::Meter`].
pub fn check_meter_number(meter: u32) -> Result<(), Fault> {
    match meter {
        1..=METER_MAX => Ok(()),
        _ => Err(Fault::Meter(meter)),
    }
}

/// Checks that a table is a later one.
///
/// # Errors
/// [`Fault::Goto`].
pub fn check_goto(from: u8, to: u8) -> Result<(), Fault> {
    if to > from && to <= TABLE_MAX {
        Ok(())
    } else {
        Err(Fault::Goto { from, to })
    }
}

/// Checks a change to flows. See [`check_instructions`] for `strict`.
///
/// # Errors
/// The first fault.
pub fn check_flow_mod(change: &FlowMod, strict: bool) -> Result<(), Fault> {
    let rule = &change.rule;
    if rule.table > TABLE_MAX && !change.all_tables {
        return Err(Fault::Table(rule.table));
    }
    check_match(&rule.matches)?;
    match change.command {
        FlowCommand::Delete | FlowCommand::DeleteStrict => Ok(()),
        _ => {
            let table = if change.all_tables { 0 } else { rule.table };
            check_instructions(&rule.matches, table, &rule.instructions, strict)
        }
    }
}

/// Checks a change to groups.
///
/// # Errors
/// The first fault.
pub fn check_group_mod(change: &GroupMod) -> Result<(), Fault> {
    let number = |id: u32| match id {
        0..=GROUP_MAX => Ok(()),
        _ => Err(Fault::Group("groups have numbers from 0 to 4294967040")),
    };
    match change {
        GroupMod::Add(group) | GroupMod::Modify(group) | GroupMod::AddOrModify(group) => {
            number(group.id)?;
            check_group(group)
        }
        GroupMod::Delete(id) | GroupMod::RemoveBucket { id, .. } => number(*id),
        GroupMod::DeleteAll => Ok(()),
        GroupMod::InsertBuckets { id, buckets, .. } => {
            number(*id)?;
            numbers_differ(buckets)?;
            buckets.iter().try_for_each(check_actions)
        }
    }
}

fn check_group(group: &Group) -> Result<(), Fault> {
    if group.kind == GroupKind::Indirect && group.buckets.len() != 1 {
        return Err(Fault::Group("an indirect group has exactly one bucket"));
    }
    numbers_differ(&group.buckets)?;
    for bucket in &group.buckets {
        let watches = bucket.watch_port != OfPort::ANY || bucket.watch_group != GROUP_ANY;
        match group.kind {
            GroupKind::Select => {}
            GroupKind::FastFailover if !watches => {
                return Err(Fault::Group(
                    "each bucket of an ff group watches a port or group",
                ));
            }
            GroupKind::All | GroupKind::Indirect if watches => return Err(Fault::Watch),
            _ if bucket.weight != 0 => {
                return Err(Fault::Group("only buckets of select groups have a weight"));
            }
            _ => {}
        }
        check_actions(bucket)?;
    }
    Ok(())
}

fn numbers_differ(buckets: &[Bucket]) -> Result<(), Fault> {
    let mut numbers: Vec<_> = buckets.iter().map(|bucket| bucket.id).collect();
    numbers.sort_unstable();
    match numbers.windows(2).find(|pair| pair.first() == pair.last()) {
        Some(pair) => Err(Fault::BucketTwice(
            pair.first().copied().unwrap_or_default(),
        )),
        None => Ok(()),
    }
}

/// Nothing is known of a bucket's packets.
fn check_actions(bucket: &Bucket) -> Result<(), Fault> {
    Checker::unknown().list(&bucket.actions)
}

/// Checks a change to meters.
///
/// # Errors
/// The first fault.
pub fn check_meter_mod(change: &MeterMod) -> Result<(), Fault> {
    let number = |id: u32| match id {
        1..=METER_MAX | METER_SLOWPATH | METER_CONTROLLER => Ok(()),
        _ => Err(Fault::Meter(id)),
    };
    match change {
        MeterMod::Add(meter) | MeterMod::Modify(meter) => {
            number(meter.id)?;
            check_meter(meter)
        }
        MeterMod::Delete(id) => number(*id),
        MeterMod::DeleteAll => Ok(()),
    }
}

fn check_meter(meter: &Meter) -> Result<(), Fault> {
    if meter.flags.has(MeterFlags::KBPS) && meter.flags.has(MeterFlags::PKTPS) {
        return Err(Fault::MeterFlags);
    }
    for band in &meter.bands {
        if band.rate == 0 {
            return Err(Fault::Rate);
        }
        if meter.flags.has(MeterFlags::BURST) != (band.burst != 0) {
            return Err(Fault::Burst);
        }
        if band.kind == (BandKind::DscpRemark { levels: 0 }) {
            return Err(Fault::BandValue);
        }
    }
    Ok(())
}
