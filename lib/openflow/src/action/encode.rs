//! Actions → bytes.

use vswitch_flow::action::{Bundle, Multipath, Sample, ToController};
use vswitch_flow::{Action, Field, OfPort, Subfield};

use super::nicira::{BUNDLE_ALGORITHMS, HASH_FIELDS, MULTILINKS, REASONS};
use super::verify::is_plain;
use super::{EXPERIMENTER, Encoder, OUTPUT_LEN, number, ofs_nbits};
use crate::error::NICIRA;
use crate::header::Version;
use crate::oxm::Wire;
use crate::wire::{Writer, port_to_16};

/// Tag protocol of the tag that `mod_vlan_vid` pushes.
const CVLAN: u16 = 0x8100;

/// Writes an action of Nicira's: header, what `body` writes, and padding.
pub(super) fn nicira(
    to: &mut Writer,
    kind: u16,
    what: &'static str,
    body: impl FnOnce(&mut Writer),
) {
    let start = to.size();
    to.u16(EXPERIMENTER);
    let length = to.length();
    to.u32(NICIRA);
    to.u16(kind);
    body(to);
    to.pad8(start);
    to.fill_length(length, start, what);
}

/// Writes a standard action.
fn standard(to: &mut Writer, kind: u16, body: impl FnOnce(&mut Writer)) {
    let start = to.size();
    to.u16(kind);
    let length = to.length();
    body(to);
    to.pad8(start);
    to.fill_length(length, start, "an action");
}

/// Writes a standard action of 8 bytes with a number of 32 bits.
fn standard_u32(to: &mut Writer, kind: u16, value: u32) {
    standard(to, kind, |to| to.u32(value));
}

/// The place of a word in its list, which is its number.
fn place<T: PartialEq>(words: &[T], word: &T) -> u16 {
    let place = words.iter().position(|other| other == word);
    place
        .and_then(|place| u16::try_from(place).ok())
        .unwrap_or(0)
}

/// Whether an action is the same for TCP, UDP and SCTP as the next two are, as OpenFlow 1.0 says it
/// in one: the port and whether it is the source.
fn any_transport(tcp: &Action, after: &[Action]) -> Option<(bool, u16)> {
    let value = |action: &Action, wanted: Field| match action {
        Action::SetField { field, value, mask } if *field == wanted && *mask == 0xffff => {
            u16::try_from(*value).ok()
        }
        _ => None,
    };
    let [udp, sctp, ..] = after else {
        return None;
    };
    for (source, fields) in [
        (true, [Field::TcpSrc, Field::UdpSrc, Field::SctpSrc]),
        (false, [Field::TcpDst, Field::UdpDst, Field::SctpDst]),
    ] {
        let port = value(tcp, fields[0]);
        if port.is_some() && port == value(udp, fields[1]) && port == value(sctp, fields[2]) {
            return port.map(|port| (source, port));
        }
    }
    None
}

