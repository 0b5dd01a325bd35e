//! Requests for lists, and replies in parts (`OFPT_MULTIPART_*`; statistics in 1.0).
//!
//! A message is at most 65535 bytes. A reply that is longer is written as several messages, all but
//! the last marked that more follows; the border is always between two entries. Who gets parts puts
//! them together with an [`Assembler`], which keeps no more than it was allowed to.
//!
//! Spec: OpenFlow 1.0.1 §5.3.5, 1.3.5 §7.3.5, 1.4.1 §7.3.5; Nicira's and the ONF's numbers are those
//! of Open vSwitch's `include/openvswitch/ofp-msgs.h`.

use std::collections::HashMap;

use vswitch_flow::meter::METER_ALL;
use vswitch_flow::{Group, Meter, OfPort};

use crate::error::{ErrorCode, NICIRA, ONF, OfError};
use crate::flow_monitor::{FlowMonitorRequest, FlowUpdate};
use crate::flow_stats::{Aggregate, FlowRequest, FlowStats};
use crate::group::{self, GROUP_ALL, GroupFeatures, GroupStats};
use crate::header::{HEADER_SIZE, Version};
use crate::message::Layout;
use crate::meter::{self, MeterFeatures, MeterStats};
use crate::port::{PortDesc, PortStats};
use crate::queue::{QueueDesc, QueueSelect, QueueStats};
use crate::table::{TableDesc, TableFeatures, TableStats};
use crate::wire::{EncodeError, Reader, Text, Writer};

/// More parts follow.
const MORE: u16 = 1;

/// Type of experimenters' multipart messages.
const EXPERIMENTER: u16 = 0xffff;

/// Largest message, bytes.
const MESSAGE_MAX: usize = 65_535;

/// Which kind of multipart message, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Standard(u16),
    Nicira(u32),
    Onf(u32),
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Who made the switch.
    Desc,
    /// Flows.
    Flow(FlowRequest),
    /// Counters of flows together.
    Aggregate(FlowRequest),
    /// Counters of tables.
    Table,
    /// Counters of a port, or of all if it is [`OfPort::ANY`].
    Port(OfPort),
    /// Counters of queues.
    Queue(QueueSelect),
    /// Counters of a group, or of all if it is [`GROUP_ALL`].
    Group(u32),
    /// A group, or all if it is [`GROUP_ALL`]; 1.1 to 1.4 can ask for all only.
    GroupDesc(u32),
    /// What groups are possible.
    GroupFeatures,
    /// Counters of a meter, or of all if it is [`METER_ALL`].
    Meter(u32),
    /// A meter, or all if it is [`METER_ALL`].
    MeterConfig(u32),
    /// What meters are possible.
    MeterFeatures,
    /// What tables can do; with entries, what they are to do from now on.
    TableFeatures(Vec<TableFeatures>),
    /// A port, or all if it is [`OfPort::ANY`]; before 1.5 all can be asked for only.
    PortDesc(OfPort),
    /// Configuration of tables (1.4).
    TableDesc,
    /// Configuration of queues (1.4).
    QueueDesc(QueueSelect),
    /// News of flows from now on.
    FlowMonitor(Vec<FlowMonitorRequest>),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Who made the switch.
    Desc(Box<SwitchDesc>),
    /// Flows, in the form of the request.
    Flow(Layout, Vec<FlowStats>),
    /// Counters of flows together, in the form of the request.
    Aggregate(Layout, Aggregate),
    /// Counters of tables.
    Table(Vec<TableStats>),
    /// Counters of ports.
    Port(Vec<PortStats>),
    /// Counters of queues.
    Queue(Vec<QueueStats>),
    /// Counters of groups.
    Group(Vec<GroupStats>),
    /// Groups.
    GroupDesc(Vec<Group>),
    /// What groups are possible.
    GroupFeatures(GroupFeatures),
    /// Counters of meters.
    Meter(Vec<MeterStats>),
    /// Meters.
    MeterConfig(Vec<Meter>),
    /// What meters are possible.
    MeterFeatures(MeterFeatures),
    /// What tables can do.
    TableFeatures(Vec<TableFeatures>),
    /// Ports.
    PortDesc(Vec<PortDesc>),
    /// Configuration of tables (1.4).
    TableDesc(Vec<TableDesc>),
    /// Configuration of queues (1.4).
    QueueDesc(Vec<QueueDesc>),
    /// News of flows.
    FlowMonitor(Vec<FlowUpdate>),
}

