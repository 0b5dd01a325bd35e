//! Every message, and which number it has in which version.
//!
//! A [`Message`] is the same value in all versions. What only one version can say is empty in the
//! others; what a version cannot say at all is refused when it is written ([`EncodeError::NotIn`]).
//! Two tables say it all: `decode_body` from numbers to values, `Message::kind` back.
//!
//! Spec: OpenFlow 1.0.1 §5.1, 1.3.5 §7.1, 1.4.1 §7.1; Open vSwitch's
//! `include/openvswitch/ofp-msgs.h` for experimenters' messages.

use vswitch_flow::{CtFilter, GroupMod, MeterMod, OfPort};

use crate::async_config::{AsyncConfig, AsyncForm};
use crate::bundle::{BundleAdd, BundleControl};
use crate::config::SwitchConfig;
use crate::ct_flush;
use crate::error::{ErrorCode, ErrorMessage, NICIRA, ONF, OfError};
use crate::features::SwitchFeatures;
use crate::flow_mod::FlowModMessage;
use crate::flow_removed::FlowRemoved;
use crate::group;
use crate::header::{HEADER_SIZE, Header, Version};
use crate::hello::Hello;
use crate::meter;
use crate::multipart::{Parts, Reply, Request};
use crate::nicira::{self, FlowFormat, PacketInFormat, TlvTable, TlvTableMod};
use crate::packet_in::PacketIn;
use crate::packet_out::PacketOut;
use crate::port::{PortMod, PortStatus};
use crate::queue::{self, QueueConfig};
use crate::request_forward::RequestForward;
use crate::role::{RoleRequest, RoleStatus};
use crate::table::{TableDesc, TableStatus};
use crate::wire::{EncodeError, Reader, Writer};

/// Which of two forms a message has, where a version has two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// The specification's.
    #[default]
    Standard,
    /// Nicira's.
    Nicira,
}

/// What two sides agreed on that changes what bytes mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// The command of a flow change carries a table (`NXT_FLOW_MOD_TABLE_ID`, 1.0).
    pub table_id: bool,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The first message of both sides.
    Hello(Hello),
    /// A refusal.
    Error(ErrorMessage),
    /// Asks for the same bytes back.
    EchoRequest(Vec<u8>),
    /// The bytes.
    EchoReply(Vec<u8>),
    /// Asks what the switch is.
    FeaturesRequest,
    /// What it is.
    FeaturesReply(SwitchFeatures),
    /// Asks for the switch's settings.
    ConfigRequest,
    /// The settings.
    ConfigReply(SwitchConfig),
    /// Changes the settings.
    SetConfig(SwitchConfig),
    /// A packet for the controller.
    PacketIn(Box<PacketIn>),
    /// A flow is gone.
    FlowRemoved(Box<FlowRemoved>),
    /// News of a port.
    PortStatus(Box<PortStatus>),
    /// A packet from the controller.
    PacketOut(Box<PacketOut>),
    /// Changes flows.
    FlowMod(Box<FlowModMessage>),
    /// Changes groups (since 1.1; Nicira's in 1.0).
    GroupMod(GroupMod),
    /// Changes a port.
    PortMod(PortMod),
    /// Changes a table (since 1.1).
    TableMod(TableDesc),
    /// Changes meters (since 1.3).
    MeterMod(MeterMod),
    /// Asks for an answer when everything before is done.
    BarrierRequest,
    /// The answer.
    BarrierReply,
    /// Asks for a part of a list, and whether more parts follow.
    MultipartRequest(Request, bool),
    /// A part of a list, and whether more parts follow.
    MultipartReply(Reply, bool),
    /// Asks for a port's queues (until 1.3).
    QueueConfigRequest(OfPort),
    /// The queues.
    QueueConfigReply(QueueConfig),
    /// Asks for a role.
    RoleRequest(RoleRequest),
    /// The role.
    RoleReply(RoleRequest),
    /// News of the controller's role (since 1.4; the ONF's in 1.3).
    RoleStatus(RoleStatus),
    /// Asks which messages come without being asked for (since 1.3).
    AsyncRequest,
    /// Which ones.
    AsyncReply(AsyncConfig),
    /// Chooses them.
    SetAsync(AsyncConfig),
    /// News of a table (1.4).
    TableStatus(TableStatus),
    /// A request of another controller.
    RequestForward(RequestForward),
    /// A command to a bundle (since 1.4; the ONF's in 1.3).
    BundleControl(BundleControl),
    /// Adds a message to a bundle (since 1.4; the ONF's in 1.3).
    BundleAdd(BundleAdd),
    /// Chooses how flows are told of (Nicira, 1.0).
    SetFlowFormat(FlowFormat),
    /// Chooses whether commands of flow changes carry a table (Nicira).
    FlowModTableId(bool),
    /// Chooses how packets are sent to the controller (Nicira).
    SetPacketInFormat(PacketInFormat),
    /// Asks for ages of flows (Nicira, 1.0).
    FlowAge,
    /// Gives the controller a number (Nicira).
    SetControllerId(u16),
    /// Changes the table of tunnel options (Nicira).
    TlvTableMod(TlvTableMod),
    /// Asks for the table of tunnel options (Nicira).
    TlvTableRequest,
    /// The table.
    TlvTableReply(TlvTable),
    /// Lets a packet go on that waited for the controller (Nicira).
    Resume(Box<PacketIn>),
    /// Forgets the connections of a zone (Nicira).
    CtFlushZone(u16),
    /// Forgets connections (Nicira).
    CtFlush(Box<CtFilter>),
    /// Ends a flow monitor (Nicira's in 1.0, the ONF's in 1.3).
    FlowMonitorCancel(u32),
    /// There is too much to tell of flows: some will come later (alike).
    FlowMonitorPaused,
    /// All has been told (alike).
    FlowMonitorResumed,
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The version it was read as. A hello or an error of a version that is not spoken here is
    /// read as the next lower one.
    pub version: Version,
    /// Its number; the answer must have the same.
    pub xid: u32,
    /// What it says.
    pub message: Message,
}

