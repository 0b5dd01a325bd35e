//! Conditions on tracked connections as text: `zone=5 ct_nw_src=10.1.1.1,ct_nw_proto=6`.
//!
//! Spec: `ovs-ofctl(8)`, `ct-flush`; the errors are those of Open vSwitch, because scripts compare
//! them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use crate::conntrack::{CtFilter, CtTupleFilter};

/// Why words are no conditions on connections, as Open vSwitch says it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CtFilterError {
    /// `zone=`.
    #[error("failed to parse zone")]
    Zone,
    /// `mark=`.
    #[error("failed to parse mark")]
    Mark,
    /// `labels=`.
    #[error("failed to parse labels")]
    Labels,
    /// A field without its value.
    #[error("field {0} missing value")]
    NoValue(String),
    /// An address of the other version of IP.
    #[error("the L3 protocol does not match {0}")]
    Family(String),
    /// A field that was there before.
    #[error("{0} is set multiple times")]
    Twice(String),
    /// A value that is none of its field.
    #[error("failed to parse field {0}")]
    Value(String),
    /// A field of ICMP for another protocol.
    #[error("invalid L4 fields")]
    NotIcmp,
    /// No field of a connection.
    #[error("invalid conntrack tuple field: {0}")]
    Unknown(String),
    /// Ports of no protocol.
    #[error("port is set without protocol")]
    NoProtocol,
    /// More words than two tuples.
    #[error("invalid arguments")]
    TooMany,
}

/// Reads `[zone=N] [mark=X[/M]] [labels=Y[/N]] [ORIGINAL [REPLY]]`, a word each. An empty word
/// stands for a tuple without conditions.
///
/// # Errors
/// What is wrong with the first word that is no condition.
pub fn parse_ct_filter<W: AsRef<str>>(words: &[W]) -> Result<CtFilter, CtFilterError> {
    let mut filter = CtFilter::default();
    let mut family = None;
    let mut tuples = 0;
    for word in words.iter().map(AsRef::as_ref) {
        if tuples == 0
            && let Some(zone) = word.strip_prefix("zone=")
        {
            filter.zone = Some(zone.parse().map_err(|_| CtFilterError::Zone)?);
        } else if tuples == 0
            && let Some(mark) = word.strip_prefix("mark=")
        {
            let mark = masked(mark, u32::MAX.into()).ok_or(CtFilterError::Mark)?;
            let word = |word| u32::try_from(word).map_err(|_| CtFilterError::Mark);
            filter.mark = Some((word(mark.0)?, word(mark.1)?));
        } else if tuples == 0
            && let Some(labels) = word.strip_prefix("labels=")
        {
            filter.labels = Some(masked(labels, u128::MAX).ok_or(CtFilterError::Labels)?);
        } else {
            let tuple = match tuples {
                0 => &mut filter.original,
                1 => &mut filter.reply,
                _ => return Err(CtFilterError::TooMany),
            };
            tuples += 1;
            read_tuple(word, tuple, &mut filter.protocol, &mut family)?;
        }
    }
    Ok(filter)
}

/// Which version of IP the addresses so far are of.
type Family = Option<bool>;

fn read_tuple(
    text: &str,
    tuple: &mut CtTupleFilter,
    protocol: &mut u8,
    family: &mut Family,
) -> Result<(), CtFilterError> {
    let parts = text.split([',', ' ', '\t', '\r', '\n']);
    for part in parts.filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once(['=', ':']).unwrap_or((part, ""));
        if value.is_empty() {
            return Err(CtFilterError::NoValue(key.into()));
        }
        let bad = || CtFilterError::Value(key.into());
        let small = || {
            number(value)
                .and_then(|n| u8::try_from(n).ok())
                .ok_or_else(bad)
        };
        let short = || {
            number(value)
                .and_then(|n| u16::try_from(n).ok())
                .ok_or_else(bad)
        };
        match key {
            "ct_nw_src" | "ct_nw_dst" | "ct_ipv6_src" | "ct_ipv6_dst" => {
                let is_v4 = key.starts_with("ct_nw");
                let end = match key.ends_with("src") {
                    true => &mut tuple.src,
                    false => &mut tuple.dst,
                };
                if family.is_some_and(|family| family != is_v4) {
                    return Err(CtFilterError::Family(value.into()));
                }
                if end.is_some() {
                    return Err(CtFilterError::Twice(key.into()));
                }
                let address = match is_v4 {
                    true => value.parse::<Ipv4Addr>().map(IpAddr::V4),
                    false => value.parse::<Ipv6Addr>().map(IpAddr::V6),
                };
                let address = address.map_err(|_| bad())?;
                *family = Some(is_v4);
                // An address of zeros is no condition.
                *end = Some(address).filter(|address| !address.is_unspecified());
            }
            "ct_nw_proto" => {
                let new = small()?;
                if *protocol != 0 && *protocol != new {
                    return Err(CtFilterError::Twice(key.into()));
                }
                *protocol = new;
            }
            "ct_tp_src" => tuple.src_port = Some(short()?).filter(|port| *port != 0),
            "ct_tp_dst" => tuple.dst_port = Some(short()?).filter(|port| *port != 0),
            "icmp_id" => tuple.icmp_id = Some(short()?),
            "icmp_type" => tuple.icmp_type = Some(small()?),
            "icmp_code" => tuple.icmp_code = Some(small()?),
            _ => return Err(CtFilterError::Unknown(key.into())),
        }
    }
    let icmp = tuple.icmp_id.is_some() || tuple.icmp_type.is_some() || tuple.icmp_code.is_some();
    if icmp && !matches!(*protocol, 1 | 58) {
        return Err(CtFilterError::NotIcmp);
    }
    let ports = tuple.src_port.is_some() || tuple.dst_port.is_some();
    if ports && *protocol == 0 {
        return Err(CtFilterError::NoProtocol);
    }
    Ok(())
}