/// Who made the switch (`ofp_desc`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwitchDesc {
    /// Who made it.
    pub manufacturer: Text<256>,
    /// Which hardware it is.
    pub hardware: Text<256>,
    /// Which software it is.
    pub software: Text<256>,
    /// Its serial number.
    pub serial: Text<32>,
    /// What it is called here.
    pub datapath: Text<256>,
}

impl SwitchDesc {
    fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        Ok(Self {
            manufacturer: from.text()?,
            hardware: from.text()?,
            software: from.text()?,
            serial: from.text()?,
            datapath: from.text()?,
        })
    }

    fn encode(&self, to: &mut Writer) {
        to.text(&self.manufacturer);
        to.text(&self.hardware);
        to.text(&self.software);
        to.text(&self.serial);
        to.text(&self.datapath);
    }
}

/// Reads kind and flags of a part.
fn decode_header(from: &mut Reader<'_>, version: Version) -> Result<(Kind, bool), OfError> {
    let (number, flags) = (from.u16()?, from.u16()?);
    if version > Version::V10 {
        from.skip(4)?;
    }
    let kind = if number == EXPERIMENTER {
        let (who, what) = (from.u32()?, from.u32()?);
        match who {
            NICIRA => {
                // 1.0 has its padding here.
                if version == Version::V10 {
                    from.skip(4)?;
                }
                Kind::Nicira(what)
            }
            ONF => Kind::Onf(what),
            _ => return Err(ErrorCode::BrcBadVendor.about("a multipart message")),
        }
    } else {
        Kind::Standard(number)
    };
    Ok((kind, flags & MORE != 0))
}

fn encode_header(kind: Kind, more: bool, to: &mut Writer, version: Version) {
    to.u16(match kind {
        Kind::Standard(number) => number,
        Kind::Nicira(_) | Kind::Onf(_) => EXPERIMENTER,
    });
    to.u16(if more { MORE } else { 0 });
    if version > Version::V10 {
        to.zeros(4);
    }
    let (who, what) = match kind {
        Kind::Standard(_) => return,
        Kind::Nicira(what) => (NICIRA, what),
        Kind::Onf(what) => (ONF, what),
    };
    to.u32(who);
    to.u32(what);
    if version == Version::V10 {
        to.zeros(4);
    }
}

/// The refusal of a kind that a version does not have.
fn unknown(kind: Kind) -> OfError {
    let code = match kind {
        Kind::Standard(_) => ErrorCode::BrcBadStat,
        Kind::Nicira(_) | Kind::Onf(_) => ErrorCode::BrcBadSubtype,
    };
    code.about("a multipart message")
}

