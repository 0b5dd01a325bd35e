//! Changes to flows.
//!
//! 1.0 has two forms: its own, whose match is a fixed structure, and Nicira's with `nx_match`,
//! which is written where the first cannot say everything. In both, a command's upper byte is a
//! table if [`Dialect::table_id`] says that the two sides agreed on that; else additions go to
//! table 0 and other commands concern all tables.
//!
//! Spec: OpenFlow 1.0.1 §5.3.3, 1.3.5 §7.3.4.1, 1.4.1 §7.3.4.2.

use vswitch_flow::rule::GROUP_ANY;
use vswitch_flow::{FlowCommand, FlowFlags, FlowMod, FlowRule, Match, OfPort};

use crate::error::{ErrorCode, OfError};
use crate::header::Version;
use crate::instruction;
use crate::message::{Dialect, Layout};
use crate::oxm::match10::{decode_match10, encode_match10, fits_match10};
use crate::oxm::matches::{NxMatch, decode_match, decode_nx_match, encode_match, encode_nx_match};
use crate::packet_in::{read_buffer, write_buffer};
use crate::table::TABLE_ALL;
use crate::wire::{Reader, Writer, require};

/// A modification with this cookie leaves the flows' cookies (1.0).
const KEEP_COOKIE: u64 = u64::MAX;

/// Bits of the wildcards of a match of 1.0.
const WILDCARDS_10: u32 = (1 << 22) - 1;

/// Emergency flows (1.0.0), which no later version has.
const EMERGENCY: u16 = 1 << 2;

/// A change to flows, as a message says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowModMessage {
    /// The change.
    pub change: FlowMod,
    /// A packet in the switch that the new flow is to be applied to.
    pub buffer: Option<u32>,
}

impl From<FlowMod> for FlowModMessage {
    fn from(change: FlowMod) -> Self {
        Self {
            change,
            buffer: None,
        }
    }
}

fn command_number(command: FlowCommand) -> u8 {
    match command {
        FlowCommand::Add => 0,
        FlowCommand::Modify => 1,
        FlowCommand::ModifyStrict => 2,
        FlowCommand::Delete => 3,
        FlowCommand::DeleteStrict => 4,
    }
}

fn command_from_number(number: u16) -> Result<FlowCommand, OfError> {
    match number {
        0 => Ok(FlowCommand::Add),
        1 => Ok(FlowCommand::Modify),
        2 => Ok(FlowCommand::ModifyStrict),
        3 => Ok(FlowCommand::Delete),
        4 => Ok(FlowCommand::DeleteStrict),
        _ => Err(ErrorCode::FmfcBadCommand.about("a change to flows")),
    }
}

fn is_modification(command: FlowCommand) -> bool {
    matches!(command, FlowCommand::Modify | FlowCommand::ModifyStrict)
}

fn is_deletion(command: FlowCommand) -> bool {
    matches!(command, FlowCommand::Delete | FlowCommand::DeleteStrict)
}

/// The flags that flows may have in a version, as bits.
pub(crate) fn flags_known(version: Version) -> u16 {
    match version {
        Version::V10 => 0x03,
        Version::V13 | Version::V14 | Version::V15 => 0x1f,
    }
}

impl FlowModMessage {
    /// `layout` is Nicira's in 1.0 only.
    pub(crate) fn decode(
        from: &mut Reader<'_>,
        version: Version,
        layout: Layout,
        dialect: Dialect,
    ) -> Result<Self, OfError> {
        if version == Version::V10 {
            Self::decode_10(from, layout, dialect)
        } else {
            Self::decode_13(from, version)
        }
    }

