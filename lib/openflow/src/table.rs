//! Tables: counters, configuration, and what each can do.
//!
//! Spec: OpenFlow 1.0.1 §5.3.5; 1.3.5 §7.3.3, §7.3.5.4, §7.3.5.5; 1.4.1 §7.3.3, §7.3.5.17, §7.4.5
//! for configuration with properties and news of it.

use vswitch_flow::Field;

use crate::error::{ErrorCode, OfError};
use crate::header::Version;
use crate::oxm::{Header, Wire};
use crate::property;
use crate::wire::{Reader, Text, Writer, bits, words};

/// All tables, in requests (`OFPTT_ALL`).
pub const TABLE_ALL: u8 = 0xff;

/// Room for a table's name, bytes with the zero at its end.
pub const NAME_SIZE: usize = 32;

/// A table's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Its number.
    pub table: u8,
    /// Its name (1.0 only; table features say it since 1.3).
    pub name: Text<NAME_SIZE>,
    /// Which fields may be wildcards, as `OFPFW_*` bits (1.0 only).
    pub wildcards: u32,
    /// Most flows it can hold (1.0 only).
    pub max_entries: u32,
    /// Flows it holds.
    pub active: u32,
    /// Packets looked up.
    pub lookups: u64,
    /// Packets for which a flow was found.
    pub matches: u64,
}

impl TableStats {
    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let table = from.u8()?;
        from.skip(3)?;
        let mut stats = Self {
            table,
            ..Self::default()
        };
        if version == Version::V10 {
            stats.name = from.text()?;
            stats.wildcards = from.u32()?;
            stats.max_entries = from.u32()?;
        }
        stats.active = from.u32()?;
        stats.lookups = from.u64()?;
        stats.matches = from.u64()?;
        Ok(stats)
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version) {
        to.u8(self.table);
        to.zeros(3);
        if version == Version::V10 {
            to.text(&self.name);
            to.u32(self.wildcards);
            to.u32(self.max_entries);
        }
        to.u32(self.active);
        to.u64(self.lookups);
        to.u64(self.matches);
    }
}

bits! {
    /// How a table is configured (`ofp_table_config`).
    TableConfig: u32 {
        /// A miss goes on with the next table (1.1 and 1.2; deprecated).
        MISS_CONTINUE = 1;
        /// A miss drops the packet (1.1 and 1.2; deprecated).
        MISS_DROP = 2;
        /// Flows may be evicted (1.4).
        EVICTION = 1 << 2;
        /// Vacancy causes news (1.4).
        VACANCY_EVENTS = 1 << 3;
    }
}

/// When news of a table's vacancy is due, per cent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vacancy {
    /// When it falls below this.
    pub down: u8,
    /// When it rises above this.
    pub up: u8,
    /// What it is now (in descriptions).
    pub now: u8,
}

/// A table's configuration; also a change to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableDesc {
    /// Which table, or [`TABLE_ALL`] in a change.
    pub table: u8,
    /// How it is configured.
    pub config: TableConfig,
    /// How flows to evict are chosen: bits of `ofp_table_mod_prop_eviction_flag` (1.4).
    pub eviction: Option<u32>,
    /// When news of vacancy is due (1.4).
    pub vacancy: Option<Vacancy>,
}

const EVICTION: u16 = 2;
const VACANCY: u16 = 3;

impl TableDesc {
    /// A table without properties.
    #[must_use]
    pub fn new(table: u8, config: TableConfig) -> Self {
        Self {
            table,
            config,
            ..Self::default()
        }
    }

    /// The body of a change.
    pub(crate) fn decode_mod(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let table = from.u8()?;
        from.skip(3)?;
        let mut desc = Self::new(table, TableConfig(from.u32()?));
        if version >= Version::V14 {
            desc.properties(from)?;
        }
        Ok(desc)
    }

