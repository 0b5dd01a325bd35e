//! Actions on the wire, in every version and with Open vSwitch's extensions.
//!
//! A list of actions is read with [`Decoder`] and written with [`Encoder`]; both know the version and
//! the match that the actions belong to, because OpenFlow 1.0 has actions whose meaning depends on
//! it: `OFPAT_SET_TP_SRC` writes the port of whichever protocol the packet has.
//!
//! Law: what is read can be written in the same version and reads the same, but for what several
//! forms say alike (`OFPAT_SET_DL_SRC` and `set_field`; the parts of a masked `set_field`). What a
//! version has no word for is written as Open vSwitch writes it: in Nicira's words where there are
//! any, and left out where there are none (`push_vlan` in OpenFlow 1.0, where setting a VLAN pushes a
//! tag). Only a field that OpenFlow has no code for fails.
//!
//! The length that `OFPAT_OUTPUT` says for a port that is not the controller means nothing, yet
//! clients compare what they get back with what they said. [`Decoder::output_len`] tells whether
//! some output said one, and [`Encoder::output_len`] says it again.
//!
//! Lists nest (`ct`, `clone`) at most [`DEPTH_MAX`] deep.
//!
//! Spec: OpenFlow 1.0.1 §5.2.4, 1.3.5 §7.2.4, errors of §7.4.4; Open vSwitch's `lib/ofp-actions.c`.

mod ct;
mod decode;
mod encode;
mod learn;
mod nicira;
mod verify;

use vswitch_flow::{Action, Match, Subfield};

use crate::error::{ErrorCode, OfError};
use crate::header::Version;
use crate::oxm::{Header, Wire};
use crate::wire::{Reader, Writer, require};

pub(crate) use encode::metadata as encode_metadata10;

/// How deep lists of actions may lie within each other.
pub const DEPTH_MAX: usize = 32;

/// What outputs say when they say a length: all that may be sent (`OFPCML_MAX`).
const OUTPUT_LEN: u16 = 0xffe5;

/// Type of an experimenter's action.
const EXPERIMENTER: u16 = 0xffff;

/// Numbers of Nicira's actions (`NXAST_*`).
mod number {
    pub(super) const RESUBMIT: u16 = 1;
    pub(super) const SET_TUNNEL: u16 = 2;
    pub(super) const SET_QUEUE: u16 = 4;
    pub(super) const POP_QUEUE: u16 = 5;
    pub(super) const REG_MOVE: u16 = 6;
    pub(super) const REG_LOAD: u16 = 7;
    pub(super) const NOTE: u16 = 8;
    pub(super) const SET_TUNNEL64: u16 = 9;
    pub(super) const MULTIPATH: u16 = 10;
    pub(super) const BUNDLE: u16 = 12;
    pub(super) const BUNDLE_LOAD: u16 = 13;
    pub(super) const RESUBMIT_TABLE: u16 = 14;
    pub(super) const OUTPUT_REG: u16 = 15;
    pub(super) const LEARN: u16 = 16;
    pub(super) const EXIT: u16 = 17;
    pub(super) const DEC_TTL: u16 = 18;
    pub(super) const FIN_TIMEOUT: u16 = 19;
    pub(super) const CONTROLLER: u16 = 20;
    pub(super) const DEC_TTL_CNT_IDS: u16 = 21;
    pub(super) const WRITE_METADATA: u16 = 22;
    pub(super) const PUSH_MPLS: u16 = 23;
    pub(super) const POP_MPLS: u16 = 24;
    pub(super) const SET_MPLS_TTL: u16 = 25;
    pub(super) const DEC_MPLS_TTL: u16 = 26;
    pub(super) const STACK_PUSH: u16 = 27;
    pub(super) const STACK_POP: u16 = 28;
    pub(super) const SAMPLE: u16 = 29;
    pub(super) const SET_MPLS_LABEL: u16 = 30;
    pub(super) const SET_MPLS_TC: u16 = 31;
    pub(super) const OUTPUT_REG2: u16 = 32;
    pub(super) const REG_LOAD2: u16 = 33;
    pub(super) const CONJUNCTION: u16 = 34;
    pub(super) const CT: u16 = 35;
    pub(super) const NAT: u16 = 36;
    pub(super) const CONTROLLER2: u16 = 37;
    pub(super) const SAMPLE2: u16 = 38;
    pub(super) const OUTPUT_TRUNC: u16 = 39;
    pub(super) const GROUP: u16 = 40;
    pub(super) const SAMPLE3: u16 = 41;
    pub(super) const CLONE: u16 = 42;
    pub(super) const CT_CLEAR: u16 = 43;
    pub(super) const RESUBMIT_TABLE_CT: u16 = 44;
    pub(super) const LEARN2: u16 = 45;
    pub(super) const CHECK_PKT_LARGER: u16 = 49;
    pub(super) const DELETE_FIELD: u16 = 50;
    /// Of the ONF, not Nicira's.
    pub(super) const COPY_FIELD: u16 = 3200;
    /// Standard since 1.5.
    pub(super) const STANDARD_COPY_FIELD: u16 = 28;
    /// Standard since 1.5.
    pub(super) const STANDARD_METER: u16 = 29;
}

/// Reads lists of actions.
#[derive(Clone, Debug)]
pub struct Decoder<'m> {
    version: Version,
    matches: Option<&'m Match>,
    depth: usize,
    /// Metadata that the list itself may write, and has written: only a flow's own list may.
    metadata: Metadata,
    /// Whether some output to a port that is not the controller said a length.
    pub output_len: bool,
}

/// Writes lists of actions.
#[derive(Clone, Debug)]
pub struct Encoder<'m> {
    version: Version,
    matches: Option<&'m Match>,
    /// Outputs to ports that are not the controller say a length (`OFPCML_MAX`) and not 0.
    pub output_len: bool,
}

