//! Bytes → actions: which action it is, its length, and the standard ones.

use vswitch_flow::action::{Reason, ToController};
use vswitch_flow::{Action, Field, OfPort};

use super::{Decoder, EXPERIMENTER, Metadata, number};
use crate::error::{ErrorCode, NICIRA, ONF, OfError};
use crate::header::Version;
use crate::oxm;
use crate::wire::{Reader, require};

/// What a field's whole value becomes.
pub(super) fn set(field: Field, value: u128) -> Action {
    let mask = field.info().max();
    Action::SetField {
        field,
        value: value & mask,
        mask,
    }
}

const UNKNOWN: OfError = ErrorCode::BacBadType.about("an action");

/// Sizes that an action of OpenFlow 1.0 may have.
fn sizes10(kind: u16) -> Option<Sizes> {
    Some(match kind {
        0..=3 | 6..=10 => Sizes::Fixed(8),
        4 | 5 | 11 => Sizes::Fixed(16),
        _ => return None,
    })
}

/// Sizes that an action of OpenFlow 1.3 and later may have.
fn sizes13(kind: u16, version: Version) -> Option<Sizes> {
    Some(match kind {
        number::STANDARD_COPY_FIELD if version >= Version::V15 => Sizes::From(16),
        number::STANDARD_METER if version >= Version::V15 => Sizes::Fixed(8),
        0 | 3 | 4 => Sizes::Fixed(16),
        1 | 2 | 5..=24 | 26 | 27 => Sizes::Fixed(8),
        25 => Sizes::From(8),
        _ => return None,
    })
}

/// Sizes that an action of Nicira's may have.
fn sizes_nicira(kind: u16, version: Version) -> Option<Sizes> {
    let old = version == Version::V10;
    Some(match kind {
        // `set_field` and `copy_field` of 1.5 say all that these say.
        number::REG_LOAD | number::REG_LOAD2 | number::REG_MOVE if version >= Version::V15 => {
            return None;
        }
        number::SET_QUEUE
        | number::DEC_TTL
        | number::PUSH_MPLS
        | number::POP_MPLS
        | number::SET_MPLS_TTL
        | number::DEC_MPLS_TTL
        | number::SET_MPLS_LABEL
        | number::SET_MPLS_TC
        | number::GROUP
            if old =>
        {
            Sizes::Fixed(16)
        }
        number::RESUBMIT
        | number::SET_TUNNEL
        | number::POP_QUEUE
        | number::RESUBMIT_TABLE
        | number::RESUBMIT_TABLE_CT
        | number::EXIT
        | number::FIN_TIMEOUT
        | number::CONTROLLER
        | number::CONJUNCTION
        | number::OUTPUT_TRUNC
        | number::CT_CLEAR => Sizes::Fixed(16),
        number::REG_LOAD
        | number::SET_TUNNEL64
        | number::OUTPUT_REG
        | number::OUTPUT_REG2
        | number::STACK_PUSH
        | number::STACK_POP
        | number::SAMPLE
        | number::CHECK_PKT_LARGER
        | number::DELETE_FIELD => Sizes::Fixed(24),
        number::MULTIPATH | number::WRITE_METADATA | number::SAMPLE2 | number::SAMPLE3 => {
            Sizes::Fixed(32)
        }
        number::REG_MOVE
        | number::NOTE
        | number::DEC_TTL_CNT_IDS
        | number::REG_LOAD2
        | number::NAT
        | number::CONTROLLER2
        | number::CLONE => Sizes::From(16),
        number::CT => Sizes::From(24),
        number::BUNDLE | number::BUNDLE_LOAD | number::LEARN => Sizes::From(32),
        number::LEARN2 => Sizes::From(40),
        _ => return None,
    })
}

/// Bytes of an action.
#[derive(Clone, Copy)]
enum Sizes {
    Fixed(usize),
    From(usize),
}

/// Who gave an action its number.
#[derive(Clone, Copy)]
enum Owner {
    Standard,
    Nicira,
    Onf,
}