/// Entries up to the end.
fn list<T>(
    from: &mut Reader<'_>,
    mut one: impl FnMut(&mut Reader<'_>) -> Result<T, OfError>,
) -> Result<Vec<T>, OfError> {
    let mut entries = Vec::new();
    while !from.is_empty() {
        entries.push(one(from)?);
    }
    Ok(entries)
}

const V10: Version = Version::V10;
const V13: Version = Version::V13;
const V14: Version = Version::V14;
const V15: Version = Version::V15;

impl Request {
    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<(Self, bool), OfError> {
        let (kind, more) = decode_header(from, version)?;
        let request = Self::decode_body(kind, from, version)?;
        Ok((request, more))
    }

    fn decode_body(kind: Kind, from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        use Kind::{Nicira, Onf, Standard};
        Ok(match (kind, version) {
            (Standard(0), _) => Self::Desc,
            (Standard(1), _) => Self::Flow(FlowRequest::decode(from, version, Layout::Standard)?),
            (Nicira(0), V10) => Self::Flow(FlowRequest::decode(from, version, Layout::Nicira)?),
            (Standard(2), _) => {
                Self::Aggregate(FlowRequest::decode(from, version, Layout::Standard)?)
            }
            (Nicira(1), V10) => {
                Self::Aggregate(FlowRequest::decode(from, version, Layout::Nicira)?)
            }
            (Standard(3), _) => Self::Table,
            (Standard(4), V10) => {
                let port = from.port16()?;
                from.skip(6)?;
                Self::Port(port)
            }
            (Standard(4), _) => {
                let port = from.port()?;
                from.skip(4)?;
                Self::Port(port)
            }
            (Standard(5), _) => Self::Queue(QueueSelect::decode(from, version)?),
            (Standard(6), V13 | V14 | V15) | (Nicira(7), V10) => {
                Self::Group(group::decode_select(from)?)
            }
            (Standard(7), V13 | V14) => Self::GroupDesc(GROUP_ALL),
            (Standard(7), V15) | (Nicira(8), V10) => Self::GroupDesc(group::decode_select(from)?),
            (Standard(8), V13 | V14 | V15) | (Nicira(9), V10) => Self::GroupFeatures,
            (Standard(9), V13 | V14 | V15) => Self::Meter(meter::decode_select(from)?),
            (Standard(10), V13 | V14 | V15) => Self::MeterConfig(meter::decode_select(from)?),
            (Standard(11), V13 | V14 | V15) => Self::MeterFeatures,
            (Standard(12), V13 | V14 | V15) => {
                Self::TableFeatures(list(from, TableFeatures::decode)?)
            }
            (Standard(13), V15) => {
                let port = from.port()?;
                from.skip(4)?;
                Self::PortDesc(port)
            }
            (Standard(13), _) => Self::PortDesc(OfPort::ANY),
            (Standard(14), V14 | V15) => Self::TableDesc,
            (Standard(15), V14 | V15) => Self::QueueDesc(QueueSelect::decode(from, version)?),
            (Standard(16), V14 | V15) | (Onf(1870), V13) | (Nicira(2), V10) => {
                Self::FlowMonitor(list(from, |from| {
                    FlowMonitorRequest::decode(from, version)
                })?)
            }
            _ => return Err(unknown(kind)),
        })
    }

    /// Its number, if the version has it.
    fn kind(&self, version: Version) -> Option<Kind> {
        use Kind::{Nicira, Onf, Standard};
        let kind = match self {
            Self::Desc => Standard(0),
            Self::Flow(request) => flow_kind(request.layout, version, 1, 0),
            Self::Aggregate(request) => flow_kind(request.layout, version, 2, 1),
            Self::Table => Standard(3),
            Self::Port(_) => Standard(4),
            Self::Queue(_) => Standard(5),
            Self::Group(_) if version == V10 => Nicira(7),
            Self::Group(_) => Standard(6),
            Self::GroupDesc(_) if version == V10 => Nicira(8),
            Self::GroupDesc(id) if version < V15 && *id != GROUP_ALL => return None,
            Self::GroupDesc(_) => Standard(7),
            Self::GroupFeatures if version == V10 => Nicira(9),
            Self::GroupFeatures => Standard(8),
            Self::Meter(_) => since(V13, version, 9)?,
            Self::MeterConfig(_) => since(V13, version, 10)?,
            Self::MeterFeatures => since(V13, version, 11)?,
            Self::TableFeatures(_) => since(V13, version, 12)?,
            Self::PortDesc(port) if version < V15 && *port != OfPort::ANY => return None,
            Self::PortDesc(_) => Standard(13),
            Self::TableDesc => since(V14, version, 14)?,
            Self::QueueDesc(_) => since(V14, version, 15)?,
            Self::FlowMonitor(_) => match version {
                V10 => Nicira(2),
                V13 => Onf(1870),
                V14 | V15 => Standard(16),
            },
        };
        Some(kind)
    }

    /// Writes what follows the message's header; a list of many entries becomes several messages.
    pub(crate) fn encode(&self, parts: Parts<'_>, version: Version) {
        let Some(kind) = self.kind(version) else {
            parts.to.not_in("this multipart request", version);
            return;
        };
        let mut parts = parts.begin(kind);
        let to = &mut *parts.to;
        match self {
            Self::Desc
            | Self::Table
            | Self::GroupFeatures
            | Self::MeterFeatures
            | Self::TableDesc => {}
            Self::PortDesc(port) if version >= V15 => {
                to.port(*port);
                to.zeros(4);
            }
            Self::PortDesc(_) => {}
            Self::Flow(request) | Self::Aggregate(request) => request.encode(to, version),
            Self::Port(port) if version == V10 => {
                to.port16(*port);
                to.zeros(6);
            }
            Self::Port(port) => {
                to.port(*port);
                to.zeros(4);
            }
            Self::Queue(select) | Self::QueueDesc(select) => select.encode(to, version),
            Self::Group(id) => group::encode_select(*id, to),
            Self::GroupDesc(id) if version == V10 || version >= V15 => {
                group::encode_select(*id, to);
            }
            Self::GroupDesc(_) => {}
            Self::Meter(id) | Self::MeterConfig(id) => meter::encode_select(*id, to),
            Self::TableFeatures(tables) => parts.entries(tables, TableFeatures::encode),
            Self::FlowMonitor(monitors) => {
                parts.entries(monitors, |one, to| one.encode(to, version));
            }
        }
        parts.end();
    }
}

/// A request for flows or for their counters, which 1.0 has in two forms.
fn flow_kind(layout: Layout, version: Version, standard: u16, nicira: u32) -> Kind {
    match (layout, version) {
        (Layout::Nicira, Version::V10) => Kind::Nicira(nicira),
        _ => Kind::Standard(standard),
    }
}

/// A kind that came with a version.
fn since(first: Version, version: Version, number: u16) -> Option<Kind> {
    (version >= first).then_some(Kind::Standard(number))
}

impl Reply {
    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<(Self, bool), OfError> {
        let (kind, more) = decode_header(from, version)?;
        let reply = Self::decode_body(kind, from, version)?;
        Ok((reply, more))
    }

    fn decode_body(kind: Kind, from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        use Kind::{Nicira, Onf, Standard};
        let flows = |from: &mut Reader<'_>, layout| {
            let flows = list(from, |from| FlowStats::decode(from, version, layout))?;
            Ok::<_, OfError>(Self::Flow(layout, flows))
        };
        Ok(match (kind, version) {
            (Standard(0), _) => Self::Desc(Box::new(SwitchDesc::decode(from)?)),
            (Standard(1), _) => flows(from, Layout::Standard)?,
            (Nicira(0), V10) => flows(from, Layout::Nicira)?,
            (Standard(2), _) => {
                Self::Aggregate(Layout::Standard, Aggregate::decode(from, version)?)
            }
            (Nicira(1), V10) => Self::Aggregate(Layout::Nicira, Aggregate::decode(from, version)?),
            (Standard(3), _) => Self::Table(list(from, |from| TableStats::decode(from, version))?),
            (Standard(4), _) => Self::Port(list(from, |from| PortStats::decode(from, version))?),
            (Standard(5), _) => Self::Queue(list(from, |from| QueueStats::decode(from, version))?),
            (Standard(6), V13 | V14 | V15) | (Nicira(7), V10) => {
                Self::Group(list(from, GroupStats::decode)?)
            }
            (Standard(7), V13 | V14 | V15) | (Nicira(8), V10) => {
                Self::GroupDesc(list(from, |from| group::decode_desc(from, version))?)
            }
            (Standard(8), V13 | V14 | V15) | (Nicira(9), V10) => {
                Self::GroupFeatures(GroupFeatures::decode(from)?)
            }
            (Standard(9), V13 | V14 | V15) => Self::Meter(list(from, MeterStats::decode)?),
            (Standard(10), V13 | V14 | V15) => Self::MeterConfig(list(from, meter::decode_config)?),
            (Standard(11), V13 | V14 | V15) => Self::MeterFeatures(MeterFeatures::decode(from)?),
            (Standard(12), V13 | V14 | V15) => {
                Self::TableFeatures(list(from, TableFeatures::decode)?)
            }
            (Standard(13), _) => Self::PortDesc(PortDesc::decode_list(from, version)?),
            (Standard(14), V14 | V15) => Self::TableDesc(list(from, TableDesc::decode)?),
            (Standard(15), V14 | V15) => Self::QueueDesc(list(from, QueueDesc::decode_14)?),
            (Standard(16), V14 | V15) | (Onf(1870), V13) | (Nicira(2), V10) => {
                Self::FlowMonitor(list(from, |from| FlowUpdate::decode(from, version))?)
            }
            _ => return Err(unknown(kind)),
        })
    }

    /// Its number, if the version has it.
    fn kind(&self, version: Version) -> Option<Kind> {
        let request = match self {
            Self::Desc(_) => Request::Desc,
            Self::Flow(layout, _) => return Some(flow_kind(*layout, version, 1, 0)),
            Self::Aggregate(layout, _) => return Some(flow_kind(*layout, version, 2, 1)),
            Self::Table(_) => Request::Table,
            Self::Port(_) => Request::Port(OfPort::ANY),
            Self::Queue(_) => return Some(Kind::Standard(5)),
            Self::Group(_) => Request::Group(GROUP_ALL),
            Self::GroupDesc(_) => Request::GroupDesc(GROUP_ALL),
            Self::GroupFeatures(_) => Request::GroupFeatures,
            Self::Meter(_) => Request::Meter(METER_ALL),
            Self::MeterConfig(_) => Request::MeterConfig(METER_ALL),
            Self::MeterFeatures(_) => Request::MeterFeatures,
            Self::TableFeatures(_) => Request::TableFeatures(Vec::new()),
            Self::PortDesc(_) => Request::PortDesc(OfPort::ANY),
            Self::TableDesc(_) => Request::TableDesc,
            Self::QueueDesc(_) => return since(V14, version, 15),
            Self::FlowMonitor(_) => Request::FlowMonitor(Vec::new()),
        };
        request.kind(version)
    }

    /// Writes what follows the message's header; a list of many entries becomes several messages.
    pub(crate) fn encode(&self, parts: Parts<'_>, version: Version) {
        let Some(kind) = self.kind(version) else {
            parts.to.not_in("this multipart reply", version);
            return;
        };
        let mut parts = parts.begin(kind);
        match self {
            Self::Desc(desc) => desc.encode(parts.to),
            Self::Flow(layout, flows) => {
                parts.entries(flows, |one, to| one.encode(to, version, *layout));
            }
            Self::Aggregate(_, aggregate) => aggregate.encode(parts.to, version),
            Self::Table(tables) => parts.entries(tables, |one, to| one.encode(to, version)),
            Self::Port(ports) => parts.entries(ports, |one, to| one.encode(to, version)),
            Self::Queue(queues) => parts.entries(queues, |one, to| one.encode(to, version)),
            Self::Group(groups) => parts.entries(groups, GroupStats::encode),
            Self::GroupDesc(groups) => {
                parts.entries(groups, |one, to| group::encode_desc(one, to, version));
            }
            Self::GroupFeatures(features) => features.encode(parts.to),
            Self::Meter(meters) => parts.entries(meters, MeterStats::encode),
            Self::MeterConfig(meters) => parts.entries(meters, meter::encode_config),
            Self::MeterFeatures(features) => features.encode(parts.to),
            Self::TableFeatures(tables) => parts.entries(tables, TableFeatures::encode),
            Self::PortDesc(ports) => parts.entries(ports, |one, to| one.encode(to, version)),
            Self::TableDesc(tables) => parts.entries(tables, TableDesc::encode),
            Self::QueueDesc(queues) => parts.entries(queues, QueueDesc::encode_14),
            Self::FlowMonitor(updates) => {
                parts.entries(updates, |one, to| one.encode(to, version));
            }
        }
        parts.end();
    }
}

