//! The settings of a tunnel port, in Open vSwitch's words.
//!
//! Law: two ports never wait for the same packets, and one UDP port has one protocol. What could
//! never work is refused; what a route or a neighbour decides is not asked here.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vswitch_dpapi::{Endpoint, TunnelKey, TunnelKind, TunnelSpec, TunnelTos, TunnelWay};
use vswitch_packet::{geneve, vxlan};
use vswitch_rpc::port::Kind;

use super::key::{self, Key};
use super::port::PortSettings;
use super::refusal::ModelError;

/// Largest network identifier of both protocols.
const KEY_MAX: u32 = vxlan::VNI_MAX;

/// TTL of outer headers unless another is set, as in Open vSwitch.
const TTL: u8 = 64;

/// Bits of the type of service that are ECN, which no setting has.
const ECN: u8 = 0b11;

/// What was set on a tunnel port; what was not has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TunnelSettings {
    /// The far end.
    pub remote: Option<Endpoint>,
    /// The near end.
    pub local: Option<Endpoint>,
    /// The key of packets that come and go.
    pub key: Option<TunnelKey>,
    /// That of packets that come, where it is another.
    pub in_key: Option<TunnelKey>,
    /// That of packets that go, where it is another.
    pub out_key: Option<TunnelKey>,
    /// The UDP port.
    pub udp_port: Option<u16>,
    /// Outer UDP headers have a checksum.
    pub csum: Option<bool>,
    /// TTL of the outer header; `Some(None)` is that of the packet inside.
    pub ttl: Option<Option<u8>>,
    /// Type of service of the outer header.
    pub tos: Option<TunnelTos>,
    /// Outer IPv4 headers forbid fragments.
    pub df: Option<bool>,
    /// How packets get onto the network.
    pub way: Option<TunnelWay>,
    /// Packets must come from where a route leads to.
    pub check_source: Option<bool>,
}

fn endpoint(text: &str) -> Option<Endpoint> {
    if text == "flow" {
        return Some(Endpoint::Flow);
    }
    let address: IpAddr = text.parse().ok()?;
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let is_host = !address.is_unspecified() && !address.is_multicast() && !is_broadcast;
    is_host.then_some(Endpoint::Address(address))
}

fn show_endpoint(end: Endpoint) -> String {
    match end {
        Endpoint::Address(address) => address.to_string(),
        Endpoint::Flow => "flow".into(),
    }
}

/// A key as Open vSwitch's tools write it too: decimal, or hexadecimal after `0x`.
fn tunnel_key(text: &str) -> Option<TunnelKey> {
    if text == "flow" {
        return Some(TunnelKey::Flow);
    }
    let number = match text.strip_prefix("0x") {
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            u32::from_str_radix(digits, 16).ok()?
        }
        Some(_) => return None,
        None => key::number(text, 0..=KEY_MAX)?,
    };
    (number <= KEY_MAX).then_some(TunnelKey::Id(number))
}

fn show_key(key: TunnelKey) -> String {
    match key {
        TunnelKey::Id(key) => key.to_string(),
        TunnelKey::Flow => "flow".into(),
    }
}

/// The word for `underlay=`.
pub fn way_name(way: TunnelWay) -> &'static str {
    match way {
        TunnelWay::Auto => "auto",
        TunnelWay::Bridge => "bridge",
        TunnelWay::Uplink => "uplink",
        TunnelWay::Socket => "socket",
    }
}

const KEY_TAKES: &str = "a number from 0 to 16777215 (24 bits), or flow";

/// The far end.
pub const REMOTE_IP: Key<PortSettings> = Key {
    name: "remote_ip",
    live: true,
    takes: "the IPv4 or IPv6 address of one host, or flow",
    set: |port, text| {
        port.tunnel.remote = Some(endpoint(text)?);
        Some(())
    },
    clear: |port| port.tunnel.remote = None,
    show: |port| port.tunnel.remote.map(show_endpoint),
};

