//! From what should be to what the datapath is told: pure, and the whole of it each time.

use std::collections::{BTreeMap, BTreeSet};

use vswitch_dpapi::{
    BridgeId, BridgeSpec, Desired, FlowLimit, MirrorSpec, PortId, PortKind, PortSpec, RouterId,
    RouterSpec, VlanMode, VlanSpec,
};
use vswitch_flow::action::{Action, OfPort};
use vswitch_flow::{FlowRule, Match};
use vswitch_rpc::bridge::FailMode;
use vswitch_rpc::port as rpc;
use vswitch_rpc::port::Kind;

use crate::model::port::MTU;
use crate::model::{Bridge, Port, Switch, tunnel};

/// Bytes of the largest layer-3 packet there can be: for ports that have no device to limit them.
const MTU_MAX: u32 = 65_535;

/// What is seen of a port's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Bytes of its largest layer-3 packet.
    pub mtu: u32,
    /// It passes packets.
    pub up: bool,
}

/// The whole wanted state. `seen` tells of the ports that have a device which is there, `misses` are
/// the numbers of the bridges that send to controllers what nothing matches, `evicting` the tables of
/// each bridge that evict flows when they are full.
pub fn desired(
    switch: &Switch,
    seen: &BTreeMap<u32, Seen>,
    misses: &[u32],
    evicting: &BTreeMap<u32, BTreeSet<u8>>,
) -> Desired {
    let evicts = |id: u32| evicting.get(&id).is_some_and(|tables| tables.contains(&0));
    Desired {
        bridges: switch
            .bridges
            .values()
            .map(|one| bridge(one, misses.contains(&one.id), evicts(one.id)))
            .collect(),
        ports: switch
            .ports()
            .map(|(bridge, port)| (BridgeId(bridge.id), port))
            .chain(switch.loose_ports().map(|port| (BridgeId::NONE, port)))
            .map(|(bridge, port)| self::port(switch, bridge, port, seen.get(&port.id)))
            .collect(),
        routers: switch
            .routers
            .values()
            .map(|router| RouterSpec {
                id: RouterId(router.id),
                name: router.name.clone(),
                neighbours_max: router.settings.neighbours,
                errors_rate: router.settings.icmp_rate,
                zone: router.zone(),
            })
            .collect(),
    }
}

fn bridge(bridge: &Bridge, miss_to_controller: bool, evict: bool) -> BridgeSpec {
    let id = |name: &String| bridge.ports.get(name).map(|port| PortId(port.id));
    let ids = |names: &[String]| names.iter().filter_map(id).collect();
    BridgeSpec {
        id: BridgeId(bridge.id),
        name: bridge.name.clone(),
        mac_table_size: bridge.settings.mac_table_size,
        mac_aging_time: bridge.settings.mac_aging_time,
        flow_limits: bridge
            .settings
            .flow_limit
            .map(|len| FlowLimit {
                table: 0,
                len,
                evict,
            })
            .into_iter()
            .collect(),
        miss_to_controller,
        fragments: bridge.settings.fragments,
        mirrors: bridge
            .mirrors
            .iter()
            .map(|(name, mirror)| MirrorSpec {
                name: name.clone(),
                select_all: mirror.select_all,
                select_src: ids(&mirror.select_src),
                select_dst: ids(&mirror.select_dst),
                select_vlan: mirror.select_vlan.clone(),
                output_port: mirror.output_port.as_ref().and_then(id),
                output_vlan: mirror.output_vlan,
            })
            .collect(),
    }
}

fn port(switch: &Switch, bridge: BridgeId, port: &Port, seen: Option<&Seen>) -> PortSpec {
    let vlan = port.settings.vlan();
    let (mtu, up) = match seen {
        Some(seen) => (seen.mtu, seen.up),
        // A device that is not there passes nothing; when it comes it will be looked at.
        None if port.has_device() => (port.settings.mtu.unwrap_or(MTU), false),
        None if port.kind == Kind::Router => (port.settings.mtu.unwrap_or(MTU), true),
        None => (port.settings.mtu.unwrap_or(MTU_MAX), true),
    };
    PortSpec {
        id: PortId(port.id),
        bridge,
        name: port.name.clone(),
        of_port: OfPort(port.of_port),
        config: port.config,
        kind: match port.kind {
            Kind::Afxdp => PortKind::Afxdp,
            Kind::Tap => PortKind::Tap,
            Kind::Packet => PortKind::Packet,
            Kind::Internal => PortKind::Internal,
            Kind::Patch => PortKind::Patch {
                peer: switch.peer_of(port).map(|peer| PortId(peer.id)),
            },
            Kind::Null => PortKind::Null,
            Kind::Pcap => PortKind::Pcap,
            Kind::Vxlan | Kind::Geneve => tunnel(port),
            Kind::Uplink => PortKind::Uplink,
            Kind::Socket => PortKind::Socket,
            Kind::Router => {
                let own = &port.settings.router_port;
                let router = own
                    .router
                    .as_ref()
                    .and_then(|name| switch.routers.get(name));
                // A port names a router that there is; the model sees to that.
                let id = router.map_or(RouterId(u32::MAX), |router| RouterId(router.id));
                PortKind::Router(Box::new(own.spec(id, router_mac(port))))
            }
        },
        vlan: VlanSpec {
            mode: match vlan.mode {
                // It is in one VLAN, that of untagged packets if nothing else is said.
                _ if port.kind == Kind::Router => VlanMode::Access,
                rpc::VlanMode::Access => VlanMode::Access,
                rpc::VlanMode::Trunk => VlanMode::Trunk,
                rpc::VlanMode::NativeTagged => VlanMode::NativeTagged,
                rpc::VlanMode::NativeUntagged => VlanMode::NativeUntagged,
            },
            tag: vlan.tag.unwrap_or(0),
            trunks: vlan.trunks,
        },
        mtu,
        up,
    }
}

