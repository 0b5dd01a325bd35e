//! Instructions on the wire: what a flow does, in the order in which it is done.
//!
//! OpenFlow 1.0 has a list of actions in their place. Of what it cannot say, `write_metadata` and
//! `goto_table` have forms among Nicira's actions (`goto_table` becomes a `resubmit` to the table,
//! and metadata before it a `load`, since nothing may follow `NXAST_WRITE_METADATA`); a meter and
//! what concerns the action set are left out, as Open vSwitch leaves them out.
//!
//! In OpenFlow 1.5 a meter is an action. One that comes first is what was an instruction, and is
//! the same value here.
//!
//! Spec: OpenFlow 1.3.5 §7.2.5, errors of §7.4.4; 1.5.1 §7.2.5, §7.2.6.9; Open vSwitch's `lib/ofp-actions.c`.

use vswitch_flow::{Action, Field, FlowFlags, FlowRule, Instructions};

use crate::action::{Decoder, Encoder, encode_metadata10};
use crate::error::{ErrorCode, OfError};
use crate::header::Version;
use crate::wire::{Reader, Writer, require};

const GOTO_TABLE: u16 = 1;
const WRITE_METADATA: u16 = 2;
const WRITE_ACTIONS: u16 = 3;
const APPLY_ACTIONS: u16 = 4;
const CLEAR_ACTIONS: u16 = 5;
const METER: u16 = 6;
const EXPERIMENTER: u16 = 0xffff;

const BAD_LEN: OfError = ErrorCode::BicBadLen.about("an instruction");

/// Reads the instructions of a flow of which nothing is known beside them, to the end of `from`.
///
/// # Errors
/// The error that is due, `OFPBIC_*` or of an action.
pub fn decode_list(from: &mut Reader<'_>, version: Version) -> Result<Instructions, OfError> {
    decode(&mut Decoder::new(version), from)
}

/// Writes the instructions of a flow of which nothing is known beside them.
pub fn encode_list(to: &mut Writer, version: Version, instructions: &Instructions) {
    encode(&Encoder::new(version), to, instructions);
}

/// Reads the instructions of a flow, whose match is known already, to the end of `from`. Also notes
/// in its flags how outputs were said ([`FlowFlags::OUTPUT_LEN`]).
///
/// # Errors
/// As [`decode_list`].
pub fn decode_of_flow(
    from: &mut Reader<'_>,
    version: Version,
    rule: &mut FlowRule,
) -> Result<(), OfError> {
    let mut decoder = Decoder::of_flow(version, &rule.matches);
    let instructions = decode(&mut decoder, from)?;
    let said = decoder.output_len;
    rule.instructions = instructions;
    rule.flags = if said {
        rule.flags.with(FlowFlags::OUTPUT_LEN)
    } else {
        rule.flags.without(FlowFlags::OUTPUT_LEN)
    };
    Ok(())
}

/// Writes the instructions of a flow.
pub fn encode_of_flow(to: &mut Writer, version: Version, rule: &FlowRule) {
    let mut encoder = Encoder::of_flow(version, &rule.matches);
    encoder.output_len = rule.flags.has(FlowFlags::OUTPUT_LEN);
    encode(&encoder, to, &rule.instructions);
}

/// The instructions of a message, not looked into yet.
#[derive(Default)]
struct Found<'a> {
    bodies: [Option<Reader<'a>>; 7],
}

impl<'a> Found<'a> {
    fn read(from: &mut Reader<'a>, version: Version) -> Result<Self, OfError> {
        let mut found = Self::default();
        require(from.left().is_multiple_of(8), BAD_LEN.code, BAD_LEN.about)?;
        while !from.is_empty() {
            let mut header = Reader::new(from.peek(), BAD_LEN);
            let (kind, size) = (header.u16()?, usize::from(header.u16()?));
            let right = size.is_multiple_of(8) && size >= 8 && size <= from.left();
            require(right, BAD_LEN.code, BAD_LEN.about)?;
            let right = match kind {
                METER if version >= Version::V15 => {
                    return Err(ErrorCode::BicUnknownInst.about("a meter as an instruction"));
                }
                GOTO_TABLE | CLEAR_ACTIONS | METER => size == 8,
                WRITE_METADATA => size == 24,
                WRITE_ACTIONS | APPLY_ACTIONS => true,
                EXPERIMENTER => {
                    let code = ErrorCode::BicBadExperimenter;
                    return Err(code.about("an experimenter's instruction"));
                }
                _ => return Err(ErrorCode::BicUnknownInst.about("an instruction")),
            };
            require(right, BAD_LEN.code, BAD_LEN.about)?;
            let mut body = from.part_with(size, BAD_LEN)?;
            body.skip(4)?;
            let place = found.bodies.get_mut(usize::from(kind));
            let first = place.is_some_and(|place| place.replace(body).is_none());
            require(first, ErrorCode::BicDupInst, "an instruction")?;
        }
        Ok(found)
    }