    pub(crate) fn encode_mod(&self, to: &mut Writer, version: Version) {
        to.u8(self.table);
        to.zeros(3);
        to.u32(self.config.0);
        if version >= Version::V14 {
            self.write_properties(to);
        }
    }

    /// A description (1.4).
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut from = from.part(usize::from(from.peek_u16()?))?;
        from.skip(2)?;
        let table = from.u8()?;
        from.skip(1)?;
        let mut desc = Self::new(table, TableConfig(from.u32()?));
        desc.properties(&mut from)?;
        Ok(desc)
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        let start = to.size();
        let length = to.length();
        to.u8(self.table);
        to.zeros(1);
        to.u32(self.config.0);
        self.write_properties(to);
        to.fill_length(length, start, "a table's description");
    }

    fn properties(&mut self, from: &mut Reader<'_>) -> Result<(), OfError> {
        while !from.is_empty() {
            let (kind, mut value) = property::read(from)?;
            match kind {
                EVICTION => self.eviction = Some(value.u32()?),
                VACANCY => {
                    self.vacancy = Some(Vacancy {
                        down: value.u8()?,
                        up: value.u8()?,
                        now: value.u8()?,
                    });
                    value.skip(1)?;
                }
                _ => return Err(property::unknown(kind, "a table's configuration")),
            }
            value.finish()?;
        }
        Ok(())
    }

    fn write_properties(&self, to: &mut Writer) {
        if let Some(flags) = self.eviction {
            property::write_u32(to, EVICTION, flags);
        }
        if let Some(vacancy) = self.vacancy {
            property::write(to, VACANCY, |to| {
                to.bytes(&[vacancy.down, vacancy.up, vacancy.now, 0]);
            });
        }
    }
}

words! {
    /// What happened to a table (`ofp_table_reason`).
    TableReason: u8 {
        /// There is less room than asked to be told of.
        VacancyDown = 3,
        /// There is more room than asked to be told of.
        VacancyUp = 4,
    }
}

/// News of a table (1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableStatus {
    /// What happened.
    pub reason: TableReason,
    /// The table as it is now.
    pub desc: TableDesc,
}

impl TableStatus {
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let reason = TableReason::from_number(from.u8()?)
            .ok_or(ErrorCode::NxbrcBadReason.about("a table status"))?;
        from.skip(7)?;
        let desc = TableDesc::decode(from)?;
        Ok(Self { reason, desc })
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        to.u8(self.reason.number());
        to.zeros(7);
        self.desc.encode(to);
    }
}

/// What a table can do (`ofp_table_features`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFeatures {
    /// Which table.
    pub table: u8,
    /// Its name.
    pub name: Text<NAME_SIZE>,
    /// Bits of the metadata that it can match.
    pub metadata_match: u64,
    /// Bits of the metadata that it can write.
    pub metadata_write: u64,
    /// How it can be configured.
    pub config: TableConfig,
    /// Most flows it can hold.
    pub max_entries: u32,
    /// What flows may have in it.
    pub properties: Vec<TableProperty>,
}

/// Which flows of a table a property is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flows {
    /// Ordinary ones.
    Regular,
    /// The one for packets that no other matches.
    Miss,
}

/// A list of what is possible in a table (`ofp_table_feature_prop_type`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableProperty {
    /// Instructions.
    Instructions(Flows, Vec<TypeId>),
    /// Tables to go to.
    NextTables(Flows, Vec<u8>),
    /// Actions that may be written to the action set.
    WriteActions(Flows, Vec<TypeId>),
    /// Actions that may be applied.
    ApplyActions(Flows, Vec<TypeId>),
    /// Fields that may be matched, with the mask bit set if they may be masked.
    Match(Vec<FieldId>),
    /// Fields that need not be matched.
    Wildcards(Vec<FieldId>),
    /// Fields that the action set may write.
    WriteSetField(Flows, Vec<FieldId>),
    /// Fields that applied actions may write.
    ApplySetField(Flows, Vec<FieldId>),
    /// Tables whose flows appear here by themselves (1.4).
    SyncFrom(Vec<u8>),
    /// An experimenter's: number, type and value.
    Experimenter(Flows, u32, u32, Vec<u8>),
}