/// The messages of a list in the making.
pub(crate) struct Parts<'a> {
    pub(crate) to: &'a mut Writer,
    pub(crate) version: Version,
    /// The message's type.
    pub(crate) number: u8,
    pub(crate) xid: u32,
    /// Whether the caller has more for the list.
    pub(crate) more: bool,
}

impl<'a> Parts<'a> {
    /// Begins the first message.
    fn begin(self, kind: Kind) -> Open<'a> {
        let mut open = Open {
            to: self.to,
            version: self.version,
            number: self.number,
            xid: self.xid,
            more: self.more,
            kind,
            start: 0,
        };
        open.open();
        open
    }
}

/// A message of a list that entries go into.
struct Open<'a> {
    to: &'a mut Writer,
    version: Version,
    number: u8,
    xid: u32,
    more: bool,
    kind: Kind,
    /// Where the message begins.
    start: usize,
}

impl Open<'_> {
    fn open(&mut self) {
        self.start = self.to.size();
        self.to
            .begin_message(self.version.number(), self.number, self.xid);
        encode_header(self.kind, self.more, self.to, self.version);
    }

    /// Ends the message. All but the last say that more follows.
    fn close(&mut self, more: bool) {
        self.to
            .replace_u16(self.start + HEADER_SIZE + 2, if more { MORE } else { 0 });
        self.to.end_message(self.start);
    }

    fn end(mut self) {
        self.close(self.more);
    }

    /// Writes entries, and begins another message whenever one does not fit.
    fn entries<T>(&mut self, entries: &[T], encode: impl Fn(&T, &mut Writer)) {
        let empty = self.to.size();
        let overhead = empty - self.start;
        for entry in entries {
            let at = self.to.size();
            encode(entry, self.to);
            if self.to.size() - self.start <= MESSAGE_MAX {
                continue;
            }
            let entry = self.to.split_off(at);
            if entry.len() > MESSAGE_MAX - overhead {
                self.to.fail(EncodeError::TooLong("an entry of a list"));
                return;
            }
            self.close(true);
            self.open();
            self.to.bytes(&entry);
        }
    }
}

