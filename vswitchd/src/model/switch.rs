//! The whole switch, and the changes it can undergo.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use vswitch_dpapi::{CtSettings, PortConfig};
use vswitch_flow::Prefix;
use vswitch_rpc::LOCAL_PORT;
use vswitch_rpc::method::Options;
use vswitch_rpc::port::Kind;

use super::bridge::{self, Bridge, BridgeSettings};
use super::key::{self, When};
use super::mirror::{self, Mirror};
use super::name::{self, Named};
use super::port::{self, OF_PORT_MAX, Port, PortSettings};
use super::refusal::ModelError;
use super::router::{self, Router, RouterSettings};
use super::ssl::Ssl;
use super::tunnel;
use super::uplink::{self, Uplink, UplinkSettings};

/// Largest number of a port in the datapath.
const PORT_ID_MAX: u32 = 65_535;

/// Everything that should be, flows excepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// By name.
    pub bridges: BTreeMap<String, Bridge>,
    /// The number the next bridge gets.
    pub next_bridge: u32,
    /// By name.
    #[serde(default)]
    pub routers: BTreeMap<String, Router>,
    /// The number the next router gets.
    #[serde(default)]
    pub next_router: u32,
    /// How connections are tracked.
    pub conntrack: CtSettings,
    /// How it proves to controllers who it is.
    pub ssl: Option<Ssl>,
    /// Devices shared with the host, by the names that they had when they became uplinks.
    #[serde(default)]
    pub uplinks: BTreeMap<String, Uplink>,
    /// The host's UDP sockets, while a tunnel needs them.
    #[serde(default)]
    pub socket: Option<Port>,
}

/// A port as it was asked for, its kind settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPort {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Why this kind; empty when it was asked for.
    pub why: String,
    /// We make its device.
    pub makes_device: bool,
    /// What was set.
    pub settings: PortSettings,
}

impl Switch {
    /// The bridge of this name.
    pub fn bridge(&self, name: &str) -> Result<&Bridge, ModelError> {
        self.bridges.get(name).ok_or_else(|| self.no_bridge(name))
    }

    fn bridge_mut(&mut self, name: &str) -> Result<&mut Bridge, ModelError> {
        if !self.bridges.contains_key(name) {
            return Err(self.no_bridge(name));
        }
        Ok(self.bridges.get_mut(name).expect("looked up just now"))
    }

    fn no_bridge(&self, name: &str) -> ModelError {
        ModelError::NoBridge {
            name: name.into(),
            have: self.bridges.keys().cloned().collect(),
        }
    }

    /// The port of this name on this bridge.
    pub fn port(&self, bridge: &str, name: &str) -> Result<&Port, ModelError> {
        let bridge = self.bridge(bridge)?;
        bridge.ports.get(name).ok_or_else(|| ModelError::NoPort {
            bridge: bridge.name.clone(),
            name: name.into(),
            have: bridge.removable(),
        })
    }

    /// Every port with its bridge.
    pub fn ports(&self) -> impl Iterator<Item = (&Bridge, &Port)> {
        self.bridges
            .values()
            .flat_map(|bridge| bridge.ports.values().map(move |port| (bridge, port)))
    }

    /// Every port that is on no bridge.
    pub fn loose_ports(&self) -> impl Iterator<Item = &Port> {
        let uplinks = self.uplinks.values().map(|uplink| &uplink.port);
        uplinks.chain(&self.socket)
    }

    /// Every port, with or without a bridge.
    pub fn all_ports(&self) -> impl Iterator<Item = &Port> {
        self.ports().map(|(_, port)| port).chain(self.loose_ports())
    }

    /// The port with this number in the datapath.
    pub fn port_by_id(&self, id: u32) -> Option<(&Bridge, &Port)> {
        self.ports().find(|(_, port)| port.id == id)
    }

    /// The port of this name, on whatever bridge.
    pub fn port_anywhere(&self, name: &str) -> Option<(&Bridge, &Port)> {
        self.bridges
            .values()
            .find_map(|bridge| Some((bridge, bridge.ports.get(name)?)))
    }

