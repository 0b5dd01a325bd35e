//! Making, seeing and removing networks.

use std::net::IpAddr;

use ipnet::IpNet;
use vswitch_rpc::method::Done;
use vswitch_rpc::network::{
    Created, EndpointInspect, NetworkConnect, NetworkCreate, NetworkDisconnect, NetworkInspect,
    NetworkRm,
};
use vswitch_rpc::{Code, Refusal, network as rpc};

use super::{check_labels, new_id};
use crate::command::bridge::random_mac;
use crate::command::random;
use crate::control::Control;
use crate::driver::bridge;
use crate::host::device;
use crate::host::netlink::Netlink;
use crate::ipam::Defaults;
use crate::model::containers::{CnmError, Driver, Id, NewEndpoint, NewNetwork};
use crate::model::key;
use crate::store::Belief;

impl Control {
    pub(in crate::command) async fn network_create(
        &mut self,
        call: NetworkCreate,
    ) -> Result<Created, Refusal> {
        let new = read(call)?;
        let mut next = self.belief.clone();
        let site = match next.site {
            Some(site) => site,
            None => *next.site.insert(random()?),
        };
        let routes = self.routes()?;
        let defaults = Defaults::local(site);
        let containers = &mut next.containers;
        let network = containers.create_network(new_id()?, new, &defaults, &routes)?;
        let network = network.clone();
        let mut made = Vec::new();
        if network.driver == Driver::Bridge {
            let mac = random_mac()?;
            let name = bridge::add_network(&mut next.switch, &network, mac)?;
            let local = next.switch.bridge(&name)?.ports[&name].clone();
            let device = device::make(&local, Some(mac))?;
            device
                .dress(&bridge::local_addresses(&network))
                .map_err(|error| kernel("give the network's addresses to", &name, &error))?;
            made.push((local.id, device));
        }
        self.commit(next, made).await?;
        Ok(Created {
            id: network.id.to_string(),
        })
    }

    /// Destinations that the host reaches by devices which are not ours.
    fn routes(&self) -> Result<Vec<IpNet>, Refusal> {
        let destinations = Netlink::open()
            .and_then(|mut netlink| netlink.destinations())
            .map_err(|error| kernel("list", "the host's routes", &error))?;
        let ours = |ifindex: u32| {
            let mut devices = self.devices.values();
            devices.any(|device| {
                let own = device.place == crate::host::place::Place::Own;
                own && device
                    .link
                    .as_ref()
                    .is_some_and(|link| link.ifindex == ifindex)
            })
        };
        let foreign = destinations
            .into_iter()
            .filter(|(_, device)| !ours(*device));
        Ok(foreign.map(|(net, _)| net).collect())
    }

    pub(in crate::command) fn network_ls(&self) -> Result<Vec<rpc::Network>, Refusal> {
        let containers = &self.belief.containers;
        let networks = containers.networks().into_iter();
        Ok(networks.map(|network| self.tell_network(network)).collect())
    }

    pub(in crate::command) fn network_inspect(
        &self,
        call: &NetworkInspect,
    ) -> Result<rpc::Network, Refusal> {
        let network = self.belief.containers.network(&call.network)?;
        Ok(self.tell_network(network))
    }

    pub(in crate::command) async fn network_rm(
        &mut self,
        call: NetworkRm,
    ) -> Result<Done, Refusal> {
        let mut next = self.belief.clone();
        let id = next.containers.network(&call.network)?.id;
        self.remove(&mut next, &id)?;
        self.commit(next, Vec::new()).await?;
        Ok(Done {})
    }

    pub(in crate::command) async fn network_prune(&mut self) -> Result<Vec<String>, Refusal> {
        let mut next = self.belief.clone();
        let mut gone = Vec::new();
        // Configurations are unused once the networks that were made from them are gone.
        loop {
            let unused = next.containers.unused_networks();
            let unused: Vec<_> = unused
                .iter()
                .map(|one| (one.id, one.name.clone()))
                .collect();
            if unused.is_empty() {
                break;
            }
            for (id, name) in unused {
                self.remove(&mut next, &id)?;
                gone.push(name);
            }
        }
        self.commit(next, Vec::new()).await?;
        gone.sort();
        Ok(gone)
    }

    /// Takes a network away, and its bridge, unless routes lead by that.
    fn remove(&self, next: &mut Belief, id: &Id) -> Result<(), Refusal> {
        let network = next.containers.remove_network(id)?;
        if network.driver == Driver::Bridge
            && let Some(bridge) = next.switch.del_network_bridge(&network.id.to_string())
        {
            self.check_unrouted(bridge.ports.values())?;
        }
        Ok(())
    }

