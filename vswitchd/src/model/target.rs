//! Where a bridge's controllers are, as it is typed: `tcp:10.0.0.1:6653,pssl:6654`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The port that IANA gave OpenFlow.
pub const PORT: u16 = 6653;

/// A controller's place, or one where controllers are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// We connect to it.
    Tcp(SocketAddr),
    /// Clients connect to us here.
    Ptcp(SocketAddr),
    /// We connect to it, with TLS.
    Ssl(SocketAddr),
    /// Clients connect to us here, with TLS.
    Pssl(SocketAddr),
}

impl Target {
    /// TLS is spoken.
    pub fn is_secure(&self) -> bool {
        matches!(self, Self::Ssl(_) | Self::Pssl(_))
    }

    /// The others come to us.
    pub fn is_passive(&self) -> bool {
        matches!(self, Self::Ptcp(_) | Self::Pssl(_))
    }
}

/// As it would be typed, with everything said.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, address) = match self {
            Self::Tcp(address) => ("tcp", address),
            Self::Ptcp(address) => ("ptcp", address),
            Self::Ssl(address) => ("ssl", address),
            Self::Pssl(address) => ("pssl", address),
        };
        if !self.is_passive() {
            return write!(f, "{method}:{address}");
        }
        match address.ip() {
            IpAddr::V4(ip) => write!(f, "{method}:{}:{ip}", address.port()),
            IpAddr::V6(ip) => write!(f, "{method}:{}:[{ip}]", address.port()),
        }
    }
}

/// A list with commas; each target once.
pub fn parse_list(text: &str) -> Option<Vec<Target>> {
    let mut targets = Vec::new();
    for part in text.split(',') {
        let target = parse(part.trim())?;
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    Some(targets)
}

fn parse(text: &str) -> Option<Target> {
    let (method, place) = text.split_once(':')?;
    match method {
        "tcp" | "ssl" => {
            let default = |ip| SocketAddr::new(ip, PORT);
            let whole = place.parse().ok();
            let address = whole.or_else(|| ip(place).map(default))?;
            let make = if method == "tcp" {
                Target::Tcp
            } else {
                Target::Ssl
            };
            (address.port() != 0).then_some(make(address))
        }
        "ptcp" | "pssl" => {
            let (port, address) = match place.split_once(':') {
                Some((port, address)) => (port, ip(address)?),
                None => (place, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            };
            let port = if port.is_empty() {
                PORT
            } else {
                super::key::number(port, 1..=u16::MAX)?
            };
            let make = if method == "ptcp" {
                Target::Ptcp
            } else {
                Target::Pssl
            };
            Some(make(SocketAddr::new(address, port)))
        }
        _ => None,
    }
}

/// An address, one of IPv6 also in brackets.
fn ip(text: &str) -> Option<IpAddr> {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(inner) => Some(IpAddr::V6(inner.parse().ok()?)),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_written_back_whole() {
        let cases = [
            ("tcp:127.0.0.1", "tcp:127.0.0.1:6653"),
            ("tcp:10.0.0.1:6633", "tcp:10.0.0.1:6633"),
            ("tcp:[::1]:1", "tcp:[::1]:1"),
            ("tcp:::1", "tcp:[::1]:6653"),
            ("ptcp:", "ptcp:6653:0.0.0.0"),
            ("ptcp:7:127.0.0.1", "ptcp:7:127.0.0.1"),
            ("ptcp:7:[::]", "ptcp:7:[::]"),
            ("ssl:10.0.0.1", "ssl:10.0.0.1:6653"),
            ("ssl:[::1]:7", "ssl:[::1]:7"),
            (
                "pssl:,pssl:7:127.0.0.1",
                "pssl:6653:0.0.0.0,pssl:7:127.0.0.1",
            ),
            (
                "tcp:1.1.1.1, tcp:1.1.1.1:6653,ptcp:9",
                "tcp:1.1.1.1:6653,ptcp:9:0.0.0.0",
            ),
        ];
        for (text, written) in cases {
            let targets = parse_list(text).unwrap_or_else(|| panic!("{text}"));
            let shown: Vec<String> = targets.iter().map(Target::to_string).collect();
            assert_eq!(shown.join(","), written);
            assert_eq!(parse_list(written), Some(targets));
        }
        let bad = [
            "",
            "tcp",
            "tcp:",
            "tcp:host:1",
            "ssl:",
            "ssl:host",
            "pssl:0",
            "tls:1.1.1.1",
            "ptcp:0",
            "ptcp:x",
            "tcp:1.1.1.1:0",
            "tcp:1.1.1.1,",
        ];
        for text in bad {
            assert_eq!(parse_list(text), None, "{text}");
        }
    }
}