    /// Refuses a name that a port or bridge has; a bridge's LOCAL port has the bridge's name.
    pub fn check_free(&self, name: &str) -> Result<(), ModelError> {
        if self.bridges.contains_key(name) {
            return Err(ModelError::BridgeExists(name.into()));
        }
        match self.port_anywhere(name) {
            Some((bridge, _)) => Err(ModelError::PortExists {
                name: name.into(),
                bridge: bridge.name.clone(),
            }),
            None => Ok(()),
        }
    }

    fn free_port_id(&self) -> Result<u32, ModelError> {
        let taken: BTreeSet<u32> = self.all_ports().map(|port| port.id).collect();
        (1..=PORT_ID_MAX)
            .find(|id| !taken.contains(id))
            .ok_or(ModelError::PortsExhausted)
    }

    /// Makes a bridge with its LOCAL port. `mac` becomes the address of its device.
    pub fn add_bridge(
        &mut self,
        name: &str,
        options: &Options,
        mac: [u8; 6],
    ) -> Result<(), ModelError> {
        name::check(Named::Bridge, name)?;
        self.check_free(name)?;
        let mut settings = BridgeSettings::default();
        key::apply(bridge::KEYS, "a bridge", When::New, &mut settings, options)?;
        let local = Port {
            id: self.free_port_id()?,
            name: name.into(),
            of_port: LOCAL_PORT,
            kind: Kind::Internal,
            why: String::new(),
            made_device: true,
            config: PortConfig::default(),
            settings: PortSettings::default(),
        };
        let bridge = Bridge {
            id: self.next_bridge,
            name: name.into(),
            settings,
            mac,
            ports: BTreeMap::from([(name.to_owned(), local)]),
            mirrors: BTreeMap::new(),
            network: None,
        };
        self.next_bridge += 1;
        self.bridges.insert(name.into(), bridge);
        Ok(())
    }

    /// Makes the bridge of a container network, which forwards nothing by itself.
    pub fn add_network_bridge(
        &mut self,
        name: &str,
        network: &str,
        mac: [u8; 6],
        mtu: Option<u32>,
    ) -> Result<(), ModelError> {
        let secure = Options::from([("fail_mode".into(), "secure".into())]);
        self.add_bridge(name, &secure, mac)?;
        let bridge = self.bridge_mut(name)?;
        bridge.network = Some(network.into());
        if let Some(local) = bridge.ports.get_mut(name) {
            local.settings.mtu = mtu;
        }
        Ok(())
    }

    /// The bridge of a container network.
    pub fn network_bridge(&self, network: &str) -> Result<&Bridge, ModelError> {
        let mut bridges = self.bridges.values();
        let found = bridges.find(|bridge| bridge.network.as_deref() == Some(network));
        found.ok_or_else(|| self.no_bridge(network))
    }

    /// Removes the bridge of a container network with all it has.
    pub fn del_network_bridge(&mut self, network: &str) -> Option<Bridge> {
        let name = self.network_bridge(network).ok()?.name.clone();
        self.bridges.remove(&name)
    }

    /// Removes a bridge with all it has.
    pub fn del_bridge(&mut self, name: &str) -> Result<Bridge, ModelError> {
        match self.bridges.remove(name) {
            Some(bridge) => Ok(bridge),
            None => Err(self.no_bridge(name)),
        }
    }

    /// Changes settings of a bridge.
    pub fn set_bridge(&mut self, name: &str, options: &Options) -> Result<(), ModelError> {
        let bridge = self.bridge_mut(name)?;
        let settings = &mut bridge.settings;
        key::apply(bridge::KEYS, "a bridge", When::Later, settings, options)
    }

