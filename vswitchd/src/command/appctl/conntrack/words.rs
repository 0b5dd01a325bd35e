//! What follows the commands on connections, the packet process's name aside.

use vswitch_dpapi::conntrack::{CONNECTIONS_MAX_LIMIT, CtTimeout, CtTimeouts};
use vswitch_flow::text::CtFilterError;

use crate::command::appctl::arguments::{DpctlError, datapath};

/// Why a command on connections is not carried out, as Open vSwitch says it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrackingError {
    /// Conditions that are none.
    #[error("ovs-vswitchd: {0} (Invalid argument)")]
    Filter(#[from] CtFilterError),
    /// No connection has the tuple.
    #[error("ovs-vswitchd: failed to flush conntrack (No such file or directory)")]
    NoConnection,
    /// `ct-set-maxconns`.
    #[error("ovs-vswitchd: maxconns missing or malformed (Invalid argument)")]
    MaxConns,
    /// More than the table holds. Open vSwitch has no such limit.
    #[error("ovs-vswitchd: ct set maxconns failed (at most {CONNECTIONS_MAX_LIMIT} are possible)")]
    TooManyConns,
    /// `default=`.
    #[error("ovs-vswitchd: invalid default limit (Invalid argument)")]
    DefaultLimit,
    /// A part of a limit without its value.
    #[error("ovs-vswitchd: field {0} missing value (Invalid argument)")]
    NoValue(String),
    /// A part of a limit with a value that is none.
    #[error("ovs-vswitchd: failed to parse field {0} (Invalid argument)")]
    Value(String),
    /// No part of a limit.
    #[error("ovs-vswitchd: invalid zone limit field: {0} (Invalid argument)")]
    LimitField(String),
    /// A limit without a zone, or a zone without one.
    #[error("ovs-vswitchd: failed to parse zone limit (Invalid argument)")]
    Limit,
    /// Not `zone=`.
    #[error("ovs-vswitchd: invalid argument {0} (Invalid argument)")]
    Argument(String),
    /// A zone that is none.
    #[error("ovs-vswitchd: invalid zone (Invalid argument)")]
    Zone,
    /// Neither `v4` nor `v6`.
    #[error("ovs-vswitchd: parameter missing: 'v4' for IPv4 or 'v6' for IPv6 (Invalid argument)")]
    Family,
    /// The same, of `ipf-set-min-frag`.
    #[error("ovs-vswitchd: parameter missing: v4 for IPv4 or v6 for IPv6 (Invalid argument)")]
    FamilyOfSize,
    /// No size.
    #[error("ovs-vswitchd: parameter missing for minimum fragment size (Invalid argument)")]
    MinFragment,
    /// Below what can be set.
    #[error(
        "ovs-vswitchd: requested minimum fragment size too small; see documentation \
         (Operation not permitted)"
    )]
    SmallFragment,
    /// No number.
    #[error("ovs-vswitchd: parameter missing for maximum fragments (Invalid argument)")]
    MaxFragments,
    /// Above what can be set.
    #[error("ovs-vswitchd: setting maximum fragments failed (Operation not permitted)")]
    TooManyFragments,
    /// A timeout that there is not.
    #[error(
        "ovs-vswitchd: no timeout {0:?}; there are {all}",
        all = CtTimeout::ALL.map(CtTimeout::name).join(", ")
    )]
    Timeout(String),
    /// Seconds that are none.
    #[error("ovs-vswitchd: {0} takes seconds, from 1 to 4294967295")]
    Seconds(String),
    /// `ct-set-timeout` without timeouts.
    #[error("ovs-vswitchd: timeouts are given as KEY=SECONDS")]
    NoSeconds,
    /// The zone has no timeouts of its own.
    #[error("ovs-vswitchd: the zone has no timeouts of its own")]
    NoTimeouts,
}

type Result<T> = std::result::Result<T, TrackingError>;
type DpctlResult<T> = std::result::Result<T, DpctlError>;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// Timeouts to be set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TimeoutChange {
    /// Whose; those of all zones that have none of their own if absent.
    pub(super) zone: Option<u16>,
    pub(super) seconds: CtTimeouts,
}

/// A number as Open vSwitch reads one, decimal.
fn parse<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// What follows `dump-conntrack`: conditions. The first word that is none ought to be the packet
/// process.
pub(super) fn dumped(words: &[String]) -> DpctlResult<&[String]> {
    let rest = match words {
        [first, ..] if first.is_empty() || is_condition(first) => words,
        [] => words,
        _ => datapath(words, 1)?,
    };
    match rest {
        // Open vSwitch takes what is no zone for the name of a datapath.
        [only]
            if only
                .strip_prefix("zone=")
                .is_some_and(|zone| parse::<u16>(zone).is_none()) =>
        {
            Err(DpctlError::Unknown)
        }
        _ => Ok(rest),
    }
}

/// Whether a word is meant for a condition on connections.
fn is_condition(word: &str) -> bool {
    let word = word.split(['=', ':', ',']).next().unwrap_or_default();
    matches!(word, "zone" | "mark" | "labels")
        || word.starts_with("ct_")
        || word.starts_with("icmp_")
}

