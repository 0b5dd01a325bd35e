//! The flows of a network's bridge: who may say what, and to whom it goes.
//!
//! Three tables. *Source* holds an endpoint to its own addresses, of the link and of IP, and the host to the
//! gateways'; *claims* holds what endpoints say about neighbours to the same, and routers to the host;
//! *destination* leads to members and to the host. A port that is no endpoint's, which a person has added,
//! is held to nothing.
//!
//! Law: the flows follow from the network, its endpoints and its bridge alone, so the same are made after any
//! restart. All have [`COOKIE`]; flows with another are somebody else's.
//!
//! Spec: RFC 5227 §2.1 (ARP of who has no address yet), RFC 4862 §5.4.2 (the same of IPv6), RFC 6105 (members
//! that claim to be routers), RFC 4291 §2.5.6 (addresses of the link).

use std::net::{IpAddr, Ipv6Addr};

use vswitch_flow::action::{Action, Instructions, OfPort};
use vswitch_flow::{Field, FlowRule, Match};

use super::Options;
use super::plan::{local_addresses, port_name};
use crate::model::Bridge;
use crate::model::containers::{Endpoint, Network};

/// The cookie of a network's flows: `network` in ASCII.
pub const COOKIE: u64 = u64::from_be_bytes(*b"\0network");

const SOURCE: u8 = 0;
const CLAIMS: u8 = 1;
const DESTINATION: u8 = 2;

/// `eth_type` of IPv4, ARP and IPv6.
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

/// `ip_proto` of ICMPv6, and types of it (RFC 4861, RFC 3810).
const ICMP6: u8 = 58;
const ADVERTISE_ROUTER: u8 = 134;
const SOLICIT: u8 = 135;
const ADVERTISE: u8 = 136;
const REDIRECT: u8 = 137;
const REPORT: u8 = 143;

/// Priorities, the first that matches deciding: what is allowed, nothing else of that kind, kinds that are not
/// looked into, nothing else of a port, and everybody else.
const ALLOWED: u16 = 500;
const NOT_OF_KIND: u16 = 400;
const OTHER_KINDS: u16 = 300;
const NOTHING_ELSE: u16 = 200;
const ANYBODY: u16 = 0;

/// The same of the last table where members do not reach each other: from the host to one of them, from the
/// host to anybody, and from them to whoever has no address of their own.
const TO_MEMBER: u16 = 300;
const FROM_HOST: u16 = 200;
const FROM_MEMBERS: u16 = 100;

/// The flows of a network's bridge. `endpoints` are the network's.
pub fn flows<'a>(
    network: &Network,
    endpoints: impl Iterator<Item = &'a Endpoint>,
    bridge: &Bridge,
) -> Vec<FlowRule> {
    // What was created has options that can be read.
    let options = Options::read(&network.options).unwrap_or_default();
    let mut flows = Flows {
        list: Vec::new(),
        mac: number(bridge.mac),
        icc: options.icc,
    };
    let gateways: Vec<IpAddr> = local_addresses(network)
        .iter()
        .map(|address| address.addr())
        .collect();
    flows.anybody();
    flows.host(&gateways);
    for endpoint in endpoints {
        let port = endpoint.joined.as_ref().and_then(|_| {
            let port = bridge.ports.get(&port_name(endpoint))?;
            Some(Match::any().with(Field::InPort, port.of_port.into()))
        });
        let Some(from) = port else { continue };
        if options.antispoof {
            flows.hold(&from, endpoint);
        }
        if !options.icc {
            flows.lead_to(endpoint, bridge);
        }
    }
    flows.list
}

struct Flows {
    list: Vec<FlowRule>,
    /// Of the bridge's own device.
    mac: u128,
    /// Members reach each other.
    icc: bool,
}

impl Flows {
    fn add(&mut self, table: u8, priority: u16, matches: Match, instructions: Instructions) {
        self.list.push(FlowRule {
            table,
            priority,
            cookie: COOKIE,
            matches,
            instructions,
            ..FlowRule::default()
        });
    }

    fn pass(&mut self, table: u8, priority: u16, matches: Match) {
        let goto = Instructions {
            goto: Some(table + 1),
            ..Instructions::default()
        };
        self.add(table, priority, matches, goto);
    }

    fn drop(&mut self, table: u8, priority: u16, matches: Match) {
        self.add(table, priority, matches, Instructions::default());
    }

    fn send(&mut self, priority: u16, matches: Match, to: OfPort) {
        let actions = Instructions::apply([Action::Output(to)]);
        self.add(DESTINATION, priority, matches, actions);
    }

    /// What is done with whoever no other flow is about.
    fn anybody(&mut self) {
        self.pass(SOURCE, ANYBODY, Match::any());
        self.pass(CLAIMS, ANYBODY, Match::any());
        if self.icc {
            self.send(ANYBODY, Match::any(), OfPort::NORMAL);
            return;
        }
        // Members reach the host alone, and are asked for by it.
        self.drop(DESTINATION, ANYBODY, Match::any());
        let group = Match::any().with_masked(Field::EthDst, 1 << 40, 1 << 40);
        self.send(FROM_MEMBERS, group, OfPort::LOCAL);
        self.send(FROM_MEMBERS, typed(self.to_host(), ARP), OfPort::LOCAL);
        self.send(FROM_HOST, from_host(), OfPort::NORMAL);
    }

    fn to_host(&self) -> Match {
        Match::any().with(Field::EthDst, self.mac)
    }