/// Whose number a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The version's.
    Standard(u8),
    /// Nicira's.
    Nicira(u32),
    /// The Open Networking Foundation's.
    Onf(u32),
}

/// The type of experimenters' messages.
const EXPERIMENTER: u8 = 4;

const V10: Version = Version::V10;
const V13: Version = Version::V13;
const V14: Version = Version::V14;
const V15: Version = Version::V15;

impl Message {
    /// Reads a whole message, as a [`crate::Framer`] hands it out.
    ///
    /// # Errors
    /// The error to answer with; [`ErrorMessage::refuse`] makes the answer.
    pub fn decode(bytes: &[u8]) -> Result<Decoded, OfError> {
        Self::decode_with(bytes, Dialect::default())
    }

    /// Reads a whole message in a dialect.
    ///
    /// # Errors
    /// As [`Message::decode`].
    pub fn decode_with(bytes: &[u8], dialect: Dialect) -> Result<Decoded, OfError> {
        let header = Header::decode(bytes)?;
        let bad_len = ErrorCode::BrcBadLen.about("a message");
        if usize::from(header.length) != bytes.len() {
            return Err(bad_len);
        }
        let version = version_to_read(header)?;
        let mut from = Reader::new(&bytes[HEADER_SIZE..], bad_len);
        let kind = if header.kind == EXPERIMENTER {
            let (who, what) = (from.u32()?, from.u32()?);
            match who {
                NICIRA => Kind::Nicira(what),
                ONF => Kind::Onf(what),
                _ => return Err(ErrorCode::BrcBadVendor.about("a message")),
            }
        } else {
            Kind::Standard(header.kind)
        };
        let message = decode_body(kind, version, header, dialect, &mut from)?;
        from.finish()?;
        Ok(Decoded {
            version,
            xid: header.xid,
            message,
        })
    }

    /// Writes the message; several messages one after the other if it is a list that is too long
    /// for one.
    ///
    /// # Errors
    /// What the version cannot say, or a length field.
    pub fn encode(&self, version: Version, xid: u32) -> Result<Vec<u8>, EncodeError> {
        self.encode_with(version, xid, Dialect::default())
    }

