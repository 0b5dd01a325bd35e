//! Which switch a command speaks to, and how it is reached.
//!
//! A name is a bridge of the run directory, whose agent listens on `NAME.mgmt` there: that is so for
//! this switch and for Open vSwitch (`ovs-ofctl(8)`, "OpenFlow switch management commands"), so one
//! command line serves both. A name with a colon is an address.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// OpenFlow's port of IANA, taken where an address names none.
const PORT: u16 = 6653;

/// Where a switch listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A unix socket.
    Unix(PathBuf),
    /// TCP.
    Tcp(SocketAddr),
    /// TLS.
    Ssl(SocketAddr),
}

/// An address that leads nowhere.
#[derive(Debug, Error)]
pub enum BadTarget {
    /// Not a kind of connection that is offered.
    #[error("'{0}' is no bridge, unix:PATH, tcp:ADDRESS[:PORT] or ssl:ADDRESS[:PORT]")]
    Kind(String),
    /// The address behind `tcp:` or `ssl:` cannot be read.
    #[error(
        "'{address}' is no address: write {method}:192.0.2.1:6653 or {method}:[2001:db8::1]:6653"
    )]
    Address {
        /// `tcp` or `ssl`.
        method: &'static str,
        /// What was typed behind it.
        address: String,
    },
    /// There is no such bridge.
    #[error("{name} is not a bridge: nothing listens on {}", socket.display())]
    NoBridge {
        /// What was typed.
        name: String,
        /// Where it would listen.
        socket: PathBuf,
    },
}

/// Which of a bridge's two sockets is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The one that answers.
    Management,
    /// The one that shows what controllers and switch say.
    Snoop,
}

impl Target {
    /// Finds the switch that `name` means: an address, a socket's path, or a bridge of `rundir`.
    pub fn find(name: &str, rundir: &Path, service: Service) -> Result<Self, BadTarget> {
        if let Some(path) = name.strip_prefix("unix:") {
            return Ok(Self::Unix(rundir.join(path)));
        }
        for method in ["tcp", "ssl"] {
            let rest = name.strip_prefix(method);
            let Some(text) = rest.and_then(|rest| rest.strip_prefix(':')) else {
                continue;
            };
            let address = parse_address(text).ok_or_else(|| BadTarget::Address {
                method,
                address: text.to_owned(),
            })?;
            return Ok(match method {
                "ssl" => Self::Ssl(address),
                _ => Self::Tcp(address),
            });
        }
        if name.contains(':') {
            return Err(BadTarget::Kind(name.to_owned()));
        }
        let suffix = match service {
            Service::Management => "mgmt",
            Service::Snoop => "snoop",
        };
        let socket = rundir.join(format!("{name}.{suffix}"));
        let plain = rundir.join(name);
        if socket.exists() {
            Ok(Self::Unix(socket))
        } else if service == Service::Management && plain.exists() && !plain.is_dir() {
            Ok(Self::Unix(plain))
        } else {
            Err(BadTarget::NoBridge {
                name: name.to_owned(),
                socket,
            })
        }
    }
}

fn parse_address(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, PORT));
    }
    let with_port = if text.contains(':') {
        text.to_owned()
    } else {
        format!("{text}:{PORT}")
    };
    with_port.to_socket_addrs().ok()?.next()
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Ssl(address) => write!(f, "ssl:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str, rundir: &Path) -> Result<Target, BadTarget> {
        Target::find(name, rundir, Service::Management)
    }

    #[test]
    fn addresses_need_no_port() {
        let nowhere = Path::new("/nonexistent");
        for (text, shown) in [
            ("tcp:192.0.2.1", "tcp:192.0.2.1:6653"),
            ("tcp:192.0.2.1:6633", "tcp:192.0.2.1:6633"),
            ("tcp:[2001:db8::1]", "tcp:[2001:db8::1]:6653"),
            ("tcp:[2001:db8::1]:1", "tcp:[2001:db8::1]:1"),
            ("ssl:192.0.2.1", "ssl:192.0.2.1:6653"),
            ("ssl:[2001:db8::1]:1", "ssl:[2001:db8::1]:1"),
            ("unix:/run/x.mgmt", "unix:/run/x.mgmt"),
        ] {
            assert_eq!(find(text, nowhere).unwrap().to_string(), shown);
        }
        assert!(matches!(
            find("ssl:[", nowhere),
            Err(BadTarget::Address { method: "ssl", .. })
        ));
        assert!(matches!(
            find("tls:192.0.2.1", nowhere),
            Err(BadTarget::Kind(_))
        ));
    }

    #[test]
    fn a_bridge_is_found_by_its_socket() {
        let rundir = tempfile::tempdir().unwrap();
        let missing = find("br0", rundir.path()).unwrap_err().to_string();
        assert!(missing.contains("br0 is not a bridge"), "{missing}");
        std::fs::write(rundir.path().join("br0.mgmt"), "").unwrap();
        std::fs::write(rundir.path().join("br0.snoop"), "").unwrap();
        let socket = |name| Target::Unix(rundir.path().join(name));
        assert_eq!(find("br0", rundir.path()).unwrap(), socket("br0.mgmt"));
        assert_eq!(find("br0.mgmt", rundir.path()).unwrap(), socket("br0.mgmt"));
        let snoop = Target::find("br0", rundir.path(), Service::Snoop).unwrap();
        assert_eq!(snoop, socket("br0.snoop"));
    }
}