    /// The host's device is heard with the gateways' addresses and spoken to at them, and routes nothing.
    fn host(&mut self, gateways: &[IpAddr]) {
        let way = if self.icc {
            OfPort::NORMAL
        } else {
            OfPort::LOCAL
        };
        self.drop(SOURCE, NOTHING_ELSE, from_host());
        for kind in [IPV4, IPV6] {
            self.drop(DESTINATION, NOT_OF_KIND, typed(self.to_host(), kind));
        }
        if !gateways.is_empty() {
            self.pass(SOURCE, ALLOWED, typed(from_host(), ARP));
        }
        for gateway in gateways {
            self.pass(SOURCE, ALLOWED, source(from_host(), *gateway));
            self.send(ALLOWED, destination(self.to_host(), *gateway), way);
        }
        if gateways.iter().any(IpAddr::is_ipv6) {
            // Neighbours are found by addresses of the link (RFC 4861 §7.2.2).
            let (link, mask) = (0xfe80 << 112, u128::MAX << 118);
            let from = typed(from_host(), IPV6).with_masked(Field::Ipv6Src, link, mask);
            let to = typed(self.to_host(), IPV6).with_masked(Field::Ipv6Dst, link, mask);
            self.pass(SOURCE, ALLOWED, from);
            self.send(ALLOWED, to, way);
        }
    }

    /// Where members do not reach each other, the host's packets do not wander about among them either.
    fn lead_to(&mut self, endpoint: &Endpoint, bridge: &Bridge) {
        if let Some(port) = bridge.ports.get(&port_name(endpoint)) {
            let to = from_host().with(Field::EthDst, number(endpoint.mac));
            self.send(TO_MEMBER, to, OfPort(port.of_port));
        }
    }

    /// Holds an endpoint to its addresses. `from` matches its port.
    fn hold(&mut self, from: &Match, endpoint: &Endpoint) {
        let mac = number(endpoint.mac);
        let own = || from.clone().with(Field::EthSrc, mac);
        let own_icmp6 = |kind: u8| icmp6(typed(own(), IPV6), kind);
        let mut addresses: Vec<IpAddr> = endpoint.addresses().map(|net| net.addr()).collect();
        addresses.extend(&endpoint.link_local);
        addresses.push(IpAddr::V6(of_the_link(endpoint.mac)));

        self.drop(SOURCE, NOTHING_ELSE, from.clone());
        self.pass(SOURCE, OTHER_KINDS, own());
        for kind in [IPV4, ARP, IPV6] {
            self.drop(SOURCE, NOT_OF_KIND, typed(from.clone(), kind));
        }
        let arp = || typed(own(), ARP).with(Field::ArpSha, mac);
        // Who looks whether an address is free has none yet.
        self.pass(SOURCE, ALLOWED, arp().with(Field::ArpSpa, 0));
        let nobody = |kind| own_icmp6(kind).with(Field::Ipv6Src, 0);
        self.pass(SOURCE, ALLOWED, nobody(REPORT));
        for address in &addresses {
            self.pass(SOURCE, ALLOWED, source(own(), *address));
            match address {
                IpAddr::V4(address) => {
                    let said = arp().with(Field::ArpSpa, address.to_bits().into());
                    self.pass(SOURCE, ALLOWED, said);
                }
                IpAddr::V6(address) => {
                    let asked = nobody(SOLICIT).with(Field::NdTarget, address.to_bits());
                    self.pass(SOURCE, ALLOWED, asked);
                    for link in [0, mac] {
                        let said = own_icmp6(ADVERTISE)
                            .with(Field::NdTarget, address.to_bits())
                            .with(Field::NdTll, link);
                        self.pass(CLAIMS, ALLOWED, said);
                    }
                }
            }
        }
        // An address of the link need not be in a question; none is zero.
        for link in [0, mac] {
            let asked = own_icmp6(SOLICIT).with(Field::NdSll, link);
            self.pass(CLAIMS, ALLOWED, asked);
        }
        for kind in [SOLICIT, ADVERTISE, ADVERTISE_ROUTER, REDIRECT] {
            let from = icmp6(typed(from.clone(), IPV6), kind);
            self.drop(CLAIMS, NOT_OF_KIND, from);
        }
    }
}

fn from_host() -> Match {
    Match::any().with(Field::InPort, OfPort::LOCAL.0.into())
}

fn typed(matches: Match, kind: u16) -> Match {
    matches.with(Field::EthType, kind.into())
}

fn icmp6(matches: Match, kind: u8) -> Match {
    let protocol = matches.with(Field::IpProto, ICMP6.into());
    protocol.with(Field::Icmp6Type, kind.into())
}

fn source(matches: Match, address: IpAddr) -> Match {
    match address {
        IpAddr::V4(a) => typed(matches, IPV4).with(Field::Ipv4Src, a.to_bits().into()),
        IpAddr::V6(a) => typed(matches, IPV6).with(Field::Ipv6Src, a.to_bits()),
    }
}

fn destination(matches: Match, address: IpAddr) -> Match {
    match address {
        IpAddr::V4(a) => typed(matches, IPV4).with(Field::Ipv4Dst, a.to_bits().into()),
        IpAddr::V6(a) => typed(matches, IPV6).with(Field::Ipv6Dst, a.to_bits()),
    }
}

fn number(mac: [u8; 6]) -> u128 {
    let bytes = mac.into_iter();
    bytes.fold(0, |number, byte| number << 8 | u128::from(byte))
}

/// The address that a kernel gives an interface with this MAC address (RFC 4291, appendix A).
fn of_the_link(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.map(u16::from);
    let words = [(a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f];
    Ipv6Addr::new(0xfe80, 0, 0, 0, words[0], words[1], words[2], words[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_link_follow_from_those_of_the_interface() {
        let made = of_the_link([0x02, 0x42, 0x0a, 0x01, 0x00, 0x02]);
        assert_eq!(made.to_string(), "fe80::42:aff:fe01:2");
    }
}