    /// Writes the message in a dialect.
    ///
    /// # Errors
    /// As [`Message::encode`].
    pub fn encode_with(
        &self,
        version: Version,
        xid: u32,
        dialect: Dialect,
    ) -> Result<Vec<u8>, EncodeError> {
        let mut to = Writer::new();
        let Some(kind) = self.kind(version) else {
            to.not_in(self.name(), version);
            return to.finish();
        };
        let number = match kind {
            Kind::Standard(number) => number,
            Kind::Nicira(_) | Kind::Onf(_) => EXPERIMENTER,
        };
        let parts = |more: bool, to| Parts {
            to,
            version,
            number,
            xid,
            more,
        };
        match self {
            Self::MultipartRequest(request, more) => {
                request.encode(parts(*more, &mut to), version);
                return to.finish();
            }
            Self::MultipartReply(reply, more) => {
                reply.encode(parts(*more, &mut to), version);
                return to.finish();
            }
            _ => {}
        }
        let outer = match self {
            // The header's version is part of what a hello says.
            Self::Hello(hello) => hello.version,
            _ => version.number(),
        };
        to.begin_message(outer, number, xid);
        match kind {
            Kind::Standard(_) => {}
            Kind::Nicira(what) => {
                to.u32(NICIRA);
                to.u32(what);
            }
            Kind::Onf(what) => {
                to.u32(ONF);
                to.u32(what);
            }
        }
        self.encode_body(kind, version, dialect, &mut to);
        to.end_message(0);
        to.finish()
    }
}

/// The version to read a message as.
fn version_to_read(header: Header) -> Result<Version, OfError> {
    if let Some(version) = Version::from_number(header.version) {
        return Ok(version);
    }
    let lower = Version::ALL
        .into_iter()
        .rfind(|version| version.number() < header.version);
    lower
        .filter(|_| header.is_immutable())
        .ok_or(ErrorCode::BrcBadVersion.about("a message"))
}