impl Encoder<'_> {
    /// Writes a list of actions.
    pub fn list(&self, to: &mut Writer, list: &[Action]) {
        let mut tagged = self.matches.is_some_and(|matches| {
            let (tci, _) = matches.field(Field::VlanTci);
            tci & 0x1000 != 0
        });
        let mut rest = list;
        while let Some((action, after)) = rest.split_first() {
            rest = after;
            if self.version == Version::V10
                && let Some((source, port)) = any_transport(action, after)
            {
                standard(to, if source { 9 } else { 10 }, |to| to.u16(port));
                rest = after.get(2..).unwrap_or_default();
                continue;
            }
            self.action(to, action, tagged);
            tagged = match action {
                Action::SetVlanVid(_) | Action::SetVlanPcp(_) | Action::PushVlan(_) => true,
                Action::PopVlan => false,
                _ => tagged,
            };
        }
    }

    fn is_old(&self) -> bool {
        self.version == Version::V10
    }

    /// Whether `set_field` and `copy_field` say all that Nicira's actions said of fields.
    fn is_new(&self) -> bool {
        self.version >= Version::V15
    }

    fn action(&self, to: &mut Writer, action: &Action, tagged: bool) {
        match action {
            Action::Output(port) => {
                let max_len = match *port {
                    OfPort::CONTROLLER => u16::MAX,
                    _ if self.output_len => OUTPUT_LEN,
                    _ => 0,
                };
                self.output(to, *port, max_len);
            }
            Action::Controller(said) => self.controller(to, said),
            Action::OutputTruncated { port, max_len } => {
                nicira(to, number::OUTPUT_TRUNC, "output", |to| {
                    to.port16(*port);
                    to.u32(*max_len);
                });
            }
            Action::OutputField { src, max_len } => self.output_field(to, src, *max_len),
            Action::Enqueue { port, queue } if self.is_old() => standard(to, 11, |to| {
                to.port16(*port);
                to.zeros(6);
                to.u32(*queue);
            }),
            Action::Enqueue { port, queue } => {
                standard_u32(to, 21, *queue);
                self.output(to, *port, u16::MAX);
                nicira(to, number::POP_QUEUE, "pop_queue", |_| {});
            }
            Action::SetQueue(queue) => self.either_u32(to, number::SET_QUEUE, 21, *queue),
            Action::Group(group) => self.either_u32(to, number::GROUP, 22, *group),
            Action::PopQueue => nicira(to, number::POP_QUEUE, "pop_queue", |_| {}),
            Action::SetField { field, value, mask } => {
                self.set_field(to, *field, *value, *mask);
            }
            Action::Load { dst, value } if self.is_new() => {
                self.set_field(to, dst.field, value << dst.offset, dst.mask());
            }
            Action::Load { dst, value } => {
                self.loads(to, dst.field, value << dst.offset, dst.mask());
            }
            Action::Move { src, dst } if self.is_new() => {
                standard(to, number::STANDARD_COPY_FIELD, |to| {
                    to.u16(dst.bits.into());
                    to.u16(src.offset.into());
                    to.u16(dst.offset.into());
                    to.zeros(2);
                    self.put_own_field(to, src);
                    self.put_own_field(to, dst);
                });
            }
            Action::Move { src, dst } => nicira(to, number::REG_MOVE, "move", |to| {
                to.u16(dst.bits.into());
                to.u16(src.offset.into());
                to.u16(dst.offset.into());
                self.put_field(to, src);
                self.put_field(to, dst);
            }),
            Action::StackPush(bits) => self.stack(to, number::STACK_PUSH, bits),
            Action::StackPop(bits) => self.stack(to, number::STACK_POP, bits),
            Action::SetVlanVid(vid) if self.is_old() => standard(to, 1, |to| to.u16(*vid)),
            Action::SetVlanPcp(pcp) if self.is_old() => standard(to, 2, |to| to.u8(*pcp)),
            Action::SetVlanVid(_) | Action::SetVlanPcp(_) => {
                if !tagged {
                    standard(to, 17, |to| to.u16(CVLAN));
                }
                let (field, value) = match action {
                    Action::SetVlanVid(vid) => (Field::VlanVid, u128::from(vid | 0x1000)),
                    Action::SetVlanPcp(pcp) => (Field::VlanPcp, u128::from(*pcp)),
                    _ => return,
                };
                self.set_field(to, field, value, field.info().max());
            }
            // Setting a VLAN pushes the tag, and is what follows.
            Action::PushVlan(_) if self.is_old() => {}
            Action::PushVlan(kind) => standard(to, 17, |to| to.u16(*kind)),
            Action::PopVlan => standard(to, if self.is_old() { 3 } else { 18 }, |to| to.zeros(4)),
            Action::PushMpls(kind) => self.either_u16(to, number::PUSH_MPLS, 19, *kind),
            Action::PopMpls(kind) => self.either_u16(to, number::POP_MPLS, 20, *kind),
            Action::DecMplsTtl if self.is_old() => {
                nicira(to, number::DEC_MPLS_TTL, "dec_mpls_ttl", |_| {});
            }
            Action::DecMplsTtl => standard(to, 16, |to| to.zeros(4)),
            Action::DecTtl(ids) => self.dec_ttl(to, ids),
            // OpenFlow 1.0 has no word for these.
            Action::CopyTtlOut | Action::CopyTtlIn | Action::PushPbb(_) | Action::PopPbb
                if self.is_old() => {}
            Action::CopyTtlOut => standard(to, 11, |to| to.zeros(4)),
            Action::CopyTtlIn => standard(to, 12, |to| to.zeros(4)),
            Action::PushPbb(kind) => standard(to, 26, |to| to.u16(*kind)),
            Action::PopPbb => standard(to, 27, |to| to.zeros(4)),
            Action::Resubmit {
                port,
                table,
                ct_tuple,
            } => resubmit(to, *port, *table, *ct_tuple),
            Action::Clone(list) => nicira(to, number::CLONE, "clone", |to| {
                to.zeros(6);
                self.list(to, list);
            }),
            Action::Learn(learn) => super::learn::encode(to, learn),
            Action::Conjunction {
                id,
                clause,
                clauses,
            } => nicira(to, number::CONJUNCTION, "conjunction", |to| {
                to.u8(*clause);
                to.u8(*clauses);
                to.u32(*id);
            }),
            Action::Note(bytes) => nicira(to, number::NOTE, "note", |to| {
                to.bytes(bytes);
                if bytes.is_empty() {
                    to.zeros(6);
                }
            }),
            Action::Exit => nicira(to, number::EXIT, "exit", |_| {}),
            Action::Meter(id) if self.is_new() => {
                standard_u32(to, number::STANDARD_METER, *id);
            }
            // Before OpenFlow 1.5 a meter is no action.
            Action::Meter(_) => {}
            Action::CtClear => nicira(to, number::CT_CLEAR, "ct_clear", |_| {}),
            Action::Multipath(multipath) => self.multipath(to, multipath),
            Action::Bundle(bundle) => self.bundle(to, bundle),
            Action::CheckPktLarger { len, dst } => {
                nicira(to, number::CHECK_PKT_LARGER, "check_pkt_larger", |to| {
                    to.u16(*len);
                    to.u16(dst.offset.into());
                    self.put_field(to, dst);
                });
            }
            Action::FinTimeout { idle, hard } => {
                nicira(to, number::FIN_TIMEOUT, "fin_timeout", |to| {
                    to.u16(*idle);
                    to.u16(*hard);
                });
            }
            Action::Ct(ct) => self.ct(to, ct),
            Action::Sample(said) => sample(to, said),
            Action::DeleteField(field) => {
                let start = to.size();
                nicira(to, number::DELETE_FIELD, "delete_field", |to| {
                    self.put_field(to, &Subfield::whole(*field));
                    to.zeros(24 - (to.size() - start));
                });
            }
        }
    }

    fn output(&self, to: &mut Writer, port: OfPort, max_len: u16) {
        standard(to, 0, |to| {
            if self.is_old() {
                to.port16(port);
                to.u16(max_len);
            } else {
                to.port(port);
                to.u16(max_len);
                to.zeros(6);
            }
        });
    }

    /// An action with a number, which is Nicira's in OpenFlow 1.0 and standard later.
    fn either_u32(&self, to: &mut Writer, old: u16, new: u16, value: u32) {
        if self.is_old() {
            nicira(to, old, "an action", |to| {
                to.zeros(2);
                to.u32(value);
            });
        } else {
            standard_u32(to, new, value);
        }
    }

    fn either_u16(&self, to: &mut Writer, old: u16, new: u16, value: u16) {
        if self.is_old() {
            nicira(to, old, "an action", |to| to.u16(value));
        } else {
            standard(to, new, |to| to.u16(value));
        }
    }

    fn either_u8(&self, to: &mut Writer, old: u16, new: u16, value: u8) {
        if self.is_old() {
            nicira(to, old, "an action", |to| to.u8(value));
        } else {
            standard(to, new, |to| to.u8(value));
        }
    }

    /// Writes the header that names a field.
    fn put_field(&self, to: &mut Writer, bits: &Subfield) {
        match Wire::of_bits(bits) {
            Some(wire) => wire.put_header(to, false),
            None => to.not_in("a field without a code", self.version),
        }
    }

    /// Writes the header that names a field in a standard action.
    fn put_own_field(&self, to: &mut Writer, bits: &Subfield) {
        // A port has 16 bits here, where it may be written.
        let wire = match bits.field {
            Field::InPort => Wire::of_bits(bits),
            field => Wire::preferred(field, self.version),
        };
        match wire {
            Some(wire) => wire.put_header(to, false),
            None => to.not_in("a field without a code", self.version),
        }
    }

    /// Writes a header of exactly four bytes.
    fn put_short_field(&self, to: &mut Writer, bits: &Subfield) {
        match Wire::of_bits(bits).filter(Wire::is_short) {
            Some(wire) => to.u32(wire.header_u32()),
            None => to.not_in("a field without a short code", self.version),
        }
    }

    fn controller(&self, to: &mut Writer, said: &ToController) {
        if is_plain(said) {
            return self.output(to, OfPort::CONTROLLER, said.max_len);
        }
        let reason = place(&REASONS, &said.reason) as u8;
        if said.userdata.is_empty() && !said.pause && said.meter.is_none() {
            return nicira(to, number::CONTROLLER, "controller", |to| {
                to.u16(said.max_len);
                to.u16(said.id);
                to.u8(reason);
            });
        }
        nicira(to, number::CONTROLLER2, "controller", |to| {
            to.zeros(6);
            let mut property = |kind: u16, body: &dyn Fn(&mut Writer)| {
                let start = to.size();
                to.u16(kind);
                let length = to.length();
                body(to);
                to.fill_length(length, start, "a property of controller");
                to.pad8(start);
            };
            // Short values have the padding within their property.
            let short = |value: u16| {
                move |to: &mut Writer| {
                    to.u16(value);
                    to.zeros(2);
                }
            };
            if said.max_len != u16::MAX {
                property(0, &short(said.max_len));
            }
            if said.id != 0 {
                property(1, &short(said.id));
            }
            if said.reason != vswitch_flow::action::Reason::Action {
                property(2, &short(u16::from(reason) << 8));
            }
            if !said.userdata.is_empty() {
                property(3, &|to| to.bytes(&said.userdata));
            }
            if said.pause {
                property(4, &|_| {});
            }
            if let Some(meter) = said.meter {
                property(5, &|to| to.u32(meter));
            }
        });
    }

    fn output_field(&self, to: &mut Writer, src: &Subfield, max_len: u16) {
        match Wire::of_bits(src) {
            Some(wire) if wire.is_short() => nicira(to, number::OUTPUT_REG, "output", |to| {
                to.u16(ofs_nbits(src));
                to.u32(wire.header_u32());
                to.u16(max_len);
                to.zeros(6);
            }),
            _ => nicira(to, number::OUTPUT_REG2, "output", |to| {
                to.u16(ofs_nbits(src));
                to.u16(max_len);
                self.put_field(to, src);
            }),
        }
    }

    fn stack(&self, to: &mut Writer, kind: u16, bits: &Subfield) {
        nicira(to, kind, "push or pop", |to| {
            to.u16(bits.offset.into());
            self.put_field(to, bits);
            to.u16(bits.bits.into());
        });
    }

    fn dec_ttl(&self, to: &mut Writer, ids: &[u16]) {
        if !ids.is_empty() {
            nicira(to, number::DEC_TTL_CNT_IDS, "dec_ttl", |to| {
                match u16::try_from(ids.len()) {
                    Ok(count) => to.u16(count),
                    Err(_) => to.fail(crate::wire::EncodeError::TooLong("dec_ttl")),
                }
                to.zeros(4);
                for id in ids {
                    to.u16(*id);
                }
            });
        } else if self.is_old() {
            nicira(to, number::DEC_TTL, "dec_ttl", |_| {});
        } else {
            standard(to, 24, |to| to.zeros(4));
        }
    }

    fn set_field(&self, to: &mut Writer, field: Field, value: u128, mask: u128) {
        if mask != field.info().max() && !self.is_new() {
            return self.loads(to, field, value, mask);
        }
        match field {
            _ if mask != field.info().max() => {}
            Field::MplsTtl => {
                return self.either_u8(to, number::SET_MPLS_TTL, 15, value as u8);
            }
            Field::IpTtl if !self.is_old() => {
                return standard(to, 23, |to| to.u8(value as u8));
            }
            _ => {}
        }
        if self.is_old() {
            return self.set_field10(to, field, value);
        }
        // What may be written of a port is the number of 16 bits.
        let wire = match field {
            Field::InPort => Wire::nicira(field),
            _ => Wire::preferred(field, self.version),
        };
        let Some(wire) = wire else {
            return to.not_in(field.info().name, self.version);
        };
        standard(to, 25, |to| wire.put(to, value, mask));
    }

    fn set_field10(&self, to: &mut Writer, field: Field, value: u128) {
        match field {
            Field::VlanTci if value & 0x1000 != 0 => {
                standard(to, 1, |to| to.u16(value as u16 & 0xfff));
                standard(to, 2, |to| to.u8((value >> 13) as u8));
            }
            Field::VlanTci => standard(to, 3, |to| to.zeros(4)),
            Field::VlanVid => standard(to, 1, |to| to.u16(value as u16 & 0xfff)),
            Field::VlanPcp => standard(to, 2, |to| to.u8(value as u8)),
            Field::EthSrc | Field::EthDst => {
                let kind = if field == Field::EthSrc { 4 } else { 5 };
                standard(to, kind, |to| {
                    to.bytes(&value.to_be_bytes()[10..]);
                    to.zeros(6);
                });
            }
            Field::Ipv4Src => standard_u32(to, 6, value as u32),
            Field::Ipv4Dst => standard_u32(to, 7, value as u32),
            Field::IpTos => standard(to, 8, |to| to.u8(value as u8 & 0xfc)),
            Field::IpDscp => standard(to, 8, |to| to.u8((value << 2) as u8)),
            Field::TcpSrc | Field::UdpSrc => standard(to, 9, |to| to.u16(value as u16)),
            Field::TcpDst | Field::UdpDst => standard(to, 10, |to| to.u16(value as u16)),
            Field::TunId => match u32::try_from(value) {
                Ok(id) => nicira(to, number::SET_TUNNEL, "set_tunnel", |to| {
                    to.zeros(2);
                    to.u32(id);
                }),
                Err(_) => nicira(to, number::SET_TUNNEL64, "set_tunnel64", |to| {
                    to.zeros(6);
                    to.u64(value as u64);
                }),
            },
            Field::MplsLabel => nicira(to, number::SET_MPLS_LABEL, "set_mpls_label", |to| {
                to.zeros(2);
                to.u32(value as u32);
            }),
            Field::MplsTc => nicira(to, number::SET_MPLS_TC, "set_mpls_tc", |to| {
                to.u8(value as u8);
            }),
            _ => self.loads(to, field, value, field.info().max()),
        }
    }

    /// Writes bits of a field as `load` writes them: runs of at most 64 bits, one action each, or
    /// one action for all where the field's code is too long for that.
    fn loads(&self, to: &mut Writer, field: Field, mut value: u128, mut mask: u128) {
        let Some(wire) = Wire::nicira(field) else {
            return to.not_in(field.info().name, self.version);
        };
        if !wire.is_short() {
            return nicira(to, number::REG_LOAD2, "load", |to| {
                wire.put(to, value, mask)
            });
        }
        if wire.is_short_port() && mask == field.info().max() {
            let port = OfPort(value as u32);
            value = u128::from(port_to_16(port).unwrap_or(u16::MAX));
            mask = 0xffff;
        }
        let mut start = 0;
        while start < 128 && mask >> start != 0 {
            start += (mask >> start).trailing_zeros();
            let bits = (mask >> start).trailing_ones().min(64);
            let dst = Subfield {
                field,
                offset: start as u8,
                bits: bits as u8,
            };
            nicira(to, number::REG_LOAD, "load", |to| {
                to.u16(ofs_nbits(&dst));
                self.put_short_field(to, &dst);
                to.u64((value >> start) as u64 & u64::MAX >> (64 - bits));
            });
            start += bits;
        }
    }

    fn multipath(&self, to: &mut Writer, multipath: &Multipath) {
        nicira(to, number::MULTIPATH, "multipath", |to| {
            to.u16(place(&HASH_FIELDS, &multipath.fields));
            to.u16(multipath.basis);
            to.zeros(2);
            to.u16(place(&MULTILINKS, &multipath.algorithm));
            to.u16(multipath.max_link);
            to.u32(multipath.arg);
            to.zeros(2);
            to.u16(ofs_nbits(&multipath.dst));
            self.put_short_field(to, &multipath.dst);
        });
    }

    fn bundle(&self, to: &mut Writer, bundle: &Bundle) {
        let kind = match bundle.dst {
            Some(_) => number::BUNDLE_LOAD,
            None => number::BUNDLE,
        };
        nicira(to, kind, "bundle", |to| {
            to.u16(place(&BUNDLE_ALGORITHMS, &bundle.algorithm));
            to.u16(place(&HASH_FIELDS, &bundle.fields));
            to.u16(bundle.basis);
            let port = Wire::nicira(Field::InPort);
            to.u32(port.map_or(0, |port| port.header_u32()));
            match u16::try_from(bundle.members.len()) {
                Ok(count) => to.u16(count),
                Err(_) => to.fail(crate::wire::EncodeError::TooLong("bundle")),
            }
            match &bundle.dst {
                Some(dst) => {
                    to.u16(ofs_nbits(dst));
                    self.put_short_field(to, dst);
                }
                None => to.zeros(6),
            }
            to.zeros(4);
            for port in &bundle.members {
                to.port16(*port);
            }
        });
    }
}

/// Writes the instruction `write_metadata` as an action, for OpenFlow 1.0.
pub(crate) fn metadata(to: &mut Writer, value: u64, mask: u64) {
    nicira(to, number::WRITE_METADATA, "write_metadata", |to| {
        to.zeros(6);
        to.u64(value);
        to.u64(mask);
    });
}

fn resubmit(to: &mut Writer, port: Option<OfPort>, table: Option<u8>, ct_tuple: bool) {
    let port = port.unwrap_or(OfPort::IN_PORT);
    let kind = if ct_tuple {
        number::RESUBMIT_TABLE_CT
    } else {
        number::RESUBMIT_TABLE
    };
    nicira(to, kind, "resubmit", |to| {
        to.port16(port);
        to.u8(table.unwrap_or(255));
        to.zeros(3);
    });
}

fn sample(to: &mut Writer, said: &Sample) {
    let kind = match said.port {
        Some(_) => number::SAMPLE2,
        None => number::SAMPLE,
    };
    nicira(to, kind, "sample", |to| {
        to.u16(said.probability);
        to.u32(said.collector_set);
        to.u32(said.domain);
        to.u32(said.point);
        if let Some(port) = said.port {
            to.port16(port);
            to.zeros(6);
        }
    });
}
