//! A port and its settings.

use std::path::Path;

use serde::{Deserialize, Serialize};
use vswitch_dpapi::PortConfig;
use vswitch_rpc::LOCAL_PORT;
use vswitch_rpc::port::{Kind, Vlan, VlanMode};

use super::key::{self, Key};
use super::name::{self, Named};
use super::refusal::ModelError;
use super::router::{self, RouterPort};
use super::tunnel::{self, TunnelSettings};

/// Largest number of an ordinary port: as Open vSwitch, below what OpenFlow 1.0 clients cannot name.
pub const OF_PORT_MAX: u32 = 0xfeff;

/// A port's MTU unless its device has another.
pub const MTU: u32 = 1500;

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its number in the datapath, unique over all bridges and small.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its OpenFlow number, unique in its bridge.
    pub of_port: u32,
    /// Its kind, asked for or chosen.
    pub kind: Kind,
    /// Why this kind; empty when it was asked for.
    pub why: String,
    /// We made its device, so we take it away with the port.
    pub made_device: bool,
    /// What OpenFlow peers have forbidden it.
    #[serde(default)]
    pub config: PortConfig,
    /// What can be set.
    pub settings: PortSettings,
}

/// How an AF_XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum XdpMode {
    /// In the driver, with a copy of each frame.
    Native,
    /// In the kernel's stack.
    Generic,
    /// In the driver, which works in our memory.
    Zerocopy,
}

impl XdpMode {
    /// The mode of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "native" => Some(Self::Native),
            "generic" => Some(Self::Generic),
            "zerocopy" => Some(Self::Zerocopy),
            _ => None,
        }
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Zerocopy => "zerocopy",
        }
    }
}

/// How fast a capture file is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Speed {
    /// As it was recorded.
    #[default]
    Paced,
    /// As fast as packets are taken, once.
    Full,
    /// As fast as packets are taken, again and again.
    Loop,
}

/// What was set on a port; what was not is decided when the port is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortSettings {
    /// The kind asked for.
    pub kind: Option<Kind>,
    /// The OpenFlow number asked for.
    pub of_port: Option<u32>,
    /// The access or native VLAN.
    pub tag: Option<u16>,
    /// The VLANs of a trunk; empty means all.
    pub trunks: Vec<u16>,
    /// How tags are dealt with.
    pub vlan_mode: Option<VlanMode>,
    /// Bytes of the largest layer-3 packet.
    pub mtu: Option<u32>,
    /// Queues to use.
    pub queues: Option<u16>,
    /// The namespace of the device.
    pub netns: Option<String>,
    /// The device's name, where it is not the port's.
    pub ifname: Option<String>,
    /// The address of a device that we make.
    pub addr: Option<[u8; 6]>,
    /// How AF_XDP is to work.
    pub mode: Option<XdpMode>,
    /// The other end of a patch port.
    pub peer: Option<String>,
    /// The capture file to play.
    pub file: Option<String>,
    /// How fast.
    pub speed: Speed,
    /// The capture file to write.
    pub capture: Option<String>,
    /// Where a tunnel leads, and how.
    pub tunnel: TunnelSettings,
    /// What a router's port has.
    pub router_port: RouterPort,
}

const VLAN: &str = "a VLAN from 0 to 4095, 0 being that of untagged packets";
const DEVICES: &[Kind] = &[
    Kind::Afxdp,
    Kind::Tap,
    Kind::Packet,
    Kind::Internal,
    Kind::Uplink,
];

