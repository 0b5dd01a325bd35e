//! Networks, sandboxes and endpoints as they are told to those who ask.

use vswitch_rpc::{network as rpc, sandbox};

use crate::control::Control;
use crate::driver::bridge;
use crate::ipam::Family;
use crate::model::containers::{Driver, Endpoint, Network, Sandbox, Subnet};
use crate::model::key::show_mac;

impl Control {
    pub(super) fn tell_network(&self, network: &Network) -> rpc::Network {
        let containers = &self.belief.containers;
        let id = network.id.to_string();
        let bridge = self.belief.switch.network_bridge(&id).ok();
        let mut endpoints: Vec<&Endpoint> = containers.of_network(&network.id).collect();
        endpoints.sort_by(|a, b| a.name.cmp(&b.name));
        let names = self.names.status(&network.id);
        rpc::Network {
            id,
            name: network.name.clone(),
            driver: network.driver.name().into(),
            internal: network.internal,
            config_only: network.config_only,
            config_from: network.config_from.clone(),
            bridge: bridge.map(|bridge| bridge.name.clone()),
            subnets: network.subnets.iter().map(tell_subnet).collect(),
            options: network.options.clone(),
            labels: network.labels.clone(),
            name_servers: match names {
                Some(Ok(servers)) => servers.to_vec(),
                Some(Err(_)) | None => Vec::new(),
            },
            name_server_error: names.and_then(|names| names.err().map(str::to_owned)),
            endpoints: endpoints
                .into_iter()
                .map(|endpoint| self.tell_endpoint(endpoint))
                .collect(),
        }
    }

    pub(super) fn tell_endpoint(&self, endpoint: &Endpoint) -> rpc::Endpoint {
        let containers = &self.belief.containers;
        let network = containers.network_by_id(&endpoint.network);
        let joined = endpoint.joined.as_ref();
        let sandbox = joined.and_then(|joined| containers.sandbox_by_id(&joined.sandbox));
        let has_port = network.is_some_and(|network| network.driver == Driver::Bridge);
        let gateways = joined.map(|joined| containers.gateways(&joined.sandbox));
        let gateways = gateways.unwrap_or_default();
        let ways = [(Family::V4, gateways.v4), (Family::V6, gateways.v6)];
        let ways = ways
            .into_iter()
            .filter(|(_, way)| *way == Some(endpoint.id));
        rpc::Endpoint {
            id: endpoint.id.to_string(),
            name: endpoint.name.clone(),
            network: network.map_or_else(String::new, |network| network.name.clone()),
            sandbox: sandbox.map(|sandbox| sandbox.name.clone()),
            interface: joined
                .filter(|_| has_port)
                .map(|joined| joined.ifname.clone()),
            port: has_port.then(|| bridge::port_name(endpoint)),
            mac_address: show_mac(endpoint.mac),
            addresses: endpoint.addresses().map(|one| one.to_string()).collect(),
            link_local_ips: endpoint.link_local.clone(),
            aliases: endpoint.aliases.iter().cloned().collect(),
            gw_priority: endpoint.gateway_priority,
            gateway_of: ways.map(|(family, _)| family.to_string()).collect(),
            options: endpoint.options.clone(),
        }
    }

    pub(super) fn tell_sandbox(&self, sandbox: &Sandbox) -> sandbox::Sandbox {
        let containers = &self.belief.containers;
        let networks = containers.in_sandbox(&sandbox.id).filter_map(|endpoint| {
            let network = containers.network_by_id(&endpoint.network)?;
            Some(network.name.clone())
        });
        let mut networks: Vec<String> = networks.collect();
        networks.sort();
        sandbox::Sandbox {
            id: sandbox.id.to_string(),
            name: sandbox.name.clone(),
            netns: sandbox.key.clone(),
            made: sandbox.made,
            networks,
            labels: sandbox.labels.clone(),
        }
    }
}

fn tell_subnet(subnet: &Subnet) -> rpc::Subnet {
    rpc::Subnet {
        subnet: subnet.subnet.to_string(),
        ip_range: subnet.range.map(|range| range.to_string()),
        gateway: subnet.gateway,
        aux_addresses: subnet.aux.clone(),
    }
}
