//! Meters and changes to meters, both ways.

use std::fmt;

use super::token::{Part, Token};
use super::{ParseError, Problem};
use crate::check::check_meter_mod;
use crate::meter::{
    Band, BandKind, METER_ALL, METER_CONTROLLER, METER_MAX, METER_SLOWPATH, Meter, MeterFlags,
    MeterMod,
};

/// What a change to meters does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeterCommand {
    /// Adds a meter.
    Add,
    /// Replaces a meter.
    Modify,
    /// Deletes a meter, or all.
    Delete,
}

/// Flags with their names, in the order in which they are printed.
const FLAGS: [(&str, MeterFlags); 4] = [
    ("kbps", MeterFlags::KBPS),
    ("pktps", MeterFlags::PKTPS),
    ("burst", MeterFlags::BURST),
    ("stats", MeterFlags::STATS),
];

/// Meters that have a name.
const NUMBERS: [(&str, u32); 3] = [
    ("slowpath", METER_SLOWPATH),
    ("controller", METER_CONTROLLER),
    ("all", METER_ALL),
];

/// Reads a change to meters, such as `meter=1,pktps,burst,bands=type=drop,rate=100,burst_size=10`.
/// A deletion that names no meter, or `meter=all`, deletes all.
///
/// # Errors
/// Where the text is wrong, and what is allowed there.
pub fn parse_meter_mod(text: &str, command: MeterCommand) -> Result<MeterMod, ParseError> {
    let token = Token::new(text);
    let mut meter = Meter {
        id: 0,
        flags: MeterFlags::default(),
        bands: Vec::new(),
    };
    let mut id = None;
    let mut bands = None;
    let makes = command != MeterCommand::Delete;
    let mut parts = token.parts();
    loop {
        let rest = parts.rest();
        let text = rest.text.trim_start_matches([',', ' ', '\t', '\r', '\n']);
        let word = ["bands=", "band="]
            .into_iter()
            .find(|word| text.starts_with(word));
        if let Some(word) = word {
            let start = rest.text.len() - text.len() + word.len();
            bands = Some(rest.slice(start, rest.text.len()));
            break;
        }
        let Some(part) = parts.next().transpose()? else {
            break;
        };
        let flag = FLAGS.iter().find(|(name, _)| *name == part.name.text);
        match (part.name.text, flag) {
            ("meter", _) => id = Some(number(&part)?),
            (_, Some((_, flag))) if makes => {
                part.alone()?;
                meter.flags = MeterFlags(meter.flags.0 | flag.0);
            }
            _ if makes => {
                return part.unknown("a meter", "meter, kbps, pktps, burst, stats and bands");
            }
            _ => return part.unknown("a deletion", "meter"),
        }
    }
    if !makes {
        if let Some(bands) = bands {
            return bands.fail(Problem::NotHere {
                name: "bands".to_owned(),
                hint: "a deletion has none",
            });
        }
        return Ok(match id {
            None | Some(METER_ALL) => MeterMod::DeleteAll,
            Some(id) => MeterMod::Delete(id),
        });
    }
    let Some(id) = id else {
        return token.fail(Problem::Missing("meter=NUMBER"));
    };
    meter.id = id;
    let Some(bands) = bands else {
        return token.fail(Problem::Missing("bands=type=drop,rate=NUMBER"));
    };
    if meter.flags.0 & (MeterFlags::KBPS.0 | MeterFlags::PKTPS.0) == 0 {
        return token.fail(Problem::Missing("kbps or pktps"));
    }
    meter.bands = read_bands(bands)?;
    let change = match command {
        MeterCommand::Add => MeterMod::Add(meter),
        _ => MeterMod::Modify(meter),
    };
    check_meter_mod(&change).map_err(|fault| token.fault(fault))?;
    Ok(change)
}

/// Reads the number or name of a meter.
fn number(part: &Part<'_>) -> Result<u32, ParseError> {
    match NUMBERS.iter().find(|(name, _)| *name == part.value.text) {
        Some((_, number)) => Ok(*number),
        None => part.number(1, METER_MAX.into()).map(|number| number as u32),
    }
}

fn read_bands(token: Token<'_>) -> Result<Vec<Band>, ParseError> {
    let mut bands: Vec<Band> = Vec::new();
    for part in token.parts() {
        let part = part?;
        if part.name.text == "type" {
            let allowed = "drop or dscp_remark";
            let kind = match part.need(allowed)?.text {
                "drop" => BandKind::Drop,
                "dscp_remark" => BandKind::DscpRemark { levels: 0 },
                _ => return part.refuse(part.value, allowed),
            };
            bands.push(Band {
                kind,
                rate: 0,
                burst: 0,
            });
            continue;
        }
        let Some(band) = bands.last_mut() else {
            return part
                .whole
                .fail(Problem::Missing("a band's type before its rate"));
        };
        match (part.name.text, &mut band.kind) {
            ("rate", _) => band.rate = part.u32()?,
            ("burst_size", _) => band.burst = part.u32()?,
            ("prec_level", BandKind::DscpRemark { levels }) => *levels = part.u8()?,
            ("prec_level", BandKind::Drop) => {
                return part.whole.fail(Problem::NotHere {
                    name: "prec_level".to_owned(),
                    hint: "only dscp_remark bands take it",
                });
            }
            _ => return part.unknown("a band", "type, rate, burst_size and prec_level"),
        }
    }
    if bands.is_empty() {
        return token.fail(Problem::Missing("type=drop or type=dscp_remark"));
    }
    Ok(bands)
}

/// The number or name of a meter.
pub(super) fn print_number(number: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match NUMBERS.iter().find(|(_, other)| *other == number) {
        Some((name, _)) => f.write_str(name),
        None => write!(f, "{number}"),
    }
}

impl fmt::Display for Meter {
    /// As `dump-meters` shows it: a line for the meter and one for each band.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("meter=")?;
        print_number(self.id, f)?;
        f.write_str(" ")?;
        for (name, flag) in FLAGS {
            if self.flags.has(flag) {
                write!(f, "{name} ")?;
            }
        }
        f.write_str("bands=")?;
        for band in &self.bands {
            let name = match band.kind {
                BandKind::Drop => "drop",
                BandKind::DscpRemark { .. } => "dscp_remark",
            };
            write!(f, "\ntype={name} rate={}", band.rate)?;
            if self.flags.has(MeterFlags::BURST) {
                write!(f, " burst_size={}", band.burst)?;
            }
            if let BandKind::DscpRemark { levels } = band.kind {
                write!(f, " prec_level={levels}")?;
            }
        }
        Ok(())
    }
}