/// A key and the kinds of port that have it.
const KINDS: &[(&str, &[Kind])] = &[
    ("queues", &[Kind::Afxdp, Kind::Tap, Kind::Internal]),
    ("netns", &[Kind::Afxdp, Kind::Tap, Kind::Packet]),
    ("ifname", &[Kind::Afxdp, Kind::Tap, Kind::Packet]),
    ("addr", &[Kind::Tap, Kind::Internal, Kind::Router]),
    ("mode", &[Kind::Afxdp]),
    ("peer", &[Kind::Patch]),
    ("file", &[Kind::Pcap]),
    ("speed", &[Kind::Pcap]),
    ("capture", &[Kind::Pcap]),
    ("router", &[Kind::Router]),
    ("address", &[Kind::Router]),
    ("proxy_arp", &[Kind::Router]),
    ("advertise", &[Kind::Router]),
    ("advertise_interval", &[Kind::Router]),
    ("advertise_lifetime", &[Kind::Router]),
    ("dhcp_range", &[Kind::Router]),
    ("dhcp_host", &[Kind::Router]),
    ("dhcp_lease", &[Kind::Router]),
    ("dhcpv6", &[Kind::Router]),
    ("dns", &[Kind::Router]),
    ("snat", &[Kind::Router]),
    ("dnat", &[Kind::Router]),
];

/// Whether a port of this kind has this setting.
fn has(kind: Kind, key: &str) -> bool {
    if tunnel::NAMES.contains(&key) {
        return tunnel::protocol(kind).is_some();
    }
    KINDS
        .iter()
        .find(|(name, _)| *name == key)
        .is_none_or(|(_, kinds)| kinds.contains(&kind))
}

fn absolute(text: &str) -> Option<String> {
    Path::new(text).is_absolute().then(|| text.into())
}

