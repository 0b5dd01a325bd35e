//! Address translation at routers' ports, as it is typed: `snat=` and `dnat=`.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vswitch_dpapi::router::{DnatSpec, SnatSpec};
use vswitch_flow::Prefix;

use super::router::several;

/// Rules of one port. The first packet of a connection is compared with all.
const RULES_MAX: usize = 1024;

/// Ranges that sources come from.
const RANGES_MAX: usize = 16;

/// A range of ports.
type Ports = (u16, u16);

/// The sources that packets leave with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Snat {
    /// The port's own first address of the family.
    Masquerade,
    /// From a range of addresses, and ports perhaps.
    Range(IpAddr, IpAddr, Option<Ports>),
}

/// Whom connections to an address of the port are for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dnat {
    protocol: Protocol,
    address: IpAddr,
    ports: Ports,
    to: IpAddr,
    to_port: u16,
}

/// What has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// An address of a host, in brackets or not.
fn host(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address: IpAddr = bare.unwrap_or(text).parse().ok()?;
    (!address.is_unspecified() && !address.is_multicast()).then_some(address)
}

/// `80` or `8000-8099`.
fn ports(text: &str) -> Option<Ports> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): Ports = (first.parse().ok()?, last.parse().ok()?);
    (0 < first && first <= last).then_some((first, last))
}

/// What stands before the last colon that is not in brackets, and behind it. An IPv6 address without
/// brackets has no port.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((front, back)) if front.ends_with(']') || !front.contains(':') => (front, Some(back)),
        _ => (text, None),
    }
}

/// `masquerade`, `192.0.2.1`, `192.0.2.1-192.0.2.3:1024-65535`, `[2001:db8::1]:1024-65535`.
fn snat(text: &str) -> Option<Snat> {
    if text == "masquerade" {
        return Some(Snat::Masquerade);
    }
    let (addresses, range) = split_port(text);
    let (first, last) = addresses.split_once('-').unwrap_or((addresses, addresses));
    let (first, last) = (host(first)?, host(last)?);
    let range = match range {
        Some(range) => Some(ports(range)?),
        None => None,
    };
    let good = first.is_ipv4() == last.is_ipv4() && first <= last;
    good.then_some(Snat::Range(first, last, range))
}

/// `tcp:192.0.2.1:8080=10.0.1.2:80`, `udp:192.0.2.1:5000-5009=10.0.1.2`, `tcp:[2001:db8::1]:80=[fd00::2]`.
fn dnat(text: &str) -> Option<Dnat> {
    let (from, to) = text.split_once('=')?;
    let (protocol, from) = from.split_once(':')?;
    let protocol = Protocol::ALL
        .into_iter()
        .find(|known| known.name() == protocol)?;
    let (address, range) = split_port(from);
    let (address, ports) = (host(address)?, ports(range?)?);
    let (to, to_port) = split_port(to);
    let to = host(to)?;
    let to_port = match to_port {
        Some(text) => text.parse().ok().filter(|port| *port > 0)?,
        None => ports.0,
    };
    let fits = to_port.checked_add(ports.1 - ports.0).is_some();
    (fits && address.is_ipv4() == to.is_ipv4()).then_some(Dnat {
        protocol,
        address,
        ports,
        to,
        to_port,
    })
}

/// Reads `snat=`.
pub(super) fn read_snat(text: &str) -> Option<Vec<Snat>> {
    let all = several(text, snat)?;
    (all.len() <= RANGES_MAX).then_some(all)
}

/// Reads `dnat=`.
pub(super) fn read_dnat(text: &str) -> Option<Vec<Dnat>> {
    let all = several(text, dnat)?;
    (all.len() <= RULES_MAX).then_some(all)
}

/// An address before a port.
struct Bracketed(IpAddr);

impl fmt::Display for Bracketed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "[{v6}]"),
        }
    }
}

fn write_range(f: &mut fmt::Formatter<'_>, (first, last): Ports) -> fmt::Result {
    if first == last {
        write!(f, "{first}")
    } else {
        write!(f, "{first}-{last}")
    }
}

impl fmt::Display for Snat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Range(first, last, ports) = self else {
            return f.write_str("masquerade");
        };
        Bracketed(*first).fmt(f)?;
        if first != last {
            write!(f, "-{}", Bracketed(*last))?;
        }
        match ports {
            Some(ports) => {
                f.write_str(":")?;
                write_range(f, *ports)
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for Dnat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.protocol.name(), Bracketed(self.address))?;
        write_range(f, self.ports)?;
        write!(f, "={}:{}", Bracketed(self.to), self.to_port)
    }
}

/// Refuses what is not about the port's own `addresses`, or contradicts itself, with a sentence.
pub(super) fn check(snat: &[Snat], dnat: &[Dnat], addresses: &[Prefix]) -> Result<(), String> {
    let is_own = |address: &IpAddr| addresses.iter().any(|own| own.address == *address);
    let foreign = |address: IpAddr, key: &str| {
        format!("{address} is no address of the port; {key} takes those that it has, by address=")
    };
    for range in snat {
        match range {
            Snat::Masquerade if addresses.is_empty() => {
                return Err(
                    "snat=masquerade takes an address of the port, which has none; give it one with \
                     address="
                        .to_owned(),
                );
            }
            Snat::Masquerade => {}
            Snat::Range(first, last, _) => {
                for end in [first, last] {
                    if !is_own(end) {
                        return Err(foreign(*end, "snat"));
                    }
                }
                // The ends are own and in order; whoever is between would have to be, too.
                let own = addresses
                    .iter()
                    .filter(|own| (first..=last).contains(&&own.address));
                let len = address_number(*last) - address_number(*first);
                if len != own.count() as u128 - 1 {
                    return Err(format!(
                        "not all addresses from {first} to {last} are the port's; snat takes those that it \
                         has, by address="
                    ));
                }
            }
        }
    }
    for (at, rule) in dnat.iter().enumerate() {
        if !is_own(&rule.address) {
            return Err(foreign(rule.address, "dnat"));
        }
        if is_own(&rule.to) {
            return Err(format!(
                "dnat {rule} leads to the port itself; it takes a host behind the router"
            ));
        }
        let meets = |other: &&Dnat| {
            other.protocol == rule.protocol
                && other.address == rule.address
                && other.ports.0 <= rule.ports.1
                && rule.ports.0 <= other.ports.1
        };
        if let Some(other) = dnat[..at].iter().find(meets) {
            return Err(format!("dnat {other} and {rule} are about the same port"));
        }
    }
    Ok(())
}