    fn decode_13(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let (cookie, cookie_mask) = (from.u64()?, from.u64()?);
        let (table, command) = (from.u8()?, command_from_number(from.u8()?.into())?);
        let mut change = FlowMod::new(command, FlowRule::default());
        let rule = &mut change.rule;
        rule.idle_timeout = from.u16()?;
        rule.hard_timeout = from.u16()?;
        rule.priority = from.u16()?;
        let buffer = read_buffer(from)?;
        let (out_port, out_group) = (from.port()?, from.u32()?);
        let flags = from.u16()?;
        let importance = from.u16()?;
        if command == FlowCommand::Add {
            rule.cookie = cookie;
            if version >= Version::V14 {
                rule.importance = importance;
            }
        } else {
            change.cookie = cookie & cookie_mask;
            change.cookie_mask = cookie_mask;
        }
        if table == TABLE_ALL {
            let about = "all tables, in a command that does not delete";
            require(is_deletion(command), ErrorCode::FmfcBadTableId, about)?;
            change.all_tables = true;
        } else {
            rule.table = table;
        }
        if is_deletion(command) {
            change.out_port = out_port;
            change.out_group = out_group;
        }
        rule.matches = decode_match(from)?;
        rule.flags = read_flags(flags, version)?;
        instruction::decode_of_flow(from, version, rule)?;
        Ok(Self { change, buffer })
    }

    fn decode_10(from: &mut Reader<'_>, layout: Layout, dialect: Dialect) -> Result<Self, OfError> {
        let mut rule = FlowRule::default();
        let mut exact = false;
        if layout == Layout::Standard {
            exact = from.clone().u32()? & WILDCARDS_10 == 0;
            rule.matches = decode_match10(from)?;
        }
        let cookie = from.u64()?;
        let raw_command = from.u16()?;
        rule.idle_timeout = from.u16()?;
        rule.hard_timeout = from.u16()?;
        rule.priority = from.u16()?;
        if exact {
            // 1.0 puts exact matches above all others, whatever they say.
            rule.priority = u16::MAX;
        }
        let buffer = read_buffer(from)?;
        let out_port = from.port16()?;
        let flags = from.u16()?;
        let mut condition = (0, 0);
        if layout == Layout::Nicira {
            let size = usize::from(from.u16()?);
            from.skip(6)?;
            let nx = decode_nx_match(from, size)?;
            rule.matches = nx.matches;
            condition = (nx.cookie & nx.cookie_mask, nx.cookie_mask);
        }
        let [upper, lower] = raw_command.to_be_bytes();
        let (table, number) = if dialect.table_id {
            (upper, u16::from(lower))
        } else {
            (TABLE_ALL, raw_command)
        };
        let command = command_from_number(number)?;
        let mut change = FlowMod::new(command, rule);
        let add = command == FlowCommand::Add;
        let about = "a new flow that is to match a cookie";
        require(!add || condition.1 == 0, ErrorCode::NxbrcNxmInvalid, about)?;
        (change.cookie, change.cookie_mask) = condition;
        if table != TABLE_ALL {
            change.rule.table = table;
        } else {
            change.all_tables = !add;
        }
        if !is_deletion(command) {
            change.rule.cookie = cookie;
        }
        if is_modification(command) {
            change.upsert = true;
            change.new_cookie = cookie != KEEP_COOKIE;
        }
        if is_deletion(command) {
            change.out_port = out_port;
        }
        if flags & EMERGENCY != 0 {
            let timeouts = change.rule.hard_timeout != 0 || change.rule.idle_timeout != 0;
            let code = if timeouts {
                ErrorCode::FmfcBadEmergTimeout
            } else {
                ErrorCode::FmfcTableFull
            };
            return Err(code.about("an emergency flow"));
        }
        change.rule.flags = read_flags(flags, Version::V10)?;
        if add {
            change.rule.flags = change.rule.flags.with(FlowFlags::RESET_COUNTS);
        }
        instruction::decode_of_flow(from, Version::V10, &mut change.rule)?;
        Ok(Self { change, buffer })
    }