/// Words of which the last may be `zone=`.
pub(super) fn zone_last(words: &[String]) -> DpctlResult<(Option<u16>, &[String])> {
    let (zone, words) = match words {
        [before @ .., last] => match last.strip_prefix("zone=").and_then(parse) {
            Some(zone) => (Some(zone), before),
            None => (None, words),
        },
        [] => (None, words),
    };
    Ok((zone, datapath(words, 1)?))
}

/// What follows `ct-stats-show`; `verbose` is an old word for `-m`.
pub(super) fn stats(words: &[String]) -> DpctlResult<Option<u16>> {
    let mut words = words;
    let mut zone = None;
    while let [before @ .., last] = words {
        if let Some(number) = last.strip_prefix("zone=").and_then(parse) {
            zone = Some(number);
        } else if last != "verbose" {
            break;
        }
        words = before;
    }
    datapath(words, 1)?;
    Ok(zone)
}

/// What follows `ct-bkts`.
pub(super) fn buckets(words: &[String]) -> DpctlResult<u16> {
    let gt = words
        .last()
        .and_then(|last| parse(last.strip_prefix("gt=")?));
    let words = match words {
        [before @ .., _] if gt.is_some() => before,
        _ => words,
    };
    datapath(words, 1)?;
    Ok(gt.unwrap_or(0))
}

/// The number that is the last word.
pub(super) fn number(words: &[String]) -> Option<u32> {
    parse(words.last()?)
}

/// The family that is the first word.
pub(super) fn family(words: &[String]) -> Option<Family> {
    match words.first()?.as_str() {
        "v4" => Some(Family::V4),
        "v6" => Some(Family::V6),
        _ => None,
    }
}

/// Most connections of each zone.
type ZoneLimits = Vec<(u16, u32)>;

/// What follows `ct-set-limits`: the default limit, and those of zones.
pub(super) fn limits(words: &[String]) -> Result<(Option<u32>, ZoneLimits)> {
    let default = words
        .first()
        .and_then(|first| first.strip_prefix("default="));
    let rest = words
        .get(usize::from(default.is_some())..)
        .unwrap_or_default();
    let default = match default {
        Some(limit) => Some(parse(limit).ok_or(TrackingError::DefaultLimit)?),
        None => None,
    };
    let zones: Result<Vec<_>> = rest.iter().map(|word| zone_limit(word)).collect();
    Ok((default, zones?))
}

fn zone_limit(word: &str) -> Result<(u16, u32)> {
    let (mut zone, mut limit) = (None, None);
    for part in word.split([',', ' ']).filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once(['=', ':']).unwrap_or((part, ""));
        if value.is_empty() {
            return Err(TrackingError::NoValue(key.into()));
        }
        let bad = || TrackingError::Value(key.into());
        match key {
            "zone" => zone = Some(parse(value).ok_or_else(bad)?),
            "limit" => limit = Some(parse(value).ok_or_else(bad)?),
            _ => return Err(TrackingError::LimitField(key.into())),
        }
    }
    zone.zip(limit).ok_or(TrackingError::Limit)
}

/// Reads `zone=N1[,N2]...`.
fn zones(word: &str) -> Result<Vec<u16>> {
    let list = word.strip_prefix("zone=");
    let list = list.ok_or_else(|| TrackingError::Argument(word.into()))?;
    let zones = list.split(',').filter(|zone| !zone.is_empty());
    let zones: Option<Vec<u16>> = zones.map(parse).collect();
    zones
        .filter(|zones| !zones.is_empty())
        .ok_or(TrackingError::Zone)
}

/// What follows `ct-del-limits`: whether the default one goes, and those of which zones.
pub(super) fn limits_gone(words: &[String]) -> Result<(bool, Vec<u16>)> {
    match words {
        [first] if first == "default" => Ok((true, Vec::new())),
        [first, list] if first == "default" => Ok((true, zones(list)?)),
        [list] => Ok((false, zones(list)?)),
        [] => Err(TrackingError::Zone),
        [_, more, ..] => Err(TrackingError::Argument(more.clone())),
    }
}

/// What follows `ct-get-limits`: which zones; none stands for all.
pub(super) fn limits_wanted(words: &[String]) -> Result<Vec<u16>> {
    match words {
        [] => Ok(Vec::new()),
        [list, ..] => zones(list),
    }
}

/// What follows `ct-set-timeout`: `[zone=N] KEY=SECONDS...`, with commas or blanks between.
pub(super) fn timeouts(words: &[String]) -> Result<TimeoutChange> {
    let mut zone = None;
    let mut seconds = CtTimeouts::new();
    let parts = words.iter().flat_map(|word| word.split(','));
    for part in parts.filter(|part| !part.is_empty()) {
        let Some((key, value)) = part.split_once('=') else {
            return Err(TrackingError::NoSeconds);
        };
        if key == "zone" {
            zone = Some(parse(value).ok_or(TrackingError::Zone)?);
            continue;
        }
        let named = |timeout: &CtTimeout| timeout.name().eq_ignore_ascii_case(key);
        let timeout = CtTimeout::ALL.into_iter().find(named);
        let timeout = timeout.ok_or_else(|| TrackingError::Timeout(key.into()))?;
        let value = parse::<u32>(value).filter(|seconds| *seconds > 0);
        seconds.insert(
            timeout,
            value.ok_or_else(|| TrackingError::Seconds(key.into()))?,
        );
    }
    match seconds.is_empty() {
        true => Err(TrackingError::NoSeconds),
        false => Ok(TimeoutChange { zone, seconds }),
    }
}

