//! News of flows that are gone (OpenFlow 1.0.1 §5.4.3, 1.3.5 §7.4.2, 1.5.1 §7.4.2).

use vswitch_flow::Match;

use crate::elapsed::Elapsed;
use crate::error::{ErrorCode, OfError};
use crate::flow_stats::write_nx_match;
use crate::header::Version;
use crate::message::Layout;
use crate::oxm::match10::{decode_match10, encode_match10};
use crate::oxm::matches::{decode_match, decode_nx_match, encode_match};
use crate::oxs::Counters;
use crate::wire::{Reader, Writer, words};

words! {
    /// Why a flow is gone (`ofp_flow_removed_reason`).
    RemovedReason: u8 {
        /// No packet came for as long as it said.
        IdleTimeout = 0,
        /// Its time was over.
        HardTimeout = 1,
        /// Somebody deleted it.
        Delete = 2,
        /// A group it used was deleted (since 1.1).
        GroupDelete = 3,
        /// A meter it used was deleted (1.4; a deletion before).
        MeterDelete = 4,
        /// Another flow needed the room (1.4).
        Eviction = 5,
    }
}

impl RemovedReason {
    /// What a version says instead of a reason that came later.
    fn before(self, version: Version) -> Self {
        match self {
            Self::MeterDelete if version < Version::V14 => Self::Delete,
            reason => reason,
        }
    }
}

fn reason(number: u8) -> Result<RemovedReason, OfError> {
    let reason = RemovedReason::from_number(number);
    reason.ok_or(ErrorCode::NxbrcBadReason.about("a removed flow"))
}

/// A flow that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRemoved {
    /// The form in 1.0.
    pub layout: Layout,
    /// What it matched.
    pub matches: Match,
    /// Its cookie.
    pub cookie: u64,
    /// Its priority.
    pub priority: u16,
    /// Why it is gone.
    pub reason: RemovedReason,
    /// Its table; the form of 1.0 does not say it.
    pub table: Option<u8>,
    /// How long it was there.
    pub duration: Elapsed,
    /// Its idle timeout, seconds.
    pub idle_timeout: u16,
    /// Its hard timeout, seconds (since 1.2).
    pub hard_timeout: u16,
    /// Packets that matched.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
}

impl FlowRemoved {
    pub(crate) fn decode(
        from: &mut Reader<'_>,
        version: Version,
        layout: Layout,
    ) -> Result<Self, OfError> {
        if version >= Version::V15 {
            return Self::decode_15(from);
        }
        let fixed = (version, layout) == (Version::V10, Layout::Standard);
        let mut matches = Match::any();
        if fixed {
            matches = decode_match10(from)?;
        }
        let (cookie, priority) = (from.u64()?, from.u16()?);
        let why = reason(from.u8()?)?.before(version);
        let table = from.u8()?;
        let duration = Elapsed::read(from)?;
        let idle_timeout = from.u16()?;
        let other = from.u16()?;
        let (packets, bytes) = (from.u64()?, from.u64()?);
        let mut hard_timeout = 0;
        let table = match (version, layout) {
            (Version::V10, Layout::Standard) => None,
            (Version::V10, Layout::Nicira) => {
                matches = decode_nx_match(from, usize::from(other))?.matches;
                table.checked_sub(1)
            }
            (Version::V13 | Version::V14 | Version::V15, _) => {
                hard_timeout = other;
                matches = decode_match(from)?;
                Some(table)
            }
        };
        Ok(Self {
            layout,
            matches,
            cookie,
            priority,
            reason: why,
            table,
            duration,
            idle_timeout,
            hard_timeout,
            packets,
            bytes,
        })
    }

    fn decode_15(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let (table, why) = (from.u8()?, reason(from.u8()?)?);
        let priority = from.u16()?;
        let (idle_timeout, hard_timeout) = (from.u16()?, from.u16()?);
        let cookie = from.u64()?;
        let matches = decode_match(from)?;
        let counters = Counters::decode(from)?;
        Ok(Self {
            layout: Layout::Standard,
            matches,
            cookie,
            priority,
            reason: why,
            table: Some(table),
            duration: counters.duration.unwrap_or_default(),
            idle_timeout,
            hard_timeout,
            packets: counters.packets.unwrap_or(u64::MAX),
            bytes: counters.bytes.unwrap_or(u64::MAX),
        })
    }

    fn encode_15(&self, to: &mut Writer, version: Version) {
        to.u8(self.table.unwrap_or_default());
        to.u8(self.reason.number());
        to.u16(self.priority);
        to.u16(self.idle_timeout);
        to.u16(self.hard_timeout);
        to.u64(self.cookie);
        encode_match(to, version, &self.matches);
        let counted = |count: u64| (count != u64::MAX).then_some(count);
        let counters = Counters {
            duration: Some(self.duration),
            packets: counted(self.packets),
            bytes: counted(self.bytes),
            ..Counters::default()
        };
        counters.encode(to);
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version) {
        if version >= Version::V15 {
            return self.encode_15(to, version);
        }
        if (version, self.layout) == (Version::V10, Layout::Standard) {
            encode_match10(to, &self.matches);
        }
        to.u64(self.cookie);
        to.u16(self.priority);
        to.u8(self.reason.before(version).number());
        to.u8(match (version, self.layout) {
            (Version::V10, Layout::Standard) => 0,
            (Version::V10, Layout::Nicira) => self.table.map_or(0, |table| table.saturating_add(1)),
            (Version::V13 | Version::V14 | Version::V15, _) => self.table.unwrap_or_default(),
        });
        self.duration.write(to);
        to.u16(self.idle_timeout);
        let counters = |to: &mut Writer| {
            to.u64(self.packets);
            to.u64(self.bytes);
        };
        match (version, self.layout) {
            (Version::V10, Layout::Standard) => {
                to.zeros(2);
                counters(to);
            }
            (Version::V10, Layout::Nicira) => {
                let size = to.length();
                counters(to);
                write_nx_match(to, size, &self.matches);
            }
            (Version::V13 | Version::V14 | Version::V15, _) => {
                to.u16(self.hard_timeout);
                counters(to);
                encode_match(to, version, &self.matches);
            }
        }
    }
}