/// What each number says.
fn decode_body(
    kind: Kind,
    version: Version,
    header: Header,
    dialect: Dialect,
    from: &mut Reader<'_>,
) -> Result<Message, OfError> {
    use Kind::{Nicira, Onf, Standard};
    use Message as M;
    Ok(match (kind, version) {
        (Standard(0), _) => M::Hello(Hello::decode(from, header.version)),
        (Standard(1), _) => M::Error(ErrorMessage::decode(from, version)?),
        (Standard(2), _) => M::EchoRequest(from.take_rest().to_vec()),
        (Standard(3), _) => M::EchoReply(from.take_rest().to_vec()),
        (Standard(5), _) => M::FeaturesRequest,
        (Standard(6), _) => M::FeaturesReply(SwitchFeatures::decode(from, version)?),
        (Standard(7), _) => M::ConfigRequest,
        (Standard(8), _) => M::ConfigReply(SwitchConfig::decode(from)?),
        (Standard(9), _) => M::SetConfig(SwitchConfig::decode(from)?),
        (Standard(10), _) => packet_in(from, version, PacketInFormat::Standard)?,
        (Nicira(17), _) => packet_in(from, version, PacketInFormat::Nicira)?,
        (Nicira(30), _) => packet_in(from, version, PacketInFormat::Nicira2)?,
        (Nicira(28), _) => {
            let packet = PacketIn::decode(from, version, PacketInFormat::Nicira2)?;
            M::Resume(Box::new(packet))
        }
        (Standard(11), _) => flow_removed(from, version, Layout::Standard)?,
        (Nicira(14), V10) => flow_removed(from, version, Layout::Nicira)?,
        (Standard(12), _) => M::PortStatus(Box::new(PortStatus::decode(from, version)?)),
        (Standard(13), _) => M::PacketOut(Box::new(PacketOut::decode(from, version)?)),
        (Standard(14), _) => flow_mod(from, version, Layout::Standard, dialect)?,
        (Nicira(13), V10) => flow_mod(from, version, Layout::Nicira, dialect)?,
        (Standard(15), V13 | V14 | V15) | (Nicira(31), V10) => {
            M::GroupMod(group::decode_mod(from, version)?)
        }
        (Standard(15), V10) | (Standard(16), V13 | V14 | V15) => {
            M::PortMod(PortMod::decode(from, version)?)
        }
        (Standard(17), V13 | V14 | V15) => M::TableMod(TableDesc::decode_mod(from, version)?),
        (Standard(29), V13 | V14 | V15) => M::MeterMod(meter::decode_mod(from)?),
        (Standard(18), V10) | (Standard(20), V13 | V14 | V15) => M::BarrierRequest,
        (Standard(19), V10) | (Standard(21), V13 | V14 | V15) => M::BarrierReply,
        (Standard(16), V10) | (Standard(18), V13 | V14 | V15) => {
            let (request, more) = Request::decode(from, version)?;
            M::MultipartRequest(request, more)
        }
        (Standard(17), V10) | (Standard(19), V13 | V14 | V15) => {
            let (reply, more) = Reply::decode(from, version)?;
            M::MultipartReply(reply, more)
        }
        (Standard(20), V10) | (Standard(22), V13) => {
            M::QueueConfigRequest(queue::decode_config_request(from, version)?)
        }
        (Standard(21), V10) | (Standard(23), V13) => {
            M::QueueConfigReply(QueueConfig::decode(from, version)?)
        }
        (Standard(24), V13 | V14 | V15) => {
            M::RoleRequest(RoleRequest::decode(from, Layout::Standard)?)
        }
        (Nicira(10), _) => M::RoleRequest(RoleRequest::decode(from, Layout::Nicira)?),
        (Standard(25), V13 | V14 | V15) => {
            M::RoleReply(RoleRequest::decode(from, Layout::Standard)?)
        }
        (Nicira(11), _) => M::RoleReply(RoleRequest::decode(from, Layout::Nicira)?),
        (Standard(30), V14 | V15) | (Onf(1911), V13) => M::RoleStatus(RoleStatus::decode(from)?),
        (Standard(26), V13 | V14 | V15) => M::AsyncRequest,
        (Standard(27), V13 | V14 | V15) => {
            M::AsyncReply(AsyncConfig::decode(from, version, AsyncForm::Standard)?)
        }
        (Standard(28), V13 | V14 | V15) => {
            M::SetAsync(AsyncConfig::decode(from, version, AsyncForm::Standard)?)
        }
        (Nicira(19), _) => M::SetAsync(AsyncConfig::decode(from, version, AsyncForm::Nicira)?),
        (Nicira(27), V10 | V13) => {
            let form = AsyncForm::NiciraProperties;
            M::SetAsync(AsyncConfig::decode(from, version, form)?)
        }
        (Standard(31), V14 | V15) => M::TableStatus(TableStatus::decode(from)?),
        (Standard(32), V14 | V15) | (Onf(2350), V13) | (Nicira(132), V10) => {
            M::RequestForward(RequestForward::decode(from)?)
        }
        (Standard(33), V14 | V15) | (Onf(2300), V13) => {
            M::BundleControl(BundleControl::decode(from)?)
        }
        (Standard(34), V14 | V15) | (Onf(2301), V13) => {
            M::BundleAdd(BundleAdd::decode(from, header)?)
        }
        (Nicira(12), V10) => M::SetFlowFormat(nicira::decode_flow_format(from)?),
        (Nicira(15), _) => M::FlowModTableId(nicira::decode_table_id(from)?),
        (Nicira(16), _) => M::SetPacketInFormat(nicira::decode_packet_in_format(from)?),
        (Nicira(18), _) => M::FlowAge,
        (Nicira(20), _) => M::SetControllerId(nicira::decode_number(from)?),
        (Nicira(24), _) => M::TlvTableMod(TlvTableMod::decode(from)?),
        (Nicira(25), _) => M::TlvTableRequest,
        (Nicira(26), _) => M::TlvTableReply(TlvTable::decode(from)?),
        (Nicira(29), _) => M::CtFlushZone(nicira::decode_number(from)?),
        (Nicira(32), _) => M::CtFlush(Box::new(ct_flush::decode(from)?)),
        (Nicira(21), V10) | (Onf(1870), V13) => M::FlowMonitorCancel(from.u32()?),
        (Nicira(22), V10) | (Onf(1871), V13) => M::FlowMonitorPaused,
        (Nicira(23), V10) | (Onf(1872), V13) => M::FlowMonitorResumed,
        (Standard(_), _) => return Err(ErrorCode::BrcBadType.about("a message")),
        (Nicira(_) | Onf(_), _) => return Err(ErrorCode::BrcBadSubtype.about("a message")),
    })
}

