//! Requests for flows and their counters, and the replies.
//!
//! 1.0 has two forms, its own and Nicira's with `nx_match` (`NXST_FLOW`, `NXST_AGGREGATE`). A reply
//! has the form of its request. 1.5 tells counters as a list of fields, with the time without a
//! packet among them.
//!
//! Spec: OpenFlow 1.0.1 §5.3.5, 1.3.5 §7.3.5.2, §7.3.5.3, 1.5.1 §7.3.5.2; Open vSwitch's
//! `include/openflow/nicira-ext.h`.

use vswitch_flow::rule::GROUP_ANY;
use vswitch_flow::{FlowFlags, FlowRule, FlowSelect, Match};

use crate::elapsed::Elapsed;
use crate::error::OfError;
use crate::flow_mod::flags_known;
use crate::header::Version;
use crate::instruction;
use crate::message::Layout;
use crate::oxm::match10::{decode_match10, encode_match10, fits_match10};
use crate::oxm::matches::{NxMatch, decode_match, decode_nx_match, encode_match, encode_nx_match};
use crate::oxs::Counters;
use crate::table::TABLE_ALL;
use crate::wire::{Length, Reader, Writer};

/// Which flows a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRequest {
    /// The form in 1.0.
    pub layout: Layout,
    /// Which flows.
    pub select: FlowSelect,
}

impl FlowRequest {
    pub(crate) fn decode(
        from: &mut Reader<'_>,
        version: Version,
        layout: Layout,
    ) -> Result<Self, OfError> {
        let mut select = FlowSelect::default();
        let table = |number| (number != TABLE_ALL).then_some(number);
        match (version, layout) {
            (Version::V10, Layout::Standard) => {
                select.matches = decode_match10(from)?;
                select.table = table(from.u8()?);
                from.skip(1)?;
                select.out_port = from.port16()?;
            }
            (Version::V10, Layout::Nicira) => {
                select.out_port = from.port16()?;
                let size = usize::from(from.u16()?);
                select.table = table(from.u8()?);
                from.skip(3)?;
                let nx = decode_nx_match(from, size)?;
                select.matches = nx.matches;
                select.cookie = nx.cookie & nx.cookie_mask;
                select.cookie_mask = nx.cookie_mask;
            }
            (Version::V13 | Version::V14 | Version::V15, _) => {
                select.table = table(from.u8()?);
                from.skip(3)?;
                select.out_port = from.port()?;
                select.out_group = from.u32()?;
                from.skip(4)?;
                let cookie = from.u64()?;
                select.cookie_mask = from.u64()?;
                select.cookie = cookie & select.cookie_mask;
                select.matches = decode_match(from)?;
            }
        }
        Ok(Self { layout, select })
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version) {
        let select = &self.select;
        let table = select.table.unwrap_or(TABLE_ALL);
        if version == Version::V10 && select.out_group != GROUP_ANY {
            to.not_in("a condition on groups", version);
        }
        match (version, self.layout) {
            (Version::V10, Layout::Standard) => {
                if !fits_match10(&select.matches) || select.cookie_mask != 0 {
                    to.not_in("this match, other than in Nicira's form", version);
                }
                encode_match10(to, &select.matches);
                to.u8(table);
                to.zeros(1);
                to.port16(select.out_port);
            }
            (Version::V10, Layout::Nicira) => {
                to.port16(select.out_port);
                let length = to.length();
                to.u8(table);
                to.zeros(3);
                let nx = NxMatch {
                    matches: select.matches.clone(),
                    cookie: select.cookie,
                    cookie_mask: select.cookie_mask,
                };
                let size = encode_nx_match(to, &nx);
                to.put_length(length, size, "a match");
            }
            (Version::V13 | Version::V14 | Version::V15, _) => {
                to.u8(table);
                to.zeros(3);
                to.port(select.out_port);
                to.u32(select.out_group);
                to.zeros(4);
                to.u64(select.cookie & select.cookie_mask);
                to.u64(select.cookie_mask);
                encode_match(to, version, &select.matches);
            }
        }
    }
}

