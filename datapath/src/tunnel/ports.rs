//! Which tunnel port a packet belongs to that came.
//!
//! Law: of the ports whose protocol and UDP port are the packet's and whose key, remote and local
//! address do not contradict it, the most exact one has it: an exact key before one that flows say,
//! then an exact remote before one that flows say, then a local address before any, and that before
//! one that flows say. This is the order of `tnl_find` in Open vSwitch's `ofproto/tunnel.c`.
//!
//! Cost: a hash lookup for each way in which the ports are exact, of which there are 12 at most and
//! most often one.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use vswitch_dpapi::{Endpoint, TunnelKey, TunnelKind, TunnelSpec};

use crate::port::PortIndex;

/// All tunnel ports.
#[derive(Debug, Default)]
pub struct TunnelPorts {
    /// The protocol of each UDP port in use.
    protocols: HashMap<u16, TunnelKind>,
    /// The ways in which ports are exact, the most exact first.
    shapes: Vec<Shape>,
    ports: HashMap<Place, (PortIndex, Arc<TunnelSpec>)>,
}

/// What a port says about packets that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Shape {
    key_of_flow: bool,
    remote_of_flow: bool,
    local: Local,
}

/// What a port says of the host's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Local {
    This,
    Any,
    Flow,
}

/// A port's place: what is not exact is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    udp_port: u16,
    shape: Shape,
    key: Option<u32>,
    remote: Option<IpAddr>,
    local: Option<IpAddr>,
}

/// What a packet's headers say about its tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// The UDP port it came to.
    pub udp_port: u16,
    /// Its network.
    pub key: u32,
    /// Who sent it.
    pub remote: IpAddr,
    /// The host's address.
    pub local: IpAddr,
}

impl Shape {
    fn of(spec: &TunnelSpec) -> Self {
        Self {
            key_of_flow: spec.in_key == TunnelKey::Flow,
            remote_of_flow: spec.remote == Endpoint::Flow,
            local: match spec.local {
                Some(Endpoint::Address(_)) => Local::This,
                None => Local::Any,
                Some(Endpoint::Flow) => Local::Flow,
            },
        }
    }

    /// Where the port is that has this packet, if there is one of this shape.
    fn place(self, outer: &Outer) -> Place {
        Place {
            udp_port: outer.udp_port,
            shape: self,
            key: (!self.key_of_flow).then_some(outer.key),
            remote: (!self.remote_of_flow).then_some(outer.remote),
            local: (self.local == Local::This).then_some(outer.local),
        }
    }
}