/// A list that comes in parts.
pub trait Joined: Sized {
    /// Adds the next part.
    ///
    /// # Errors
    /// A part of another kind, or of a kind that has no parts.
    fn join(&mut self, next: Self) -> Result<(), OfError>;
}

const NOT_JOINED: OfError = ErrorCode::BrcBadLen.about("a part that does not continue another");

impl Joined for Request {
    fn join(&mut self, next: Self) -> Result<(), OfError> {
        match (self, next) {
            (Self::TableFeatures(all), Self::TableFeatures(next)) => all.extend(next),
            (Self::FlowMonitor(all), Self::FlowMonitor(next)) => all.extend(next),
            _ => return Err(NOT_JOINED),
        }
        Ok(())
    }
}

impl Joined for Reply {
    fn join(&mut self, next: Self) -> Result<(), OfError> {
        match (self, next) {
            (Self::Flow(layout, all), Self::Flow(same, next)) if *layout == same => {
                all.extend(next);
            }
            (Self::Table(all), Self::Table(next)) => all.extend(next),
            (Self::Port(all), Self::Port(next)) => all.extend(next),
            (Self::Queue(all), Self::Queue(next)) => all.extend(next),
            (Self::Group(all), Self::Group(next)) => all.extend(next),
            (Self::GroupDesc(all), Self::GroupDesc(next)) => all.extend(next),
            (Self::Meter(all), Self::Meter(next)) => all.extend(next),
            (Self::MeterConfig(all), Self::MeterConfig(next)) => all.extend(next),
            (Self::TableFeatures(all), Self::TableFeatures(next)) => all.extend(next),
            (Self::PortDesc(all), Self::PortDesc(next)) => all.extend(next),
            (Self::TableDesc(all), Self::TableDesc(next)) => all.extend(next),
            (Self::QueueDesc(all), Self::QueueDesc(next)) => all.extend(next),
            (Self::FlowMonitor(all), Self::FlowMonitor(next)) => all.extend(next),
            _ => return Err(NOT_JOINED),
        }
        Ok(())
    }
}