/// The near end.
pub const LOCAL_IP: Key<PortSettings> = Key {
    name: "local_ip",
    live: true,
    takes: "an IPv4 or IPv6 address of this host, or flow",
    set: |port, text| {
        port.tunnel.local = Some(endpoint(text)?);
        Some(())
    },
    clear: |port| port.tunnel.local = None,
    show: |port| port.tunnel.local.map(show_endpoint),
};

/// The network.
pub const KEY: Key<PortSettings> = Key {
    name: "key",
    live: true,
    takes: KEY_TAKES,
    set: |port, text| {
        port.tunnel.key = Some(tunnel_key(text)?);
        Some(())
    },
    clear: |port| port.tunnel.key = None,
    show: |port| port.tunnel.key.map(show_key),
};

/// The network of packets that come.
pub const IN_KEY: Key<PortSettings> = Key {
    name: "in_key",
    live: true,
    takes: KEY_TAKES,
    set: |port, text| {
        port.tunnel.in_key = Some(tunnel_key(text)?);
        Some(())
    },
    clear: |port| port.tunnel.in_key = None,
    show: |port| port.tunnel.in_key.map(show_key),
};

/// The network of packets that go.
pub const OUT_KEY: Key<PortSettings> = Key {
    name: "out_key",
    live: true,
    takes: KEY_TAKES,
    set: |port, text| {
        port.tunnel.out_key = Some(tunnel_key(text)?);
        Some(())
    },
    clear: |port| port.tunnel.out_key = None,
    show: |port| port.tunnel.out_key.map(show_key),
};

/// The UDP port.
pub const DST_PORT: Key<PortSettings> = Key {
    name: "dst_port",
    live: true,
    takes: "a UDP port from 1 to 65535",
    set: |port, text| {
        port.tunnel.udp_port = Some(key::number(text, 1..=u16::MAX)?);
        Some(())
    },
    clear: |port| port.tunnel.udp_port = None,
    show: |port| port.tunnel.udp_port.map(|number| number.to_string()),
};

/// Outer checksums.
pub const CSUM: Key<PortSettings> = Key {
    name: "csum",
    live: true,
    takes: "true or false",
    set: |port, text| {
        port.tunnel.csum = Some(key::boolean(text)?);
        Some(())
    },
    clear: |port| port.tunnel.csum = None,
    show: |port| port.tunnel.csum.map(|csum| csum.to_string()),
};

/// Outer TTL.
pub const TTL_KEY: Key<PortSettings> = Key {
    name: "ttl",
    live: true,
    takes: "a number from 1 to 255, or inherit",
    set: |port, text| {
        port.tunnel.ttl = Some(match text {
            "inherit" => None,
            _ => Some(key::number(text, 1..=u8::MAX)?),
        });
        Some(())
    },
    clear: |port| port.tunnel.ttl = None,
    show: |port| {
        let ttl = port.tunnel.ttl?;
        Some(ttl.map_or("inherit".into(), |ttl| ttl.to_string()))
    },
};

/// Outer type of service.
pub const TOS: Key<PortSettings> = Key {
    name: "tos",
    live: true,
    takes: "a number from 0 to 255 whose lowest two bits, ECN, are 0, or inherit",
    set: |port, text| {
        port.tunnel.tos = Some(match text {
            "inherit" => TunnelTos::Inherit,
            _ => {
                let number = match text.strip_prefix("0x") {
                    Some(digits) => u8::from_str_radix(digits, 16).ok()?,
                    None => key::number(text, 0..=u8::MAX)?,
                };
                TunnelTos::Set(Some(number).filter(|tos| tos & ECN == 0)?)
            }
        });
        Some(())
    },
    clear: |port| port.tunnel.tos = None,
    show: |port| {
        Some(match port.tunnel.tos? {
            TunnelTos::Set(tos) => tos.to_string(),
            TunnelTos::Inherit => "inherit".into(),
        })
    },
};

