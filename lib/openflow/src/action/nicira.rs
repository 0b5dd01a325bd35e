//! Bytes → Nicira's actions, but for the larger ones (`super::ct`, `super::learn`).

use vswitch_flow::action::{
    Bundle, BundleAlgorithm, HashFields, Multilink, Multipath, Reason, Sample, ToController,
};
use vswitch_flow::{Action, Field, OfPort, Subfield};

use super::decode::{check_port, push_mpls, set};
use super::{
    Decoder, Metadata, Within, bits_of, bits_of_u32, check_source, check_target, number, zeros,
};
use crate::error::{ErrorCode, OfError};
use crate::oxm;
use crate::wire::{Reader, port_from_16, require};

/// Most ports that `bundle` chooses among (`BUNDLE_MAX_MEMBERS`).
const BUNDLE_MAX: usize = 2048;

/// Shortest packet that an output may cut off (`ETH_HEADER_LEN`).
const TRUNCATED_MIN: u32 = 14;

/// What `nx_hash_fields` numbers.
pub(super) const HASH_FIELDS: [HashFields; 7] = [
    HashFields::EthSrc,
    HashFields::SymmetricL4,
    HashFields::SymmetricL3L4,
    HashFields::SymmetricL3L4Udp,
    HashFields::NetworkSrc,
    HashFields::NetworkDst,
    HashFields::SymmetricL3,
];

/// What `nx_mp_algorithm` numbers.
pub(super) const MULTILINKS: [Multilink; 4] = [
    Multilink::ModuloN,
    Multilink::HashThreshold,
    Multilink::Hrw,
    Multilink::IterHash,
];

/// What `nx_bd_algorithm` numbers.
pub(super) const BUNDLE_ALGORITHMS: [BundleAlgorithm; 2] =
    [BundleAlgorithm::ActiveBackup, BundleAlgorithm::Hrw];

/// What `ofp_packet_in_reason` numbers.
pub(super) const REASONS: [Reason; 6] = [
    Reason::NoMatch,
    Reason::Action,
    Reason::InvalidTtl,
    Reason::ActionSet,
    Reason::Group,
    Reason::PacketOut,
];

/// The word with a number.
fn word<T: Copy>(words: &[T], number: impl Into<usize>, about: &'static str) -> Result<T, OfError> {
    let word = words.get(number.into()).copied();
    word.ok_or(ErrorCode::BacBadArgument.about(about))
}