/// A flow and its counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowStats {
    /// The flow. 1.0 does not say its flags.
    pub rule: FlowRule,
    /// How long it has been there.
    pub duration: Elapsed,
    /// Seconds since a packet matched, up to 65534, if that is known (Nicira's form, 1.5).
    pub idle_age: Option<u16>,
    /// Seconds since it was changed (Nicira's form).
    pub hard_age: Option<u16>,
    /// Packets that matched.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
}

impl FlowStats {
    pub(crate) fn decode(
        from: &mut Reader<'_>,
        version: Version,
        layout: Layout,
    ) -> Result<Self, OfError> {
        let mut from = from.part(usize::from(from.peek_u16()?))?;
        let from = &mut from;
        from.skip(2)?;
        if version >= Version::V15 {
            return Self::decode_15(from, version);
        }
        let mut stats = Self::default();
        let rule = &mut stats.rule;
        rule.table = from.u8()?;
        from.skip(1)?;
        if (version, layout) == (Version::V10, Layout::Standard) {
            rule.matches = decode_match10(from)?;
        }
        stats.duration = Elapsed::read(from)?;
        rule.priority = from.u16()?;
        rule.idle_timeout = from.u16()?;
        rule.hard_timeout = from.u16()?;
        match (version, layout) {
            (Version::V10, Layout::Standard) => {
                from.skip(6)?;
                rule.cookie = from.u64()?;
                stats.packets = from.u64()?;
                stats.bytes = from.u64()?;
            }
            (Version::V10, Layout::Nicira) => {
                let size = usize::from(from.u16()?);
                stats.idle_age = from.u16()?.checked_sub(1);
                stats.hard_age = from.u16()?.checked_sub(1);
                rule.cookie = from.u64()?;
                stats.packets = from.u64()?;
                stats.bytes = from.u64()?;
                rule.matches = decode_nx_match(from, size)?.matches;
            }
            (Version::V13 | Version::V14 | Version::V15, _) => {
                rule.flags = FlowFlags(from.u16()? & flags_known(version));
                let importance = from.u16()?;
                if version >= Version::V14 {
                    rule.importance = importance;
                }
                from.skip(2)?;
                rule.cookie = from.u64()?;
                stats.packets = from.u64()?;
                stats.bytes = from.u64()?;
                rule.matches = decode_match(from)?;
            }
        }
        instruction::decode_of_flow(from, version, rule)?;
        Ok(stats)
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version, layout: Layout) {
        let rule = &self.rule;
        let start = to.size();
        let length = to.length();
        if version >= Version::V15 {
            self.encode_15(to, version);
            to.fill_length(length, start, "a flow");
            return;
        }
        to.u8(rule.table);
        to.zeros(1);
        if (version, layout) == (Version::V10, Layout::Standard) {
            // What the fixed match cannot say is left out, as a flow that it cannot describe is
            // still better shown than missing.
            encode_match10(to, &rule.matches);
        }
        self.duration.write(to);
        to.u16(rule.priority);
        to.u16(rule.idle_timeout);
        to.u16(rule.hard_timeout);
        let counters = |to: &mut Writer| {
            to.u64(rule.cookie);
            to.u64(self.packets);
            to.u64(self.bytes);
        };
        match (version, layout) {
            (Version::V10, Layout::Standard) => {
                to.zeros(6);
                counters(to);
            }
            (Version::V10, Layout::Nicira) => {
                let size = to.length();
                let age = |age: Option<u16>| age.map_or(0, |age| age.saturating_add(1));
                to.u16(age(self.idle_age));
                to.u16(age(self.hard_age));
                counters(to);
                write_nx_match(to, size, &rule.matches);
            }
            (Version::V13 | Version::V14 | Version::V15, _) => {
                to.u16(rule.flags.0 & flags_known(version));
                to.u16(if version >= Version::V14 {
                    rule.importance
                } else {
                    0
                });
                to.zeros(2);
                counters(to);
                encode_match(to, version, &rule.matches);
            }
        }
        instruction::encode_of_flow(to, version, rule);
        to.fill_length(length, start, "a flow");
    }
}

