//! Routers, their ports, routes, neighbours and the addresses that they give.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vswitch_flow::Prefix;

use crate::method::Options;
use crate::route::Target;

/// `router-add`: makes a router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRouter {
    /// Its name.
    pub name: String,
    /// `neighbours`, `icmp_rate`.
    #[serde(default)]
    pub options: Options,
}

/// `router-rm`: removes a router with its routes. Its ports have to go before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelRouter {
    /// Its name.
    pub name: String,
}

/// `router-show`: routers with their ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShowRouters {
    /// Only this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Most neighbours.
    pub neighbours: u32,
    /// ICMP errors a second of each port.
    pub icmp_rate: u32,
    /// How many routes it was given.
    pub routes: u64,
    /// Its ports.
    pub ports: Vec<PortInfo>,
}

/// A router's port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortInfo {
    /// Its name.
    pub name: String,
    /// The bridge it is on.
    pub bridge: String,
    /// In which VLAN; 0 is that of untagged packets.
    pub vlan: u16,
    /// Its address on the bridge.
    pub mac: String,
    /// Bytes of the largest layer-3 packet.
    pub mtu: u32,
    /// Its addresses.
    pub addresses: Vec<Prefix>,
    /// Everything else that was set.
    #[serde(default)]
    pub options: Options,
}

/// `router-port-add`: puts a port of a router on a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRouterPort {
    /// The router.
    pub router: String,
    /// The port.
    pub name: String,
    /// The bridge.
    pub bridge: String,
    /// As for `add-port` with `type=router`.
    #[serde(default)]
    pub options: Options,
}

/// `router-port-rm`: takes a port from its router and bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelRouterPort {
    /// The port.
    pub name: String,
}

/// `router-port-set`: changes settings; those not named stay as they are. All are set or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRouterPort {
    /// The port.
    pub name: String,
    /// As for `router-port-add`; an empty value puts a setting back to its default.
    pub options: Options,
}

/// `route-add`: adds routes, all or none; one to the same prefix from the same source is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRoutes {
    /// The router.
    pub router: String,
    /// As [`crate::route::Route`] reads them.
    pub routes: Vec<String>,
    /// They are checked and not added.
    #[serde(default)]
    pub check: bool,
    /// Of a list in several messages: so many of the routes before these, which were checked, are new.
    #[serde(default)]
    pub ahead: u64,
}

/// What `route-add` has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// How many routes are new; the others replace one.
    pub added: u64,
}

/// `route-del`: removes routes, all or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelRoutes {
    /// The router.
    pub router: String,
    /// Which: `PREFIX` or `PREFIX from PREFIX`.
    pub routes: Vec<String>,
    /// All there are.
    #[serde(default)]
    pub all: bool,
}

/// `route-show`: routes that were given, in the order of their prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShowRoutes {
    /// The router.
    pub router: String,
    /// Only those within this prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// Only those behind this one, `PREFIX [from PREFIX]`, in the order of their prefixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Most rows.
    pub max: u64,
}

/// Routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    /// Some of them.
    pub rows: Vec<RouteRow>,
    /// There are more.
    #[serde(default)]
    pub more: bool,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRow {
    /// Where to.
    pub prefix: String,
    /// Only packets from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Which way, as it is typed.
    pub way: String,
}

/// `route-get`: what a router does with a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindRoute {
    /// The router.
    pub router: String,
    /// To there.
    pub to: IpAddr,
    /// From there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

/// What a router does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// `local`, `connected`, `route` or `none`.
    pub kind: String,
    /// The network or route that decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// From where the route is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The way: a port, or as the route was typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<String>,
}

impl Found {
    /// The way of a route, as a word of its own.
    #[must_use]
    pub fn route(prefix: &Prefix, source: Option<&Prefix>, target: &Target) -> Self {
        Self {
            kind: "route".into(),
            prefix: Some(prefix.to_string()),
            from: source.map(Prefix::to_string),
            way: Some(target.to_string()),
        }
    }
}

/// `neigh-show`: the neighbours of a router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShowNeighbours {
    /// The router.
    pub router: String,
}

/// What a router knows of its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbours {
    /// In the order of ports and addresses.
    pub rows: Vec<Neighbour>,
    /// Packets that wait.
    pub waiting: u64,
    /// Questions asked.
    pub asked: u64,
    /// Neighbours that became known.
    pub learned: u64,
    /// Neighbours that moved.
    pub moved: u64,
    /// Claims that were not believed.
    pub refused: u64,
    /// Neighbours that did not answer.
    pub failed: u64,
    /// Neighbours that made room for others.
    pub evicted: u64,
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// By which port.
    pub port: String,
    /// Its address.
    pub address: IpAddr,
    /// Its address on the bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// `incomplete`, `reachable`, `stale`, `probe` or `failed`.
    pub state: String,
    /// Seconds since it was confirmed.
    pub confirmed_s: u32,
    /// Packets that wait for it.
    pub waiting: u32,
}

/// `neigh-flush`: forgets neighbours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlushNeighbours {
    /// The router.
    pub router: String,
    /// Only the one with this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Only those of this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
}

/// `router-leases`: addresses that routers have given to hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leases {
    /// Only those of this router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<String>,
}

/// An address that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// By which port.
    pub port: String,
    /// The address.
    pub address: IpAddr,
    /// To whom.
    pub mac: String,
    /// Seconds until it is free again.
    pub left_s: u32,
}