fn packet_in(
    from: &mut Reader<'_>,
    version: Version,
    format: PacketInFormat,
) -> Result<Message, OfError> {
    let packet = PacketIn::decode(from, version, format)?;
    Ok(Message::PacketIn(Box::new(packet)))
}

fn flow_removed(
    from: &mut Reader<'_>,
    version: Version,
    layout: Layout,
) -> Result<Message, OfError> {
    let removed = FlowRemoved::decode(from, version, layout)?;
    Ok(Message::FlowRemoved(Box::new(removed)))
}

fn flow_mod(
    from: &mut Reader<'_>,
    version: Version,
    layout: Layout,
    dialect: Dialect,
) -> Result<Message, OfError> {
    let change = FlowModMessage::decode(from, version, layout, dialect)?;
    Ok(Message::FlowMod(Box::new(change)))
}

impl Message {
    /// Which number says it, if the version has one.
    fn kind(&self, version: Version) -> Option<Kind> {
        use Kind::{Nicira, Onf, Standard};
        let old = version == V10;
        let since_11 = |number| (!old).then_some(Standard(number));
        let since_13 = |onf, number| match version {
            V10 => None,
            V13 => Some(Onf(onf)),
            V14 | V15 => Some(Standard(number)),
        };
        let monitor = |nicira, onf| match version {
            V10 => Some(Nicira(nicira)),
            V13 => Some(Onf(onf)),
            V14 | V15 => None,
        };
        let only_10 = |number| old.then_some(Nicira(number));
        // Where 1.0 and later versions have different numbers.
        let moved = |first, later| Some(Standard(if old { first } else { later }));
        match self {
            Self::Hello(_) => Some(Standard(0)),
            Self::Error(_) => Some(Standard(1)),
            Self::EchoRequest(_) => Some(Standard(2)),
            Self::EchoReply(_) => Some(Standard(3)),
            Self::FeaturesRequest => Some(Standard(5)),
            Self::FeaturesReply(_) => Some(Standard(6)),
            Self::ConfigRequest => Some(Standard(7)),
            Self::ConfigReply(_) => Some(Standard(8)),
            Self::SetConfig(_) => Some(Standard(9)),
            Self::PacketIn(packet) => Some(match packet.format {
                PacketInFormat::Standard => Standard(10),
                PacketInFormat::Nicira => Nicira(17),
                PacketInFormat::Nicira2 => Nicira(30),
            }),
            Self::FlowRemoved(removed) if old && removed.layout == Layout::Nicira => {
                Some(Nicira(14))
            }
            Self::FlowRemoved(_) => Some(Standard(11)),
            Self::PortStatus(_) => Some(Standard(12)),
            Self::PacketOut(_) => Some(Standard(13)),
            Self::FlowMod(change) => Some(match change.layout(version) {
                Layout::Standard => Standard(14),
                Layout::Nicira => Nicira(13),
            }),
            Self::GroupMod(_) => Some(if old { Nicira(31) } else { Standard(15) }),
            Self::PortMod(_) => moved(15, 16),
            Self::TableMod(_) => since_11(17),
            Self::MeterMod(_) => since_11(29),
            Self::BarrierRequest => moved(18, 20),
            Self::BarrierReply => moved(19, 21),
            Self::MultipartRequest(..) => moved(16, 18),
            Self::MultipartReply(..) => moved(17, 19),
            Self::QueueConfigRequest(_) => moved(20, 22).filter(|_| version < V14),
            Self::QueueConfigReply(_) => moved(21, 23).filter(|_| version < V14),
            Self::RoleRequest(role) if old || role.layout == Layout::Nicira => Some(Nicira(10)),
            Self::RoleRequest(_) => Some(Standard(24)),
            Self::RoleReply(role) if old || role.layout == Layout::Nicira => Some(Nicira(11)),
            Self::RoleReply(_) => Some(Standard(25)),
            Self::RoleStatus(_) => since_13(1911, 30),
            Self::AsyncRequest => since_11(26),
            Self::AsyncReply(_) => since_11(27),
            Self::SetAsync(config) => match config.form {
                AsyncForm::Standard if old => Some(Nicira(19)),
                AsyncForm::Standard => Some(Standard(28)),
                AsyncForm::Nicira => Some(Nicira(19)),
                AsyncForm::NiciraProperties => (version < V14).then_some(Nicira(27)),
            },
            Self::TableStatus(_) => (version >= V14).then_some(Standard(31)),
            Self::RequestForward(_) if old => Some(Nicira(132)),
            Self::RequestForward(_) => since_13(2350, 32),
            Self::BundleControl(_) => since_13(2300, 33),
            Self::BundleAdd(_) => since_13(2301, 34),
            Self::SetFlowFormat(_) => only_10(12),
            Self::FlowModTableId(_) => Some(Nicira(15)),
            Self::SetPacketInFormat(_) => Some(Nicira(16)),
            Self::FlowAge => Some(Nicira(18)),
            Self::SetControllerId(_) => Some(Nicira(20)),
            Self::TlvTableMod(_) => Some(Nicira(24)),
            Self::TlvTableRequest => Some(Nicira(25)),
            Self::TlvTableReply(_) => Some(Nicira(26)),
            Self::Resume(_) => Some(Nicira(28)),
            Self::CtFlushZone(_) => Some(Nicira(29)),
            Self::CtFlush(_) => Some(Nicira(32)),
            Self::FlowMonitorCancel(_) => monitor(21, 1870),
            Self::FlowMonitorPaused => monitor(22, 1871),
            Self::FlowMonitorResumed => monitor(23, 1872),
        }
    }