/// The settings of a port.
pub const KEYS: &[Key<PortSettings>] = &[
    Key {
        name: "type",
        live: false,
        takes: "afxdp, tap, packet, internal, patch, null, pcap, vxlan, geneve or router",
        set: |port, text| {
            port.kind = Some(text.parse().ok()?);
            Some(())
        },
        clear: |port| port.kind = None,
        show: |port| port.kind.map(|kind| kind.name().into()),
    },
    Key {
        name: "of_port",
        live: false,
        takes: "a number from 1 to 65279",
        set: |port, text| {
            port.of_port = Some(key::number(text, 1..=OF_PORT_MAX)?);
            Some(())
        },
        clear: |port| port.of_port = None,
        show: |port| port.of_port.map(|number| number.to_string()),
    },
    Key {
        name: "tag",
        live: true,
        takes: VLAN,
        set: |port, text| {
            port.tag = Some(key::number(text, 0..=4095)?);
            Some(())
        },
        clear: |port| port.tag = None,
        show: |port| port.tag.map(|vlan| vlan.to_string()),
    },
    Key {
        name: "trunks",
        live: true,
        takes: "VLANs from 0 to 4095 and ranges of them, with commas between: 1,2,10-20",
        set: |port, text| {
            port.trunks = key::vlans(text)?;
            Some(())
        },
        clear: |port| port.trunks.clear(),
        show: |port| (!port.trunks.is_empty()).then(|| key::show_vlans(&port.trunks)),
    },
    Key {
        name: "vlan_mode",
        live: true,
        takes: "access, trunk, native-tagged or native-untagged",
        set: |port, text| {
            port.vlan_mode = Some(text.parse().ok()?);
            Some(())
        },
        clear: |port| port.vlan_mode = None,
        show: |port| port.vlan_mode.map(|mode| mode.name().into()),
    },
    Key {
        name: "mtu",
        live: true,
        takes: "a number of bytes from 68 to 65535",
        set: |port, text| {
            port.mtu = Some(key::number(text, 68..=65_535)?);
            Some(())
        },
        clear: |port| port.mtu = None,
        show: |port| port.mtu.map(|mtu| mtu.to_string()),
    },
    Key {
        name: "queues",
        live: false,
        takes: "a number from 1 to 256",
        set: |port, text| {
            port.queues = Some(key::number(text, 1..=256)?);
            Some(())
        },
        clear: |port| port.queues = None,
        show: |port| port.queues.map(|queues| queues.to_string()),
    },
    Key {
        name: "netns",
        live: false,
        takes: "the name of a network namespace, the path of one, or the number of a process in it",
        set: |port, text| {
            port.netns = Some(text.into());
            Some(())
        },
        clear: |port| port.netns = None,
        show: |port| port.netns.clone(),
    },
    Key {
        name: "ifname",
        live: false,
        takes: "the name of a device: at most 15 bytes without / : , = % and white space",
        set: |port, text| {
            name::check(Named::Device, text).ok()?;
            port.ifname = Some(text.into());
            Some(())
        },
        clear: |port| port.ifname = None,
        show: |port| port.ifname.clone(),
    },
    Key {
        name: "addr",
        live: false,
        takes: "the MAC address for the device that is made: 02:00:00:00:00:01",
        set: |port, text| {
            port.addr = Some(key::mac(text)?);
            Some(())
        },
        clear: |port| port.addr = None,
        show: |port| port.addr.map(key::show_mac),
    },
    Key {
        name: "mode",
        live: false,
        takes: "native, generic or zerocopy",
        set: |port, text| {
            port.mode = Some(XdpMode::from_word(text)?);
            Some(())
        },
        clear: |port| port.mode = None,
        show: |port| port.mode.map(|mode| mode.word().into()),
    },
    Key {
        name: "peer",
        live: true,
        takes: "the name of a patch port, which may come later",
        set: |port, text| {
            name::check(Named::Port, text).ok()?;
            port.peer = Some(text.into());
            Some(())
        },
        clear: |port| port.peer = None,
        show: |port| port.peer.clone(),
    },
    Key {
        name: "file",
        live: false,
        takes: "the absolute path of the capture file to play",
        set: |port, text| {
            port.file = Some(absolute(text)?);
            Some(())
        },
        clear: |port| port.file = None,
        show: |port| port.file.clone(),
    },
    Key {
        name: "speed",
        live: false,
        takes: "paced (as recorded), full (as fast as packets are taken) or loop (full, for ever)",
        set: |port, text| {
            port.speed = match text {
                "paced" => Speed::Paced,
                "full" => Speed::Full,
                "loop" => Speed::Loop,
                _ => return None,
            };
            Some(())
        },
        clear: |port| port.speed = Speed::Paced,
        show: |port| {
            port.file.as_ref().map(|_| match port.speed {
                Speed::Paced => "paced".into(),
                Speed::Full => "full".into(),
                Speed::Loop => "loop".into(),
            })
        },
    },
    Key {
        name: "capture",
        live: false,
        takes: "the absolute path of the capture file to write",
        set: |port, text| {
            port.capture = Some(absolute(text)?);
            Some(())
        },
        clear: |port| port.capture = None,
        show: |port| port.capture.clone(),
    },
    tunnel::REMOTE_IP,
    tunnel::LOCAL_IP,
    tunnel::KEY,
    tunnel::IN_KEY,
    tunnel::OUT_KEY,
    tunnel::DST_PORT,
    tunnel::CSUM,
    tunnel::TTL_KEY,
    tunnel::TOS,
    tunnel::DSCP,
    tunnel::DF,
    tunnel::UNDERLAY,
    tunnel::CHECK_SOURCE,
    Key {
        name: "router",
        live: false,
        takes: "the name of a router",
        set: |port, text| {
            port.router_port.router = Some(text.into());
            Some(())
        },
        clear: |port| port.router_port.router = None,
        show: |port| port.router_port.router.clone(),
    },
    Key {
        name: "address",
        live: true,
        takes: "addresses with the lengths of their networks, with commas between: 10.0.1.1/24,fd00::1/64; at most 64, none of them the network itself",
        set: |port, text| {
            port.router_port.address = router::read::addresses(text)?;
            Some(())
        },
        clear: |port| port.router_port.address.clear(),
        show: |port| router::list(&port.router_port.address, ToString::to_string),
    },
    Key {
        name: "proxy_arp",
        live: true,
        takes: "true or false",
        set: |port, text| {
            port.router_port.proxy_arp = key::boolean(text)?;
            Some(())
        },
        clear: |port| port.router_port.proxy_arp = false,
        show: |port| port.router_port.proxy_arp.then(|| "true".into()),
    },
    Key {
        name: "advertise",
        live: true,
        takes: "true or false",
        set: |port, text| {
            port.router_port.advertise = key::boolean(text)?;
            Some(())
        },
        clear: |port| port.router_port.advertise = false,
        show: |port| port.router_port.advertise.then(|| "true".into()),
    },
    Key {
        name: "advertise_interval",
        live: true,
        takes: "a number of seconds from 4 to 1800",
        set: |port, text| {
            port.router_port.advertise_interval = Some(key::number(text, 4..=1800)?);
            Some(())
        },
        clear: |port| port.router_port.advertise_interval = None,
        show: |port| port.router_port.advertise_interval.map(|n| n.to_string()),
    },
    Key {
        name: "advertise_lifetime",
        live: true,
        takes: "a number of seconds from 0 (no default router) to 9000",
        set: |port, text| {
            port.router_port.advertise_lifetime = Some(key::number(text, 0..=9000)?);
            Some(())
        },
        clear: |port| port.router_port.advertise_lifetime = None,
        show: |port| port.router_port.advertise_lifetime.map(|n| n.to_string()),
    },
    Key {
        name: "dhcp_range",
        live: true,
        takes: "IPv4 addresses and ranges of them, with commas between: 10.0.1.100-10.0.1.199; at most 64 ranges and 65536 addresses",
        set: |port, text| {
            port.router_port.dhcp_range = router::read::ranges(text)?;
            Some(())
        },
        clear: |port| port.router_port.dhcp_range.clear(),
        show: |port| {
            let show = |(first, last): &_| format!("{first}-{last}");
            router::list(&port.router_port.dhcp_range, show)
        },
    },
    Key {
        name: "dhcp_host",
        live: true,
        takes: "hosts and their addresses, with commas between: 02:00:00:00:00:07@10.0.1.7; at most 1024",
        set: |port, text| {
            port.router_port.dhcp_host = router::read::hosts(text)?;
            Some(())
        },
        clear: |port| port.router_port.dhcp_host.clear(),
        show: |port| {
            let show = |(mac, address): &_| format!("{}@{address}", key::show_mac(*mac));
            router::list(&port.router_port.dhcp_host, show)
        },
    },
    Key {
        name: "dhcp_lease",
        live: true,
        takes: "a number of seconds from 60 to 31536000",
        set: |port, text| {
            port.router_port.dhcp_lease = Some(key::number(text, 60..=31_536_000)?);
            Some(())
        },
        clear: |port| port.router_port.dhcp_lease = None,
        show: |port| port.router_port.dhcp_lease.map(|n| n.to_string()),
    },
    Key {
        name: "dhcpv6",
        live: true,
        takes: "true or false",
        set: |port, text| {
            port.router_port.dhcpv6 = key::boolean(text)?;
            Some(())
        },
        clear: |port| port.router_port.dhcpv6 = false,
        show: |port| port.router_port.dhcpv6.then(|| "true".into()),
    },
    Key {
        name: "dns",
        live: true,
        takes: "addresses of servers of names, with commas between; at most 8",
        set: |port, text| {
            port.router_port.dns = router::read::servers(text)?;
            Some(())
        },
        clear: |port| port.router_port.dns.clear(),
        show: |port| router::list(&port.router_port.dns, ToString::to_string),
    },
    Key {
        name: "snat",
        live: true,
        takes: "masquerade, or addresses of the port, ADDRESS[-ADDRESS][:PORT-PORT], with commas between",
        set: |port, text| {
            port.router_port.snat = router::read::snat(text)?;
            Some(())
        },
        clear: |port| port.router_port.snat.clear(),
        show: |port| router::list(&port.router_port.snat, ToString::to_string),
    },
    Key {
        name: "dnat",
        live: true,
        takes: "PROTOCOL:ADDRESS:PORT[-PORT]=HOST[:PORT], with commas between; the protocol is tcp, udp or sctp, \
                the address one of the port's",
        set: |port, text| {
            port.router_port.dnat = router::read::dnat(text)?;
            Some(())
        },
        clear: |port| port.router_port.dnat.clear(),
        show: |port| router::list(&port.router_port.dnat, ToString::to_string),
    },
];