    /// The form of 1.0 that can say all of it.
    pub(crate) fn layout(&self, version: Version) -> Layout {
        let rule = &self.change.rule;
        let plain = self.change.cookie_mask == 0
            && fits_match10(&rule.matches)
            && (rule.priority == u16::MAX || !is_exact_10(&rule.matches));
        if plain || version > Version::V10 {
            Layout::Standard
        } else {
            Layout::Nicira
        }
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version, dialect: Dialect) {
        if version == Version::V10 {
            self.encode_10(to, dialect);
        } else {
            self.encode_13(to, version);
        }
    }

    fn encode_13(&self, to: &mut Writer, version: Version) {
        let (change, rule) = (&self.change, &self.change.rule);
        let add = change.command == FlowCommand::Add;
        to.u64(if add {
            rule.cookie
        } else {
            change.cookie & change.cookie_mask
        });
        to.u64(if add { 0 } else { change.cookie_mask });
        let deletes = is_deletion(change.command);
        if change.all_tables && !deletes {
            to.not_in("a modification in all tables", version);
        }
        to.u8(if change.all_tables {
            TABLE_ALL
        } else {
            rule.table
        });
        to.u8(command_number(change.command));
        to.u16(rule.idle_timeout);
        to.u16(rule.hard_timeout);
        to.u16(rule.priority);
        write_buffer(self.buffer, to);
        to.port(if deletes {
            change.out_port
        } else {
            OfPort::ANY
        });
        to.u32(if deletes { change.out_group } else { GROUP_ANY });
        to.u16(rule.flags.0 & flags_known(version));
        to.u16(if add && version >= Version::V14 {
            rule.importance
        } else {
            0
        });
        encode_match(to, version, &rule.matches);
        instruction::encode_of_flow(to, version, rule);
    }

    fn encode_10(&self, to: &mut Writer, dialect: Dialect) {
        let (change, rule) = (&self.change, &self.change.rule);
        let layout = self.layout(Version::V10);
        if layout == Layout::Standard {
            encode_match10(to, &rule.matches);
        }
        to.u64(if is_modification(change.command) && !change.new_cookie {
            KEEP_COOKIE
        } else {
            rule.cookie
        });
        let command = u16::from(command_number(change.command));
        let add = change.command == FlowCommand::Add;
        if dialect.table_id {
            let table = if change.all_tables {
                TABLE_ALL
            } else {
                rule.table
            };
            to.u16(u16::from(table) << 8 | command);
        } else {
            if change.all_tables == add || rule.table != 0 {
                to.not_in("a table, without NXT_FLOW_MOD_TABLE_ID", Version::V10);
            }
            to.u16(command);
        }
        to.u16(rule.idle_timeout);
        to.u16(rule.hard_timeout);
        to.u16(rule.priority);
        write_buffer(self.buffer, to);
        to.port16(if is_deletion(change.command) {
            change.out_port
        } else {
            OfPort::ANY
        });
        if is_deletion(change.command) && change.out_group != GROUP_ANY {
            to.not_in("a condition on groups", Version::V10);
        }
        to.u16(rule.flags.0 & flags_known(Version::V10));
        if layout == Layout::Nicira {
            let length = to.length();
            to.zeros(6);
            let nx = NxMatch {
                matches: rule.matches.clone(),
                cookie: change.cookie,
                cookie_mask: change.cookie_mask,
            };
            let size = encode_nx_match(to, &nx);
            to.put_length(length, size, "a match");
        }
        instruction::encode_of_flow(to, Version::V10, rule);
    }
}

/// Whether the match of 1.0 has no wildcard, which gives a flow the highest priority.
fn is_exact_10(matches: &Match) -> bool {
    let mut to = Writer::new();
    encode_match10(&mut to, matches);
    let wildcards = to
        .finish()
        .ok()
        .and_then(|bytes| bytes.first_chunk().copied());
    wildcards.is_some_and(|bytes| u32::from_be_bytes(bytes) & WILDCARDS_10 == 0)
}

fn read_flags(flags: u16, version: Version) -> Result<FlowFlags, OfError> {
    let known = flags & !flags_known(version) == 0;
    require(known, ErrorCode::FmfcBadFlags, "a flow's flags")?;
    Ok(FlowFlags(flags))
}