    /// Reads the settings of a port to be, before its kind is settled.
    pub fn read_port(
        &self,
        bridge: &str,
        name: &str,
        options: &Options,
    ) -> Result<PortSettings, ModelError> {
        let bridge = self.bridge(bridge)?;
        name::check(Named::Port, name)?;
        self.check_free(name)?;
        let mut settings = PortSettings::default();
        key::apply(port::KEYS, "a port", When::New, &mut settings, options)?;
        settings.check_vlan()?;
        if let Some(kind) = settings.kind {
            settings.check_kind(kind)?;
        }
        if let Some(number) = settings.of_port {
            check_of_port(bridge, number)?;
        }
        self.check_peer(name, &settings)?;
        if let Some(kind) = settings.kind {
            self.check_tunnel(name, kind, &settings)?;
        }
        self.check_router_port(bridge, name, &settings)?;
        Ok(settings)
    }

    /// Makes a port.
    pub fn add_port(&mut self, bridge: &str, new: NewPort) -> Result<&Port, ModelError> {
        name::check(Named::Port, &new.name)?;
        self.bridge(bridge)?;
        self.check_free(&new.name)?;
        new.settings.check_vlan()?;
        new.settings.check_kind(new.kind)?;
        self.check_peer(&new.name, &new.settings)?;
        self.check_tunnel(&new.name, new.kind, &new.settings)?;
        self.check_router_port(self.bridge(bridge)?, &new.name, &new.settings)?;
        let id = self.free_port_id()?;
        let bridge = self.bridge_mut(bridge)?;
        let of_port = match new.settings.of_port {
            Some(number) => {
                check_of_port(bridge, number)?;
                number
            }
            None => free_of_port(bridge)?,
        };
        let port = Port {
            id,
            name: new.name.clone(),
            of_port,
            kind: new.kind,
            why: new.why,
            made_device: new.makes_device,
            config: PortConfig::default(),
            settings: new.settings,
        };
        Ok(bridge.ports.entry(new.name).or_insert(port))
    }

    /// Removes a port.
    pub fn del_port(&mut self, bridge: &str, name: &str) -> Result<Port, ModelError> {
        let port = self.port(bridge, name)?;
        if port.is_local() {
            return Err(ModelError::LocalStays(bridge.into()));
        }
        let bridge = self.bridge_mut(bridge)?;
        let user = bridge
            .mirrors
            .iter()
            .find(|(_, mirror)| mirror.port_names().any(|port| port == name));
        if let Some((mirror, _)) = user {
            return Err(ModelError::UsedByMirror {
                port: name.into(),
                mirror: mirror.clone(),
            });
        }
        Ok(bridge.ports.remove(name).expect("looked up just now"))
    }

    /// Changes settings of a port.
    pub fn set_port(
        &mut self,
        bridge: &str,
        name: &str,
        options: &Options,
    ) -> Result<(), ModelError> {
        let port = self.port(bridge, name)?;
        let mut settings = port.settings.clone();
        let what = format!("a port of type {}", port.kind);
        key::apply(port::KEYS, &what, When::Later, &mut settings, options)?;
        settings.check_vlan()?;
        settings.check_kind(port.kind)?;
        self.check_peer(name, &settings)?;
        self.check_tunnel(name, port.kind, &settings)?;
        self.check_router_port(self.bridge(bridge)?, name, &settings)?;
        let ports = &mut self.bridge_mut(bridge)?.ports;
        ports.get_mut(name).expect("looked up just now").settings = settings;
        Ok(())
    }

    /// Forbids a port what an OpenFlow peer says, and nothing else. A port that is not there is
    /// forbidden nothing.
    pub fn forbid(&mut self, bridge: &str, port: &str, config: PortConfig) {
        let bridge = self.bridges.get_mut(bridge);
        if let Some(port) = bridge.and_then(|bridge| bridge.ports.get_mut(port)) {
            port.config = config;
        }
    }