/// The same without the ECN bits: another way to write `tos`.
pub const DSCP: Key<PortSettings> = Key {
    name: "dscp",
    live: true,
    takes: "a number from 0 to 63, or inherit",
    set: |port, text| {
        port.tunnel.tos = Some(match text {
            "inherit" => TunnelTos::Inherit,
            _ => TunnelTos::Set(key::number(text, 0..=63_u8)? << 2),
        });
        Some(())
    },
    clear: |port| port.tunnel.tos = None,
    // `tos` shows it.
    show: |_| None,
};

/// Whether the network may cut packets.
pub const DF: Key<PortSettings> = Key {
    name: "df",
    live: true,
    takes: "true (larger packets are answered) or false (the network may cut them)",
    set: |port, text| {
        port.tunnel.df = Some(key::boolean(text)?);
        Some(())
    },
    clear: |port| port.tunnel.df = None,
    show: |port| port.tunnel.df.map(|df| df.to_string()),
};

/// How packets get onto the network.
pub const UNDERLAY: Key<PortSettings> = Key {
    name: "underlay",
    live: true,
    takes: "auto, bridge, uplink or socket",
    set: |port, text| {
        let ways = [
            TunnelWay::Auto,
            TunnelWay::Bridge,
            TunnelWay::Uplink,
            TunnelWay::Socket,
        ];
        port.tunnel.way = Some(ways.into_iter().find(|way| way_name(*way) == text)?);
        Some(())
    },
    clear: |port| port.tunnel.way = None,
    show: |port| port.tunnel.way.map(|way| way_name(way).into()),
};

/// Whether spoofed sources are looked for.
pub const CHECK_SOURCE: Key<PortSettings> = Key {
    name: "check_source",
    live: true,
    takes: "true or false",
    set: |port, text| {
        port.tunnel.check_source = Some(key::boolean(text)?);
        Some(())
    },
    clear: |port| port.tunnel.check_source = None,
    show: |port| port.tunnel.check_source.map(|check| check.to_string()),
};

/// The names of all keys that only tunnel ports have.
pub const NAMES: [&str; 13] = [
    REMOTE_IP.name,
    LOCAL_IP.name,
    KEY.name,
    IN_KEY.name,
    OUT_KEY.name,
    DST_PORT.name,
    CSUM.name,
    TTL_KEY.name,
    TOS.name,
    DSCP.name,
    DF.name,
    UNDERLAY.name,
    CHECK_SOURCE.name,
];

/// The protocol of a kind of port; `None` when it is no tunnel.
pub fn protocol(kind: Kind) -> Option<TunnelKind> {
    match kind {
        Kind::Vxlan => Some(TunnelKind::Vxlan),
        Kind::Geneve => Some(TunnelKind::Geneve),
        _ => None,
    }
}

impl TunnelSettings {
    /// What the datapath is told, if a remote was set.
    pub fn spec(&self, kind: TunnelKind) -> Option<TunnelSpec> {
        let key = self.key.unwrap_or(TunnelKey::Id(0));
        Some(TunnelSpec {
            kind,
            remote: self.remote?,
            local: self.local,
            in_key: self.in_key.unwrap_or(key),
            out_key: self.out_key.unwrap_or(key),
            udp_port: self.udp_port.unwrap_or(match kind {
                TunnelKind::Vxlan => vxlan::PORT,
                TunnelKind::Geneve => geneve::PORT,
            }),
            csum: self.csum,
            ttl: self.ttl.unwrap_or(Some(TTL)),
            tos: self.tos.unwrap_or(TunnelTos::Set(0)),
            dont_fragment: self.df.unwrap_or(true),
            way: self.way.unwrap_or_default(),
            check_source: self.check_source.unwrap_or(false),
        })
    }