impl Decoder<'_> {
    /// Reads what follows the header of an action of Nicira's. `NXAST_WRITE_METADATA` is an
    /// instruction and gives none.
    pub(super) fn nicira(
        &mut self,
        kind: u16,
        from: &mut Reader<'_>,
    ) -> Result<Option<Action>, OfError> {
        Ok(Some(match kind {
            number::RESUBMIT => {
                let port = from.u16()?;
                resubmit(port, 255, false)
            }
            number::RESUBMIT_TABLE | number::RESUBMIT_TABLE_CT => {
                let (port, table) = (from.u16()?, from.u8()?);
                zeros(from, ErrorCode::BacBadArgument, "resubmit")?;
                resubmit(port, table, kind == number::RESUBMIT_TABLE_CT)
            }
            number::SET_TUNNEL => {
                from.skip(2)?;
                set(Field::TunId, u128::from(from.u32()?))
            }
            number::SET_TUNNEL64 => {
                from.skip(6)?;
                set(Field::TunId, u128::from(from.u64()?))
            }
            number::SET_QUEUE => {
                from.skip(2)?;
                Action::SetQueue(from.u32()?)
            }
            number::GROUP => {
                from.skip(2)?;
                Action::Group(from.u32()?)
            }
            number::POP_QUEUE => Action::PopQueue,
            number::EXIT => Action::Exit,
            number::CT_CLEAR => Action::CtClear,
            number::DEC_TTL => Action::DecTtl(Vec::new()),
            number::DEC_TTL_CNT_IDS => dec_ttl(from)?,
            number::DEC_MPLS_TTL => Action::DecMplsTtl,
            number::PUSH_MPLS => push_mpls(from)?,
            number::POP_MPLS => Action::PopMpls(from.u16()?),
            number::SET_MPLS_LABEL => {
                from.skip(2)?;
                set(Field::MplsLabel, u128::from(from.u32()?))
            }
            number::SET_MPLS_TC => set(Field::MplsTc, u128::from(from.u8()?)),
            number::SET_MPLS_TTL => set(Field::MplsTtl, u128::from(from.u8()?)),
            number::REG_MOVE => {
                let (bits, src, dst) = (from.u16()?, from.u16()?, from.u16()?);
                self.moved(from, bits, src, dst)?
            }
            number::REG_LOAD => load(from)?,
            number::REG_LOAD2 => load2(from)?,
            number::NOTE => Action::Note(from.take_rest().to_vec()),
            number::FIN_TIMEOUT => Action::FinTimeout {
                idle: from.u16()?,
                hard: from.u16()?,
            },
            number::STACK_PUSH => Action::StackPush(stack(from, false)?),
            number::STACK_POP => Action::StackPop(stack(from, true)?),
            number::OUTPUT_REG | number::OUTPUT_REG2 => {
                output_field(from, kind == number::OUTPUT_REG2)?
            }
            number::OUTPUT_TRUNC => {
                let (port, max_len) = (from.port16()?, from.u32()?);
                let enough = max_len >= TRUNCATED_MIN;
                require(enough, ErrorCode::BacBadArgument, "output(max_len)")?;
                check_port(port, "output(max_len)")?;
                Action::OutputTruncated { port, max_len }
            }
            number::CONTROLLER => controller(from)?,
            number::CONTROLLER2 => controller2(from)?,
            number::MULTIPATH => multipath(from)?,
            number::BUNDLE | number::BUNDLE_LOAD => bundle(from, kind == number::BUNDLE_LOAD)?,
            number::CONJUNCTION => conjunction(from)?,
            number::SAMPLE | number::SAMPLE2 | number::SAMPLE3 => sample(from, kind)?,
            number::CHECK_PKT_LARGER => {
                let (len, offset) = (from.u16()?, from.u16()?);
                let wire = oxm::read_field(from)?;
                zeros(from, ErrorCode::NxbrcMustBeZero, "check_pkt_larger")?;
                let dst = bits_of(&wire, offset, 1);
                check_target(&dst, &wire)?;
                Action::CheckPktLarger { len, dst }
            }
            number::DELETE_FIELD => Action::DeleteField(oxm::read_field(from)?.field),
            number::LEARN | number::LEARN2 => super::learn::decode(from, kind == number::LEARN2)?,
            number::CT => self.ct(from)?,
            number::CLONE => {
                from.skip(6)?;
                Action::Clone(self.nested(from, Within::List)?)
            }
            number::NAT => {
                // Only `ct` reads it; its own form is looked at first.
                super::ct::nat(from)?;
                return Err(ErrorCode::BacBadSetArgument.about("nat outside ct"));
            }
            number::WRITE_METADATA => {
                let zero = from.bytes(6)?.iter().all(|byte| *byte == 0);
                require(zero, ErrorCode::NxbrcMustBeZero, "write_metadata")?;
                if self.depth == 1 && self.metadata != Metadata::Never {
                    self.metadata = Metadata::Written(from.u64()?, from.u64()?);
                    return Ok(None);
                }
                return Err(ErrorCode::BicUnsupInst.about("write_metadata among actions"));
            }
            _ => return Err(ErrorCode::BacBadVendorType.about("an action of Nicira's")),
        }))
    }

    /// `move`, and the ONF's copy_field.
    pub(super) fn moved(
        &self,
        from: &mut Reader<'_>,
        bits: u16,
        src: u16,
        dst: u16,
    ) -> Result<Action, OfError> {
        let src_wire = oxm::read_field(from)?;
        let dst_wire = oxm::read_field(from)?;
        zeros(from, ErrorCode::NxbrcMustBeZero, "move")?;
        let (src, dst) = (bits_of(&src_wire, src, bits), bits_of(&dst_wire, dst, bits));
        check_source(&src, &src_wire)?;
        check_target(&dst, &dst_wire)?;
        Ok(Action::Move { src, dst })
    }
}

fn resubmit(port: u16, table: u8, ct_tuple: bool) -> Action {
    let port = port_from_16(port);
    Action::Resubmit {
        port: (port != OfPort::IN_PORT).then_some(port),
        table: (table != 255).then_some(table),
        ct_tuple,
    }
}