    /// Makes a device an uplink because a person asks for it. One that the switch has by itself stays
    /// as it is and has what is asked for besides.
    pub fn add_uplink(&mut self, device: &str, options: &Options) -> Result<&Uplink, ModelError> {
        name::check(Named::Device, device)?;
        let mut settings = UplinkSettings::default();
        key::apply(uplink::KEYS, "an uplink", When::New, &mut settings, options)?;
        let is_asked = |uplink: &Uplink| uplink.asked.is_some();
        if self.uplinks.get(device).is_some_and(is_asked) {
            return Err(ModelError::UplinkExists(device.into()));
        }
        let uplink = self.uplink(device)?;
        uplink.port.settings.mode = settings.mode.or(uplink.port.settings.mode);
        uplink.port.settings.queues = settings.queues.or(uplink.port.settings.queues);
        uplink.asked = Some(settings);
        Ok(uplink)
    }

    /// The uplink of a device, made when there is none.
    pub fn uplink(&mut self, device: &str) -> Result<&mut Uplink, ModelError> {
        let id = self.free_port_id()?;
        Ok(self.uplinks.entry(device.into()).or_insert_with(|| Uplink {
            port: loose_port(id, device, Kind::Uplink),
            asked: None,
        }))
    }

    /// Takes back what a person asked of an uplink. It goes when `needed` says that the switch does
    /// not need it itself.
    pub fn del_uplink(&mut self, device: &str, needed: bool) -> Result<(), ModelError> {
        let have = self.asked_uplinks();
        let uplink = self.uplinks.get_mut(device);
        match uplink.and_then(|uplink| uplink.asked.take()) {
            Some(_) if needed => Ok(()),
            Some(_) => {
                self.uplinks.remove(device);
                Ok(())
            }
            None => Err(ModelError::NoUplink {
                name: device.into(),
                have,
            }),
        }
    }

    /// The uplinks that people asked for.
    fn asked_uplinks(&self) -> Vec<String> {
        let uplinks = self.uplinks.iter();
        let asked = uplinks.filter(|(_, uplink)| uplink.asked.is_some());
        asked.map(|(name, _)| name.clone()).collect()
    }

    /// Sees to it that the port of the host's UDP sockets is there, or is not.
    pub fn set_socket(&mut self, wanted: bool) -> Result<(), ModelError> {
        if !wanted {
            self.socket = None;
        } else if self.socket.is_none() {
            let id = self.free_port_id()?;
            self.socket = Some(loose_port(id, uplink::SOCKET, Kind::Socket));
        }
        Ok(())
    }

    /// Makes a mirror.
    pub fn add_mirror(
        &mut self,
        bridge: &str,
        name: &str,
        options: &Options,
    ) -> Result<(), ModelError> {
        let bridge = self.bridge_mut(bridge)?;
        name::check(Named::Mirror, name)?;
        if bridge.mirrors.contains_key(name) {
            return Err(ModelError::MirrorExists {
                bridge: bridge.name.clone(),
                name: name.into(),
            });
        }
        let mut mirror = Mirror::default();
        key::apply(mirror::KEYS, "a mirror", When::New, &mut mirror, options)?;
        mirror.check()?;
        if let Some(port) = mirror.port_names().find(|p| !bridge.ports.contains_key(*p)) {
            return Err(ModelError::NoPort {
                bridge: bridge.name.clone(),
                name: port.clone(),
                have: bridge.ports.keys().cloned().collect(),
            });
        }
        bridge.mirrors.insert(name.into(), mirror);
        Ok(())
    }

    /// Removes a mirror.
    pub fn del_mirror(&mut self, bridge: &str, name: &str) -> Result<(), ModelError> {
        let bridge = self.bridge_mut(bridge)?;
        match bridge.mirrors.remove(name) {
            Some(_) => Ok(()),
            None => Err(ModelError::NoMirror {
                bridge: bridge.name.clone(),
                name: name.into(),
                have: bridge.mirrors.keys().cloned().collect(),
            }),
        }
    }

    /// The router of this name.
    pub fn router(&self, name: &str) -> Result<&Router, ModelError> {
        self.routers.get(name).ok_or_else(|| ModelError::NoRouter {
            name: name.into(),
            have: self.routers.keys().cloned().collect(),
        })
    }

