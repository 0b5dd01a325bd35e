//! Text → actions that hold more than a value: `ct`, `nat` within it, and `learn`.

use std::net::{IpAddr, Ipv6Addr};

use super::actions::{BITS, Reader};
use super::matches::read_value;
use super::subfield::{self, fits};
use super::token::{Mark, Part, Token};
use super::value;
use super::{DEFAULT_PRIORITY, ParseError, Problem};
use crate::action::{
    Action, Ct, CtHelper, CtZone, Learn, LearnSource, LearnSpec, Nat, NatKind, NatPorts, NatRange,
    Subfield,
};

/// Helpers of `ct` with their names.
pub(super) const HELPERS: [(&str, CtHelper); 2] =
    [("ftp", CtHelper::Ftp), ("tftp", CtHelper::Tftp)];

impl<'a> Reader<'a> {
    pub(super) fn ct(&self, part: &Part<'a>) -> Result<Action, ParseError> {
        let mut ct = Ct {
            commit: false,
            force: false,
            zone: CtZone::Number(0),
            table: None,
            helper: None,
            nat: None,
            exec: Vec::new(),
        };
        for inner in part.value.parts() {
            let inner = inner?;
            match inner.name.text {
                "commit" => {
                    inner.alone()?;
                    ct.commit = true;
                }
                "force" => {
                    inner.alone()?;
                    ct.force = true;
                }
                "zone" => ct.zone = zone(&inner)?,
                "table" => {
                    let value = inner.need(super::actions::TABLE)?;
                    let table = self.table(&inner, value)?;
                    if table == 0xff {
                        return inner.refuse(value, super::actions::TABLE);
                    }
                    ct.table = Some(table);
                }
                "alg" => ct.helper = Some(super::actions::named(&inner, &HELPERS)?),
                "nat" => ct.nat = Some(nat(&inner)?),
                "exec" => ct.exec = self.exec(&inner)?,
                _ => {
                    let allowed = "commit, force, zone, table, alg, nat and exec";
                    return inner.unknown("ct", allowed);
                }
            }
        }
        Ok(Action::Ct(Box::new(ct)))
    }

    /// Reads what stands in `exec(...)`.
    fn exec(&self, part: &Part<'a>) -> Result<Vec<Action>, ParseError> {
        let mut checker = self.checker.clone();
        checker.enter_ct();
        let mut inner = Reader::alone(self.names, self.translate);
        inner.checker = checker;
        let actions = inner.list(part.value)?;
        if actions.is_empty() {
            part.need("set_field, load or move")?;
        }
        Ok(actions)
    }

    pub(super) fn learn(&self, part: &Part<'a>) -> Result<Action, ParseError> {
        let mut learn = Learn {
            idle_timeout: 0,
            hard_timeout: 0,
            fin_idle_timeout: 0,
            fin_hard_timeout: 0,
            priority: DEFAULT_PRIORITY,
            cookie: 0,
            table: 1,
            send_flow_rem: false,
            delete_learned: false,
            limit: 0,
            result: None,
            specs: Vec::new(),
        };
        for inner in part.value.parts() {
            let inner = inner?;
            match inner.name.text {
                "table" => {
                    learn.table = self.table(&inner, inner.need(super::actions::TABLE)?)?;
                }
                "priority" => learn.priority = inner.u16()?,
                "idle_timeout" => learn.idle_timeout = inner.u16()?,
                "hard_timeout" => learn.hard_timeout = inner.u16()?,
                "fin_idle_timeout" => learn.fin_idle_timeout = inner.u16()?,
                "fin_hard_timeout" => learn.fin_hard_timeout = inner.u16()?,
                "cookie" => learn.cookie = inner.u64()?,
                "limit" => learn.limit = inner.u32()?,
                "send_flow_rem" => {
                    inner.alone()?;
                    learn.send_flow_rem = true;
                }
                "delete_learned" => {
                    inner.alone()?;
                    learn.delete_learned = true;
                }
                "result_dst" => learn.result = Some(subfield::parse(inner.need(BITS)?)?),
                "load" => learn.specs.push(learn_load(&inner)?),
                "output" => {
                    let src = subfield::parse(inner.need(BITS)?)?;
                    learn.specs.push(LearnSpec::Output(src));
                }
                _ => {
                    let spec = self.learn_match(&inner)?;
                    learn.specs.push(spec);
                }
            }
        }
        Ok(Action::Learn(Box::new(learn)))
    }

    /// Reads `bits`, `bits=bits` or `bits=value`.
    fn learn_match(&self, part: &Part<'a>) -> Result<LearnSpec, ParseError> {
        let dst = subfield::parse(part.name)?;
        let Some(value) = part.value() else {
            let src = LearnSource::Field(dst);
            return Ok(LearnSpec::Match { src, dst });
        };
        let name = value.text.split('[').next().unwrap_or_default();
        if subfield::field(name.strip_suffix("_W").unwrap_or(name)).is_some() {
            let src = subfield::parse(value)?;
            same_width(value, src, dst)?;
            let src = LearnSource::Field(src);
            return Ok(LearnSpec::Match { src, dst });
        }
        let number = if subfield::is_whole(dst) {
            let (number, mask) =
                read_value(part.whole, part.name, part.value(), dst.field, self.names)?;
            if mask == 0 || value.text.contains('/') {
                return value.fail(Problem::Mask {
                    name: part.name.text.to_owned(),
                });
            }
            // Reserved ports have 32 bits, and the same low 16 bits as in OpenFlow 1.0.
            let short = subfield::is_short_in_port(dst);
            Some(if short { number & 0xffff } else { number })
        } else {
            value::number(value.text).filter(|value| fits(*value, dst))
        };
        match number {
            Some(number) => Ok(LearnSpec::Match {
                src: LearnSource::Value(number),
                dst,
            }),
            None => part.refuse(value, format!("a number of {} bits, or a field", dst.bits)),
        }
    }
}

