//! Ports that belong to no bridge: devices shared with the host, and the host's own UDP sockets.
//!
//! An uplink comes to be because a person asks for it, or because something of the switch (a tunnel)
//! sends by the device; it goes when nobody wants it any more. What is steered to it is the sum of
//! what all of them want.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::key::{self, Key};
use super::port::{Port, XdpMode};

/// The name of the port that is the host's UDP sockets.
pub const SOCKET: &str = "udp";

/// An uplink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// Its port.
    pub port: Port,
    /// What a person asked for; `None` when nobody did and the switch needs it itself.
    #[serde(default)]
    pub asked: Option<UplinkSettings>,
}

/// What a person can ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UplinkSettings {
    /// What is to be the switch's.
    pub steer: Vec<Steer>,
    /// How AF_XDP is to work.
    pub mode: Option<XdpMode>,
    /// Queues to use.
    pub queues: Option<u16>,
}

/// The protocols that can be steered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// By destination port.
    Tcp,
    /// By destination port.
    Udp,
    /// By destination port.
    Sctp,
    /// Echo replies, by identifier.
    Icmp,
}

impl Protocol {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Sctp, Self::Icmp];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
        }
    }

    /// Its number over the addresses of a family.
    pub fn number(self, address: IpAddr) -> u8 {
        match (self, address) {
            (Self::Tcp, _) => 6,
            (Self::Udp, _) => 17,
            (Self::Sctp, _) => 132,
            (Self::Icmp, IpAddr::V4(_)) => 1,
            (Self::Icmp, IpAddr::V6(_)) => 58,
        }
    }
}

/// Packets of an uplink that are the switch's: `udp:4789`, `tcp:192.0.2.1:8000-8100`,
/// `icmp:[2001:db8::1]:40000-41000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Steer {
    /// Their protocol.
    pub protocol: Protocol,
    /// Their destination; `None` means every address of the device.
    pub address: Option<IpAddr>,
    /// The first port, or identifier of an echo.
    pub first: u16,
    /// The last one.
    pub last: u16,
}

/// The words are no such rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRule;

impl FromStr for Steer {
    type Err = NoRule;

    fn from_str(text: &str) -> Result<Self, NoRule> {
        let (protocol, rest) = text.split_once(':').ok_or(NoRule)?;
        let mut all = Protocol::ALL.into_iter();
        let protocol = all.find(|one| one.name() == protocol).ok_or(NoRule)?;
        let (address, ports) = match rest.rsplit_once(':') {
            Some((address, ports)) => {
                let inner = address.strip_prefix('[').map(|text| text.strip_suffix(']'));
                let address = match inner {
                    Some(text) => IpAddr::V6(text.ok_or(NoRule)?.parse().map_err(|_| NoRule)?),
                    None => IpAddr::V4(address.parse().map_err(|_| NoRule)?),
                };
                (Some(address), ports)
            }
            None => (None, rest),
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        // An echo may have the identifier 0, a packet no port 0.
        let least = u16::from(protocol != Protocol::Icmp);
        let number = |text| key::number(text, least..=u16::MAX).ok_or(NoRule);
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(NoRule);
        }
        Ok(Self {
            protocol,
            address,
            first,
            last,
        })
    }
}

impl fmt::Display for Steer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.protocol.name())?;
        match self.address {
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            None => {}
        }
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// The settings of an uplink.
pub const KEYS: &[Key<UplinkSettings>] = &[
    Key {
        name: "steer",
        live: false,
        takes: "PROTOCOL:PORT, PROTOCOL:ADDRESS:FIRST-LAST and the like, with commas between: \
                udp:4789,tcp:192.0.2.1:8000-8100,udp:[2001:db8::1]:6081; protocols are tcp, udp, \
                sctp and icmp (echo replies, by identifier)",
        set: |uplink, text| {
            let rules: Result<Vec<Steer>, NoRule> = text.split(',').map(str::parse).collect();
            uplink.steer = rules.ok()?;
            Some(())
        },
        clear: |uplink| uplink.steer.clear(),
        show: |uplink| {
            let rules: Vec<String> = uplink.steer.iter().map(Steer::to_string).collect();
            (!rules.is_empty()).then(|| rules.join(","))
        },
    },
    Key {
        name: "mode",
        live: false,
        takes: "native, generic or zerocopy",
        set: |uplink, text| {
            uplink.mode = Some(XdpMode::from_word(text)?);
            Some(())
        },
        clear: |uplink| uplink.mode = None,
        show: |uplink| uplink.mode.map(|mode| mode.word().into()),
    },
    Key {
        name: "queues",
        live: false,
        takes: "a number from 1 to 256",
        set: |uplink, text| {
            uplink.queues = Some(key::number(text, 1..=256)?);
            Some(())
        },
        clear: |uplink| uplink.queues = None,
        show: |uplink| uplink.queues.map(|queues| queues.to_string()),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_shown_as_they_are_typed() {
        for text in [
            "udp:4789",
            "tcp:8000-8100",
            "tcp:192.0.2.1:80",
            "udp:[2001:db8::1]:6081-6082",
            "sctp:65535",
            "icmp:0-65535",
        ] {
            let rule: Steer = text.parse().unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(rule.to_string(), text);
        }
    }

    #[test]
    fn other_words_are_no_rules() {
        for text in [
            "",
            "udp",
            "udp:",
            "udp:0",
            "udp:65536",
            "udp:9-8",
            "udp:-9",
            "udp:1-2-3",
            "gre:1",
            "udp:192.0.2:1",
            "udp:2001:db8::1:4789",
            "udp:[192.0.2.1]:1",
            "udp:[2001:db8::1:1",
            "udp:192.0.2.1:",
            " udp:1",
        ] {
            assert_eq!(text.parse::<Steer>(), Err(NoRule), "{text:?}");
        }
    }

    #[test]
    fn a_protocol_has_a_number_in_each_family() {
        let (v4, v6) = ("192.0.2.1".parse(), "2001:db8::1".parse());
        let (v4, v6): (IpAddr, IpAddr) = (v4.unwrap(), v6.unwrap());
        let numbers = Protocol::ALL.map(|one| (one.number(v4), one.number(v6)));
        assert_eq!(numbers, [(6, 6), (17, 17), (132, 132), (1, 58)]);
    }
}
