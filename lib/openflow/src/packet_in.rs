//! Packets for the controller, and packets that it lets go on.
//!
//! There are three forms: the version's own, `NXT_PACKET_IN`, and `NXT_PACKET_IN2`, a list of
//! properties that also holds the controller action's userdata and, if the packet waits, what the
//! switch must know to go on with it. `NXT_RESUME` gives the last form back.
//!
//! Spec: OpenFlow 1.0.1 §5.4.1, 1.3.5 §7.4.1; Open vSwitch's `include/openflow/nicira-ext.h`.

use vswitch_flow::action::Reason;
use vswitch_flow::{Field, Match, OfPort};

use crate::error::{ErrorCode, OfError};
use crate::header::Version;
use crate::nicira::PacketInFormat;
use crate::oxm::matches::{
    NxMatch, decode_loose_match, decode_metadata, encode_fields, encode_match, encode_nx_match,
};
use crate::property;
use crate::wire::{Reader, Writer, require};

/// Stands for no buffer (`OFP_NO_BUFFER`).
const NO_BUFFER: u32 = 0xffff_ffff;

/// Stands for no cookie.
const NO_COOKIE: u64 = u64::MAX;

const PACKET: u16 = 0;
const FULL_LEN: u16 = 1;
const BUFFER_ID: u16 = 2;
const TABLE_ID: u16 = 3;
const COOKIE: u16 = 4;
const REASON: u16 = 5;
const METADATA: u16 = 6;
const USERDATA: u16 = 7;
const CONTINUATION: u16 = 8;

/// A packet for the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketIn {
    /// The form.
    pub format: PacketInFormat,
    /// Where the switch keeps the packet, if it does.
    pub buffer: Option<u32>,
    /// Bytes of the whole packet, of which `packet` may have fewer.
    pub total_len: u32,
    /// Why it is sent.
    pub reason: Reason,
    /// The table it came to (not in the form of 1.0).
    pub table: u8,
    /// The cookie of the flow that sent it (not in the form of 1.0).
    pub cookie: Option<u64>,
    /// What is known of the packet besides its bytes; in the form of 1.0 the port alone.
    pub metadata: Match,
    /// The packet's first bytes.
    pub packet: Vec<u8>,
    /// What the controller action said (`NXT_PACKET_IN2`).
    pub userdata: Vec<u8>,
    /// What the switch must know to go on, if the packet waits (`NXT_PACKET_IN2`).
    pub continuation: Option<Vec<u8>>,
}

impl PacketIn {
    /// A whole packet that came by a port.
    #[must_use]
    pub fn new(format: PacketInFormat, in_port: OfPort, packet: Vec<u8>) -> Self {
        Self {
            format,
            buffer: None,
            total_len: u32::try_from(packet.len()).unwrap_or(u32::MAX),
            reason: Reason::NoMatch,
            table: 0,
            cookie: None,
            metadata: Match::any().with(Field::InPort, in_port.0.into()),
            packet,
            userdata: Vec::new(),
            continuation: None,
        }
    }

    fn empty(format: PacketInFormat) -> Self {
        Self {
            metadata: Match::any(),
            ..Self::new(format, OfPort::ANY, Vec::new())
        }
    }

    pub(crate) fn decode(
        from: &mut Reader<'_>,
        version: Version,
        format: PacketInFormat,
    ) -> Result<Self, OfError> {
        match (format, version) {
            (PacketInFormat::Standard, Version::V10) => Self::decode_10(from, version),
            (PacketInFormat::Standard, _) => Self::decode_13(from, version),
            (PacketInFormat::Nicira, _) => Self::decode_nicira(from, version),
            (PacketInFormat::Nicira2, _) => Self::decode_nicira2(from, version),
        }
    }

    fn decode_10(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut this = Self::empty(PacketInFormat::Standard);
        this.buffer = read_buffer(from)?;
        this.total_len = from.u16()?.into();
        let port = from.port16()?;
        this.metadata = Match::any().with(Field::InPort, port.0.into());
        this.reason = read_reason(from, version)?;
        from.skip(1)?;
        this.packet = from.take_rest().to_vec();
        Ok(this)
    }

    fn decode_13(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut this = Self::empty(PacketInFormat::Standard);
        this.buffer = read_buffer(from)?;
        this.total_len = from.u16()?.into();
        this.reason = read_reason(from, version)?;
        this.table = from.u8()?;
        this.cookie = read_cookie(from)?;
        this.metadata = promised(&decode_loose_match(from)?)?;
        from.skip(2)?;
        this.packet = from.take_rest().to_vec();
        Ok(this)
    }

    fn decode_nicira(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut this = Self::empty(PacketInFormat::Nicira);
        this.buffer = read_buffer(from)?;
        this.total_len = from.u16()?.into();
        this.reason = read_reason(from, version)?;
        this.table = from.u8()?;
        this.cookie = read_cookie(from)?;
        let size = usize::from(from.u16()?);
        from.skip(6)?;
        let padded = from.bytes(size.next_multiple_of(8))?;
        this.metadata = promised(&decode_metadata(&padded[..size])?)?;
        from.skip(2)?;
        this.packet = from.take_rest().to_vec();
        Ok(this)
    }

