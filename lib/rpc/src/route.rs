//! Routes as people write them.
//!
//! ```text
//! PREFIX [from PREFIX] via ADDRESS [port PORT] [weight N] [via ...]
//! PREFIX [from PREFIX] port PORT
//! PREFIX [from PREFIX] blackhole | prohibit | unreachable
//! ```

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vswitch_flow::Prefix;

/// Ways of one route.
pub const WAYS_MAX: usize = 64;

/// A route, its ports by their names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub prefix: Prefix,
    /// Only packets from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Prefix>,
    /// Which way.
    pub target: Target,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// By one of these ways.
    Via(Vec<Way>),
    /// Nowhere, and nobody is told.
    Blackhole,
    /// Nowhere: it is forbidden.
    Prohibit,
    /// Nowhere: it cannot be reached.
    Unreachable,
}

/// One way of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Way {
    /// The next router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// By which port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Its part, relative to other ways.
    #[serde(default = "one")]
    pub weight: u16,
}

const fn one() -> u16 {
    1
}

/// Why a text is no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The prefix is none.
    #[error(transparent)]
    Prefix(#[from] vswitch_flow::PrefixError),
    /// A prefix with bits behind its length.
    #[error("{0} has bits behind its length; the network is {1}")]
    HostBits(Prefix, Prefix),
    /// A word that does not belong there.
    #[error(
        "'{0}' is no word of a route; a route is PREFIX [from PREFIX], then via ADDRESS [port PORT] \
         [weight N], port PORT, blackhole, prohibit or unreachable"
    )]
    Word(String),
    /// A word whose value is missing or none.
    #[error("{word} takes {takes}")]
    Value {
        /// The word.
        word: &'static str,
        /// What it takes.
        takes: &'static str,
    },
    /// Families that do not go together.
    #[error("{0} and {1} are not of one family, IPv4 or IPv6")]
    Families(String, String),
    /// No target.
    #[error(
        "the route to {0} leads nowhere: it needs via ADDRESS, port PORT, blackhole, prohibit or \
         unreachable"
    )]
    Nowhere(Prefix),
    /// Too many ways.
    #[error("a route has at most {WAYS_MAX} ways")]
    Ways,
}

/// A network, spelled without bits behind its length; an address alone is one of all its bits.
fn network(text: &str) -> Result<Prefix, RouteError> {
    let prefix: Prefix = match text {
        "default" => Prefix::all(true),
        text => text.parse()?,
    };
    let network = prefix.network();
    if network != prefix {
        return Err(RouteError::HostBits(prefix, network));
    }
    Ok(prefix)
}

/// Reads the key of a route: where to, and from where.
///
/// # Errors
/// [`RouteError`].
pub fn key(text: &str) -> Result<(Prefix, Option<Prefix>), RouteError> {
    let mut words = text.split_whitespace();
    let (prefix, source, next) = read_key(&mut words)?;
    match next {
        None => Ok((prefix, source)),
        Some(word) => Err(RouteError::Word(word.to_owned())),
    }
}

fn read_key<'a>(
    words: &mut impl Iterator<Item = &'a str>,
) -> Result<(Prefix, Option<Prefix>, Option<&'a str>), RouteError> {
    let prefix = network(words.next().unwrap_or_default())?;
    let mut next = words.next();
    let mut source = None;
    if next == Some("from") {
        let text = words.next().ok_or(RouteError::Value {
            word: "from",
            takes: "the network that packets come from",
        })?;
        let from = network(text)?;
        same_family(prefix.address, from.address)?;
        source = Some(from);
        next = words.next();
    }
    Ok((prefix, source, next))
}

fn same_family(a: IpAddr, b: IpAddr) -> Result<(), RouteError> {
    if a.is_ipv4() == b.is_ipv4() {
        Ok(())
    } else {
        Err(RouteError::Families(a.to_string(), b.to_string()))
    }
}