    fn encode_body(&self, kind: Kind, version: Version, dialect: Dialect, to: &mut Writer) {
        let layout = match kind {
            Kind::Nicira(_) => Layout::Nicira,
            Kind::Standard(_) | Kind::Onf(_) => Layout::Standard,
        };
        match self {
            // Lists are messages of their own making.
            Self::MultipartRequest(..) | Self::MultipartReply(..) => {}
            Self::FeaturesRequest
            | Self::ConfigRequest
            | Self::BarrierRequest
            | Self::BarrierReply
            | Self::AsyncRequest
            | Self::FlowAge
            | Self::TlvTableRequest
            | Self::FlowMonitorPaused
            | Self::FlowMonitorResumed => {}
            Self::Hello(hello) => hello.encode(to),
            Self::Error(error) => error.encode(to, version),
            Self::EchoRequest(bytes) | Self::EchoReply(bytes) => to.bytes(bytes),
            Self::FeaturesReply(features) => features.encode(to, version),
            Self::ConfigReply(config) | Self::SetConfig(config) => config.encode(to),
            Self::PacketIn(packet) => packet.encode(to, version, packet.format),
            Self::Resume(packet) => packet.encode(to, version, PacketInFormat::Nicira2),
            Self::FlowRemoved(removed) => removed.encode(to, version),
            Self::PortStatus(status) => status.encode(to, version),
            Self::PacketOut(packet) => packet.encode(to, version),
            Self::FlowMod(change) => change.encode(to, version, dialect),
            Self::GroupMod(change) => group::encode_mod(change, to, version),
            Self::PortMod(change) => change.encode(to, version),
            Self::TableMod(change) => change.encode_mod(to, version),
            Self::MeterMod(change) => meter::encode_mod(change, to),
            Self::QueueConfigRequest(port) => queue::encode_config_request(*port, to, version),
            Self::QueueConfigReply(config) => config.encode(to, version),
            Self::RoleRequest(role) | Self::RoleReply(role) => role.encode(to, version, layout),
            Self::RoleStatus(status) => status.encode(to),
            Self::AsyncReply(config) | Self::SetAsync(config) => config.encode(to, version),
            Self::TableStatus(status) => status.encode(to),
            Self::RequestForward(forward) => forward.encode(to),
            Self::BundleControl(control) => control.encode(to),
            Self::BundleAdd(add) => add.encode(to),
            Self::SetFlowFormat(format) => to.u32(format.number()),
            Self::FlowModTableId(set) => nicira::encode_table_id(*set, to),
            Self::SetPacketInFormat(format) => to.u32(format.number()),
            Self::SetControllerId(number) | Self::CtFlushZone(number) => {
                nicira::encode_number(*number, to);
            }
            Self::TlvTableMod(change) => change.encode(to),
            Self::TlvTableReply(table) => table.encode(to),
            Self::CtFlush(flush) => ct_flush::encode(flush, to),
            Self::FlowMonitorCancel(id) => to.u32(*id),
        }
    }

