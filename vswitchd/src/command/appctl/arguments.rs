//! What follows the commands of `dpctl/`: options first, then perhaps the packet process's name,
//! then the rest.

use vswitch_rpc::dpctl::{Options, UnknownOption};

use super::DATAPATH;

/// Why the words of a `dpctl/` command are not understood, as Open vSwitch says it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DpctlError {
    /// An option nobody knows.
    #[error(transparent)]
    Option(#[from] UnknownOption),
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
}

/// Whether this is the packet process, with or without the word for its kind.
pub(super) fn is_datapath(word: &str) -> bool {
    word == DATAPATH || DATAPATH.split('@').any(|part| part == word)
}

/// Takes the packet process's name off the words, of which there may be `max` with it.
pub(super) fn datapath(words: &[String], max: usize) -> Result<&[String], DpctlError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn options_come_first() {
        let read = |text| Options::read(&words(text)).map(|(options, rest)| (options, rest.len()));
        let options = |statistics, more, names| Options {
            statistics,
            more,
            names,
        };
        assert_eq!(read("-s x"), Ok((options(true, false, false), 1)));
        assert_eq!(read("-ms"), Ok((options(true, true, true), 0)));
        assert_eq!(
            read("-m --no-names x -s"),
            Ok((options(false, true, false), 2))
        );
        assert_eq!(read("-z"), Err(UnknownOption("-z".into())));
        assert_eq!(read("--zz"), Err(UnknownOption("--zz".into())));
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
}