fn same_width(token: Token<'_>, src: Subfield, dst: Subfield) -> Result<(), ParseError> {
    if src.bits == dst.bits {
        return Ok(());
    }
    token.fail(Problem::Widths {
        src: src.bits,
        dst: dst.bits,
    })
}

/// Reads `value->bits` or `bits->bits`.
fn learn_load(part: &Part<'_>) -> Result<LearnSpec, ParseError> {
    let value = part.need("value->bits or bits->bits")?;
    let Some((from, to)) = value.split("->") else {
        return value.fail(Problem::NoArrow);
    };
    let Some(number) = value::number(from.text) else {
        let (src, dst) = subfield::parse_move(value)?;
        let src = LearnSource::Field(src);
        return Ok(LearnSpec::Load { src, dst });
    };
    let dst = subfield::parse(to)?;
    if !fits(number, dst) {
        return part.refuse(from, format!("a number of {} bits", dst.bits));
    }
    Ok(LearnSpec::Load {
        src: LearnSource::Value(number),
        dst,
    })
}

fn zone(part: &Part<'_>) -> Result<CtZone, ParseError> {
    let value = part.need("a number up to 65535, or bits of a field")?;
    match value::number(value.text) {
        Some(_) => part.u16().map(CtZone::Number),
        None => {
            let bits = subfield::parse(value)?;
            if bits.bits > 16 {
                return part.refuse(value, "at most 16 bits of a field");
            }
            Ok(CtZone::Field(bits))
        }
    }
}

fn nat(part: &Part<'_>) -> Result<Nat, ParseError> {
    if part.mark != Mark::Open {
        part.alone()?;
        return Ok(Nat::default());
    }
    let mut nat = Nat::default();
    for inner in part.value.parts() {
        let inner = inner?;
        match inner.name.text {
            "src" | "dst" => {
                let kind = match inner.name.text {
                    "src" => NatKind::Source,
                    _ => NatKind::Destination,
                };
                if nat.range.is_some() {
                    return inner.whole.fail(Problem::Twice("src or dst of nat"));
                }
                nat.range = Some(nat_range(&inner, kind)?);
            }
            "persistent" => {
                inner.alone()?;
                nat.persistent = true;
            }
            "hash" | "random" => {
                inner.alone()?;
                let ports = match inner.name.text {
                    "hash" => NatPorts::Hash,
                    _ => NatPorts::Random,
                };
                if nat.ports != NatPorts::Default && nat.ports != ports {
                    return inner.whole.fail(Problem::Twice("hash or random of nat"));
                }
                nat.ports = ports;
            }
            _ => return inner.unknown("nat", "src, dst, persistent, hash and random"),
        }
    }
    Ok(nat)
}

/// Reads `first[-last][:port[-port]]`, IPv6 addresses before ports in brackets.
fn nat_range(part: &Part<'_>, kind: NatKind) -> Result<NatRange, ParseError> {
    let allowed = "ADDRESS[-ADDRESS][:PORT[-PORT]], an IPv6 address before a port in brackets";
    let Some(value) = part.value() else {
        return Ok(NatRange {
            kind,
            addresses: None,
            ports: None,
        });
    };
    let read = || -> Option<NatRange> {
        let (first, rest) = address(value.text)?;
        let (last, rest) = match rest.strip_prefix('-') {
            Some(rest) => address(rest)?,
            None => (first, rest),
        };
        let ports = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            None => return None,
            Some(ports) => Some(match ports.split_once('-') {
                Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
                None => {
                    let port = ports.parse().ok()?;
                    (port, port)
                }
            }),
        };
        Some(NatRange {
            kind,
            addresses: Some((first, last)),
            ports,
        })
    };
    match read() {
        Some(range) => Ok(range),
        None => part.refuse(value, allowed),
    }
}

/// The address at the beginning of the text, and what follows it.
fn address(text: &str) -> Option<(IpAddr, &str)> {
    if let Some(inner) = text.strip_prefix('[') {
        let (inner, rest) = inner.split_once(']')?;
        return Some((inner.parse::<Ipv6Addr>().ok()?.into(), rest));
    }
    // An IPv6 address without brackets has colons, and nothing after it but the second one.
    let end = text.find('-').unwrap_or(text.len());
    let (one, rest) = text.split_at_checked(end)?;
    if let Ok(address) = one.parse::<Ipv6Addr>() {
        return Some((address.into(), rest));
    }
    let end = text.find(['-', ':']).unwrap_or(text.len());
    let (one, rest) = text.split_at_checked(end)?;
    Some((one.parse::<std::net::Ipv4Addr>().ok()?.into(), rest))
}