/// An instruction or action as table features name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TypeId {
    /// Its type.
    pub kind: u16,
    /// What an experimenter says of its own: its number and what it likes.
    pub experimenter: Vec<u8>,
}

impl From<u16> for TypeId {
    fn from(kind: u16) -> Self {
        Self {
            kind,
            experimenter: Vec::new(),
        }
    }
}

/// A field as table features name it: an OXM header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldId {
    /// Class (16 bits), field (7), whether there is a mask (1), length of the value (8).
    pub header: u32,
    /// Whose field it is, in the experimenters' class.
    pub experimenter: Option<u32>,
}

/// The class of experimenters' fields.
const OXM_EXPERIMENTER: u32 = 0xffff;

impl FieldId {
    /// A field as a version writes it, if it can.
    #[must_use]
    pub fn new(field: Field, masked: bool, version: Version) -> Option<Self> {
        let mut to = Writer::new();
        Wire::preferred(field, version)?.put_header(&mut to, masked);
        let bytes = to.finish().ok()?;
        let mut from = Reader::new(&bytes, ErrorCode::BpcBadLen.about("a field"));
        Self::decode(&mut from).ok()
    }

    /// The field, if it is known here, and whether there is a mask.
    #[must_use]
    pub fn field(&self) -> Option<(Field, bool)> {
        let mut to = Writer::new();
        self.encode(&mut to);
        let bytes = to.finish().ok()?;
        let mut from = Reader::new(&bytes, ErrorCode::BpcBadLen.about("a field"));
        let header = Header::read(&mut from).ok()?;
        header.wire().map(|wire| (wire.field, header.masked))
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let header = from.u32()?;
        let experimenter = match header >> 16 {
            OXM_EXPERIMENTER => Some(from.u32()?),
            _ => None,
        };
        Ok(Self {
            header,
            experimenter,
        })
    }

    fn encode(&self, to: &mut Writer) {
        to.u32(self.header);
        if let Some(whose) = self.experimenter {
            to.u32(whose);
        }
    }
}

const INSTRUCTIONS: u16 = 0;
const NEXT_TABLES: u16 = 2;
const WRITE_ACTIONS: u16 = 4;
const APPLY_ACTIONS: u16 = 6;
const MATCH: u16 = 8;
const WILDCARDS: u16 = 10;
const WRITE_SETFIELD: u16 = 12;
const APPLY_SETFIELD: u16 = 14;
const SYNC_FROM: u16 = 16;
const EXPERIMENTER: u16 = 0xfffe;

impl TableFeatures {
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut from = from.part(usize::from(from.peek_u16()?))?;
        from.skip(2)?;
        let table = from.u8()?;
        from.skip(5)?;
        let mut features = Self {
            table,
            name: from.text()?,
            metadata_match: from.u64()?,
            metadata_write: from.u64()?,
            config: TableConfig(from.u32()?),
            max_entries: from.u32()?,
            properties: Vec::new(),
        };
        while !from.is_empty() {
            features.properties.push(TableProperty::decode(&mut from)?);
        }
        Ok(features)
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        let start = to.size();
        let length = to.length();
        to.u8(self.table);
        to.zeros(5);
        to.text(&self.name);
        to.u64(self.metadata_match);
        to.u64(self.metadata_write);
        to.u32(self.config.0);
        to.u32(self.max_entries);
        self.properties.iter().for_each(|list| list.encode(to));
        to.fill_length(length, start, "a table's features");
    }
}