    fn take(&mut self, kind: u16) -> Option<Reader<'a>> {
        self.bodies.get_mut(usize::from(kind))?.take()
    }
}

fn decode(decoder: &mut Decoder<'_>, from: &mut Reader<'_>) -> Result<Instructions, OfError> {
    let mut read = Instructions::default();
    if decoder.version() == Version::V10 {
        (read.apply, read.metadata) = decoder.flow_list(from)?;
        return conjunction_alone(read);
    }
    let mut found = Found::read(from, decoder.version())?;
    if let Some(mut body) = found.take(METER) {
        read.meter = Some(body.u32()?);
    }
    if let Some(mut body) = found.take(APPLY_ACTIONS) {
        body.skip(4)?;
        (read.apply, read.metadata) = decoder.flow_list(&mut body)?;
        if let [Action::Meter(first), rest @ ..] = &*read.apply {
            (read.meter, read.apply) = (Some(*first), rest.into());
        }
    }
    read.clear = found.take(CLEAR_ACTIONS).is_some();
    if let Some(mut body) = found.take(WRITE_ACTIONS) {
        body.skip(4)?;
        read.write = decoder.set_list(&mut body)?.into();
    }
    if let Some(mut body) = found.take(WRITE_METADATA) {
        body.skip(4)?;
        let metadata = (body.u64()?, body.u64()?);
        let first = read.metadata.replace(metadata).is_none();
        require(first, ErrorCode::BacUnsupportedOrder, "write_metadata")?;
    } else if read.metadata.is_some() && (read.clear || !read.write.is_empty()) {
        // Said among the actions, it comes before what must come before it.
        let code = ErrorCode::BacUnsupportedOrder;
        return Err(code.about("write_metadata among actions"));
    }
    if let Some(mut body) = found.take(GOTO_TABLE) {
        read.goto = Some(body.u8()?);
    }
    conjunction_alone(read)
}

/// A flow that is one clause of a conjunction does nothing else.
fn conjunction_alone(read: Instructions) -> Result<Instructions, OfError> {
    let Instructions {
        meter,
        apply,
        clear,
        write,
        metadata,
        goto,
    } = &read;
    let others = meter.is_some() || *clear || metadata.is_some() || goto.is_some();
    let clause = |action: &Action| matches!(action, Action::Conjunction { .. });
    let alone = !apply.iter().any(clause) || !others && write.is_empty();
    require(alone, ErrorCode::NxbacBadConjunction, "conjunction")?;
    Ok(read)
}

fn encode(encoder: &Encoder<'_>, to: &mut Writer, said: &Instructions) {
    if encoder.version() == Version::V10 {
        encoder.list(to, &said.apply);
        match said.metadata {
            // Nothing may follow the instruction among actions.
            Some((value, mask)) if said.goto.is_some() => {
                let (value, mask) = (u128::from(value & mask), u128::from(mask));
                let field = Field::Metadata;
                encoder.list(to, &[Action::SetField { field, value, mask }]);
            }
            Some((value, mask)) => encode_metadata10(to, value, mask),
            None => {}
        }
        if let Some(table) = said.goto {
            let on = Action::Resubmit {
                port: None,
                table: Some(table),
                ct_tuple: false,
            };
            encoder.list(to, &[on]);
        }
        return;
    }
    match said.meter {
        Some(meter) if encoder.version() >= Version::V15 => {
            let list = [&[Action::Meter(meter)], &*said.apply].concat();
            actions(encoder, to, APPLY_ACTIONS, &list);
        }
        Some(meter) => {
            instruction(to, METER, |to| to.u32(meter));
            actions(encoder, to, APPLY_ACTIONS, &said.apply);
        }
        None => actions(encoder, to, APPLY_ACTIONS, &said.apply),
    }
    if said.clear {
        instruction(to, CLEAR_ACTIONS, |to| to.zeros(4));
    }
    actions(encoder, to, WRITE_ACTIONS, &said.write);
    if let Some((value, mask)) = said.metadata {
        instruction(to, WRITE_METADATA, |to| {
            to.zeros(4);
            to.u64(value);
            to.u64(mask);
        });
    }
    if let Some(table) = said.goto {
        instruction(to, GOTO_TABLE, |to| to.u8(table));
    }
}

fn instruction(to: &mut Writer, kind: u16, body: impl FnOnce(&mut Writer)) {
    let start = to.size();
    to.u16(kind);
    let length = to.length();
    body(to);
    to.pad8(start);
    to.fill_length(length, start, "an instruction");
}

/// An instruction with actions; without any it says nothing and is not written.
fn actions(encoder: &Encoder<'_>, to: &mut Writer, kind: u16, list: &[Action]) {
    if !list.is_empty() {
        instruction(to, kind, |to| {
            to.zeros(4);
            encoder.list(to, list);
        });
    }
}
