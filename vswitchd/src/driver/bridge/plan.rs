//! What a network and its endpoints are in the switch: a bridge and ports.

use ipnet::IpNet;
use vswitch_rpc::port::Kind;

use super::Options;
use crate::ipam::Family;
use crate::model::containers::{CnmError, Containers, Endpoint, Network, Sandbox};
use crate::model::port::PortSettings;
use crate::model::switch::NewPort;
use crate::model::{ModelError, Switch};

/// The bridge of a network: named by it, or after its id.
pub fn bridge_name(network: &Network) -> Result<String, CnmError> {
    let options = Options::read(&network.options)?;
    Ok(options
        .bridge
        .unwrap_or_else(|| format!("br-{}", network.id.short())))
}

/// What the names of endpoints' ports begin with.
const PORT_PREFIX: &str = "ep-";

/// The port of an endpoint, named after its id.
pub fn port_name(endpoint: &Endpoint) -> String {
    format!("{PORT_PREFIX}{}", endpoint.id.short())
}

/// The endpoint whose port has this name.
pub fn endpoint_of<'a>(containers: &'a Containers, port: &str) -> Option<&'a Endpoint> {
    let found = containers.endpoint_from(port.strip_prefix(PORT_PREFIX)?)?;
    (port_name(found) == port).then_some(found)
}

/// Makes the bridge of a network. `mac` becomes the address of its device.
pub fn add_network(
    switch: &mut Switch,
    network: &Network,
    mac: [u8; 6],
) -> Result<String, ModelError> {
    let unfit = |error: CnmError| ModelError::Network(error.to_string());
    let name = bridge_name(network).map_err(unfit)?;
    let mtu = Options::read(&network.options).map_err(unfit)?.mtu;
    switch.add_network_bridge(&name, &network.id.to_string(), mac, mtu)?;
    Ok(name)
}

/// The port of an endpoint that is in a sandbox.
pub fn port(
    network: &Network,
    endpoint: &Endpoint,
    sandbox: &Sandbox,
) -> Result<NewPort, CnmError> {
    let ifname = endpoint.joined.as_ref().map(|joined| joined.ifname.clone());
    Ok(NewPort {
        name: port_name(endpoint),
        kind: Kind::Tap,
        why: String::new(),
        makes_device: true,
        settings: PortSettings {
            kind: Some(Kind::Tap),
            mtu: Options::read(&network.options)?.mtu,
            netns: Some(sandbox.key.clone()),
            ifname,
            addr: Some(endpoint.mac),
            ..PortSettings::default()
        },
    })
}

/// The addresses of the bridge's own device: the gateways, where the network leads anywhere.
pub fn local_addresses(network: &Network) -> Vec<IpNet> {
    let gateways = |family| {
        let subnets = network.of_family(family);
        subnets.filter_map(|subnet| Some(subnet.with_prefix(subnet.gateway?)))
    };
    if network.internal {
        return Vec::new();
    }
    gateways(Family::V4).chain(gateways(Family::V6)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipam::Defaults;
    use crate::model::containers::{Id, NewEndpoint, NewNetwork};

    #[test]
    fn an_endpoint_is_found_by_its_port_and_no_other_port() {
        let mut containers = Containers::default();
        let id = |first: u8| {
            let mut bytes = [0; 32];
            bytes[0] = first;
            // Some are the first that begin so, others are not.
            bytes[31] = first % 2;
            Id::new(bytes)
        };
        let new = NewNetwork {
            name: "red".into(),
            ipv4: true,
            ..NewNetwork::default()
        };
        let network = containers.create_network(id(1), new, &Defaults::local([9; 5]), &[]);
        let network = network.expect("a network").id;
        for first in [2, 0x20, 0xab, 0xff] {
            let new = NewEndpoint {
                name: format!("c{first}"),
                ..NewEndpoint::default()
            };
            let made = containers.create_endpoint(id(first), &network, new);
            made.expect("an endpoint");
        }
        for one in containers.endpoints() {
            let found = endpoint_of(&containers, &port_name(one));
            assert_eq!(found.map(|found| found.id), Some(one.id));
        }
        for other in [
            "ep-",
            "ep-02",
            "ep-0300000000000",
            "ep-030000000000",
            "ep-AB0000000000",
            "ep-é",
            "xx-020000000000",
            "",
        ] {
            assert_eq!(endpoint_of(&containers, other), None, "{other:?}");
        }
        assert_eq!(
            endpoint_of(&containers, &format!("ep-{}", "f".repeat(70))),
            None
        );
    }
}