/// A number, decimal or with `0x`.
fn number(text: &str) -> Option<u128> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u128::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A value and the bits of it that count: all of `full` unless others are given.
fn masked(text: &str, full: u128) -> Option<(u128, u128)> {
    match text.split_once('/') {
        Some((value, mask)) => Some((number(value)?, number(mask)?)),
        None => Some((number(text)?, full)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<CtFilter, CtFilterError> {
        parse_ct_filter(
            &text
                .split(' ')
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn words_become_conditions() {
        assert_eq!(read(""), Ok(CtFilter::default()));
        assert_eq!(read("zone=5"), Ok(CtFilter::zone(5)));
        let both = read(
            "zone=5 mark=0x10/0xf0 labels=3 \
             ct_nw_src=10.1.1.1,ct_nw_dst=10.1.1.2,ct_nw_proto=17,ct_tp_src=1,ct_tp_dst=0x2 \
             ct_nw_src=10.1.1.3,ct_tp_src=2",
        )
        .expect("conditions");
        let original = CtTupleFilter {
            src: Some([10, 1, 1, 1].into()),
            dst: Some([10, 1, 1, 2].into()),
            src_port: Some(1),
            dst_port: Some(2),
            ..CtTupleFilter::default()
        };
        let reply = CtTupleFilter {
            src: Some([10, 1, 1, 3].into()),
            src_port: Some(2),
            ..CtTupleFilter::default()
        };
        let expected = CtFilter {
            protocol: 17,
            original,
            reply,
            zone: Some(5),
            mark: Some((0x10, 0xf0)),
            labels: Some((3, u128::MAX)),
        };
        assert_eq!(both, expected);
        let ping = read("ct_ipv6_src=fc00::1,icmp_id=7,icmp_type=128,icmp_code=0,ct_nw_proto=58");
        let ping = ping.expect("conditions").original;
        assert_eq!(
            ping.src,
            Some(IpAddr::V6("fc00::1".parse().expect("an address")))
        );
        assert_eq!((ping.icmp_id, ping.icmp_type), (Some(7), Some(128)));
        // Without conditions on the original direction.
        let reply = parse_ct_filter(&["", "ct_nw_src=10.1.1.3"]).expect("conditions");
        assert_eq!(
            (reply.original.src, reply.reply.src.is_some()),
            (None, true)
        );
    }

    #[test]
    fn what_is_no_condition_is_refused_in_the_words_of_open_vswitch() {
        for (text, error) in [
            ("zone=x", "failed to parse zone"),
            ("zone=65536", "failed to parse zone"),
            ("mark=x", "failed to parse mark"),
            ("mark=0x100000000", "failed to parse mark"),
            ("labels=", "failed to parse labels"),
            ("ct_nw_src", "field ct_nw_src missing value"),
            ("ct_nw_src=", "field ct_nw_src missing value"),
            ("ct_nw_src=10.1.1", "failed to parse field ct_nw_src"),
            (
                "ct_nw_src=10.1.1.1,ct_ipv6_dst=::1",
                "the L3 protocol does not match ::1",
            ),
            (
                "ct_nw_src=10.1.1.1 ct_ipv6_src=::1",
                "the L3 protocol does not match ::1",
            ),
            (
                "ct_nw_src=10.1.1.1,ct_nw_src=10.1.1.2",
                "ct_nw_src is set multiple times",
            ),
            (
                "ct_nw_proto=6 ct_nw_proto=17",
                "ct_nw_proto is set multiple times",
            ),
            ("ct_nw_proto=256", "failed to parse field ct_nw_proto"),
            ("ct_nw_proto=6,icmp_id=1", "invalid L4 fields"),
            ("ct_tp_src=1", "port is set without protocol"),
            ("nw_src=10.1.1.1", "invalid conntrack tuple field: nw_src"),
            ("ct_nw_proto=6 ct_nw_proto=6 zone=5", "invalid arguments"),
        ] {
            let refused = read(text).expect_err(text);
            assert_eq!(refused.to_string(), error, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(words in prop::collection::vec(".{0,40}", 0..5)) {
            let _ = parse_ct_filter(&words);
        }
    }
}
