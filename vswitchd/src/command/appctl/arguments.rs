//! What follows the commands of `dpctl/`: options first, then perhaps the packet process's name,
//! then the rest. Also the commands on connections, of which there are none.

use super::DATAPATH;

/// Why the words of a `dpctl/` command are not understood, as Open vSwitch says it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DpctlError {
    /// An option nobody knows.
    #[error("Unrecognized option {0}")]
    Option(String),
    /// No packet process of this name.
    #[error("ovs-vswitchd: opening datapath {0} failed (No such device)")]
    NoDatapath(String),
    /// A word that is neither a packet process nor anything else.
    #[error("ovs-vswitchd: datapath not found (Invalid argument)")]
    Unknown,
    /// `type=`.
    #[error("ovs-vswitchd: Failed to parse type ({0}) (Invalid argument)")]
    Type(String),
    /// `filter=`.
    #[error("ovs-vswitchd: Failed to parse filter ({0})")]
    Filter(String),
    /// `pmd=`. Open vSwitch gives no reason.
    #[error("ovs-vswitchd: pmd= takes the number of a core, not {0:?}")]
    Core(String),
    /// `zone=`.
    #[error("ovs-vswitchd: failed to parse zone (Invalid argument)")]
    Zone,
    /// A part of a connection without a value.
    #[error("ovs-vswitchd: field {0} missing value (Invalid argument)")]
    NoValue(String),
    /// Too many words.
    #[error("ovs-vswitchd: invalid arguments (Invalid argument)")]
    Invalid,
}

/// The options before everything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) statistics: bool,
    pub(super) names: bool,
}

impl Options {
    /// Reads the options; the rest follows.
    pub(super) fn read(args: &[String]) -> Result<(Self, &[String]), DpctlError> {
        let mut options = Self::default();
        let mut more = false;
        let mut names = None;
        let mut rest = args;
        while let [arg, after @ ..] = rest {
            match arg.as_str() {
                "--statistics" => options.statistics = true,
                // These make sense of other commands, and none of these.
                "--clear" | "--may-create" => {}
                "--more" => more = true,
                "--names" => names = Some(true),
                "--no-names" => names = Some(false),
                long if long.starts_with("--") => return Err(DpctlError::Option(long.into())),
                short if short.len() > 1 && short.starts_with('-') => {
                    for letter in short.chars().skip(1) {
                        match letter {
                            'm' => more = true,
                            's' => options.statistics = true,
                            _ => return Err(DpctlError::Option(format!("-{letter}"))),
                        }
                    }
                }
                _ => break,
            }
            rest = after;
        }
        options.names = names.unwrap_or(more);
        Ok((options, rest))
    }
}

/// Whether this is the packet process, with or without the word for its kind.
pub(super) fn is_datapath(word: &str) -> bool {
    word == DATAPATH || DATAPATH.split('@').any(|part| part == word)
}

/// Takes the packet process's name off the words, of which there may be `max` with it.
fn datapath(words: &[String], max: usize) -> Result<&[String], DpctlError> {
    match words {
        [first, rest @ ..] if is_datapath(first) => Ok(rest),
        _ if words.len() >= max => Err(DpctlError::Unknown),
        _ => Ok(words),
    }
}

/// What follows `dpctl/dump-flows`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DumpFlows {
    pub(super) names: bool,
    pub(super) filter: Option<String>,
    pub(super) core: Option<u32>,
    /// Whether flows of ours are among the types that are wanted: none of them is offloaded.
    pub(super) wanted: bool,
}

impl DumpFlows {
    pub(super) fn read(args: &[String]) -> Result<Self, DpctlError> {
        let (options, mut words) = Options::read(args)?;
        let mut read = Self {
            names: options.names,
            wanted: true,
            ..Self::default()
        };
        while let [before @ .., last] = words {
            if let Some(filter) = last.strip_prefix("filter=") {
                read.filter = Some(filter.into());
            } else if let Some(types) = last.strip_prefix("type=") {
                read.wanted = wants_ours(types)?;
            } else if let Some(core) = last.strip_prefix("pmd=") {
                let core = core.parse();
                read.core = Some(core.map_err(|_| DpctlError::Core(last[4..].into()))?);
            } else {
                break;
            }
            words = before;
        }
        datapath(words, 1)?;
        Ok(read)
    }
}

fn wants_ours(types: &str) -> Result<bool, DpctlError> {
    let mut ours = false;
    for word in types.split(',').filter(|word| !word.is_empty()) {
        match word {
            "ovs" | "non-offloaded" | "all" => ours = true,
            "tc" | "dpdk" | "offloaded" | "partially-offloaded" => {}
            _ => return Err(DpctlError::Type(word.into())),
        }
    }
    Ok(ours)
}

