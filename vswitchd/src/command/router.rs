//! Routers, their ports, routes, neighbours and the addresses that they give.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;

use vswitch_dpapi::message::{Reply, Request};
use vswitch_dpapi::router::{HopSpec, RouteAnswer};
use vswitch_dpapi::{PortId, RouteTarget, RouterId};
use vswitch_flow::Prefix;
use vswitch_rpc::method::{Done, Options, Removed};
use vswitch_rpc::port::{AddPort, DelPort, SetPort};
use vswitch_rpc::route::{self, Route, Target, Way};
use vswitch_rpc::router::{
    AddRouter, AddRouterPort, AddRoutes, Added, DelRouter, DelRouterPort, DelRoutes, FindRoute,
    FlushNeighbours, Found, Info, Lease, Leases, Neighbour, Neighbours, PortInfo, RouteRow, Routes,
    SetRouterPort, ShowNeighbours, ShowRouters, ShowRoutes,
};
use vswitch_rpc::{Code, Refusal};

use super::bridge::PortNames;
use crate::control::Control;
use crate::control::routes::{self, RouteKey, RouteMap};
use crate::dataplane::unexpected;
use crate::model::{Port, key, port};
use crate::plan::router_mac;

/// Rows in one answer about routes: well below what a message may have.
const ROWS_MAX: u64 = 100_000;

/// Settings of a router's port that have a place of their own in an answer.
const SHOWN: &[&str] = &[
    "router",
    "address",
    "addr",
    "tag",
    "mtu",
    "type",
    "vlan_mode",
];

/// A refusal of one of several routes, which says which.
fn at(place: usize, len: usize, why: &impl ToString) -> Refusal {
    let why = why.to_string();
    let text = match len {
        1 => why,
        _ => format!("route {}: {why}", place + 1),
    };
    Refusal::new(Code::Refused, text)
}

impl Control {
    pub(super) async fn add_router(&mut self, call: AddRouter) -> Result<Done, Refusal> {
        let mut next = self.belief.clone();
        next.switch.add_router(&call.name, &call.options)?;
        self.commit(next, Vec::new()).await?;
        Ok(Done {})
    }

    pub(super) async fn del_router(&mut self, call: DelRouter) -> Result<Done, Refusal> {
        let mut next = self.belief.clone();
        let router = next.switch.del_router(&call.name)?;
        self.commit(next, Vec::new()).await?;
        self.forget_routes(router.id);
        Ok(Done {})
    }

    pub(super) fn show_routers(&self, call: &ShowRouters) -> Result<Vec<Info>, Refusal> {
        let switch = &self.belief.switch;
        if let Some(name) = &call.name {
            switch.router(name)?;
        }
        let wanted = switch
            .routers
            .values()
            .filter(|router| call.name.as_ref().is_none_or(|name| *name == router.name));
        Ok(wanted
            .map(|router| Info {
                name: router.name.clone(),
                neighbours: router.settings.neighbours,
                icmp_rate: router.settings.icmp_rate,
                routes: self.routes_of(router.id).len() as u64,
                ports: switch
                    .router_ports(&router.name)
                    .map(|(bridge, one)| PortInfo {
                        name: one.name.clone(),
                        bridge: bridge.name.clone(),
                        vlan: one.settings.tag.unwrap_or(0),
                        mac: key::show_mac(router_mac(one)),
                        mtu: one.settings.mtu.unwrap_or(port::MTU),
                        addresses: one.settings.router_port.address.clone(),
                        options: other_settings(one),
                    })
                    .collect(),
            })
            .collect())
    }

    pub(super) async fn add_router_port(&mut self, call: AddRouterPort) -> Result<Done, Refusal> {
        // Asked for first, so that a misspelt router is what is complained of.
        self.belief.switch.router(&call.router)?;
        let mut options = call.options;
        for (key, value) in [("type", "router".to_owned()), ("router", call.router)] {
            if let Some(given) = options.insert(key.into(), value.clone())
                && given != value
            {
                let text = format!(
                    "{key}={given} is not possible: it is a port of a router, {key}={value}"
                );
                return Err(Refusal::new(Code::Refused, text));
            }
        }
        let call = AddPort {
            bridge: call.bridge,
            name: call.name,
            options,
        };
        self.add_port(call).await?;
        Ok(Done {})
    }