    /// Makes a router.
    pub fn add_router(&mut self, name: &str, options: &Options) -> Result<(), ModelError> {
        name::check(Named::Router, name)?;
        if self.routers.contains_key(name) {
            return Err(ModelError::RouterExists(name.into()));
        }
        let mut settings = RouterSettings::default();
        key::apply(router::KEYS, "a router", When::New, &mut settings, options)?;
        let router = Router {
            id: self.next_router,
            name: name.into(),
            settings,
        };
        let mut others = self.routers.values();
        if let Some(other) = others.find(|other| other.zone() == router.zone()) {
            return Err(ModelError::Router(format!(
                "zone {} is router {}'s; give this one another with zone=",
                router.zone(),
                other.name
            )));
        }
        self.next_router += 1;
        self.routers.insert(name.into(), router);
        Ok(())
    }

    /// Removes a router that has no ports.
    pub fn del_router(&mut self, name: &str) -> Result<Router, ModelError> {
        self.router(name)?;
        if let Some((_, port)) = self.router_ports(name).next() {
            return Err(ModelError::RouterInUse {
                router: name.into(),
                port: port.name.clone(),
            });
        }
        Ok(self.routers.remove(name).expect("looked up just now"))
    }

    /// The ports of a router, with their bridges.
    pub fn router_ports<'a>(
        &'a self,
        router: &'a str,
    ) -> impl Iterator<Item = (&'a Bridge, &'a Port)> {
        self.ports().filter(move |(_, port)| {
            port.kind == Kind::Router && port.settings.router_port.router.as_deref() == Some(router)
        })
    }

    /// The router's port of this name, with its bridge.
    pub fn router_port(&self, name: &str) -> Result<(&Bridge, &Port), ModelError> {
        let found = self.port_anywhere(name);
        let found = found.filter(|(_, port)| port.kind == Kind::Router);
        found.ok_or_else(|| ModelError::NoRouterPort {
            name: name.into(),
            have: self
                .ports()
                .filter(|(_, port)| port.kind == Kind::Router)
                .map(|(_, port)| port.name.clone())
                .collect(),
        })
    }

    /// Refuses a router's port that gets into the way of another one.
    fn check_router_port(
        &self,
        bridge: &Bridge,
        name: &str,
        settings: &PortSettings,
    ) -> Result<(), ModelError> {
        let Some(router) = &settings.router_port.router else {
            return Ok(());
        };
        self.router(router)?;
        let vlan = settings.tag.unwrap_or(0);
        for (place, other) in self.ports() {
            if other.kind != Kind::Router || other.name == name {
                continue;
            }
            let is_here = place.id == bridge.id && other.settings.tag.unwrap_or(0) == vlan;
            if is_here && settings.addr.is_some() && settings.addr == other.settings.addr {
                return Err(ModelError::Router(format!(
                    "addr={} is taken by the router's port {} on bridge {}; stations of a network need \
                     addresses of their own",
                    key::show_mac(settings.addr.unwrap_or_default()),
                    other.name,
                    bridge.name
                )));
            }
            let theirs = &other.settings.router_port;
            let is_ours = theirs.router.as_ref() == Some(router);
            for own in &settings.router_port.address {
                for taken in &theirs.address {
                    if is_here && own.address == taken.address {
                        return Err(ModelError::Router(format!(
                            "{} is an address of {} already, on the same network",
                            own.address, other.name
                        )));
                    }
                    if is_ours && own.overlaps(taken) && !is_link_local(own) {
                        return Err(ModelError::Router(format!(
                            "{own} of {name} and {taken} of {} overlap; the ports of a router are on \
                             different networks",
                            other.name
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    /// The other end of a patch port: a patch port that names this one back.
    pub fn peer_of(&self, port: &Port) -> Option<&Port> {
        let name = port.settings.peer.as_deref()?;
        let (_, peer) = self.port_anywhere(name)?;
        (peer.settings.peer.as_deref() == Some(&port.name)).then_some(peer)
    }

    /// Whether a port is a tunnel.
    pub fn has_tunnels(&self) -> bool {
        self.ports()
            .any(|(_, port)| tunnel::protocol(port.kind).is_some())
    }

    /// Refuses a tunnel that another port is.
    fn check_tunnel(
        &self,
        name: &str,
        kind: Kind,
        settings: &PortSettings,
    ) -> Result<(), ModelError> {
        let spec = |kind, settings: &PortSettings| settings.tunnel.spec(tunnel::protocol(kind)?);
        let Some(new) = spec(kind, settings) else {
            return Ok(());
        };
        let others = self.ports().filter(|(_, port)| port.name != name);
        let others = others
            .filter_map(|(_, port)| Some((port.name.as_str(), spec(port.kind, &port.settings)?)));
        tunnel::check_others(&new, others)
    }

    /// Refuses a peer that can never be one. A peer that is not there, or does not name this port
    /// back yet, is waited for.
    fn check_peer(&self, name: &str, settings: &PortSettings) -> Result<(), ModelError> {
        let Some(peer) = settings.peer.as_deref() else {
            return Ok(());
        };
        if peer == name {
            return Err(ModelError::Peer(format!(
                "the peer of {name} cannot be {name} itself"
            )));
        }
        match self.port_anywhere(peer) {
            Some((_, port)) if port.kind != Kind::Patch => Err(ModelError::Peer(format!(
                "peer={peer} is not possible: {peer} is a port of type {}, not patch",
                port.kind
            ))),
            Some((_, port)) => match port.settings.peer.as_deref() {
                Some(other) if other != name => Err(ModelError::Peer(format!(
                    "peer={peer} is not possible: {peer} has the peer {other} already"
                ))),
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }
}

/// A port that is on no bridge.
fn loose_port(id: u32, name: &str, kind: Kind) -> Port {
    Port {
        id,
        name: name.into(),
        of_port: 0,
        kind,
        why: String::new(),
        made_device: false,
        config: PortConfig::default(),
        settings: PortSettings::default(),
    }
}

/// Whether an address means something on its own link only, so that every link may have the network.
fn is_link_local(own: &Prefix) -> bool {
    matches!(own.address, std::net::IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn check_of_port(bridge: &Bridge, number: u32) -> Result<(), ModelError> {
    match bridge.ports.values().find(|port| port.of_port == number) {
        Some(port) => Err(ModelError::OfPortTaken {
            number,
            port: port.name.clone(),
        }),
        None => Ok(()),
    }
}

/// The lowest free number, as Open vSwitch gives them.
fn free_of_port(bridge: &Bridge) -> Result<u32, ModelError> {
    let taken: BTreeSet<u32> = bridge.ports.values().map(|port| port.of_port).collect();
    (1..=OF_PORT_MAX)
        .find(|number| !taken.contains(number))
        .ok_or_else(|| ModelError::OfPortsExhausted(bridge.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn options(words: &[(&str, &str)]) -> Options {
        words
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect()
    }

    fn add(
        switch: &mut Switch,
        bridge: &str,
        name: &str,
        words: &[(&str, &str)],
    ) -> Result<u32, ModelError> {
        let settings = switch.read_port(bridge, name, &options(words))?;
        let new = NewPort {
            name: name.into(),
            kind: settings.kind.unwrap_or(Kind::Tap),
            why: String::new(),
            makes_device: true,
            settings,
        };
        Ok(switch.add_port(bridge, new)?.of_port)
    }

    fn switch() -> Switch {
        let mut switch = Switch::default();
        switch.add_bridge("br0", &options(&[]), MAC).unwrap();
        switch
    }

    #[test]
    fn a_bridge_comes_with_its_local_port() {
        let switch = switch();
        let bridge = switch.bridge("br0").unwrap();
        assert!(bridge.ports["br0"].is_local());
        assert_eq!(bridge.ports["br0"].kind, Kind::Internal);
        assert!(bridge.removable().is_empty());
        assert_eq!(bridge.datapath_id(), 0x0200_0000_0001);
    }

    #[test]
    fn of_ports_are_the_lowest_free_unless_asked_for() {
        let mut s = switch();
        assert_eq!(add(&mut s, "br0", "a", &[]), Ok(1));
        assert_eq!(add(&mut s, "br0", "b", &[("of_port", "3")]), Ok(3));
        assert_eq!(add(&mut s, "br0", "c", &[]), Ok(2));
        assert_eq!(add(&mut s, "br0", "d", &[]), Ok(4));
        s.del_port("br0", "a").unwrap();
        assert_eq!(add(&mut s, "br0", "e", &[]), Ok(1));
    }

    #[test]
    fn port_ids_are_unique_over_all_bridges() {
        let mut s = switch();
        s.add_bridge("br1", &options(&[]), MAC).unwrap();
        add(&mut s, "br0", "a", &[]).unwrap();
        add(&mut s, "br1", "b", &[]).unwrap();
        let ids: BTreeSet<u32> = s.ports().map(|(_, port)| port.id).collect();
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn a_bridges_number_is_never_given_again() {
        let mut s = switch();
        s.del_bridge("br0").unwrap();
        s.add_bridge("br0", &options(&[]), MAC).unwrap();
        assert_eq!(s.bridge("br0").unwrap().id, 1);
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let mut s = switch();
        s.add_bridge("br1", &options(&[]), MAC).unwrap();
        add(&mut s, "br0", "a", &[("of_port", "1")]).unwrap();
        add(&mut s, "br1", "p1", &[("type", "patch"), ("peer", "p0")]).unwrap();
        let cases: [(Result<u32, ModelError>, &str); 12] = [
            (add(&mut s, "br7", "b", &[]), "there is no bridge br7"),
            (
                add(&mut s, "br0", "a/b", &[]),
                "the port name \"a/b\" is not allowed: it contains one of / : , = %",
            ),
            (
                add(&mut s, "br1", "a", &[]),
                "there is a port a already, on bridge br0",
            ),
            (
                add(&mut s, "br0", "br1", &[]),
                "there is a bridge br1 already",
            ),
            (
                add(&mut s, "br0", "b", &[("of_port", "1")]),
                "of_port=1 is taken by a",
            ),
            (
                add(&mut s, "br0", "b", &[("type", "vxlan"), ("key", "5")]),
                "a port of type vxlan needs remote_ip: the IPv4 or IPv6 address of one host, or flow",
            ),
            (
                add(&mut s, "br0", "b", &[("type", "patch"), ("peer", "b")]),
                "the peer of b cannot be b itself",
            ),
            (
                add(&mut s, "br0", "b", &[("type", "patch"), ("peer", "a")]),
                "peer=a is not possible: a is a port of type tap, not patch",
            ),
            (
                add(&mut s, "br0", "b", &[("type", "patch"), ("peer", "p1")]),
                "peer=p1 is not possible: p1 has the peer p0 already",
            ),
            (
                s.del_port("br0", "zz").map(|p| p.id),
                "bridge br0 has no port zz",
            ),
            (
                s.del_port("br0", "br0").map(|p| p.id),
                "br0 is the LOCAL port of its bridge and goes only with it",
            ),
            (
                s.set_port("br0", "a", &options(&[("queues", "2")]))
                    .map(|()| 0),
                "queues cannot be changed while the port exists",
            ),
        ];
        for (result, sentence) in cases {
            assert_eq!(result.unwrap_err().to_string(), sentence);
        }
    }

    #[test]
    fn bridges_are_refused_as_clearly() {
        let mut s = switch();
        add(&mut s, "br0", "a", &[]).unwrap();
        let mut refused = |name: &str, words: &[(&str, &str)]| {
            let error = s.add_bridge(name, &options(words), MAC).unwrap_err();
            error.to_string()
        };
        assert_eq!(refused("br0", &[]), "there is a bridge br0 already");
        assert_eq!(
            refused("a", &[]),
            "there is a port a already, on bridge br0"
        );
        assert_eq!(
            refused("", &[]),
            "the bridge name \"\" is not allowed: it is empty"
        );
        assert_eq!(
            refused("b", &[("fail_mode", "open")]),
            "fail_mode=open is not possible: fail_mode takes standalone or secure"
        );
        assert_eq!(
            refused("b", &[("mac_table_size", "0")]),
            "mac_table_size=0 is not possible: \
             mac_table_size takes a number of addresses from 1 to 1000000"
        );
        assert_eq!(
            refused("b", &[("mac_aging_time", "x")]),
            "mac_aging_time=x is not possible: \
             mac_aging_time takes a number of seconds from 1 to 1000000"
        );
        assert_eq!(
            refused("b", &[("stp", "on")]),
            "a bridge has no setting \"stp\""
        );
        assert_eq!(
            s.del_bridge("br9").unwrap_err().to_string(),
            "there is no bridge br9"
        );
    }

    #[test]
    fn patch_ports_meet_when_both_name_each_other() {
        let mut s = switch();
        add(&mut s, "br0", "p0", &[("type", "patch"), ("peer", "p1")]).unwrap();
        assert_eq!(s.peer_of(s.port("br0", "p0").unwrap()), None);
        add(&mut s, "br0", "p1", &[("type", "patch")]).unwrap();
        assert_eq!(s.peer_of(s.port("br0", "p0").unwrap()), None);
        s.set_port("br0", "p1", &options(&[("peer", "p0")]))
            .unwrap();
        let (p0, p1) = (s.port("br0", "p0").unwrap(), s.port("br0", "p1").unwrap());
        assert_eq!(s.peer_of(p0), Some(p1));
        assert_eq!(s.peer_of(p1), Some(p0));
    }

    #[test]
    fn settings_change_together_or_not_at_all() {
        let mut s = switch();
        add(&mut s, "br0", "a", &[("tag", "5")]).unwrap();
        let before = s.clone();
        let bad = options(&[("tag", "6"), ("vlan_mode", "trunk")]);
        assert!(s.set_port("br0", "a", &bad).is_err());
        assert_eq!(s, before);
        s.set_port("br0", "a", &options(&[("tag", ""), ("mtu", "9000")]))
            .unwrap();
        let settings = &s.port("br0", "a").unwrap().settings;
        assert_eq!((settings.tag, settings.mtu), (None, Some(9000)));
    }

    #[test]
    fn a_mirror_names_ports_that_stay_while_it_does() {
        let mut s = switch();
        add(&mut s, "br0", "a", &[]).unwrap();
        add(&mut s, "br0", "b", &[]).unwrap();
        let mut mirror = |words: &[(&str, &str)]| {
            let added = s.add_mirror("br0", "m", &options(words));
            added.map_err(|error| error.to_string())
        };
        assert_eq!(
            mirror(&[("output_port", "a")]).unwrap_err(),
            "a mirror copies nothing without select_all, select_src or select_dst"
        );
        assert_eq!(
            mirror(&[("select_all", "true")]).unwrap_err(),
            "a mirror needs output_port or output_vlan: where the copies go"
        );
        assert_eq!(
            mirror(&[
                ("select_all", "1"),
                ("output_port", "a"),
                ("output_vlan", "5")
            ])
            .unwrap_err(),
            "a mirror has either output_port or output_vlan, not both"
        );
        assert_eq!(
            mirror(&[("select_src", "a,zz"), ("output_port", "b")]).unwrap_err(),
            "bridge br0 has no port zz"
        );
        assert_eq!(
            mirror(&[("select_all", "maybe")]).unwrap_err(),
            "select_all=maybe is not possible: select_all takes true or false"
        );
        mirror(&[("select_src", "a"), ("output_port", "b")]).unwrap();
        assert_eq!(
            mirror(&[("select_all", "1"), ("output_port", "b")]).unwrap_err(),
            "bridge br0 has a mirror m already"
        );
        assert_eq!(
            s.del_port("br0", "b").unwrap_err().to_string(),
            "port b is in use by mirror m"
        );
        assert_eq!(
            s.del_mirror("br0", "x").unwrap_err().to_string(),
            "bridge br0 has no mirror x"
        );
        s.del_mirror("br0", "m").unwrap();
        s.del_port("br0", "b").unwrap();
    }
}