impl Port {
    /// Whether it is its bridge's own port.
    pub fn is_local(&self) -> bool {
        self.of_port == LOCAL_PORT
    }

    /// Whether it stands for a network device.
    pub fn has_device(&self) -> bool {
        DEVICES.contains(&self.kind)
    }

    /// The name its device had when the port was made.
    pub fn device(&self) -> &str {
        self.settings.ifname.as_deref().unwrap_or(&self.name)
    }
}

impl PortSettings {
    /// The VLAN settings in force.
    pub fn vlan(&self) -> Vlan {
        let mode = self.vlan_mode.unwrap_or(if self.tag.is_some() {
            VlanMode::Access
        } else {
            VlanMode::Trunk
        });
        Vlan {
            mode,
            tag: self.tag,
            trunks: self.trunks.clone(),
        }
    }

    /// Refuses VLAN settings that contradict each other.
    pub fn check_vlan(&self) -> Result<(), ModelError> {
        let vlan = self.vlan();
        let sentence = match vlan.mode {
            VlanMode::Access if !vlan.trunks.is_empty() => {
                "an access port carries one VLAN and has no trunks; \
                 set vlan_mode=native-tagged or native-untagged to have both tag and trunks"
            }
            VlanMode::Access if vlan.tag.is_none() => "vlan_mode=access needs tag=VLAN",
            VlanMode::Trunk if vlan.tag.is_some() => {
                "vlan_mode=trunk has no VLAN of its own and so no tag; \
                 set vlan_mode=native-tagged or native-untagged to have one"
            }
            VlanMode::NativeTagged | VlanMode::NativeUntagged if vlan.tag.is_none() => {
                "a native VLAN mode needs tag=VLAN, the native VLAN"
            }
            _ => return Ok(()),
        };
        Err(ModelError::Vlan(sentence))
    }