    pub(super) async fn del_router_port(&mut self, call: DelRouterPort) -> Result<Done, Refusal> {
        let (bridge, port) = self.belief.switch.router_port(&call.name)?;
        let call = DelPort {
            bridge: bridge.name.clone(),
            name: port.name.clone(),
        };
        self.del_port(call).await
    }

    pub(super) async fn set_router_port(&mut self, call: SetRouterPort) -> Result<Done, Refusal> {
        let (bridge, port) = self.belief.switch.router_port(&call.name)?;
        let call = SetPort {
            bridge: bridge.name.clone(),
            name: port.name.clone(),
            options: call.options,
        };
        self.set_port(call).await
    }

    pub(super) async fn add_routes(&mut self, call: AddRoutes) -> Result<Added, Refusal> {
        let router = self.belief.switch.router(&call.router)?;
        let (id, len) = (router.id, call.routes.len());
        let ports = self.belief.switch.router_ports(&call.router);
        let ports: PortsByName<'_> = ports.map(|(_, one)| (one.name.as_str(), one)).collect();
        let mut changes = Vec::with_capacity(len);
        for (place, text) in call.routes.iter().enumerate() {
            let route: Route = text.parse().map_err(|error| at(place, len, &error))?;
            let target =
                name_ways(&call.router, &ports, &route).map_err(|why| at(place, len, &why))?;
            changes.push(((route.prefix, route.source), Some(target)));
        }
        let added = routes::count_new(self.routes_of(id), &changes, call.ahead)?;
        if !call.check {
            self.change_routes(id, changes).await?;
        }
        Ok(Added { added })
    }

    pub(super) async fn del_routes(&mut self, call: DelRoutes) -> Result<Removed, Refusal> {
        let router = self.belief.switch.router(&call.router)?;
        let id = router.id;
        let have = self.routes_of(id);
        let len = call.routes.len();
        if call.all {
            let removed = self.clear_routes(id).await?;
            return Ok(Removed { removed });
        }
        let mut changes = Vec::new();
        for (place, text) in call.routes.iter().enumerate() {
            let key = route::key(text).map_err(|error| at(place, len, &error))?;
            if !have.contains_key(&key) {
                let why = format!("router {} has no route to {}", call.router, show_key(&key));
                return Err(at(place, len, &why));
            }
            changes.push((key, None));
        }
        let removed = changes.len() as u64;
        self.change_routes(id, changes).await?;
        Ok(Removed { removed })
    }

    pub(super) fn show_routes(&self, call: &ShowRoutes) -> Result<Routes, Refusal> {
        let router = self.belief.switch.router(&call.router)?;
        let key = |text: &String| route::key(text).map_err(|error| at(0, 1, &error));
        let within = call.within.as_ref().map(key).transpose()?;
        let within = within.map(|(prefix, _)| prefix);
        let after = call.after.as_ref().map(key).transpose()?;
        let max = call.max.clamp(1, ROWS_MAX) as usize;
        let mut rows = some_routes(self.routes_of(router.id), within, after);
        let names = self.port_names();
        let row = |((prefix, source), target): (&RouteKey, &RouteTarget)| RouteRow {
            prefix: prefix.to_string(),
            from: source.map(|source| source.to_string()),
            way: name_target(&names, target).to_string(),
        };
        Ok(Routes {
            rows: rows.by_ref().take(max).map(row).collect(),
            more: rows.next().is_some(),
        })
    }

    pub(super) async fn find_route(&mut self, call: &FindRoute) -> Result<Found, Refusal> {
        let router = self.belief.switch.router(&call.router)?;
        if let Some(from) = call.from.filter(|from| from.is_ipv4() != call.to.is_ipv4()) {
            let text = format!("{from} and {} are not of one family, IPv4 or IPv6", call.to);
            return Err(Refusal::new(Code::Refused, text));
        }
        let request = Request::FindRoute {
            router: RouterId(router.id),
            from: call.from,
            to: call.to,
        };
        let answer = match self.dataplane.ask(&request).await? {
            Reply::Route(answer) => answer,
            other => return Err(unexpected(&other).into()),
        };
        let found = |kind: &str, prefix: Option<Prefix>, port: Option<PortId>| Found {
            kind: kind.into(),
            prefix: prefix.map(|prefix| prefix.to_string()),
            from: None,
            way: port.map(|port| format!("port {}", self.port_name(port.0))),
        };
        Ok(match answer {
            RouteAnswer::Local(port) => found("local", Some(Prefix::host(call.to)), Some(port)),
            RouteAnswer::Connected { network, port } => {
                found("connected", Some(network), Some(port))
            }
            RouteAnswer::Route(spec) => {
                let target = name_target(&self.port_names(), &spec.target);
                Found::route(&spec.prefix, spec.source.as_ref(), &target)
            }
            RouteAnswer::None => found("none", None, None),
        })
    }