fn dec_ttl(from: &mut Reader<'_>) -> Result<Action, OfError> {
    let count = from.u16()?;
    let zero = from.u32()? == 0;
    require(zero, ErrorCode::NxbrcMustBeZero, "dec_ttl")?;
    let ids: Result<_, _> = (0..count).map(|_| from.u16()).collect();
    ids.map(Action::DecTtl)
}

fn load(from: &mut Reader<'_>) -> Result<Action, OfError> {
    let (ofs_nbits, header) = (from.u16()?, from.u32()?);
    let value = u128::from(from.u64()?);
    let (dst, wire) = bits_of_u32(header, ofs_nbits)?;
    check_target(&dst, &wire)?;
    let fits = value >> dst.bits == 0;
    require(fits, ErrorCode::BacBadArgument, "load")?;
    Ok(Action::Load { dst, value })
}

fn load2(from: &mut Reader<'_>) -> Result<Action, OfError> {
    let (entry, _) = oxm::read_setting(from)?;
    zeros(from, ErrorCode::BacBadSetArgument, "load")?;
    let (field, value, mask) = entry.parts();
    let row = field.info();
    require(row.writable, ErrorCode::BacBadSetArgument, row.name)?;
    Ok(Action::SetField { field, value, mask })
}

fn stack(from: &mut Reader<'_>, pop: bool) -> Result<Subfield, OfError> {
    let offset = from.u16()?;
    let wire = oxm::read_field(from)?;
    let bits = from.u16()?;
    zeros(from, ErrorCode::NxbrcMustBeZero, "push or pop")?;
    let bits = bits_of(&wire, offset, bits);
    if pop {
        check_target(&bits, &wire)?;
    } else {
        check_source(&bits, &wire)?;
    }
    Ok(bits)
}

fn output_field(from: &mut Reader<'_>, long: bool) -> Result<Action, OfError> {
    let ofs_nbits = from.u16()?;
    let (src, wire, max_len) = if long {
        let max_len = from.u16()?;
        let wire = oxm::read_field(from)?;
        zeros(from, ErrorCode::NxbrcMustBeZero, "output")?;
        let src = bits_of(&wire, ofs_nbits >> 6, (ofs_nbits & 0x3f) + 1);
        (src, wire, max_len)
    } else {
        let (header, max_len) = (from.u32()?, from.u16()?);
        zeros(from, ErrorCode::BacBadArgument, "output")?;
        let (src, wire) = bits_of_u32(header, ofs_nbits)?;
        (src, wire, max_len)
    };
    check_source(&src, &wire)?;
    Ok(Action::OutputField { src, max_len })
}

fn controller(from: &mut Reader<'_>) -> Result<Action, OfError> {
    let (max_len, id) = (from.u16()?, from.u16()?);
    Ok(Action::Controller(Box::new(ToController {
        max_len,
        id,
        reason: word(&REASONS, from.u8()?, "controller(reason)")?,
        userdata: Vec::new(),
        pause: false,
        meter: None,
    })))
}

fn controller2(from: &mut Reader<'_>) -> Result<Action, OfError> {
    let zero = from.bytes(6)?.iter().all(|byte| *byte == 0);
    require(zero, ErrorCode::NxbrcMustBeZero, "controller")?;
    let mut found = ToController {
        max_len: u16::MAX,
        id: 0,
        reason: Reason::Action,
        userdata: Vec::new(),
        pause: false,
        meter: None,
    };
    let bad_len = ErrorCode::BpcBadLen.about("a property of controller");
    let mut properties = Reader::new(from.take_rest(), bad_len);
    while !properties.is_empty() {
        let mut header = properties.clone();
        let (kind, size) = (header.u16()?, usize::from(header.u16()?));
        let mut padded = properties.part(size.next_multiple_of(8))?;
        let mut value = padded.part(size)?;
        value.skip(4)?;
        match kind {
            0 => found.max_len = value.u16()?,
            1 => found.id = value.u16()?,
            2 => found.reason = word(&REASONS, value.u8()?, "controller(reason)")?,
            3 => found.userdata = value.take_rest().to_vec(),
            4 => found.pause = true,
            5 => {
                let meter = value.u32()?;
                value.finish()?;
                found.meter = Some(meter);
            }
            _ => return Err(ErrorCode::BpcBadType.about("a property of controller")),
        }
    }
    Ok(Action::Controller(Box::new(found)))
}

