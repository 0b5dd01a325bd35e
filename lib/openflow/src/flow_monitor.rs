//! Flow monitors: news of changes to flows, for as long as a controller wants it.
//!
//! 1.0 has Nicira's messages, 1.3 the ONF's, 1.4 its own, with other layouts and numbers. Values
//! here have the events and flags of 1.4.
//!
//! Spec: OpenFlow 1.4.1 §7.3.5.18; Open vSwitch's `include/openflow/nicira-ext.h` and
//! `openflow-1.3.h`.

use vswitch_flow::rule::GROUP_ANY;
use vswitch_flow::{FlowSelect, Instructions, Match};

use crate::error::{ErrorCode, OfError};
use crate::flow_removed::RemovedReason;
use crate::header::Version;
use crate::instruction;
use crate::oxm::matches::{NxMatch, decode_match, decode_nx_match, encode_match, encode_nx_match};
use crate::table::TABLE_ALL;
use crate::wire::{Reader, Writer, bits, require, words};

words! {
    /// What is done to a monitor (`ofp_flow_monitor_command`); before 1.4 always the first.
    MonitorCommand: u8 {
        /// Begins one.
        Add = 0,
        /// Changes one.
        Modify = 1,
        /// Ends one.
        Delete = 2,
    }
}

bits! {
    /// What a monitor tells of (`ofp_flow_monitor_flags`).
    MonitorFlags: u16 {
        /// The flows that are there when it begins.
        INITIAL = 1;
        /// New flows.
        ADD = 1 << 1;
        /// Removed flows.
        REMOVED = 1 << 2;
        /// Changed flows.
        MODIFY = 1 << 3;
        /// Instructions are told too.
        INSTRUCTIONS = 1 << 4;
        /// The controller's own changes are told in full.
        NO_ABBREV = 1 << 5;
        /// Only the controller's own changes (since 1.4).
        ONLY_OWN = 1 << 6;
    }
}

/// A monitor to begin, change or end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowMonitorRequest {
    /// Its number, which the controller chooses.
    pub id: u32,
    /// What is done.
    pub command: MonitorCommand,
    /// What it tells of.
    pub flags: MonitorFlags,
    /// Of which flows. A condition on cookies exists in 1.0 only, one on groups in 1.4 only.
    pub select: FlowSelect,
}

impl FlowMonitorRequest {
    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let table = |number| (number != TABLE_ALL).then_some(number);
        let mut select = FlowSelect::default();
        let id = from.u32()?;
        let mut command = MonitorCommand::Add;
        let flags;
        match version {
            Version::V10 => {
                flags = from.u16()?;
                select.out_port = from.port16()?;
                let size = usize::from(from.u16()?);
                select.table = table(from.u8()?);
                let zeros = from.array()? == [0; 5];
                require(zeros, ErrorCode::NxbrcMustBeZero, "a flow monitor")?;
                let nx = decode_nx_match(from, size)?;
                select.matches = nx.matches;
                select.cookie = nx.cookie & nx.cookie_mask;
                select.cookie_mask = nx.cookie_mask;
            }
            Version::V13 => {
                flags = from.u16()?;
                from.skip(2)?;
                select.out_port = from.port()?;
                select.table = table(from.u8()?);
                let zeros = from.array()? == [0; 3];
                require(zeros, ErrorCode::NxbrcMustBeZero, "a flow monitor")?;
                select.matches = decode_match(from)?;
            }
            Version::V14 | Version::V15 => {
                select.out_port = from.port()?;
                select.out_group = from.u32()?;
                flags = from.u16()?;
                select.table = table(from.u8()?);
                command = MonitorCommand::from_number(from.u8()?)
                    .ok_or(ErrorCode::MofcBadCommand.about("a flow monitor"))?;
                select.matches = decode_match(from)?;
            }
        }
        // What ends may say anything.
        if command != MonitorCommand::Delete {
            let known = flags & !flags_known(version) == 0;
            let tells = flags & TELLS.0 != 0;
            require(known && tells, ErrorCode::MofcBadFlags, "a flow monitor")?;
        }
        Ok(Self {
            id,
            command,
            flags: MonitorFlags(flags),
            select,
        })
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version) {
        let select = &self.select;
        let table = select.table.unwrap_or(TABLE_ALL);
        let flags = self.flags.0 & flags_known(version);
        if version < Version::V14 {
            if self.command != MonitorCommand::Add {
                to.not_in("changing a flow monitor", version);
            }
            if select.out_group != GROUP_ANY {
                to.not_in("a flow monitor's condition on groups", version);
            }
        }
        if version > Version::V10 && select.cookie_mask != 0 {
            to.not_in("a flow monitor's condition on cookies", version);
        }
        to.u32(self.id);
        match version {
            Version::V10 => {
                to.u16(flags);
                to.port16(select.out_port);
                let length = to.length();
                to.u8(table);
                to.zeros(5);
                let nx = NxMatch {
                    matches: select.matches.clone(),
                    cookie: select.cookie,
                    cookie_mask: select.cookie_mask,
                };
                let size = encode_nx_match(to, &nx);
                to.put_length(length, size, "a match");
            }
            Version::V13 => {
                to.u16(flags);
                let length = to.length();
                to.port(select.out_port);
                to.u8(table);
                to.zeros(3);
                let start = to.size();
                encode_match(to, version, &select.matches);
                to.fill_length(length, start, "a match");
            }
            Version::V14 | Version::V15 => {
                to.port(select.out_port);
                to.u32(select.out_group);
                to.u16(flags);
                to.u8(table);
                to.u8(self.command.number());
                encode_match(to, version, &select.matches);
            }
        }
    }
}