impl FromStr for Route {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let mut words = text.split_whitespace();
        let (prefix, source, mut next) = read_key(&mut words)?;
        let mut ways: Vec<Way> = Vec::new();
        let mut target = None;
        while let Some(word) = next {
            let mut value = |word, takes| {
                let value = words.next();
                value.ok_or(RouteError::Value { word, takes })
            };
            if target.is_some() {
                return Err(RouteError::Word(word.to_owned()));
            }
            match word {
                "via" => {
                    let takes = "the address of the next router";
                    let text = value("via", takes)?;
                    let bad = |_| RouteError::Value { word: "via", takes };
                    let gateway: IpAddr = text.parse().map_err(bad)?;
                    // An IPv6 router may be the way to IPv4 networks (RFC 8950), not the reverse.
                    if gateway.is_ipv4() {
                        same_family(prefix.address, gateway)?;
                    }
                    ways.push(Way {
                        gateway: Some(gateway),
                        port: None,
                        weight: 1,
                    });
                }
                "port" => {
                    let port = value("port", "the name of a port of the router")?.to_owned();
                    match ways.last_mut() {
                        Some(way) if way.port.is_none() => way.port = Some(port),
                        _ => ways.push(Way {
                            gateway: None,
                            port: Some(port),
                            weight: 1,
                        }),
                    }
                }
                "weight" => {
                    let takes = "a number from 1 to 256, behind via";
                    let text = value("weight", takes)?;
                    let weight = text
                        .parse()
                        .ok()
                        .filter(|weight| (1..=256).contains(weight));
                    match (ways.last_mut(), weight) {
                        (Some(way), Some(weight)) => way.weight = weight,
                        _ => {
                            return Err(RouteError::Value {
                                word: "weight",
                                takes,
                            });
                        }
                    }
                }
                "blackhole" | "prohibit" | "unreachable" if ways.is_empty() => {
                    target = Some(match word {
                        "blackhole" => Target::Blackhole,
                        "prohibit" => Target::Prohibit,
                        _ => Target::Unreachable,
                    });
                }
                word => return Err(RouteError::Word(word.to_owned())),
            }
            next = words.next();
        }
        if ways.len() > WAYS_MAX {
            return Err(RouteError::Ways);
        }
        let target = match target {
            Some(target) => target,
            None if ways.is_empty() => return Err(RouteError::Nowhere(prefix)),
            None => Target::Via(ways),
        };
        Ok(Self {
            prefix,
            source,
            target,
        })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.prefix)?;
        if let Some(source) = &self.source {
            write!(f, " from {source}")?;
        }
        write!(f, " {}", self.target)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = match self {
            Self::Blackhole => return f.write_str("blackhole"),
            Self::Prohibit => return f.write_str("prohibit"),
            Self::Unreachable => return f.write_str("unreachable"),
            Self::Via(ways) => ways,
        };
        for (at, way) in ways.iter().enumerate() {
            let mut space = if at == 0 { "" } else { " " };
            if let Some(gateway) = way.gateway {
                write!(f, "{space}via {gateway}")?;
                space = " ";
            }
            if let Some(port) = &way.port {
                write!(f, "{space}port {port}")?;
            }
            if way.weight != 1 {
                write!(f, " weight {}", way.weight)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_written_as_they_are_read() {
        for text in [
            "10.0.0.0/8 via 10.0.1.2",
            "0.0.0.0/0 via 10.0.1.2 port rp1 weight 3 via 10.0.1.3",
            "10.9.0.0/16 port rp2",
            "10.9.0.0/16 via fe80::1 port rp2",
            "2001:db8::/32 from 2001:db8:1::/48 prohibit",
            "192.0.2.0/24 blackhole",
            "192.0.2.1/32 unreachable",
        ] {
            let route: Route = text.parse().unwrap();
            assert_eq!(route.to_string(), text);
        }
        assert_eq!(
            "default via 10.0.0.1".parse::<Route>().unwrap().prefix,
            Prefix::all(true)
        );
    }

    #[test]
    fn what_is_no_route_is_refused_with_what_would_be_one() {
        for (text, sentence) in [
            ("", "'' is no IPv4 or IPv6 address"),
            (
                "10.0.0.1/8 blackhole",
                "10.0.0.1/8 has bits behind its length; the network is 10.0.0.0/8",
            ),
            ("10.0.0.0/8 via", "via takes the address of the next router"),
            (
                "10.0.0.0/8 via x",
                "via takes the address of the next router",
            ),
            (
                "::/0 via 10.0.0.1",
                ":: and 10.0.0.1 are not of one family, IPv4 or IPv6",
            ),
            (
                "10.0.0.0/8 weight 3",
                "weight takes a number from 1 to 256, behind via",
            ),
            (
                "10.0.0.0/8 via 1.2.3.4 weight 0",
                "weight takes a number from 1 to 256, behind via",
            ),
            (
                "10.0.0.0/8",
                "the route to 10.0.0.0/8 leads nowhere: it needs via ADDRESS, port PORT, blackhole, \
                 prohibit or unreachable",
            ),
            (
                "10.0.0.0/8 blackhole prohibit",
                "'prohibit' is no word of a route; a route is PREFIX [from PREFIX], then via ADDRESS \
                 [port PORT] [weight N], port PORT, blackhole, prohibit or unreachable",
            ),
        ] {
            assert_eq!(text.parse::<Route>().unwrap_err().to_string(), sentence);
        }
    }
}