impl TableProperty {
    fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let (kind, mut value) = property::read(from)?;
        let flows = if kind & 1 == 0 {
            Flows::Regular
        } else {
            Flows::Miss
        };
        let list = match kind & !1 {
            INSTRUCTIONS => Self::Instructions(flows, type_ids(&mut value)?),
            NEXT_TABLES => Self::NextTables(flows, value.take_rest().to_vec()),
            WRITE_ACTIONS => Self::WriteActions(flows, type_ids(&mut value)?),
            APPLY_ACTIONS => Self::ApplyActions(flows, type_ids(&mut value)?),
            MATCH if kind == MATCH => Self::Match(field_ids(&mut value)?),
            WILDCARDS if kind == WILDCARDS => Self::Wildcards(field_ids(&mut value)?),
            WRITE_SETFIELD => Self::WriteSetField(flows, field_ids(&mut value)?),
            APPLY_SETFIELD => Self::ApplySetField(flows, field_ids(&mut value)?),
            SYNC_FROM if kind == SYNC_FROM => Self::SyncFrom(value.take_rest().to_vec()),
            EXPERIMENTER => {
                let (id, own) = (value.u32()?, value.u32()?);
                Self::Experimenter(flows, id, own, value.take_rest().to_vec())
            }
            _ => return Err(property::unknown(kind, "a table's features")),
        };
        value.finish()?;
        Ok(list)
    }

    fn encode(&self, to: &mut Writer) {
        let kind = |first: u16, flows: Flows| first + u16::from(flows == Flows::Miss);
        match self {
            Self::Instructions(flows, ids) => {
                write_type_ids(to, kind(INSTRUCTIONS, *flows), ids);
            }
            Self::NextTables(flows, tables) => {
                property::write(to, kind(NEXT_TABLES, *flows), |to| to.bytes(tables));
            }
            Self::WriteActions(flows, ids) => {
                write_type_ids(to, kind(WRITE_ACTIONS, *flows), ids);
            }
            Self::ApplyActions(flows, ids) => {
                write_type_ids(to, kind(APPLY_ACTIONS, *flows), ids);
            }
            Self::Match(ids) => write_field_ids(to, MATCH, ids),
            Self::Wildcards(ids) => write_field_ids(to, WILDCARDS, ids),
            Self::WriteSetField(flows, ids) => {
                write_field_ids(to, kind(WRITE_SETFIELD, *flows), ids);
            }
            Self::ApplySetField(flows, ids) => {
                write_field_ids(to, kind(APPLY_SETFIELD, *flows), ids);
            }
            Self::SyncFrom(tables) => property::write(to, SYNC_FROM, |to| to.bytes(tables)),
            Self::Experimenter(flows, id, own, value) => {
                property::write(to, kind(EXPERIMENTER, *flows), |to| {
                    to.u32(*id);
                    to.u32(*own);
                    to.bytes(value);
                });
            }
        }
    }
}

fn type_ids(from: &mut Reader<'_>) -> Result<Vec<TypeId>, OfError> {
    let mut ids = Vec::new();
    while !from.is_empty() {
        let (kind, size) = (from.u16()?, usize::from(from.u16()?));
        let own = from.bytes(size.checked_sub(4).ok_or(from.bad_len())?)?;
        ids.push(TypeId {
            kind,
            experimenter: own.to_vec(),
        });
    }
    Ok(ids)
}

fn write_type_ids(to: &mut Writer, kind: u16, ids: &[TypeId]) {
    property::write(to, kind, |to| {
        for id in ids {
            let start = to.size();
            to.u16(id.kind);
            let length = to.length();
            to.bytes(&id.experimenter);
            to.fill_length(length, start, "an experimenter's instruction or action");
        }
    });
}

fn field_ids(from: &mut Reader<'_>) -> Result<Vec<FieldId>, OfError> {
    let mut ids = Vec::new();
    while !from.is_empty() {
        ids.push(FieldId::decode(from)?);
    }
    Ok(ids)
}

fn write_field_ids(to: &mut Writer, kind: u16, ids: &[FieldId]) {
    property::write(to, kind, |to| ids.iter().for_each(|id| id.encode(to)));
}