impl TunnelPorts {
    /// These ports. Of two that are alike the first has the packets.
    #[must_use]
    pub fn new<'a>(all: impl Iterator<Item = (PortIndex, &'a Arc<TunnelSpec>)>) -> Self {
        let mut new = Self::default();
        for (index, spec) in all {
            let shape = Shape::of(spec);
            let address = |end| match end {
                Endpoint::Address(address) => Some(address),
                Endpoint::Flow => None,
            };
            let place = Place {
                udp_port: spec.udp_port,
                shape,
                key: match spec.in_key {
                    TunnelKey::Id(key) => Some(key),
                    TunnelKey::Flow => None,
                },
                remote: address(spec.remote),
                local: spec.local.and_then(address),
            };
            new.protocols.entry(spec.udp_port).or_insert(spec.kind);
            new.ports
                .entry(place)
                .or_insert_with(|| (index, Arc::clone(spec)));
            if !new.shapes.contains(&shape) {
                new.shapes.push(shape);
            }
        }
        new.shapes.sort();
        new
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// The protocol of tunnels with this UDP port.
    #[inline]
    #[must_use]
    pub fn protocol(&self, udp_port: u16) -> Option<TunnelKind> {
        self.protocols.get(&udp_port).copied()
    }

    /// The port to which a packet belongs.
    #[inline]
    #[must_use]
    pub fn find(&self, outer: &Outer) -> Option<&(PortIndex, Arc<TunnelSpec>)> {
        let mut places = self.shapes.iter().map(|shape| shape.place(outer));
        places.find_map(|place| self.ports.get(&place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vswitch_dpapi::{TunnelTos, TunnelWay};

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn spec(key: Option<u32>, remote: Option<u8>, local: Option<Endpoint>) -> Arc<TunnelSpec> {
        Arc::new(TunnelSpec {
            kind: TunnelKind::Vxlan,
            remote: remote.map_or(Endpoint::Flow, |last| Endpoint::Address(ip(last))),
            local,
            in_key: key.map_or(TunnelKey::Flow, TunnelKey::Id),
            out_key: TunnelKey::Flow,
            udp_port: 4789,
            csum: None,
            ttl: Some(64),
            tos: TunnelTos::Set(0),
            dont_fragment: true,
            way: TunnelWay::Auto,
            check_source: false,
        })
    }

    fn outer(key: u32, remote: u8, local: u8) -> Outer {
        Outer {
            udp_port: 4789,
            key,
            remote: ip(remote),
            local: ip(local),
        }
    }

    #[test]
    fn the_most_exact_port_has_the_packet() {
        let specs = [
            spec(None, None, Some(Endpoint::Flow)),
            spec(None, None, None),
            spec(None, Some(1), None),
            spec(Some(7), None, None),
            spec(Some(7), Some(1), None),
            spec(Some(7), Some(1), Some(Endpoint::Address(ip(9)))),
        ];
        let ports = TunnelPorts::new((0..).map(PortIndex).zip(&specs));
        let found = |key, remote, local| ports.find(&outer(key, remote, local)).unwrap().0.0;
        assert_eq!(found(7, 1, 9), 5);
        assert_eq!(found(7, 1, 8), 4);
        assert_eq!(found(7, 2, 9), 3);
        assert_eq!(found(8, 1, 9), 2);
        assert_eq!(found(8, 2, 9), 1);
        assert_eq!(ports.protocol(4789), Some(TunnelKind::Vxlan));
        assert_eq!(ports.protocol(4788), None);
        let elsewhere = Outer {
            udp_port: 1,
            ..outer(7, 1, 9)
        };
        assert!(ports.find(&elsewhere).is_none());
    }

    #[test]
    fn a_packet_that_contradicts_every_port_belongs_to_none() {
        let specs = [spec(Some(7), Some(1), None)];
        let ports = TunnelPorts::new((0..).map(PortIndex).zip(&specs));
        assert!(ports.find(&outer(7, 2, 9)).is_none());
        assert!(ports.find(&outer(6, 1, 9)).is_none());
    }

    proptest! {
        /// The tables against a list that is looked through.
        #[test]
        fn lookups_agree_with_a_list(
            all in prop::collection::vec((0..3_u32, 0..3_u8, 0..4_u8), 0..12),
            packet in (1..3_u32, 1..3_u8, 1..3_u8),
        ) {
            let specs: Vec<_> = all
                .iter()
                .map(|(key, remote, local)| {
                    let local = match local {
                        0 => None,
                        3 => Some(Endpoint::Flow),
                        last => Some(Endpoint::Address(ip(*last))),
                    };
                    let key = (*key > 0).then_some(*key);
                    spec(key, (*remote > 0).then_some(*remote), local)
                })
                .collect();
            let ports = TunnelPorts::new((0..).map(PortIndex).zip(&specs));
            let (key, remote, local) = packet;
            let fits = |spec: &TunnelSpec| {
                let key_fits = spec.in_key == TunnelKey::Flow || spec.in_key == TunnelKey::Id(key);
                let fits = |end: Endpoint, last| {
                    end == Endpoint::Flow || end == Endpoint::Address(ip(last))
                };
                key_fits && fits(spec.remote, remote) && spec.local.is_none_or(|l| fits(l, local))
            };
            let best = (0..)
                .zip(&specs)
                .filter(|(_, spec)| fits(spec))
                .min_by_key(|(at, spec)| (Shape::of(spec), *at))
                .map(|(at, _)| at);
            let found = ports.find(&outer(key, remote, local)).map(|(index, _)| index.0);
            prop_assert_eq!(found, best);
        }
    }
}