/// The form of 1.5 (`ofp_flow_desc`).
impl FlowStats {
    fn decode_15(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        from.skip(2)?;
        let mut rule = FlowRule {
            table: from.u8()?,
            ..FlowRule::default()
        };
        from.skip(1)?;
        rule.priority = from.u16()?;
        rule.idle_timeout = from.u16()?;
        rule.hard_timeout = from.u16()?;
        rule.flags = FlowFlags(from.u16()? & flags_known(version));
        rule.importance = from.u16()?;
        rule.cookie = from.u64()?;
        rule.matches = decode_match(from)?;
        let counters = Counters::decode(from)?;
        instruction::decode_of_flow(from, version, &mut rule)?;
        let age = |age: u32| u16::try_from(age).map_or(u16::MAX - 1, |age| age.min(u16::MAX - 1));
        Ok(Self {
            rule,
            duration: counters.duration.unwrap_or_default(),
            idle_age: counters.idle.map(age),
            hard_age: None,
            packets: counters.packets.unwrap_or(u64::MAX),
            bytes: counters.bytes.unwrap_or(u64::MAX),
        })
    }

    /// What follows the length.
    fn encode_15(&self, to: &mut Writer, version: Version) {
        let rule = &self.rule;
        to.zeros(2);
        to.u8(rule.table);
        to.zeros(1);
        to.u16(rule.priority);
        to.u16(rule.idle_timeout);
        to.u16(rule.hard_timeout);
        to.u16(rule.flags.0 & flags_known(version));
        to.u16(rule.importance);
        to.u64(rule.cookie);
        encode_match(to, version, &rule.matches);
        let counted = |count: u64| (count != u64::MAX).then_some(count);
        let counters = Counters {
            duration: Some(self.duration),
            idle: self.idle_age.map(u32::from),
            flows: None,
            packets: counted(self.packets),
            bytes: counted(self.bytes),
        };
        counters.encode(to);
        instruction::encode_of_flow(to, version, rule);
    }
}

/// Writes an `nx_match` without conditions on cookies, and its size where that goes.
pub(crate) fn write_nx_match(to: &mut Writer, size: Length, matches: &Match) {
    let nx = NxMatch {
        matches: matches.clone(),
        ..NxMatch::default()
    };
    let bytes = encode_nx_match(to, &nx);
    to.put_length(size, bytes, "a match");
}

/// Counters of several flows together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aggregate {
    /// Packets that matched any of them.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// How many flows.
    pub flows: u32,
}

impl Aggregate {
    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        if version >= Version::V15 {
            let counters = Counters::decode(from)?;
            return Ok(Self {
                packets: counters.packets.unwrap_or(u64::MAX),
                bytes: counters.bytes.unwrap_or(u64::MAX),
                flows: counters.flows.unwrap_or(u32::MAX),
            });
        }
        let aggregate = Self {
            packets: from.u64()?,
            bytes: from.u64()?,
            flows: from.u32()?,
        };
        from.skip(4)?;
        Ok(aggregate)
    }

    pub(crate) fn encode(self, to: &mut Writer, version: Version) {
        if version >= Version::V15 {
            let counted = |count: u64| (count != u64::MAX).then_some(count);
            let counters = Counters {
                flows: Some(self.flows).filter(|flows| *flows != u32::MAX),
                packets: counted(self.packets),
                bytes: counted(self.bytes),
                ..Counters::default()
            };
            return counters.encode(to);
        }
        to.u64(self.packets);
        to.u64(self.bytes);
        to.u32(self.flows);
        to.zeros(4);
    }
}