/// Puts parts together, each list by its xid.
#[derive(Debug)]
pub struct Assembler<T> {
    /// What came of each list, and the bytes of the messages it came in.
    lists: HashMap<u32, (T, usize)>,
    size_max: usize,
}

impl<T: Joined> Assembler<T> {
    /// Keeps lists of at most `size_max` bytes together, counted as they came.
    #[must_use]
    pub fn new(size_max: usize) -> Self {
        Self {
            lists: HashMap::new(),
            size_max,
        }
    }

    /// Adds a part that came in a message of `size` bytes; the list, if it was the last.
    ///
    /// # Errors
    /// `OFPBRC_MULTIPART_BUFFER_OVERFLOW` if there would be too much, and what [`Joined::join`]
    /// refuses. The list's parts so far are forgotten.
    pub fn add(
        &mut self,
        xid: u32,
        more: bool,
        part: T,
        size: usize,
    ) -> Result<Option<T>, OfError> {
        let (whole, size) = match self.lists.remove(&xid) {
            None => (part, size),
            Some((mut all, before)) => {
                all.join(part)?;
                (all, before + size)
            }
        };
        if !more {
            return Ok(Some(whole));
        }
        let others: usize = self.lists.values().map(|(_, size)| size).sum();
        if others + size > self.size_max {
            let code = ErrorCode::BrcMultipartBufferOverflow;
            return Err(code.about("the parts of a list"));
        }
        self.lists.insert(xid, (whole, size));
        Ok(None)
    }
}