/// `dpctl/dump-conntrack`: connections are not tracked, so there are none.
pub(super) fn dump_conntrack(args: &[String]) -> Result<String, DpctlError> {
    let (_, words) = Options::read(args)?;
    let words = match words {
        [before @ .., last] if zone(last) == Some(Ok(())) => before,
        _ => words,
    };
    datapath(words, 1)?;
    Ok(String::new())
}

/// `dpctl/flush-conntrack`: of no connections, all are forgotten.
pub(super) fn flush_conntrack(args: &[String]) -> Result<String, DpctlError> {
    let (_, words) = Options::read(args)?;
    let mut words = match words {
        [first, rest @ ..] if is_datapath(first) => rest,
        _ => words,
    };
    if let [first, rest @ ..] = words
        && let Some(zone) = zone(first)
    {
        zone?;
        words = rest;
    }
    if words.len() > 2 {
        return Err(DpctlError::Invalid);
    }
    for part in words.iter().flat_map(|tuple| tuple.split([',', ' '])) {
        match part.split_once('=') {
            Some((_, value)) if !value.is_empty() => {}
            _ if part.is_empty() => {}
            Some((field, _)) => return Err(DpctlError::NoValue(field.into())),
            None => return Err(DpctlError::NoValue(part.into())),
        }
    }
    Ok(String::new())
}

/// Whether the word is `zone=`, and whether its number is one.
fn zone(word: &str) -> Option<Result<(), DpctlError>> {
    let number = word.strip_prefix("zone=")?;
    Some(match number.parse::<u16>() {
        Ok(_) => Ok(()),
        Err(_) => Err(DpctlError::Zone),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn options_come_first() {
        let read = |text| Options::read(&words(text)).map(|(options, rest)| (options, rest.len()));
        let options = |statistics, names| Options { statistics, names };
        assert_eq!(read("-s x"), Ok((options(true, false), 1)));
        assert_eq!(read("-ms"), Ok((options(true, true), 0)));
        assert_eq!(read("-m --no-names x -s"), Ok((options(false, false), 2)));
        assert_eq!(read("-z"), Err(DpctlError::Option("-z".into())));
        assert_eq!(read("--zz"), Err(DpctlError::Option("--zz".into())));
    }

    #[test]
    fn a_dump_may_be_narrowed() {
        let read = |text| DumpFlows::read(&words(text));
        let plain = DumpFlows {
            wanted: true,
            ..DumpFlows::default()
        };
        for text in ["", "netdev@ovs-netdev", "ovs-netdev type=ovs", "type=all"] {
            assert_eq!(read(text), Ok(plain.clone()), "{text}");
        }
        let narrow = DumpFlows {
            names: true,
            filter: Some("tcp,tp_dst=80".into()),
            core: Some(3),
            wanted: false,
        };
        let text = "--names netdev@ovs-netdev filter=tcp,tp_dst=80 type=tc,offloaded pmd=3";
        assert_eq!(read(text), Ok(narrow));
        assert_eq!(read("nope"), Err(DpctlError::Unknown));
        assert_eq!(read("type=x"), Err(DpctlError::Type("x".into())));
        assert_eq!(read("pmd=x"), Err(DpctlError::Core("x".into())));
    }

    #[test]
    fn there_is_no_connection_to_show_or_forget() {
        let none = Ok(String::new());
        for text in ["", "-m -s netdev@ovs-netdev zone=5", "zone=5"] {
            assert_eq!(dump_conntrack(&words(text)), none, "{text}");
        }
        assert_eq!(dump_conntrack(&words("zone=x")), Err(DpctlError::Unknown));
        for text in [
            "",
            "zone=5",
            "ct_nw_src=10.1.1.1,ct_nw_proto=6",
            "netdev@ovs-netdev zone=5 ct_nw_src=10.1.1.1 ct_nw_dst=10.1.1.2",
        ] {
            assert_eq!(flush_conntrack(&words(text)), none, "{text}");
        }
        let cases = [
            ("zone=x", "failed to parse zone (Invalid argument)"),
            ("bad", "field bad missing value (Invalid argument)"),
            ("a=1 b=1 c=1", "invalid arguments (Invalid argument)"),
        ];
        for (text, error) in cases {
            let refused = flush_conntrack(&words(text)).unwrap_err();
            assert_eq!(refused.to_string(), format!("ovs-vswitchd: {error}"));
        }
    }
}