impl<'m> Decoder<'m> {
    /// For actions of this version, of which nothing is known beside them.
    #[must_use]
    pub fn new(version: Version) -> Self {
        Self {
            version,
            matches: None,
            depth: 0,
            metadata: Metadata::Never,
            output_len: false,
        }
    }

    /// For the actions of a flow that has this match.
    #[must_use]
    pub fn of_flow(version: Version, matches: &'m Match) -> Self {
        Self {
            matches: Some(matches),
            ..Self::new(version)
        }
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Reads actions to the end of `from`. A list that is not a multiple of eight bytes is an error
    /// of the request, as in Open vSwitch.
    ///
    /// # Errors
    /// The error that is due, `OFPBAC_*` for the most part.
    pub fn list(&mut self, from: &mut Reader<'_>) -> Result<Vec<Action>, OfError> {
        self.nested(from, Within::List)
    }

    /// Reads the list of a flow, which may end with `NXAST_WRITE_METADATA`: the instruction, said
    /// among the actions.
    pub(crate) fn flow_list(&mut self, from: &mut Reader<'_>) -> Result<FlowList, OfError> {
        self.metadata = Metadata::May;
        let list = self.nested(from, Within::List);
        let metadata = std::mem::replace(&mut self.metadata, Metadata::Never);
        let written = match metadata {
            Metadata::Written(value, mask) => Some((value, mask)),
            Metadata::Never | Metadata::May => None,
        };
        Ok((list?.into(), written))
    }

    /// Reads actions that join the action set, to the end of `from`.
    pub(crate) fn set_list(&mut self, from: &mut Reader<'_>) -> Result<Vec<Action>, OfError> {
        self.nested(from, Within::Set)
    }

    fn nested(&mut self, from: &mut Reader<'_>, within: Within) -> Result<Vec<Action>, OfError> {
        let whole = from.left().is_multiple_of(8);
        require(whole, ErrorCode::BrcBadLen, "a list of actions")?;
        let depth = self.depth < DEPTH_MAX;
        require(
            depth,
            ErrorCode::BacTooMany,
            "lists within lists of actions",
        )?;
        self.depth += 1;
        let list = self.actions(from);
        self.depth -= 1;
        let list = list?;
        verify::verify(&list, within)?;
        Ok(list)
    }
}

impl<'m> Encoder<'m> {
    /// For actions of this version, of which nothing is known beside them.
    #[must_use]
    pub fn new(version: Version) -> Self {
        Self {
            version,
            matches: None,
            output_len: false,
        }
    }

    /// For the actions of a flow that has this match.
    #[must_use]
    pub fn of_flow(version: Version, matches: &'m Match) -> Self {
        Self {
            matches: Some(matches),
            ..Self::new(version)
        }
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }
}

/// Reads a list of actions that belongs to no flow, to the end of `from`.
///
/// # Errors
/// As [`Decoder::list`].
pub fn decode_list(from: &mut Reader<'_>, version: Version) -> Result<Vec<Action>, OfError> {
    Decoder::new(version).list(from)
}

/// Writes a list of actions that belongs to no flow.
pub fn encode_list(to: &mut Writer, version: Version, actions: &[Action]) {
    Encoder::new(version).list(to, actions);
}

/// The actions of a flow, and the metadata with its mask that they write at their end.
type FlowList = (Box<[Action]>, Option<(u64, u64)>);

/// Whether a list writes metadata as an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metadata {
    /// It may not.
    Never,
    /// It may.
    May,
    /// It has: value and mask. Nothing may follow.
    Written(u64, u64),
}

/// What a list of actions is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    /// A list of its own, or that of a `clone`.
    List,
    /// `ct(exec(...))`.
    Ct,
    /// `write_actions(...)`.
    Set,
}

/// Whether some bits may be read.
fn check_source(bits: &Subfield, wire: &Wire) -> Result<(), OfError> {
    let end = u16::from(bits.offset) + u16::from(bits.bits);
    require(
        bits.bits > 0 && end <= u16::from(wire.bits()),
        ErrorCode::BacBadSetLen,
        bits.field.info().name,
    )
}

/// Whether some bits may be written.
fn check_target(bits: &Subfield, wire: &Wire) -> Result<(), OfError> {
    check_source(bits, wire)?;
    let row = bits.field.info();
    require(row.writable, ErrorCode::BacBadSetArgument, row.name)
}

/// Bits of a field from an offset and a number of bits of any size: those that are too large are no
/// bits, which the checks refuse.
fn bits_of(wire: &Wire, offset: u16, bits: u16) -> Subfield {
    let small = |number: u16| u8::try_from(number).ok();
    let (offset, bits) = small(offset).zip(small(bits)).unwrap_or((0, 0));
    Subfield {
        field: wire.field,
        offset,
        bits,
    }
}

/// Bits that a header of four bytes and `ofs_nbits` name.
fn bits_of_u32(header: u32, ofs_nbits: u16) -> Result<(Subfield, Wire), OfError> {
    let wire = Header::from_u32(header).action_field()?;
    Ok((bits_of(&wire, ofs_nbits >> 6, (ofs_nbits & 0x3f) + 1), wire))
}

/// `ofs_nbits` of some bits, at most 64.
fn ofs_nbits(bits: &Subfield) -> u16 {
    u16::from(bits.offset) << 6 | u16::from(bits.bits.clamp(1, 64) - 1)
}

/// Whether all that is left is zero.
fn zeros(from: &mut Reader<'_>, code: ErrorCode, about: &'static str) -> Result<(), OfError> {
    let zero = from.take_rest().iter().all(|byte| *byte == 0);
    require(zero, code, about)
}