    /// Refuses settings that contradict each other, and the lack of a remote.
    pub fn check(&self, kind: Kind) -> Result<(), ModelError> {
        let Some(remote) = self.remote else {
            return Err(ModelError::Needs {
                kind,
                key: REMOTE_IP.name,
                takes: REMOTE_IP.takes,
            });
        };
        match (remote, self.local) {
            (Endpoint::Address(remote), Some(Endpoint::Address(local)))
                if remote.is_ipv4() != local.is_ipv4() =>
            {
                Err(ModelError::Tunnel(format!(
                    "remote_ip={remote} and local_ip={local} are of different families; \
                     both ends of a tunnel have IPv4 addresses or both have IPv6 addresses"
                )))
            }
            (Endpoint::Address(remote), Some(Endpoint::Address(local))) if remote == local => {
                Err(ModelError::Tunnel(format!(
                    "remote_ip={remote} is local_ip too; a tunnel leads to another host"
                )))
            }
            (Endpoint::Address(_), Some(Endpoint::Flow)) => Err(ModelError::Tunnel(
                "local_ip=flow needs remote_ip=flow: flows say both ends or the far one only"
                    .into(),
            )),
            _ => Ok(()),
        }
    }
}

/// Refuses a tunnel that waits for packets of another one, or brings another protocol to its UDP
/// port. `others` are the other tunnels with their ports' names.
pub fn check_others<'a>(
    new: &TunnelSpec,
    others: impl Iterator<Item = (&'a str, TunnelSpec)>,
) -> Result<(), ModelError> {
    for (name, other) in others {
        if other.udp_port != new.udp_port {
            continue;
        }
        if other.kind != new.kind {
            let word = match other.kind {
                TunnelKind::Vxlan => "vxlan",
                TunnelKind::Geneve => "geneve",
            };
            return Err(ModelError::TunnelTaken(format!(
                "dst_port={} belongs to tunnels of type {word}, as port {name} is; \
                 tunnels of another type need another UDP port",
                new.udp_port
            )));
        }
        let same =
            other.remote == new.remote && other.local == new.local && other.in_key == new.in_key;
        if same {
            return Err(ModelError::TunnelTaken(format!(
                "port {name} has packets from remote_ip={} with key={} already; \
                 two tunnel ports differ in remote_ip, local_ip, key or dst_port",
                show_endpoint(new.remote),
                show_key(new.in_key)
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::{When, apply};
    use crate::model::port::KEYS;

    fn settings(words: &[(&str, &str)]) -> Result<PortSettings, ModelError> {
        let options = words
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        let mut settings = PortSettings::default();
        apply(KEYS, "a port", When::New, &mut settings, &options)?;
        settings.check_kind(settings.kind.expect("a type is given"))?;
        Ok(settings)
    }

    fn spec(words: &[(&str, &str)]) -> TunnelSpec {
        let settings = settings(words).unwrap();
        let kind = protocol(settings.kind.unwrap()).unwrap();
        settings.tunnel.spec(kind).unwrap()
    }

    #[test]
    fn what_is_not_set_is_as_in_open_vswitch() {
        let spec = spec(&[("type", "vxlan"), ("remote_ip", "10.0.0.1")]);
        assert_eq!((spec.udp_port, spec.ttl), (4789, Some(64)));
        assert_eq!(
            (spec.in_key, spec.out_key),
            (TunnelKey::Id(0), TunnelKey::Id(0))
        );
        assert!(spec.dont_fragment && spec.csum.is_none() && !spec.check_source);
        assert_eq!((spec.tos, spec.way), (TunnelTos::Set(0), TunnelWay::Auto));
    }

    #[test]
    fn all_that_can_be_set_reaches_the_datapath() {
        let words = [
            ("type", "geneve"),
            ("remote_ip", "flow"),
            ("local_ip", "flow"),
            ("key", "0x10"),
            ("out_key", "flow"),
            ("dst_port", "7000"),
            ("csum", "yes"),
            ("ttl", "inherit"),
            ("dscp", "46"),
            ("df_default", "false"),
            ("underlay", "socket"),
            ("check_source", "true"),
        ];
        let spec = spec(&words);
        assert_eq!(
            spec,
            TunnelSpec {
                kind: TunnelKind::Geneve,
                remote: Endpoint::Flow,
                local: Some(Endpoint::Flow),
                in_key: TunnelKey::Id(16),
                out_key: TunnelKey::Flow,
                udp_port: 7000,
                csum: Some(true),
                ttl: None,
                tos: TunnelTos::Set(184),
                dont_fragment: false,
                way: TunnelWay::Socket,
                check_source: true,
            }
        );
        let shown = key::show(KEYS, &settings(&words).unwrap());
        assert_eq!(shown["key"], "16");
        assert_eq!(
            (shown["tos"].as_str(), shown["ttl"].as_str()),
            ("184", "inherit")
        );
        assert_eq!(shown["df"], "false");
    }

    #[test]
    fn what_can_never_work_is_refused_with_what_would() {
        let cases = [
            (
                &[("type", "vxlan")][..],
                "a port of type vxlan needs remote_ip: the IPv4 or IPv6 address of one host, or flow",
            ),
            (
                &[("type", "vxlan"), ("remote_ip", "224.0.0.1")],
                "remote_ip=224.0.0.1 is not possible: remote_ip takes the IPv4 or IPv6 address of one host, or flow",
            ),
            (
                &[
                    ("type", "vxlan"),
                    ("remote_ip", "10.0.0.1"),
                    ("key", "16777216"),
                ],
                "key=16777216 is not possible: key takes a number from 0 to 16777215 (24 bits), or flow",
            ),
            (
                &[
                    ("type", "vxlan"),
                    ("remote_ip", "10.0.0.1"),
                    ("local_ip", "fd00::1"),
                ],
                "remote_ip=10.0.0.1 and local_ip=fd00::1 are of different families; both ends of a tunnel have IPv4 addresses or both have IPv6 addresses",
            ),
            (
                &[
                    ("type", "vxlan"),
                    ("remote_ip", "10.0.0.1"),
                    ("local_ip", "flow"),
                ],
                "local_ip=flow needs remote_ip=flow: flows say both ends or the far one only",
            ),
            (
                &[("type", "vxlan"), ("remote_ip", "10.0.0.1"), ("tos", "1")],
                "tos=1 is not possible: tos takes a number from 0 to 255 whose lowest two bits, ECN, are 0, or inherit",
            ),
            (
                &[("type", "tap"), ("remote_ip", "10.0.0.1")],
                "a port of type tap has no setting \"remote_ip\"",
            ),
            (
                &[("type", "vxlan"), ("remote_ip", "10.0.0.1"), ("ttl", "0")],
                "ttl=0 is not possible: ttl takes a number from 1 to 255, or inherit",
            ),
        ];
        for (words, sentence) in cases {
            assert_eq!(settings(words).unwrap_err().to_string(), sentence);
        }
    }

    #[test]
    fn a_tunnel_that_is_there_already_is_refused_by_its_name() {
        let vx0 = spec(&[("type", "vxlan"), ("remote_ip", "10.0.0.1"), ("key", "5")]);
        let check = |words: &[(&str, &str)]| {
            let others = std::iter::once(("vx0", vx0.clone()));
            check_others(&spec(words), others).map_err(|error| error.to_string())
        };
        let base = [("type", "vxlan"), ("remote_ip", "10.0.0.1"), ("key", "5")];
        assert_eq!(
            check(&base).unwrap_err(),
            "port vx0 has packets from remote_ip=10.0.0.1 with key=5 already; two tunnel ports differ in remote_ip, local_ip, key or dst_port"
        );
        let geneve = [
            ("type", "geneve"),
            ("remote_ip", "10.0.0.2"),
            ("dst_port", "4789"),
        ];
        assert_eq!(
            check(&geneve).unwrap_err(),
            "dst_port=4789 belongs to tunnels of type vxlan, as port vx0 is; tunnels of another type need another UDP port"
        );
        for other in [
            ("local_ip", "10.0.0.9"),
            ("in_key", "flow"),
            ("dst_port", "1"),
        ] {
            let mut words = base.to_vec();
            words.push(other);
            assert_eq!(check(&words), Ok(()));
        }
    }
}