/// One of these a monitor has to tell of.
const TELLS: MonitorFlags =
    MonitorFlags(MonitorFlags::ADD.0 | MonitorFlags::REMOVED.0 | MonitorFlags::MODIFY.0);

/// The flags that monitors may have in a version, as bits.
fn flags_known(version: Version) -> u16 {
    match version {
        Version::V10 | Version::V13 => 0x3f,
        Version::V14 | Version::V15 => 0x7f,
    }
}

words! {
    /// What happened to a flow that is told in full (`ofp_flow_update_event`).
    FlowEvent: u16 {
        /// It was there when the monitor began (since 1.4; new before).
        Initial = 0,
        /// It is new.
        Added = 1,
        /// It is gone.
        Removed = 2,
        /// It changed.
        Modified = 3,
    }
}

/// The event of changes that the controller itself made.
const ABBREV: u16 = 4;
/// No news for a while (since 1.4; messages of their own before).
const PAUSED: u16 = 5;
/// News again.
const RESUMED: u16 = 6;

/// One piece of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowUpdate {
    /// A flow.
    Flow(Box<FlowNews>),
    /// The change that the controller itself asked for with this xid was made.
    Own(u32),
    /// There is too much to tell: some will come later (since 1.4).
    Paused,
    /// All has been told (since 1.4).
    Resumed,
}

/// News of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowNews {
    /// What happened.
    pub event: FlowEvent,
    /// Why it was removed; `None` if it was not.
    pub reason: Option<RemovedReason>,
    /// Its table.
    pub table: u8,
    /// Its priority.
    pub priority: u16,
    /// Its idle timeout, seconds.
    pub idle_timeout: u16,
    /// Its hard timeout, seconds.
    pub hard_timeout: u16,
    /// Its cookie.
    pub cookie: u64,
    /// What it matches.
    pub matches: Match,
    /// What it does, if the monitor is to tell that.
    pub instructions: Instructions,
}

