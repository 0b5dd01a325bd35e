//! Fields on the wire: the headers, values and masks of OXM and NXM.
//!
//! The field table of `vswitch-flow` says which code a field has; this module says what a code's
//! bytes are. A field may have several codes: its standard one, Nicira's, and numbers that later
//! versions gave it. All are understood in every version, as Open vSwitch does; which one is written
//! is `Wire::preferred`'s choice. Two codes have a form of their own: `NXM_OF_IN_PORT` has 16
//! bits, and `NXM_OF_IP_TOS` holds the DSCP bits in place.
//!
//! Not for what a match means: [`mod@matches`] and [`match10`] put fields together.
//!
//! Cost: a code is found in a table indexed by class and number.
//!
//! Spec: OpenFlow 1.3.5 §7.2.3; Open vSwitch's `include/openvswitch/meta-flow.h`.

pub mod masks;
pub mod match10;
pub mod matches;

use std::sync::LazyLock;

use vswitch_flow::field::{FIELDS, Oxm};
use vswitch_flow::{Field, Subfield};

use crate::error::{ErrorCode, NICIRA, ONF, OfError};
use crate::header::Version;
use crate::wire::{Reader, Writer, port_from_16, port_to_16};

/// The class of basic fields (`OFPXMC_OPENFLOW_BASIC`).
const BASIC: u16 = 0x8000;
/// The class whose headers go on with an experimenter's number.
const EXPERIMENTER: u16 = 0xffff;

/// How a field's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As it is, right-aligned in whole bytes.
    Plain,
    /// A port of 16 bits.
    Port16,
    /// A port of 32 bits: those that 16 bits cannot say do not exist.
    Port32,
    /// The DSCP bits in place, ECN bits zero.
    Tos,
}

/// A field and the code it is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) field: Field,
    class: u16,
    number: u8,
    /// Whose number it is in class [`EXPERIMENTER`].
    experimenter: u32,
    form: Form,
}

/// Codes besides those of the table: what OpenFlow 1.5 made standard, and Open vSwitch's newer
/// number of `dp_hash`.
const ALSO: [(Field, u16, u8, u32); 3] = [
    (Field::TcpFlags, BASIC, 42, 0),
    (Field::ActsetOutput, BASIC, 43, 0),
    (Field::DpHash, EXPERIMENTER, 0, NICIRA),
];

/// Every code, by class and number; a class has at most 128.
static CODES: LazyLock<[[Option<Wire>; 128]; CLASSES]> = LazyLock::new(|| {
    let mut codes = [[None; 128]; CLASSES];
    let rows = FIELDS.iter().flat_map(|row| {
        let codes = [row.oxm, row.nxm].into_iter().flatten();
        codes.map(|code| Wire::of(row.field, code))
    });
    let also = (0..ALSO.len()).map(Wire::also);
    for wire in rows.chain(also) {
        if let Some(class) = class_index(wire.class, wire.experimenter) {
            codes[class][usize::from(wire.number & 0x7f)] = Some(wire);
        }
    }
    codes
});

/// Classes that have fields here.
const CLASSES: usize = 6;

fn class_index(class: u16, experimenter: u32) -> Option<usize> {
    Some(match (class, experimenter) {
        (0x0000, _) => 0,
        (0x0001, _) => 1,
        (BASIC, _) => 2,
        (0x8001, _) => 3,
        (EXPERIMENTER, ONF) => 4,
        (EXPERIMENTER, NICIRA) => 5,
        _ => return None,
    })
}

impl Wire {
    fn of(field: Field, code: Oxm) -> Self {
        let form = match (field, code.class) {
            (Field::InPort, 0x0000) => Form::Port16,
            (Field::InPort | Field::ActsetOutput, _) => Form::Port32,
            (Field::IpTos, _) => Form::Tos,
            _ => Form::Plain,
        };
        Self {
            field,
            class: code.class,
            number: code.field,
            experimenter: if code.class == EXPERIMENTER { ONF } else { 0 },
            form,
        }
    }

    /// The code at a place of [`ALSO`].
    fn also(place: usize) -> Self {
        let (field, class, number, experimenter) = ALSO[place];
        let code = Oxm {
            class,
            field: number,
        };
        Self {
            experimenter,
            ..Self::of(field, code)
        }
    }

    /// The code that a field is written with: OpenFlow 1.0 has Nicira's codes where there is one,
    /// later versions the standard one, 1.5 those of [`ALSO`] too. `None` is a field that OpenFlow does not know.
    pub(crate) fn preferred(field: Field, version: Version) -> Option<Self> {
        let row = field.info();
        let code = match version {
            Version::V10 => row.nxm.or(row.oxm),
            Version::V13 | Version::V14 => row.oxm.or(row.nxm),
            Version::V15 => {
                let newer = ALSO.iter().position(|(other, ..)| *other == field);
                return match newer {
                    Some(place) => Some(Self::also(place)),
                    None => Self::preferred(field, Version::V14),
                };
            }
        };
        code.map(|code| Self::of(field, code))
    }