    /// What it is called, for a person.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Error(_) => "an error",
            Self::EchoRequest(_) => "an echo request",
            Self::EchoReply(_) => "an echo reply",
            Self::FeaturesRequest => "a features request",
            Self::FeaturesReply(_) => "a features reply",
            Self::ConfigRequest => "a get-config request",
            Self::ConfigReply(_) => "a get-config reply",
            Self::SetConfig(_) => "set-config",
            Self::PacketIn(_) => "a packet-in",
            Self::FlowRemoved(_) => "a removed flow",
            Self::PortStatus(_) => "a port status",
            Self::PacketOut(_) => "a packet-out",
            Self::FlowMod(_) => "a change to flows",
            Self::GroupMod(_) => "a change to groups",
            Self::PortMod(_) => "a change to a port",
            Self::TableMod(_) => "a change to a table",
            Self::MeterMod(_) => "a change to meters",
            Self::BarrierRequest => "a barrier request",
            Self::BarrierReply => "a barrier reply",
            Self::MultipartRequest(..) => "a multipart request",
            Self::MultipartReply(..) => "a multipart reply",
            Self::QueueConfigRequest(_) => "a request for queues",
            Self::QueueConfigReply(_) => "a port's queues",
            Self::RoleRequest(_) => "a role request",
            Self::RoleReply(_) => "a role reply",
            Self::RoleStatus(_) => "a role status",
            Self::AsyncRequest => "a request for asynchronous messages",
            Self::AsyncReply(_) => "a list of asynchronous messages",
            Self::SetAsync(_) => "a choice of asynchronous messages",
            Self::TableStatus(_) => "a table status",
            Self::RequestForward(_) => "a forwarded request",
            Self::BundleControl(_) => "a bundle control message",
            Self::BundleAdd(_) => "a message in a bundle",
            Self::SetFlowFormat(_) => "a flow format",
            Self::FlowModTableId(_) => "NXT_FLOW_MOD_TABLE_ID",
            Self::SetPacketInFormat(_) => "a packet-in format",
            Self::FlowAge => "NXT_FLOW_AGE",
            Self::SetControllerId(_) => "a controller's number",
            Self::TlvTableMod(_) => "a change to the TLV table",
            Self::TlvTableRequest => "a request for the TLV table",
            Self::TlvTableReply(_) => "the TLV table",
            Self::Resume(_) => "a packet that is to go on",
            Self::CtFlushZone(_) => "a zone to forget",
            Self::CtFlush(_) => "connections to forget",
            Self::FlowMonitorCancel(_) => "the end of a flow monitor",
            Self::FlowMonitorPaused => "the pause of flow monitors",
            Self::FlowMonitorResumed => "the end of a pause of flow monitors",
        }
    }
}