impl FlowUpdate {
    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut from = from.part(usize::from(from.peek_u16()?))?;
        let from = &mut from;
        from.skip(2)?;
        let number = from.u16()?;
        // Before 1.4 there is no first event, and the others are one less.
        let number = if version < Version::V14 {
            number.saturating_add(1)
        } else {
            number
        };
        let update = match number {
            ABBREV => Self::Own(from.u32()?),
            PAUSED | RESUMED if version >= Version::V14 => {
                from.skip(4)?;
                if number == PAUSED {
                    Self::Paused
                } else {
                    Self::Resumed
                }
            }
            number => {
                let event = FlowEvent::from_number(number)
                    .ok_or(ErrorCode::NxbrcFmBadEvent.about("a flow monitor's news"))?;
                return FlowNews::decode(event, from, version).map(|news| Self::Flow(news.into()));
            }
        };
        from.clone().finish()?;
        Ok(update)
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version) {
        let start = to.size();
        let length = to.length();
        let old = version < Version::V14;
        match self {
            Self::Flow(news) => news.encode(to, version),
            Self::Own(xid) => {
                to.u16(if old { ABBREV - 1 } else { ABBREV });
                to.u32(*xid);
            }
            Self::Paused | Self::Resumed => {
                if old {
                    to.not_in("a pause among a flow monitor's news", version);
                }
                to.u16(if *self == Self::Paused {
                    PAUSED
                } else {
                    RESUMED
                });
                to.zeros(4);
            }
        }
        to.fill_length(length, start, "a flow monitor's news");
    }
}

impl FlowNews {
    fn decode(event: FlowEvent, from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut news = Self {
            event,
            reason: None,
            table: 0,
            priority: 0,
            idle_timeout: 0,
            hard_timeout: 0,
            cookie: 0,
            matches: Match::any(),
            instructions: Instructions::default(),
        };
        let reason;
        if version >= Version::V14 {
            news.table = from.u8()?;
            reason = from.u8()?.into();
            news.idle_timeout = from.u16()?;
            news.hard_timeout = from.u16()?;
            news.priority = from.u16()?;
            from.skip(4)?;
            news.cookie = from.u64()?;
            news.matches = decode_match(from)?;
        } else {
            reason = from.u16()?;
            news.priority = from.u16()?;
            news.idle_timeout = from.u16()?;
            news.hard_timeout = from.u16()?;
            let size = usize::from(from.u16()?);
            news.table = from.u8()?;
            from.skip(1)?;
            news.cookie = from.u64()?;
            news.matches = match version {
                Version::V10 => decode_nx_match(from, size)?.matches,
                Version::V13 | Version::V14 | Version::V15 => decode_match(from)?,
            };
        }
        if event == FlowEvent::Removed {
            let reason = u8::try_from(reason)
                .ok()
                .and_then(RemovedReason::from_number);
            let bad = ErrorCode::NxbrcBadReason.about("a flow monitor's news");
            news.reason = Some(reason.ok_or(bad)?);
        }
        news.instructions = instruction::decode_list(from, version)?;
        Ok(news)
    }

    fn encode(&self, to: &mut Writer, version: Version) {
        let event = self.event.number();
        let reason = self.reason.map_or(0, RemovedReason::number);
        if version >= Version::V14 {
            to.u16(event);
            to.u8(self.table);
            to.u8(reason);
            to.u16(self.idle_timeout);
            to.u16(self.hard_timeout);
            to.u16(self.priority);
            to.zeros(4);
            to.u64(self.cookie);
            encode_match(to, version, &self.matches);
        } else {
            // What was there from the beginning is told as new.
            to.u16(event.saturating_sub(1));
            to.u16(reason.into());
            to.u16(self.priority);
            to.u16(self.idle_timeout);
            to.u16(self.hard_timeout);
            let length = to.length();
            to.u8(self.table);
            to.zeros(1);
            to.u64(self.cookie);
            let start = to.size();
            let size = match version {
                Version::V10 => encode_nx_match(
                    to,
                    &NxMatch {
                        matches: self.matches.clone(),
                        ..NxMatch::default()
                    },
                ),
                Version::V13 | Version::V14 | Version::V15 => {
                    encode_match(to, version, &self.matches);
                    to.size() - start
                }
            };
            to.put_length(length, size, "a match");
        }
        instruction::encode_list(to, version, &self.instructions);
    }
}