    /// The code that Nicira's actions name a field by: Nicira's where there is one, in every
    /// version.
    pub(crate) fn nicira(field: Field) -> Option<Self> {
        Self::preferred(field, Version::V10)
    }

    /// The code that Nicira's actions name the field of some bits by. A port's lower 16 bits are
    /// what `NXM_OF_IN_PORT` is.
    pub(crate) fn of_bits(bits: &Subfield) -> Option<Self> {
        let wire = Self::nicira(bits.field)?;
        if wire.form == Form::Port16 && bits.offset + bits.bits > 16 {
            return Self::preferred(bits.field, Version::V13);
        }
        Some(wire)
    }

    /// Whether four bytes are enough for its header.
    pub(crate) fn is_short(&self) -> bool {
        self.class != EXPERIMENTER
    }

    /// Whether it is `OXM_OF_IN_PORT`, which no `set_field` may write.
    pub(crate) fn is_oxm_port(&self) -> bool {
        (self.form, self.field) == (Form::Port32, Field::InPort)
    }

    /// Whether it is `NXM_OF_IN_PORT`.
    pub(crate) fn is_short_port(&self) -> bool {
        self.form == Form::Port16
    }

    /// The header of four bytes.
    pub(crate) fn header_u32(&self) -> u32 {
        u32::from(self.class) << 16 | u32::from(self.number) << 9 | self.size() as u32
    }

    /// Bits of the value on the wire that there are.
    pub(crate) fn bits(&self) -> u8 {
        match self.form {
            Form::Port16 => 16,
            _ => self.field.info().bits,
        }
    }

    /// Bytes of a value.
    pub(crate) fn size(&self) -> usize {
        match self.bits() {
            0..=8 => 1,
            9..=16 => 2,
            // Labels of 20 bits stand in four bytes, I-SIDs of 24 bits in three (§7.2.3.7).
            24 => 3,
            17..=32 => 4,
            33..=48 => 6,
            49..=64 => 8,
            _ => 16,
        }
    }

    /// All bits of the bytes of a value.
    fn ones(&self) -> u128 {
        u128::MAX >> (128 - 8 * self.size())
    }

    /// Whether a match may look for this value (bytes as they came).
    fn is_value(&self, value: u128) -> bool {
        match (self.form, self.field) {
            (Form::Port16, _) => true,
            (Form::Port32, _) => !(0xff00..0xffff_ff00).contains(&value),
            (Form::Tos, _) => value & 3 == 0,
            // An operation has 16 bits, of which Open vSwitch looks at the lower 8.
            (_, Field::ArpOp) => value <= 0xff,
            _ => value <= known(self.field),
        }
    }

    /// What a value from the wire means for the field.
    fn meaning(&self, value: u128) -> u128 {
        match self.form {
            Form::Port16 => u128::from(port_from_16(value as u16).0),
            _ => value,
        }
    }

    /// Writes the header of four or eight bytes.
    pub(crate) fn put_header(&self, to: &mut Writer, masked: bool) {
        let rest = if self.is_short() { 0 } else { 4 };
        let size = self.size() * if masked { 2 } else { 1 } + rest;
        to.u16(self.class);
        to.u8(self.number << 1 | u8::from(masked));
        to.u8(size as u8);
        if !self.is_short() {
            to.u32(self.experimenter);
        }
    }

    fn put_value(&self, to: &mut Writer, value: u128) {
        to.bytes(&value.to_be_bytes()[16 - self.size()..]);
    }

    /// Writes header and value, and a mask if not all bits of the field count.
    pub(crate) fn put(&self, to: &mut Writer, value: u128, mask: u128) {
        let masked = mask != self.field.info().max();
        self.put_header(to, masked);
        let value = match self.form {
            // The match of a port that 16 bits cannot say is one that no packet has.
            Form::Port16 => {
                let port = vswitch_flow::OfPort(value as u32);
                u128::from(port_to_16(port).unwrap_or(0xffff))
            }
            _ => value,
        };
        self.put_value(to, value);
        if masked {
            self.put_value(to, mask);
        }
    }
}

/// A header from the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    class: u16,
    number: u8,
    experimenter: u32,
    pub(crate) masked: bool,
    /// Bytes of value and mask together.
    payload: usize,
}

const PARTIAL: OfError = ErrorCode::BmcBadLen.about("a match field");