impl Decoder<'_> {
    /// Reads actions to the end of `from`.
    pub(super) fn actions(&mut self, from: &mut Reader<'_>) -> Result<Vec<Action>, OfError> {
        let mut list = Vec::new();
        while !from.is_empty() {
            let own = self.depth == 1;
            let ended = own && matches!(self.metadata, Metadata::Written(..));
            self.action(from, &mut list)?;
            require(
                !ended,
                ErrorCode::BacUnsupportedOrder,
                "an action after write_metadata",
            )?;
        }
        Ok(list)
    }

    fn action(&mut self, from: &mut Reader<'_>, list: &mut Vec<Action>) -> Result<(), OfError> {
        let bad_len = ErrorCode::BacBadLen.about("an action");
        let mut header = Reader::new(from.peek(), bad_len);
        let (mut kind, size) = (header.u16()?, usize::from(header.u16()?));
        let vendor = header.u32()?;
        let (owner, sizes, payload) = if kind == EXPERIMENTER {
            let known = matches!(vendor, NICIRA | ONF);
            require(known, ErrorCode::BacBadVendor, "an experimenter's action")?;
            require(from.left() >= 16, ErrorCode::BacBadLen, "an action")?;
            kind = header.u16()?;
            let unknown = ErrorCode::BacBadVendorType.about("an experimenter's action");
            match vendor {
                NICIRA => {
                    let sizes = sizes_nicira(kind, self.version).ok_or(unknown)?;
                    (Owner::Nicira, sizes, 10)
                }
                _ if kind == number::COPY_FIELD
                    && matches!(self.version, Version::V13 | Version::V14) =>
                {
                    (Owner::Onf, Sizes::From(24), 10)
                }
                _ => return Err(unknown),
            }
        } else {
            let sizes = match self.version {
                Version::V10 => sizes10(kind),
                Version::V13 | Version::V14 | Version::V15 => sizes13(kind, self.version),
            };
            (Owner::Standard, sizes.ok_or(UNKNOWN)?, 4)
        };
        let right = match sizes {
            Sizes::Fixed(fixed) => size == fixed,
            Sizes::From(least) => size >= least,
        };
        let right = right && size.is_multiple_of(8) && size <= from.left();
        require(right, ErrorCode::BacBadLen, "an action")?;
        let mut body = from.part_with(size, bad_len)?;
        body.skip(payload)?;
        match (owner, self.version) {
            (Owner::Standard, Version::V10) => self.standard10(kind, &mut body, list),
            (Owner::Standard, _) => self.standard13(kind, &mut body, list),
            (Owner::Nicira, _) => {
                if let Some(action) = self.nicira(kind, &mut body)? {
                    list.push(action);
                }
                Ok(())
            }
            (Owner::Onf, _) => {
                body.skip(2)?;
                let (bits, src, dst) = (body.u16()?, body.u16()?, body.u16()?);
                body.skip(2)?;
                list.push(self.moved(&mut body, bits, src, dst)?);
                Ok(())
            }
        }
    }

    fn standard10(
        &mut self,
        kind: u16,
        from: &mut Reader<'_>,
        list: &mut Vec<Action>,
    ) -> Result<(), OfError> {
        list.push(match kind {
            0 => {
                let (port, max_len) = (from.port16()?, from.u16()?);
                self.output(port, max_len)?
            }
            1 => Action::SetVlanVid(vid(from)?),
            2 => Action::SetVlanPcp(pcp(from)?),
            3 => Action::PopVlan,
            4 | 5 => ethernet(kind == 4, from)?,
            6 | 7 => ipv4(kind == 6, from)?,
            8 => tos(from)?,
            9 | 10 => {
                let port = from.u16()?;
                list.extend(self.transport_port(kind == 9, port));
                return Ok(());
            }
            11 => {
                let port = from.port16()?;
                from.skip(6)?;
                let queue = from.u32()?;
                let real = port <= OfPort::MAX || matches!(port, OfPort::IN_PORT | OfPort::LOCAL);
                require(real, ErrorCode::BacBadOutPort, "enqueue")?;
                Action::Enqueue { port, queue }
            }
            _ => return Err(UNKNOWN),
        });
        Ok(())
    }

    fn standard13(
        &mut self,
        kind: u16,
        from: &mut Reader<'_>,
        list: &mut Vec<Action>,
    ) -> Result<(), OfError> {
        list.push(match kind {
            0 => {
                let (port, max_len) = (from.port()?, from.u16()?);
                self.output(port, max_len)?
            }
            // Since OpenFlow 1.1 these write a tag that is there and push none.
            1 => set(Field::VlanVid, u128::from(vid(from)? | 0x1000)),
            2 => set(Field::VlanPcp, u128::from(pcp(from)?)),
            3 | 4 => ethernet(kind == 3, from)?,
            5 | 6 => ipv4(kind == 5, from)?,
            7 => tos(from)?,
            8 => {
                let ecn = from.u8()?;
                require(ecn <= 3, ErrorCode::BacBadArgument, "set_nw_ecn")?;
                set(Field::IpEcn, u128::from(ecn))
            }
            9 | 10 => {
                let port = from.u16()?;
                list.extend(self.transport_port(kind == 9, port));
                return Ok(());
            }
            11 => Action::CopyTtlOut,
            12 => Action::CopyTtlIn,
            13 => set(Field::MplsLabel, u128::from(from.u32()?)),
            14 => set(Field::MplsTc, u128::from(from.u8()?)),
            15 => set(Field::MplsTtl, u128::from(from.u8()?)),
            16 => Action::DecMplsTtl,
            17 => {
                let kind = from.u16()?;
                let tag = matches!(kind, 0x8100 | 0x88a8);
                require(tag, ErrorCode::BacBadArgument, "push_vlan")?;
                Action::PushVlan(kind)
            }
            18 => Action::PopVlan,
            19 => push_mpls(from)?,
            20 => Action::PopMpls(from.u16()?),
            21 => Action::SetQueue(from.u32()?),
            22 => Action::Group(from.u32()?),
            23 => set(Field::IpTtl, u128::from(from.u8()?)),
            24 => Action::DecTtl(Vec::new()),
            25 => set_field(from, self.version)?,
            26 => {
                let kind = from.u16()?;
                require(kind == 0x88e7, ErrorCode::BacBadArgument, "push_pbb")?;
                Action::PushPbb(kind)
            }
            27 => Action::PopPbb,
            number::STANDARD_COPY_FIELD => {
                let (bits, src, dst) = (from.u16()?, from.u16()?, from.u16()?);
                from.skip(2)?;
                self.moved(from, bits, src, dst)?
            }
            number::STANDARD_METER => Action::Meter(from.u32()?),
            _ => return Err(UNKNOWN),
        });
        Ok(())
    }

    fn output(&mut self, port: OfPort, max_len: u16) -> Result<Action, OfError> {
        check_port(port, "output")?;
        if port == OfPort::CONTROLLER {
            return Ok(Action::Controller(Box::new(ToController {
                max_len,
                id: 0,
                reason: Reason::Action,
                userdata: Vec::new(),
                pause: false,
                meter: None,
            })));
        }
        self.output_len |= max_len != 0;
        Ok(Action::Output(port))
    }

    /// `OFPAT_SET_TP_*` writes the port of whichever protocol the packet has: where the match says
    /// which, that one's; else all of them, each of which writes its own protocol's packets only.
    fn transport_port(&self, source: bool, port: u16) -> impl Iterator<Item = Action> {
        let fields = [
            (6, Field::TcpSrc, Field::TcpDst),
            (17, Field::UdpSrc, Field::UdpDst),
            (132, Field::SctpSrc, Field::SctpDst),
        ];
        let said = self.matches.map(|matches| matches.field(Field::IpProto));
        let proto = said.filter(|(_, mask)| *mask == 0xff);
        let proto = proto.map(|(proto, _)| proto);
        let known = proto.filter(|proto| fields.iter().any(|(number, ..)| number == proto));
        fields
            .into_iter()
            .filter(move |(number, ..)| known.is_none_or(|known| known == *number))
            .map(move |(_, src, dst)| set(if source { src } else { dst }, u128::from(port)))
    }
}

