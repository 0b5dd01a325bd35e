//! `learn`, both ways.

use vswitch_flow::action::{Learn, LearnSource, LearnSpec};
use vswitch_flow::{Action, Subfield};

use super::{bits_of, check_source, check_target, number, zeros};
use crate::error::{ErrorCode, OfError};
use crate::header::Version;
use crate::oxm::{self, Header, Wire};
use crate::wire::{Reader, Writer, require};

const SEND_FLOW_REM: u16 = 1;
const DELETE_LEARNED: u16 = 1 << 1;
const WRITE_RESULT: u16 = 1 << 2;

/// Of a part's header: how many bits, where from, where to.
const BITS: u16 = 0x3ff;
const IMMEDIATE: u16 = 1 << 13;
const TARGET: u16 = 3 << 11;
const TO_MATCH: u16 = 0;
const TO_LOAD: u16 = 1 << 11;
const TO_OUTPUT: u16 = 2 << 11;

const BAD_ARGUMENT: OfError = ErrorCode::BacBadArgument.about("learn");

/// Reads what follows the header of `NXAST_LEARN`, or of `NXAST_LEARN2`, which has a limit and a
/// place for the result.
pub(super) fn decode(from: &mut Reader<'_>, second: bool) -> Result<Action, OfError> {
    let (idle_timeout, hard_timeout, priority) = (from.u16()?, from.u16()?, from.u16()?);
    let (cookie, flags) = (from.u64()?, from.u16()?);
    let (table, zero) = (from.u8()?, from.u8()?);
    let (fin_idle_timeout, fin_hard_timeout) = (from.u16()?, from.u16()?);
    let mut known = SEND_FLOW_REM | DELETE_LEARNED;
    let (mut limit, mut offset) = (0, 0);
    if second {
        known |= WRITE_RESULT;
        (limit, offset) = (from.u32()?, from.u16()?);
        let zero = from.u16()? == 0;
        require(zero, ErrorCode::NxbacMustBeZero, "learn")?;
    }
    let right = zero == 0 && table != 255 && flags & !known == 0;
    require(right, BAD_ARGUMENT.code, BAD_ARGUMENT.about)?;
    let result = if flags & WRITE_RESULT != 0 {
        let wire = oxm::read_field(from)?;
        let result = bits_of(&wire, offset, 1);
        check_target(&result, &wire)?;
        Some(result)
    } else {
        require(offset == 0, BAD_ARGUMENT.code, "learn(result_dst)")?;
        None
    };
    Ok(Action::Learn(Box::new(Learn {
        idle_timeout,
        hard_timeout,
        fin_idle_timeout,
        fin_hard_timeout,
        priority,
        cookie,
        table,
        send_flow_rem: flags & SEND_FLOW_REM != 0,
        delete_learned: flags & DELETE_LEARNED != 0,
        limit,
        result,
        specs: specs(from)?,
    })))
}

fn specs(from: &mut Reader<'_>) -> Result<Vec<LearnSpec>, OfError> {
    let mut specs = Vec::new();
    while !from.is_empty() {
        let header = from.u16()?;
        if header == 0 {
            break;
        }
        specs.push(spec(from, header)?);
    }
    zeros(from, BAD_ARGUMENT.code, "learn")?;
    Ok(specs)
}

fn spec(from: &mut Reader<'_>, header: u16) -> Result<LearnSpec, OfError> {
    let bits = header & BITS;
    let immediate = header & IMMEDIATE != 0;
    let target = header & TARGET;
    let right = matches!(target, TO_MATCH | TO_LOAD) || target == TO_OUTPUT && !immediate;
    require(right, BAD_ARGUMENT.code, BAD_ARGUMENT.about)?;
    // All of the part is there, before what it says is looked at.
    let source = if immediate {
        2 * usize::from(bits.div_ceil(16))
    } else {
        6
    };
    let size = source + if target == TO_OUTPUT { 0 } else { 6 };
    let mut from = from.part(size)?;
    let src = if immediate {
        let value = oxm::number(from.bytes(source)?);
        let kept = u128::MAX.checked_shr(128 - u32::from(bits.clamp(1, 128)));
        LearnSource::Value(value & kept.unwrap_or_default())
    } else {
        let (src, wire) = subfield(&mut from, bits)?;
        check_source(&src, &wire)?;
        if target == TO_OUTPUT {
            return Ok(LearnSpec::Output(src));
        }
        LearnSource::Field(src)
    };
    let (dst, wire) = subfield(&mut from, bits)?;
    if target == TO_LOAD {
        check_target(&dst, &wire)?;
        return Ok(LearnSpec::Load { src, dst });
    }
    check_source(&dst, &wire)?;
    Ok(LearnSpec::Match { src, dst })
}

fn subfield(from: &mut Reader<'_>, bits: u16) -> Result<(Subfield, Wire), OfError> {
    let wire = Header::from_u32(from.u32()?).action_field()?;
    let offset = from.u16()?;
    Ok((bits_of(&wire, offset, bits), wire))
}

/// Writes a `learn`: the older form if it says all.
pub(super) fn encode(to: &mut Writer, learn: &Learn) {
    let second = learn.limit != 0 || learn.result.is_some();
    let kind = if second {
        number::LEARN2
    } else {
        number::LEARN
    };
    super::encode::nicira(to, kind, "learn", |to| {
        to.u16(learn.idle_timeout);
        to.u16(learn.hard_timeout);
        to.u16(learn.priority);
        to.u64(learn.cookie);
        let flag = |said: bool, flag: u16| if said { flag } else { 0 };
        to.u16(
            flag(learn.send_flow_rem, SEND_FLOW_REM)
                | flag(learn.delete_learned, DELETE_LEARNED)
                | flag(learn.result.is_some(), WRITE_RESULT),
        );
        to.u8(learn.table);
        to.zeros(1);
        to.u16(learn.fin_idle_timeout);
        to.u16(learn.fin_hard_timeout);
        if second {
            to.u32(learn.limit);
            to.u16(learn.result.map_or(0, |result| result.offset.into()));
            to.zeros(2);
        }
        if let Some(result) = &learn.result {
            match Wire::of_bits(result) {
                Some(wire) => wire.put_header(to, false),
                None => to.not_in("the field of learn's result", Version::V10),
            }
        }
        for spec in &learn.specs {
            encode_spec(to, spec);
        }
    });
}

fn encode_spec(to: &mut Writer, spec: &LearnSpec) {
    let (src, dst, target) = match spec {
        LearnSpec::Output(src) => {
            to.u16(u16::from(src.bits) | TO_OUTPUT);
            put(to, src);
            return;
        }
        LearnSpec::Match { src, dst } => (src, dst, TO_MATCH),
        LearnSpec::Load { src, dst } => (src, dst, TO_LOAD),
    };
    let bits = u16::from(dst.bits);
    match src {
        LearnSource::Field(src) => {
            to.u16(bits | target);
            put(to, src);
        }
        LearnSource::Value(value) => {
            to.u16(bits | target | IMMEDIATE);
            let size = 2 * usize::from(bits.clamp(1, 128).div_ceil(16));
            to.bytes(&value.to_be_bytes()[16 - size..]);
        }
    }
    put(to, dst);
}

fn put(to: &mut Writer, bits: &Subfield) {
    match Wire::of_bits(bits).filter(Wire::is_short) {
        Some(wire) => to.u32(wire.header_u32()),
        None => to.not_in("a field of learn", Version::V10),
    }
    to.u16(bits.offset.into());
}