fn address_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The same in the datapath's words.
pub(super) fn snat_spec(snat: &[Snat], addresses: &[Prefix]) -> Vec<SnatSpec> {
    let own = |v4: bool| {
        addresses
            .iter()
            .map(|own| own.address)
            .find(|own| own.is_ipv4() == v4)
    };
    let spec = |addresses, ports| SnatSpec { addresses, ports };
    snat.iter()
        .flat_map(|one| match one {
            Snat::Masquerade => [own(true), own(false)]
                .into_iter()
                .flatten()
                .map(|address| spec((address, address), None))
                .collect(),
            Snat::Range(first, last, ports) => vec![spec((*first, *last), *ports)],
        })
        .collect()
}

/// The same in the datapath's words.
pub(super) fn dnat_spec(dnat: &[Dnat]) -> Vec<DnatSpec> {
    dnat.iter()
        .map(|rule| DnatSpec {
            protocol: rule.protocol.number(),
            address: rule.address,
            ports: rule.ports,
            to: rule.to,
            to_port: rule.to_port,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_shown_again() {
        for text in [
            "masquerade",
            "192.0.2.1",
            "192.0.2.1-192.0.2.3",
            "192.0.2.1-192.0.2.3:1024-65535",
            "[2001:db8::1]:7",
            "[2001:db8::1]-[2001:db8::9]:1-2",
        ] {
            let read = read_snat(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(read[0].to_string(), text);
        }
        assert_eq!(
            read_snat("2001:db8::1").expect("read")[0].to_string(),
            "[2001:db8::1]"
        );
        for text in [
            "tcp:192.0.2.1:80=10.0.1.2:80",
            "udp:192.0.2.1:5000-5009=10.0.1.2:6000",
            "sctp:[2001:db8::1]:80=[fd00::2]:8080",
        ] {
            let read = read_dnat(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(read[0].to_string(), text);
        }
        let short = read_dnat("tcp:192.0.2.1:80-89=10.0.1.2").expect("read");
        assert_eq!(short[0].to_string(), "tcp:192.0.2.1:80-89=10.0.1.2:80");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in [
            "",
            "on",
            "192.0.2.3-192.0.2.1",
            "192.0.2.1:0",
            "192.0.2.1:9-1",
            "192.0.2.1-2001:db8::1",
            "0.0.0.0",
            "224.0.0.1",
        ] {
            assert_eq!(read_snat(text), None, "{text}");
        }
        for text in [
            "",
            "tcp",
            "tcp:192.0.2.1=10.0.1.2",
            "icmp:192.0.2.1:80=10.0.1.2",
            "tcp:192.0.2.1:80=fd00::1",
            "tcp:192.0.2.1:0=10.0.1.2",
            "tcp:192.0.2.1:80=10.0.1.2:0",
            "tcp:192.0.2.1:1-60000=10.0.1.2:60000",
            "tcp:192.0.2.1:80",
        ] {
            assert_eq!(read_dnat(text), None, "{text}");
        }
    }

    #[test]
    fn it_is_about_addresses_of_the_port() {
        let own: Vec<Prefix> = [
            "192.0.2.1/24",
            "192.0.2.2/32",
            "192.0.2.3/32",
            "2001:db8::1/64",
        ]
        .iter()
        .map(|text| text.parse().expect("a prefix"))
        .collect();
        let say = |snat: &str, dnat: &str| {
            let snat = read_snat(snat).unwrap_or_default();
            let dnat = read_dnat(dnat).unwrap_or_default();
            check(&snat, &dnat, &own).err().unwrap_or_default()
        };
        assert_eq!(say("masquerade", ""), "");
        assert_eq!(say("192.0.2.1-192.0.2.3", ""), "");
        assert!(say("192.0.2.9", "").contains("192.0.2.9 is no address of the port"));
        assert_eq!(
            say("", "tcp:192.0.2.1:80=10.0.1.2,udp:192.0.2.1:80=10.0.1.2"),
            ""
        );
        assert!(say("", "tcp:192.0.2.9:80=10.0.1.2").contains("no address of the port"));
        assert!(say("", "tcp:192.0.2.1:80=192.0.2.2").contains("leads to the port itself"));
        let twice = say("", "tcp:192.0.2.1:80-90=10.0.1.2,tcp:192.0.2.1:90=10.0.1.3");
        assert!(twice.contains("about the same port"), "{twice}");
        let gap = [own[0], own[2]];
        let range = read_snat("192.0.2.1-192.0.2.3").expect("read");
        assert!(check(&range, &[], &gap).is_err());
        assert!(check(&[Snat::Masquerade], &[], &[]).is_err());
    }
}