/// Whether a port is one to send to.
pub(super) fn check_port(port: OfPort, about: &'static str) -> Result<(), OfError> {
    let reserved = (OfPort::IN_PORT..=OfPort::LOCAL).contains(&port);
    let real = port <= OfPort::MAX || reserved;
    require(real, ErrorCode::BacBadOutPort, about)
}

fn vid(from: &mut Reader<'_>) -> Result<u16, OfError> {
    let vid = from.u16()?;
    require(vid <= 0xfff, ErrorCode::BacBadArgument, "set_vlan_vid")?;
    Ok(vid)
}

fn pcp(from: &mut Reader<'_>) -> Result<u8, OfError> {
    let pcp = from.u8()?;
    require(pcp <= 7, ErrorCode::BacBadArgument, "set_vlan_pcp")?;
    Ok(pcp)
}

fn ethernet(source: bool, from: &mut Reader<'_>) -> Result<Action, OfError> {
    let address = from.array::<6>()?;
    let field = if source { Field::EthSrc } else { Field::EthDst };
    Ok(set(field, oxm::number(&address)))
}

fn ipv4(source: bool, from: &mut Reader<'_>) -> Result<Action, OfError> {
    let address = from.u32()?;
    let field = if source {
        Field::Ipv4Src
    } else {
        Field::Ipv4Dst
    };
    Ok(set(field, u128::from(address)))
}

fn tos(from: &mut Reader<'_>) -> Result<Action, OfError> {
    let tos = from.u8()?;
    require(tos & 3 == 0, ErrorCode::BacBadArgument, "set_nw_tos")?;
    Ok(set(Field::IpDscp, u128::from(tos >> 2)))
}

pub(super) fn push_mpls(from: &mut Reader<'_>) -> Result<Action, OfError> {
    let kind = from.u16()?;
    let mpls = matches!(kind, 0x8847 | 0x8848);
    require(mpls, ErrorCode::BacBadArgument, "push_mpls")?;
    Ok(Action::PushMpls(kind))
}

fn set_field(from: &mut Reader<'_>, version: Version) -> Result<Action, OfError> {
    let (entry, masked) = oxm::read_setting(from)?;
    let may_mask = version >= Version::V15;
    require(!masked || may_mask, ErrorCode::BacBadSetMask, "set_field")?;
    super::zeros(from, ErrorCode::BacBadSetArgument, "set_field")?;
    let (field, value, mask) = entry.parts();
    let row = field.info();
    let writable = row.writable && !entry.wire.is_oxm_port();
    require(writable, ErrorCode::BacBadSetArgument, row.name)?;
    let tagged = field != Field::VlanVid || mask & 0x1000 == 0 || value & 0x1000 != 0;
    let right = entry.is_value() && tagged;
    require(right, ErrorCode::BacBadSetArgument, row.name)?;
    Ok(Action::SetField { field, value, mask })
}