impl Header {
    /// Reads a header of four bytes, or eight if an experimenter follows.
    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let short = |_| PARTIAL;
        let class = from.u16().map_err(short)?;
        let number = from.u8().map_err(short)?;
        let payload = usize::from(from.u8().map_err(short)?);
        let (experimenter, payload) = if class == EXPERIMENTER {
            let experimenter = from.u32().map_err(short)?;
            (experimenter, payload.checked_sub(4).ok_or(PARTIAL)?)
        } else {
            (0, payload)
        };
        Ok(Self {
            class,
            number: number >> 1,
            experimenter,
            masked: number & 1 == 1,
            payload,
        })
    }

    /// A header whose four bytes stand within a structure; no experimenter can follow.
    pub(crate) fn from_u32(header: u32) -> Self {
        let [a, b, number, payload] = header.to_be_bytes();
        Self {
            class: u16::from_be_bytes([a, b]),
            number: number >> 1,
            experimenter: 0,
            masked: number & 1 == 1,
            payload: usize::from(payload),
        }
    }

    /// Bytes of the value alone.
    fn width(&self) -> usize {
        if self.masked {
            self.payload / 2
        } else {
            self.payload
        }
    }

    /// The field that has this code, whatever length the header says.
    fn code(&self) -> Option<Wire> {
        let class = class_index(self.class, self.experimenter)?;
        CODES[class][usize::from(self.number)]
    }

    /// The field of this header, if its length is that field's.
    pub(crate) fn wire(&self) -> Option<Wire> {
        self.code().filter(|wire| wire.size() == self.width())
    }

    /// The field of this header, in an action that has no value for it there.
    pub(crate) fn action_field(&self) -> Result<Wire, OfError> {
        self.wire()
            .ok_or(ErrorCode::BacBadSetType.about("an action's field"))
    }
}

/// Reads a header that names a field without a value, as `move` has it.
pub(crate) fn read_field(from: &mut Reader<'_>) -> Result<Wire, OfError> {
    let header = Header::read(from)?;
    let wire = header.wire();
    let wire = wire.ok_or(ErrorCode::BmcBadField.about("an action's field"))?;
    if header.masked {
        return Err(ErrorCode::BmcBadMask.about("an action's field"));
    }
    Ok(wire)
}

/// A field, value and mask as they came, the mask all ones if there was none.
pub(crate) struct Entry {
    pub(crate) wire: Wire,
    pub(crate) value: u128,
    pub(crate) mask: u128,
}

/// Reads the value and mask that follow a header; `None` is an unknown field.
fn read_payload(
    from: &mut Reader<'_>,
    header: Header,
    wire: Option<Wire>,
) -> Result<Option<Entry>, OfError> {
    let payload = from.bytes(header.payload).map_err(|_| PARTIAL)?;
    let width = header.width();
    let (value, rest) = payload.split_at_checked(width).ok_or(PARTIAL)?;
    let mask = rest.get(..if header.masked { width } else { 0 });
    let mask = mask.unwrap_or_default();
    if value
        .iter()
        .zip(mask)
        .any(|(value, mask)| value & !mask != 0)
    {
        return Err(ErrorCode::BmcBadWildcards.about("a match field's value"));
    }
    Ok(wire.map(|wire| Entry {
        wire,
        value: number(value),
        mask: if header.masked {
            number(mask)
        } else {
            wire.ones()
        },
    }))
}

pub(crate) fn number(bytes: &[u8]) -> u128 {
    let tail = bytes.iter().skip(bytes.len().saturating_sub(16));
    tail.fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// Reads a field, value and mask for an action to write.
pub(crate) fn read_setting(from: &mut Reader<'_>) -> Result<(Entry, bool), OfError> {
    let header = Header::read(from)?;
    let Some(wire) = header.wire() else {
        let code = match header.code() {
            Some(_) if header.width() > 0 => ErrorCode::BacBadSetLen,
            _ => ErrorCode::BacBadSetType,
        };
        return Err(code.about("the field to set"));
    };
    let entry = read_payload(from, header, Some(wire))?;
    let entry = entry.ok_or(ErrorCode::BacBadSetType.about("the field to set"))?;
    Ok((entry, header.masked))
}

/// The bits of a field that a packet may have set: fewer than there is room for where the tracker
/// or the tunnel's header has no more flags. A match says nothing of the others, so that one said
/// with a mask and one without are the same.
fn known(field: Field) -> u128 {
    match field {
        Field::CtState => 0xff,
        Field::TunFlags => 1,
        _ => field.info().max(),
    }
}

impl Entry {
    /// Whether the value is one that the field can have.
    pub(crate) fn is_value(&self) -> bool {
        self.wire.is_value(self.value)
    }

    /// Field, value and mask in the switch's own numbers.
    pub(crate) fn parts(&self) -> (Field, u128, u128) {
        let mask = match self.wire.form {
            Form::Port16 if self.mask == self.wire.ones() => self.wire.field.info().max(),
            _ => self.mask & self.wire.field.info().max(),
        };
        let value = self.wire.meaning(self.value);
        (self.wire.field, value & mask, mask)
    }
}