    pub(super) async fn show_neighbours(
        &mut self,
        call: &ShowNeighbours,
    ) -> Result<Neighbours, Refusal> {
        let router = self.belief.switch.router(&call.router)?;
        let request = Request::Neighbours {
            router: RouterId(router.id),
        };
        let (rows, stats) = match self.dataplane.ask(&request).await? {
            Reply::Neighbours { rows, stats } => (rows, stats),
            other => return Err(unexpected(&other).into()),
        };
        let names = self.port_names();
        Ok(Neighbours {
            rows: rows
                .iter()
                .map(|row| Neighbour {
                    port: names.of(row.port.0),
                    address: row.address,
                    mac: row.mac.map(key::show_mac),
                    state: row.state.name().into(),
                    confirmed_s: row.confirmed,
                    waiting: row.waiting,
                })
                .collect(),
            waiting: stats.waiting,
            asked: stats.asked,
            learned: stats.learned,
            moved: stats.moved,
            refused: stats.refused,
            failed: stats.failed,
            evicted: stats.evicted,
        })
    }

    pub(super) async fn flush_neighbours(
        &mut self,
        call: &FlushNeighbours,
    ) -> Result<Removed, Refusal> {
        let router = self.belief.switch.router(&call.router)?;
        let port = match &call.port {
            None => None,
            Some(name) => {
                let (_, port) = self.belief.switch.router_port(name)?;
                if port.settings.router_port.router.as_ref() != Some(&call.router) {
                    let text = format!("{name} is no port of router {}", call.router);
                    return Err(Refusal::new(Code::NotFound, text));
                }
                Some(PortId(port.id))
            }
        };
        let request = Request::FlushNeighbours {
            router: RouterId(router.id),
            port,
            address: call.address,
        };
        match self.dataplane.ask(&request).await? {
            Reply::Flushed(removed) => Ok(Removed { removed }),
            other => Err(unexpected(&other).into()),
        }
    }

    pub(super) async fn leases(&mut self, call: &Leases) -> Result<Vec<Lease>, Refusal> {
        if let Some(name) = &call.router {
            self.belief.switch.router(name)?;
        }
        let rows = match self.dataplane.ask(&Request::Leases).await? {
            Reply::Leases(rows) => rows,
            other => return Err(unexpected(&other).into()),
        };
        let wanted = call.router.as_ref().map(|router| {
            let ports = self.belief.switch.router_ports(router);
            ports.map(|(_, own)| own.id).collect::<BTreeSet<u32>>()
        });
        let is_wanted = |port: PortId| wanted.as_ref().is_none_or(|ids| ids.contains(&port.0));
        let names = self.port_names();
        Ok(rows
            .iter()
            .filter(|row| is_wanted(row.port))
            .map(|row| Lease {
                port: names.of(row.port.0),
                address: IpAddr::V4(row.address),
                mac: key::show_mac(row.mac),
                left_s: row.left,
            })
            .collect())
    }
}

/// Ports of one router.
type PortsByName<'a> = BTreeMap<&'a str, &'a Port>;