    pub(in crate::command) async fn network_connect(
        &mut self,
        call: NetworkConnect,
    ) -> Result<rpc::Endpoint, Refusal> {
        let mut next = self.belief.clone();
        let network = next.containers.network(&call.network)?.clone();
        let sandbox = next.containers.sandbox(&call.sandbox)?.clone();
        if network.driver == Driver::Host {
            return Err(CnmError::HostNetwork.into());
        }
        let mac = match &call.mac_address {
            Some(text) => Some(key::mac(text).ok_or_else(|| {
                let text = format!(
                    "invalid MAC address {text}: six bytes of a single device are written \
                     02:42:0a:01:00:02"
                );
                Refusal::new(Code::Refused, text)
            })?),
            None => None,
        };
        let options = bridge::Options::read(&network.options)?;
        bridge::Options::check_endpoint(&call.options)?;
        let new = NewEndpoint {
            name: sandbox.name.clone(),
            v4: of_family(call.ip, IpAddr::is_ipv4, "--ip", "IPv4")?,
            v6: of_family(call.ip6, IpAddr::is_ipv6, "--ip6", "IPv6")?,
            mac,
            link_local: call.link_local_ips,
            aliases: call.aliases.into_iter().collect(),
            gateway_priority: call.gw_priority,
            options: call.options,
        };
        let containers = &mut next.containers;
        let id = containers.create_endpoint(new_id()?, &network.id, new)?.id;
        let endpoint = containers.join(&id, &sandbox.id, &options.prefix)?.clone();
        self.attach_endpoint(next, &network, &endpoint, &sandbox)
            .await?;
        let containers = &self.belief.containers;
        let endpoint = containers.endpoint_by_id(&id).unwrap_or(&endpoint);
        Ok(self.tell_endpoint(endpoint))
    }

    pub(in crate::command) async fn network_disconnect(
        &mut self,
        call: NetworkDisconnect,
    ) -> Result<Done, Refusal> {
        let mut next = self.belief.clone();
        let network = next.containers.network(&call.network)?.clone();
        let sandbox = next.containers.sandbox(&call.sandbox)?.clone();
        if network.driver == Driver::Host {
            return Err(CnmError::HostNetwork.into());
        }
        let endpoint = next.containers.connection(&network.id, &sandbox.id)?.id;
        super::attach::detach(&mut next, &endpoint)?;
        self.commit(next, Vec::new()).await?;
        self.route_or_log(&sandbox.id);
        Ok(Done {})
    }

    pub(in crate::command) fn endpoint_ls(&self) -> Result<Vec<rpc::Endpoint>, Refusal> {
        let containers = &self.belief.containers;
        let endpoints = containers.endpoints().into_iter();
        Ok(endpoints.map(|one| self.tell_endpoint(one)).collect())
    }

    pub(in crate::command) fn endpoint_inspect(
        &self,
        call: &EndpointInspect,
    ) -> Result<rpc::Endpoint, Refusal> {
        let endpoint = self.belief.containers.endpoint(&call.endpoint)?;
        Ok(self.tell_endpoint(endpoint))
    }
}

/// A step that the kernel would not do.
pub(super) fn kernel(what: &str, whom: &str, error: &std::io::Error) -> Refusal {
    Refusal::new(
        Code::Kernel,
        format!("the kernel refused to {what} {whom}: {error}"),
    )
}

fn of_family(
    address: Option<IpAddr>,
    is: fn(&IpAddr) -> bool,
    option: &str,
    family: &str,
) -> Result<Option<IpAddr>, Refusal> {
    match address {
        Some(other) if !is(&other) => {
            let text = format!("{option} {other} is not possible: it takes an {family} address");
            Err(Refusal::new(Code::Refused, text))
        }
        address => Ok(address),
    }
}

fn nets(what: &str, texts: &[String]) -> Result<Vec<IpNet>, Refusal> {
    let parse = |text: &String| {
        text.parse().map_err(|_| {
            let text = format!("invalid {what} {text}: it is written 10.1.0.0/24 or fd00:1::/64");
            Refusal::new(Code::Refused, text)
        })
    };
    texts.iter().map(parse).collect()
}

fn read(call: NetworkCreate) -> Result<NewNetwork, Refusal> {
    check_labels(&call.labels)?;
    let new = NewNetwork {
        subnets: nets("subnet", &call.subnets)?,
        ranges: nets("ip-range", &call.ip_ranges)?,
        name: call.name,
        driver: call.driver,
        ipv4: !call.no_ipv4,
        ipv6: call.ipv6,
        gateways: call.gateways,
        aux: call.aux_addresses,
        internal: call.internal,
        config_only: call.config_only,
        config_from: call.config_from,
        options: call.options,
        labels: call.labels,
    };
    // Whether the driver can do it is known before anything is made; of a configuration too.
    bridge::Options::read(&new.options)?;
    Ok(new)
}