/// What follows `ct-del-timeout`: `zone=N`, or `default`.
pub(super) fn timeouts_gone(words: &[String]) -> Result<Option<u16>> {
    match words {
        [word] if word == "default" => Ok(None),
        [word] => match word.strip_prefix("zone=") {
            Some(zone) => parse(zone).map(Some).ok_or(TrackingError::Zone),
            None => Err(TrackingError::Argument(word.clone())),
        },
        _ => Err(TrackingError::Zone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn a_dump_may_be_narrowed() {
        let rest = |text: &str| dumped(&words(text)).map(<[String]>::len);
        assert_eq!(rest(""), Ok(0));
        assert_eq!(rest("netdev@ovs-netdev"), Ok(0));
        assert_eq!(rest("ovs-netdev zone=5 ct_nw_proto=6"), Ok(2));
        assert_eq!(rest("zone=5"), Ok(1));
        for text in ["nope", "zone=x", "netdev zone=70000"] {
            assert_eq!(rest(text), Err(DpctlError::Unknown), "{text}");
        }
        assert_eq!(
            zone_last(&words("zone=7")).map(|(zone, _)| zone),
            Ok(Some(7))
        );
        assert_eq!(zone_last(&words("")).map(|(zone, _)| zone), Ok(None));
        assert_eq!(zone_last(&words("zone=x")), Err(DpctlError::Unknown));
        assert_eq!(stats(&words("netdev zone=7 verbose")), Ok(Some(7)));
        assert_eq!(stats(&words("what")), Err(DpctlError::Unknown));
        assert_eq!(buckets(&words("gt=3")), Ok(3));
        assert_eq!(buckets(&words("gt=x")), Err(DpctlError::Unknown));
    }

    #[test]
    fn limits_are_read() {
        assert_eq!(
            limits(&words("default=10 zone=1,limit=5 limit=3,zone=3")),
            Ok((Some(10), vec![(1, 5), (3, 3)]))
        );
        assert_eq!(limits_gone(&words("zone=1,3")), Ok((false, vec![1, 3])));
        assert_eq!(limits_gone(&words("default zone=1")), Ok((true, vec![1])));
        assert_eq!(limits_wanted(&words("")), Ok(vec![]));
        for (text, error) in [
            ("default=x", "invalid default limit"),
            ("zone=1", "failed to parse zone limit"),
            ("zone=,limit=1", "field zone missing value"),
            ("zone=x,limit=1", "failed to parse field zone"),
            ("zone=1,limit=-1", "failed to parse field limit"),
            ("zone=1,most=1", "invalid zone limit field: most"),
        ] {
            let refused = limits(&words(text)).expect_err(text).to_string();
            assert_eq!(refused, format!("ovs-vswitchd: {error} (Invalid argument)"));
        }
        for (text, error) in [("1", "invalid argument 1"), ("zone=1,x", "invalid zone")] {
            let refused = limits_gone(&words(text)).expect_err(text).to_string();
            assert_eq!(refused, format!("ovs-vswitchd: {error} (Invalid argument)"));
        }
    }

    #[test]
    fn timeouts_are_read() {
        let read = |text| timeouts(&words(text));
        let change = TimeoutChange {
            zone: Some(5),
            seconds: [(CtTimeout::UdpFirst, 3), (CtTimeout::IcmpReply, 4)].into(),
        };
        assert_eq!(read("zone=5 UDP_first=3,icmp_reply=4"), Ok(change));
        assert_eq!(read("zone=5"), Err(TrackingError::NoSeconds));
        assert_eq!(read("udp_first"), Err(TrackingError::NoSeconds));
        let seconds = TrackingError::Seconds("udp_first".into());
        assert_eq!(read("udp_first=0"), Err(seconds));
        let unknown = read("tcp_unack=3")
            .expect_err("only Linux has it")
            .to_string();
        assert!(unknown.contains("tcp_syn_sent, "), "{unknown}");
        assert_eq!(timeouts_gone(&words("zone=5")), Ok(Some(5)));
        assert_eq!(timeouts_gone(&words("default")), Ok(None));
        assert!(timeouts_gone(&words("5")).is_err());
    }

    #[test]
    fn families_and_numbers_are_read() {
        assert_eq!(family(&words("v4 400")), Some(Family::V4));
        assert_eq!(family(&words("v6")), Some(Family::V6));
        assert_eq!(family(&words("ipv4")), None);
        assert_eq!(number(&words("v4 400")), Some(400));
        assert_eq!(number(&words("x")), None);
    }
}