/// The ways of a route, ports by their numbers. A sentence when one cannot be gone.
fn name_ways(router: &str, ports: &PortsByName<'_>, route: &Route) -> Result<RouteTarget, String> {
    let ways = match &route.target {
        Target::Blackhole => return Ok(RouteTarget::Blackhole),
        Target::Prohibit => return Ok(RouteTarget::Prohibit),
        Target::Unreachable => return Ok(RouteTarget::Unreachable),
        Target::Via(ways) => ways,
    };
    let hop = |way: &Way| {
        let port = way
            .port
            .as_ref()
            .map(|name| {
                let port = ports.get(name.as_str());
                port.ok_or_else(|| format!("router {router} has no port {name}"))
            })
            .transpose()?;
        if let Some(gateway) = way.gateway {
            let is_local = matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local());
            let on = |port: &Port| {
                let mut own = port.settings.router_port.address.iter();
                own.any(|own| own.contains(gateway) && own.address != gateway)
            };
            match port {
                None if is_local => {
                    return Err(format!(
                        "{gateway} means something on one network only; say which with port PORT"
                    ));
                }
                None => {
                    if !ports.values().any(|port| on(port)) {
                        return Err(format!(
                            "{gateway} cannot be the next router: it is on no network of the ports \
                             of {router}, or its own address"
                        ));
                    }
                }
                Some(port) if !is_local && !on(port) => {
                    return Err(format!(
                        "{gateway} cannot be the next router: it is on no network of {}, or its own \
                         address",
                        port.name
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(HopSpec {
            gateway: way.gateway,
            port: port.map(|port| PortId(port.id)),
            weight: way.weight,
        })
    };
    let hops: Result<Vec<_>, String> = ways.iter().map(hop).collect();
    Ok(RouteTarget::Via(hops?))
}

/// A target with ports by their names.
fn name_target(names: &PortNames<'_>, target: &RouteTarget) -> Target {
    match target {
        RouteTarget::Blackhole => Target::Blackhole,
        RouteTarget::Prohibit => Target::Prohibit,
        RouteTarget::Unreachable => Target::Unreachable,
        RouteTarget::Via(hops) => Target::Via(
            hops.iter()
                .map(|hop| Way {
                    gateway: hop.gateway,
                    port: hop.port.map(|port| names.of(port.0)),
                    weight: hop.weight,
                })
                .collect(),
        ),
    }
}

/// Routes to networks within one, those behind `after`. What comes before is not looked at.
fn some_routes(
    routes: &RouteMap,
    within: Option<Prefix>,
    after: Option<RouteKey>,
) -> impl Iterator<Item = (&RouteKey, &RouteTarget)> {
    // Networks within one lie together, and it comes first.
    let first = within.map(|all| (all, None));
    let begin = match (first, after) {
        (Some(first), Some(after)) if after < first => Bound::Included(first),
        (_, Some(after)) => Bound::Excluded(after),
        (Some(first), None) => Bound::Included(first),
        (None, None) => Bound::Unbounded,
    };
    let rows = routes.range((begin, Bound::Unbounded));
    rows.take_while(move |((prefix, _), _)| {
        within.is_none_or(|all| prefix.len >= all.len && all.contains(prefix.address))
    })
}

fn show_key((prefix, source): &RouteKey) -> String {
    match source {
        None => prefix.to_string(),
        Some(source) => format!("{prefix} from {source}"),
    }
}

/// Settings of a router's port besides those that have a place of their own.
fn other_settings(one: &Port) -> Options {
    let mut options = key::show(port::KEYS, &one.settings);
    options.retain(|name, _| !SHOWN.contains(&name.as_str()));
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_routes_leave_nothing_out_and_say_nothing_twice() {
        let key = |text: &str| route::key(text).expect("the key of a route");
        let texts = [
            "9.0.0.0/8",
            "10.0.0.0/7",
            "10.0.0.0/8",
            "10.0.0.0/8 from 10.0.0.0/8",
            "10.0.0.0/9",
            "10.128.0.0/9",
            "11.0.0.0/8",
            "::/0",
            "fd00::/8",
        ];
        let routes: RouteMap = texts
            .iter()
            .map(|text| (key(text), RouteTarget::Prohibit))
            .collect();
        for within in [None, Some("10.0.0.0/8"), Some("::/0"), Some("0.0.0.0/0")] {
            let all = within.map(|text| key(text).0);
            let is_within = |(prefix, _): &&RouteKey| {
                all.is_none_or(|all| prefix.len >= all.len && all.contains(prefix.address))
            };
            let wanted: Vec<_> = routes.keys().filter(is_within).collect();
            let mut paged = Vec::new();
            let mut after = None;
            while let Some((next, _)) = some_routes(&routes, all, after).next() {
                paged.push(next);
                after = Some(*next);
            }
            assert_eq!(paged, wanted, "{within:?}");
        }
        let within = Some(key("10.0.0.0/8").0);
        let before = Some(key("0.0.0.0/0"));
        assert_eq!(some_routes(&routes, within, before).count(), 4);
    }
}