    /// Refuses settings that a port of this kind does not have, and the lack of those it needs.
    pub fn check_kind(&self, kind: Kind) -> Result<(), ModelError> {
        for key in KEYS {
            if (key.show)(self).is_some() && !has(kind, key.name) {
                return Err(ModelError::KeyOfOtherKind {
                    key: key.name,
                    kind,
                    allowed: key::names(KEYS.iter().filter(|key| has(kind, key.name))),
                });
            }
        }
        if tunnel::protocol(kind).is_some() {
            self.tunnel.check(kind)?;
        }
        if kind == Kind::Router {
            if self.router_port.router.is_none() {
                return Err(ModelError::Needs {
                    kind,
                    key: "router",
                    takes: "the name of a router",
                });
            }
            if self.vlan().mode != VlanMode::Access
                && (self.tag.is_some() || !self.trunks.is_empty())
            {
                return Err(ModelError::Vlan(
                    "a router's port is in one VLAN, tag=VLAN; give the router a port for each VLAN",
                ));
            }
            self.router_port.check().map_err(ModelError::Router)?;
        }
        if kind == Kind::Pcap && self.file.is_none() && self.capture.is_none() {
            return Err(ModelError::Needs {
                kind,
                key: "file or capture",
                takes: "the absolute path of the file to play or to write",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::{When, apply};

    fn settings(words: &[(&str, &str)]) -> Result<PortSettings, ModelError> {
        let options = words
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        let mut settings = PortSettings::default();
        apply(KEYS, "a port", When::New, &mut settings, &options)?;
        settings.check_vlan()?;
        if let Some(kind) = settings.kind {
            settings.check_kind(kind)?;
        }
        Ok(settings)
    }

    #[test]
    fn what_is_set_is_shown_as_it_was_typed() {
        let words = [
            ("addr", "02:00:00:00:00:01"),
            ("ifname", "eth0"),
            ("mtu", "9000"),
            ("netns", "blue"),
            ("of_port", "7"),
            ("queues", "2"),
            ("tag", "10"),
            ("trunks", "1-5,10"),
            ("type", "tap"),
            ("vlan_mode", "native-tagged"),
        ];
        let shown = key::show(KEYS, &settings(&words).unwrap());
        let words: vswitch_rpc::method::Options = words
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        assert_eq!(shown, words);
    }

    #[test]
    fn open_vswitchs_word_for_queues_is_understood() {
        let settings = settings(&[("n_rxq", "3")]).unwrap();
        assert_eq!(settings.queues, Some(3));
    }

    #[test]
    fn values_that_make_no_sense_are_refused_with_what_would() {
        let cases = [
            (
                &[("tag", "4096")][..],
                "tag=4096 is not possible: tag takes a VLAN from 0 to 4095, 0 being that of untagged packets",
            ),
            (
                &[("of_port", "0")],
                "of_port=0 is not possible: of_port takes a number from 1 to 65279",
            ),
            (
                &[("of_port", "65280")],
                "of_port=65280 is not possible: of_port takes a number from 1 to 65279",
            ),
            (
                &[("mtu", "67")],
                "mtu=67 is not possible: mtu takes a number of bytes from 68 to 65535",
            ),
            (
                &[("n_rxq", "0")],
                "queues=0 is not possible: queues takes a number from 1 to 256",
            ),
            (
                &[("type", "dpdk")],
                "type=dpdk is not possible: type takes afxdp, tap, packet, internal, patch, null, pcap, vxlan, geneve or router",
            ),
            (
                &[("addr", "10.0.0.1")],
                "addr=10.0.0.1 is not possible: addr takes the MAC address for the device that is made: 02:00:00:00:00:01",
            ),
            (
                &[("file", "a.pcap")],
                "file=a.pcap is not possible: file takes the absolute path of the capture file to play",
            ),
            (
                &[("vlan_mode", "dot1q-tunnel")],
                "vlan_mode=dot1q-tunnel is not possible: vlan_mode takes access, trunk, native-tagged or native-untagged",
            ),
            (
                &[("mode", "fast")],
                "mode=fast is not possible: mode takes native, generic or zerocopy",
            ),
            (
                &[("speed", "2x"), ("file", "/a")],
                "speed=2x is not possible: speed takes paced (as recorded), full (as fast as packets are taken) or loop (full, for ever)",
            ),
            (
                &[("ifname", "a/b")],
                "ifname=a/b is not possible: ifname takes the name of a device: at most 15 bytes without / : , = % and white space",
            ),
            (
                &[("peer", "a b")],
                "peer=a b is not possible: peer takes the name of a patch port, which may come later",
            ),
            (&[("colour", "red")], "a port has no setting \"colour\""),
            (
                &[("vlan_mode", "access")],
                "vlan_mode=access needs tag=VLAN",
            ),
            (
                &[("vlan_mode", "native-tagged")],
                "a native VLAN mode needs tag=VLAN, the native VLAN",
            ),
            (
                &[("tag", "1"), ("trunks", "2")],
                "an access port carries one VLAN and has no trunks; set vlan_mode=native-tagged or native-untagged to have both tag and trunks",
            ),
            (
                &[("tag", "1"), ("vlan_mode", "trunk")],
                "vlan_mode=trunk has no VLAN of its own and so no tag; set vlan_mode=native-tagged or native-untagged to have one",
            ),
            (
                &[("type", "tap"), ("peer", "p")],
                "a port of type tap has no setting \"peer\"",
            ),
            (
                &[("type", "packet"), ("queues", "2")],
                "a port of type packet has no setting \"queues\"",
            ),
            (
                &[("type", "null"), ("netns", "x")],
                "a port of type null has no setting \"netns\"",
            ),
            (
                &[("type", "pcap")],
                "a port of type pcap needs file or capture: the absolute path of the file to play or to write",
            ),
        ];
        for (words, sentence) in cases {
            assert_eq!(settings(words).unwrap_err().to_string(), sentence);
        }
    }

    #[test]
    fn vlan_mode_follows_from_the_tag_unless_it_is_set() {
        let mode = |words: &[(&str, &str)]| settings(words).unwrap().vlan().mode;
        assert_eq!(mode(&[]), VlanMode::Trunk);
        assert_eq!(mode(&[("tag", "0")]), VlanMode::Access);
        assert_eq!(mode(&[("trunks", "1")]), VlanMode::Trunk);
        assert_eq!(
            mode(&[("tag", "1"), ("vlan_mode", "native-untagged")]),
            VlanMode::NativeUntagged
        );
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_keys_there_are() {
        let refusal = vswitch_rpc::Refusal::from(settings(&[("vid", "1")]).unwrap_err());
        assert!(refusal.data.allowed.iter().any(|key| key == "tag"));
    }
}
