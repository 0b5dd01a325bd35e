//! Text → actions that choose, measure and sample: `multipath`, `bundle`, `check_pkt_larger`,
//! `sample`.

use super::actions::{BITS, PORT};
use super::names::Lookup;
use super::subfield;
use super::token::{Part, Token};
use super::value;
use super::{ParseError, Problem};
use crate::action::{Action, Bundle, BundleAlgorithm, HashFields, Multilink, Multipath, Sample};

/// Sets of fields with their names.
pub(super) const HASHES: [(&str, HashFields); 7] = [
    ("eth_src", HashFields::EthSrc),
    ("symmetric_l4", HashFields::SymmetricL4),
    ("symmetric_l3l4", HashFields::SymmetricL3L4),
    ("symmetric_l3l4+udp", HashFields::SymmetricL3L4Udp),
    ("nw_src", HashFields::NetworkSrc),
    ("nw_dst", HashFields::NetworkDst),
    ("symmetric_l3", HashFields::SymmetricL3),
];

/// Algorithms of `multipath` with their names.
pub(super) const MULTILINKS: [(&str, Multilink); 4] = [
    ("modulo_n", Multilink::ModuloN),
    ("hash_threshold", Multilink::HashThreshold),
    ("hrw", Multilink::Hrw),
    ("iter_hash", Multilink::IterHash),
];

/// Algorithms of `bundle` with their names.
pub(super) const BUNDLES: [(&str, BundleAlgorithm); 2] = [
    ("active_backup", BundleAlgorithm::ActiveBackup),
    ("hrw", BundleAlgorithm::Hrw),
];

/// Takes one argument after the other.
struct Arguments<'p, 'a, I> {
    part: &'p Part<'a>,
    words: I,
    /// How the action is written.
    form: &'static str,
}

impl<'a, I: Iterator<Item = Token<'a>>> Arguments<'_, 'a, I> {
    fn next(&mut self) -> Result<Token<'a>, ParseError> {
        match self.words.next() {
            Some(word) => Ok(word),
            None => self.part.refuse(self.part.whole, self.form),
        }
    }

    fn named<T: Copy>(&mut self, names: &[(&str, T)]) -> Result<T, ParseError> {
        let word = self.next()?;
        let found = names
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(word.text));
        match found {
            Some((_, value)) => Ok(*value),
            None => {
                let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
                let allowed = format!("one of {}", names.join(", "));
                self.part.refuse(word, allowed)
            }
        }
    }

    fn number(&mut self, min: u64, max: u64) -> Result<u64, ParseError> {
        let word = self.next()?;
        match value::number(word.text) {
            Some(number) if number >= min.into() && number <= max.into() => Ok(number as u64),
            _ => {
                let allowed = format!("a number from {min} to {max}");
                self.part.refuse(word, allowed)
            }
        }
    }
}

pub(super) fn multipath(part: &Part<'_>) -> Result<Action, ParseError> {
    let mut arguments = Arguments {
        part,
        words: part.value.words(),
        form: "multipath(FIELDS,BASIS,ALGORITHM,LINKS,ARGUMENT,BITS)",
    };
    let fields = arguments.named(&HASHES)?;
    let basis = arguments.number(0, u16::MAX.into())? as u16;
    let algorithm = arguments.named(&MULTILINKS)?;
    let links = arguments.number(1, 0x1_0000)?;
    let arg = arguments.number(0, u32::MAX.into())? as u32;
    let dst = subfield::parse(arguments.next()?)?;
    Ok(Action::Multipath(Box::new(Multipath {
        fields,
        basis,
        algorithm,
        max_link: (links - 1) as u16,
        arg,
        dst,
    })))
}

pub(super) fn bundle(part: &Part<'_>, load: bool, names: Lookup<'_>) -> Result<Action, ParseError> {
    let mut arguments = Arguments {
        part,
        words: part.value.words(),
        form: if load {
            "bundle_load(FIELDS,BASIS,ALGORITHM,ofport,BITS,members:PORT,...)"
        } else {
            "bundle(FIELDS,BASIS,ALGORITHM,ofport,members:PORT,...)"
        },
    };
    let fields = arguments.named(&HASHES)?;
    let basis = arguments.number(0, u16::MAX.into())? as u16;
    let algorithm = arguments.named(&BUNDLES)?;
    arguments.named(&[("ofport", ())])?;
    let dst = if load {
        Some(subfield::parse(arguments.next()?)?)
    } else {
        None
    };
    let first = arguments.next()?;
    let Some((word, rest)) = first.split(":") else {
        return part.refuse(first, "members:PORT,...");
    };
    if !matches!(word.text, "members" | "slaves") {
        return part.refuse(word, "members:PORT,...");
    }
    let mut members = Vec::new();
    for word in std::iter::once(rest).chain(arguments.words) {
        let start = usize::from(word.text.starts_with('['));
        let end = word.text.len() - usize::from(word.text.ends_with(']'));
        let word = word.slice(start, end.max(start));
        if word.text.is_empty() {
            continue;
        }
        match value::port(word.text, names) {
            Some(port) => members.push(port),
            None => return part.refuse(word, PORT),
        }
    }
    Ok(Action::Bundle(Box::new(Bundle {
        fields,
        basis,
        algorithm,
        members,
        dst,
    })))
}

pub(super) fn check_pkt_larger(part: &Part<'_>) -> Result<Action, ParseError> {
    let len = part.u16()?;
    let Some(target) = part.target else {
        return part.whole.fail(Problem::NoArrow);
    };
    let dst = subfield::parse(target)?;
    if dst.bits != 1 {
        return part.refuse(target, format!("one bit: {BITS}"));
    }
    Ok(Action::CheckPktLarger { len, dst })
}

pub(super) fn sample(part: &Part<'_>, names: Lookup<'_>) -> Result<Action, ParseError> {
    let mut sample = Sample {
        probability: 0,
        collector_set: 0,
        domain: 0,
        point: 0,
        port: None,
    };
    for inner in part.value.parts() {
        let inner = inner?;
        match inner.name.text {
            "probability" => sample.probability = inner.number(1, u16::MAX.into())? as u16,
            "collector_set_id" => sample.collector_set = inner.u32()?,
            "obs_domain_id" => sample.domain = inner.u32()?,
            "obs_point_id" => sample.point = inner.u32()?,
            "sampling_port" => {
                let value = inner.need(PORT)?;
                match value::port(value.text, names) {
                    Some(port) => sample.port = Some(port),
                    None => return inner.refuse(value, PORT),
                }
            }
            _ => {
                let allowed = "probability, collector_set_id, obs_domain_id, obs_point_id and \
                               sampling_port";
                return inner.unknown("sample", allowed);
            }
        }
    }
    Ok(Action::Sample(Box::new(sample)))
}