/// What a tunnel port is. One whose remote is not known would be refused before.
fn tunnel(port: &Port) -> PortKind {
    let kind = tunnel::protocol(port.kind);
    let spec = kind.and_then(|kind| port.settings.tunnel.spec(kind));
    spec.map_or(PortKind::Null, |spec| PortKind::Tunnel(Box::new(spec)))
}

/// The address of a router's port on its bridge: what was set, or one of our own that goes with its
/// number, which no other port of the switch has.
pub fn router_mac(port: &Port) -> [u8; 6] {
    let [a, b, c, d] = port.id.to_be_bytes();
    // Locally administered; 0x5652 is "VR".
    port.settings
        .addr
        .unwrap_or([0x02, 0x56, 0x52 ^ a, b, c, d])
}

/// The flows of a new bridge: a standalone one that no controller is to tell forwards at once.
pub fn first_flows(bridge: &Bridge) -> Vec<FlowRule> {
    let settings = &bridge.settings;
    match settings.fail_mode {
        FailMode::Standalone if settings.controllers.is_empty() => vec![normal()],
        FailMode::Standalone | FailMode::Secure => Vec::new(),
    }
}

/// The flow by which a bridge forwards like a learning switch.
pub fn normal() -> FlowRule {
    FlowRule {
        table: 0,
        priority: 0,
        cookie: 0,
        matches: Match::any(),
        instructions: vec![Action::Output(OfPort::NORMAL)].into(),
        ..FlowRule::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::switch::NewPort;
    use vswitch_rpc::method::Options;

    fn add(switch: &mut Switch, bridge: &str, name: &str, words: &[(&str, &str)]) {
        let options: Options = words
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        let settings = switch.read_port(bridge, name, &options).unwrap();
        let new = NewPort {
            name: name.into(),
            kind: settings.kind.unwrap(),
            why: String::new(),
            makes_device: false,
            settings,
        };
        switch.add_port(bridge, new).unwrap();
    }

    #[test]
    fn what_should_be_is_said_in_the_datapaths_words() {
        let mut switch = Switch::default();
        let none = Options::new();
        switch.add_bridge("br0", &none, [2, 0, 0, 0, 0, 1]).unwrap();
        switch.add_bridge("br1", &none, [2, 0, 0, 0, 0, 2]).unwrap();
        add(&mut switch, "br0", "a", &[("type", "tap"), ("tag", "7")]);
        add(
            &mut switch,
            "br0",
            "p0",
            &[("type", "patch"), ("peer", "p1")],
        );
        add(
            &mut switch,
            "br1",
            "p1",
            &[("type", "patch"), ("peer", "p0")],
        );
        add(
            &mut switch,
            "br1",
            "q",
            &[("type", "patch"), ("peer", "later")],
        );
        let words = [("select_src", "a"), ("output_port", "p0")];
        let words = words.map(|(key, value)| (key.to_owned(), value.to_owned()));
        switch.add_mirror("br0", "m", &words.into()).unwrap();

        let tap = switch.port("br0", "a").unwrap().id;
        let seen = BTreeMap::from([(
            tap,
            Seen {
                mtu: 9000,
                up: true,
            },
        )]);
        let desired = desired(&switch, &seen, &[], &BTreeMap::new());
        let port = |name: &str| desired.ports.iter().find(|p| p.name == name).unwrap();
        assert_eq!(desired.bridges.len(), 2);
        assert_eq!((port("a").mtu, port("a").up), (9000, true));
        assert_eq!(port("a").vlan.tag, 7);
        assert_eq!(port("a").vlan.mode, VlanMode::Access);
        assert_eq!((port("br0").mtu, port("br0").up), (1500, false));
        assert_eq!(port("br0").of_port, OfPort::LOCAL);
        let peer = Some(port("p1").id);
        assert_eq!(port("p0").kind, PortKind::Patch { peer });
        assert_eq!(port("q").kind, PortKind::Patch { peer: None });
        assert_eq!(port("p0").mtu, 65_535);
        let mirror = &desired.bridges[0].mirrors[0];
        assert_eq!(mirror.select_src, [port("a").id]);
        assert_eq!(mirror.output_port, Some(port("p0").id));
    }
}