fn multipath(from: &mut Reader<'_>) -> Result<Action, OfError> {
    let (fields, basis) = (from.u16()?, from.u16()?);
    from.skip(2)?;
    let (algorithm, max_link, arg) = (from.u16()?, from.u16()?, from.u32()?);
    from.skip(2)?;
    let (ofs_nbits, header) = (from.u16()?, from.u32()?);
    let (dst, wire) = bits_of_u32(header, ofs_nbits)?;
    let found = Multipath {
        fields: word(&HASH_FIELDS, fields, "multipath(fields)")?,
        basis,
        algorithm: word(&MULTILINKS, algorithm, "multipath(algorithm)")?,
        max_link,
        arg,
        dst,
    };
    let fits = u32::from(max_link) < 1_u32.checked_shl(dst.bits.into()).unwrap_or(u32::MAX);
    require(fits, ErrorCode::BacBadArgument, "multipath(dst)")?;
    check_target(&dst, &wire)?;
    Ok(Action::Multipath(Box::new(found)))
}

fn bundle(from: &mut Reader<'_>, load: bool) -> Result<Action, OfError> {
    let (algorithm, fields, basis) = (from.u16()?, from.u16()?, from.u16()?);
    let member_type = oxm::Header::from_u32(from.u32()?);
    let count = usize::from(from.u16()?);
    let (ofs_nbits, header, zero) = (from.u16()?, from.u32()?, from.u32()?);
    let fields = word(&HASH_FIELDS, fields, "bundle(fields)")?;
    let algorithm = word(&BUNDLE_ALGORITHMS, algorithm, "bundle(algorithm)")?;
    let ports = member_type.wire().is_some_and(|wire| wire.is_short_port());
    let right = ports && count <= BUNDLE_MAX && zero == 0;
    require(right, ErrorCode::BacBadArgument, "bundle")?;
    let dst = if load {
        let (dst, wire) = bits_of_u32(header, ofs_nbits)?;
        let enough = dst.bits >= 16;
        require(enough, ErrorCode::BacBadArgument, "bundle_load(dst)")?;
        check_target(&dst, &wire)?;
        Some(dst)
    } else {
        let none = ofs_nbits == 0 && header == 0;
        require(none, ErrorCode::BacBadArgument, "bundle(dst)")?;
        None
    };
    // Paid for by the bytes: the list is as long as the action says, no longer.
    let mut members = from.part(2 * count)?;
    let mut list = Vec::with_capacity(count);
    while !members.is_empty() {
        let port = members.port16()?;
        if port != OfPort::ANY {
            check_port(port, "bundle(members)")?;
        }
        // There is no place to say how much a controller gets.
        let packets = port != OfPort::CONTROLLER;
        require(packets, ErrorCode::BacBadOutPort, "bundle(members)")?;
        list.push(port);
    }
    Ok(Action::Bundle(Box::new(Bundle {
        fields,
        basis,
        algorithm,
        members: list,
        dst,
    })))
}

fn conjunction(from: &mut Reader<'_>) -> Result<Action, OfError> {
    let (clause, clauses, id) = (from.u8()?, from.u8()?, from.u32()?);
    let right = (2..=64).contains(&clauses) && clause < clauses;
    require(right, ErrorCode::NxbacBadConjunction, "conjunction")?;
    Ok(Action::Conjunction {
        id,
        clause,
        clauses,
    })
}

fn sample(from: &mut Reader<'_>, kind: u16) -> Result<Action, OfError> {
    let probability = from.u16()?;
    let (collector_set, domain, point) = (from.u32()?, from.u32()?, from.u32()?);
    let mut port = OfPort::ANY;
    if kind != number::SAMPLE {
        port = from.port16()?;
        let direction = from.u8()?;
        if kind == number::SAMPLE3 {
            zeros(from, ErrorCode::NxbrcMustBeZero, "sample")?;
            // Flows are exported without the side of the switch they were seen on.
            let either = direction == 0;
            require(either, ErrorCode::BacBadArgument, "sample(direction)")?;
        }
    }
    let some = probability != 0;
    require(some, ErrorCode::BacBadArgument, "sample(probability)")?;
    Ok(Action::Sample(Box::new(Sample {
        probability,
        collector_set,
        domain,
        point,
        port: (port != OfPort::ANY).then_some(port),
    })))
}