    fn decode_nicira2(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut this = Self::empty(PacketInFormat::Nicira2);
        let mut total_len = 0;
        while !from.is_empty() {
            let (kind, mut value) = property::read(from)?;
            match kind {
                PACKET => this.packet = value.take_rest().to_vec(),
                FULL_LEN => total_len = value.u32()?,
                BUFFER_ID => this.buffer = read_buffer(&mut value)?,
                TABLE_ID => this.table = value.u8()?,
                COOKIE => this.cookie = read_cookie(&mut property::aligned(value)?)?,
                REASON => this.reason = read_reason(&mut value, version)?,
                METADATA => this.metadata = promised(&decode_metadata(value.take_rest())?)?,
                USERDATA => this.userdata = value.take_rest().to_vec(),
                CONTINUATION => {
                    let bytes = property::aligned(value)?.take_rest();
                    this.continuation = Some(bytes.to_vec());
                }
                _ => return Err(property::unknown(kind, "a packet-in")),
            }
        }
        let size = u32::try_from(this.packet.len()).unwrap_or(u32::MAX);
        require(size > 0, ErrorCode::BrcBadLen, "a packet-in without packet")?;
        this.total_len = if total_len == 0 { size } else { total_len };
        let about = "a packet-in that is longer than its packet";
        require(size <= this.total_len, ErrorCode::BrcBadLen, about)?;
        Ok(this)
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version, format: PacketInFormat) {
        let total_len = u16::try_from(self.total_len).unwrap_or(u16::MAX);
        let begin = |to: &mut Writer| {
            to.u32(self.buffer.unwrap_or(NO_BUFFER));
            to.u16(total_len);
        };
        let reason = reason_number(self.reason, version);
        match (format, version) {
            (PacketInFormat::Standard, Version::V10) => {
                begin(to);
                let (port, _) = self.metadata.field(Field::InPort);
                to.port16(u32::try_from(port).map_or(OfPort::ANY, OfPort));
                to.u8(reason);
                to.zeros(1);
                to.bytes(&self.packet);
            }
            (PacketInFormat::Standard, _) => {
                begin(to);
                to.u8(reason);
                to.u8(self.table);
                to.u64(self.cookie.unwrap_or(NO_COOKIE));
                encode_match(to, version, &self.metadata);
                to.zeros(2);
                to.bytes(&self.packet);
            }
            (PacketInFormat::Nicira, _) => {
                begin(to);
                to.u8(reason);
                to.u8(self.table);
                to.u64(self.cookie.unwrap_or(NO_COOKIE));
                let length = to.length();
                to.zeros(6);
                let metadata = NxMatch {
                    matches: self.metadata.clone(),
                    ..NxMatch::default()
                };
                let size = encode_nx_match(to, &metadata);
                to.put_length(length, size, "a packet's metadata");
                to.zeros(2);
                to.bytes(&self.packet);
            }
            (PacketInFormat::Nicira2, _) => self.encode_nicira2(to, version),
        }
    }

    fn encode_nicira2(&self, to: &mut Writer, version: Version) {
        property::write(to, PACKET, |to| to.bytes(&self.packet));
        if usize::try_from(self.total_len) != Ok(self.packet.len()) {
            property::write_u32(to, FULL_LEN, self.total_len);
        }
        if let Some(buffer) = self.buffer {
            property::write_u32(to, BUFFER_ID, buffer);
        }
        property::write_u8(to, TABLE_ID, self.table);
        if let Some(cookie) = self.cookie {
            property::write_aligned(to, COOKIE, |to| to.u64(cookie));
        }
        property::write_u8(to, REASON, reason_number(self.reason, version));
        property::write(to, METADATA, |to| {
            encode_fields(to, version, &self.metadata)
        });
        if let Some(continuation) = &self.continuation {
            property::write_aligned(to, CONTINUATION, |to| to.bytes(continuation));
        }
        if !self.userdata.is_empty() {
            property::write(to, USERDATA, |to| to.bytes(&self.userdata));
        }
    }
}

/// What of a packet's metadata can be said again: a field whose prerequisites a peer left out says
/// nothing, since it is not known what it is a field of.
fn promised(metadata: &Match) -> Result<Match, OfError> {
    let mut to = Writer::new();
    encode_fields(&mut to, Version::V13, metadata);
    let bad = ErrorCode::BmcBadField.about("a packet's metadata");
    decode_metadata(&to.finish().map_err(|_| bad)?)
}

pub(crate) fn read_buffer(from: &mut Reader<'_>) -> Result<Option<u32>, OfError> {
    let buffer = from.u32()?;
    Ok((buffer != NO_BUFFER).then_some(buffer))
}

pub(crate) fn write_buffer(buffer: Option<u32>, to: &mut Writer) {
    to.u32(buffer.unwrap_or(NO_BUFFER));
}

fn read_cookie(from: &mut Reader<'_>) -> Result<Option<u64>, OfError> {
    let cookie = from.u64()?;
    Ok((cookie != NO_COOKIE).then_some(cookie))
}

fn read_reason(from: &mut Reader<'_>, version: Version) -> Result<Reason, OfError> {
    match from.u8()? {
        0 => Ok(Reason::NoMatch),
        1 => Ok(Reason::Action),
        2 => Ok(Reason::InvalidTtl),
        3 if version >= Version::V14 => Ok(Reason::ActionSet),
        4 if version >= Version::V14 => Ok(Reason::Group),
        5 if version >= Version::V14 => Ok(Reason::PacketOut),
        _ => Err(ErrorCode::NxbrcBadReason.about("a packet-in")),
    }
}

/// Reasons that came with 1.4 are actions before.
fn reason_number(reason: Reason, version: Version) -> u8 {
    match reason {
        Reason::NoMatch => 0,
        Reason::Action => 1,
        Reason::InvalidTtl => 2,
        Reason::ActionSet | Reason::Group | Reason::PacketOut if version < Version::V14 => 1,
        Reason::ActionSet => 3,
        Reason::Group => 4,
        Reason::PacketOut => 5,
    }
}
