//! Putting endpoints into sandboxes and taking them out: ports, devices, addresses, routes.

use std::io;

use vswitch_rpc::Refusal;

use super::network::kernel;
use crate::control::Control;
use crate::driver::bridge;
use crate::host::device;
use crate::host::place::Place;
use crate::ipam::Family;
use crate::model::Port;
use crate::model::containers::{Containers, Driver, Endpoint, Id, Network, Sandbox};
use crate::store::Belief;

/// Takes an endpoint out of its sandbox and off its network, with its port.
pub(super) fn detach(next: &mut Belief, id: &Id) -> Result<(), Refusal> {
    let endpoint = next.containers.remove_endpoint(id, true)?;
    let name = bridge::port_name(&endpoint);
    if let Some((bridge, _)) = next.switch.port_anywhere(&name) {
        let bridge = bridge.name.clone();
        next.switch.del_port(&bridge, &name)?;
    }
    Ok(())
}

impl Control {
    /// Makes `next`, in which the endpoint has joined the sandbox, what is. After an error the sandbox is as
    /// before.
    pub(super) async fn attach_endpoint(
        &mut self,
        mut next: Belief,
        network: &Network,
        endpoint: &Endpoint,
        sandbox: &Sandbox,
    ) -> Result<(), Refusal> {
        if network.driver != Driver::Bridge {
            return self.commit(next, Vec::new()).await;
        }
        let its = next
            .switch
            .network_bridge(&network.id.to_string())?
            .name
            .clone();
        let new = bridge::port(network, endpoint, sandbox)?;
        let port = next.switch.add_port(&its, new)?.clone();
        let device = device::make(&port, Some(endpoint.mac))?;
        let dressed = device
            .dress(&addresses(endpoint))
            .and_then(|()| route(&next.containers, &sandbox.id));
        let result = match dressed {
            Ok(()) => self.commit(next, vec![(port.id, device)]).await,
            // The device goes, and its addresses and routes with it.
            Err(error) => {
                drop(device);
                Err(kernel("set up", &port.name, &error))
            }
        };
        if result.is_err() {
            self.route_or_log(&sandbox.id);
        }
        result
    }

    /// Sets the way out of a sandbox; that it cannot be set is for the log.
    pub(super) fn route_or_log(&self, sandbox: &Id) {
        if let Err(error) = route(&self.belief.containers, sandbox) {
            tracing::warn!(?sandbox, %error, "the way out of a sandbox could not be set");
        }
    }

    /// Sets the ways out of all sandboxes: what ended us may have come between a change and its ways.
    pub(crate) fn route_all(&self) {
        for sandbox in self.belief.containers.sandboxes() {
            self.route_or_log(&sandbox.id);
        }
    }

    /// Gives a device that was made anew the addresses that container networks say it has. The ways out are
    /// set when all devices are there.
    pub(crate) fn dress_again(&self, port: &Port) {
        let Some(device) = self.devices.get(&port.id) else {
            return;
        };
        let containers = &self.belief.containers;
        let result = if port.is_local() {
            let bridge = self.belief.switch.bridges.get(&port.name);
            let network = bridge.and_then(|bridge| bridge.network.as_ref()?.parse().ok());
            match network.and_then(|id: Id| containers.network_by_id(&id)) {
                Some(network) => device.dress(&bridge::local_addresses(network)),
                None => Ok(()),
            }
        } else {
            match bridge::endpoint_of(containers, &port.name) {
                Some(endpoint) => device.dress(&addresses(endpoint)),
                None => Ok(()),
            }
        };
        if let Err(error) = result {
            tracing::warn!(port = port.name, %error, "a device has not all of its addresses");
        }
    }
}

fn addresses(endpoint: &Endpoint) -> Vec<ipnet::IpNet> {
    let link_local = endpoint.link_local.iter().map(|address| {
        let len = if address.is_ipv4() { 16 } else { 64 };
        ipnet::IpNet::new(*address, len).unwrap_or((*address).into())
    });
    endpoint.addresses().chain(link_local).collect()
}

/// Sets the way out of a sandbox: each family by the endpoint that is elected for it. A way that goes with its
/// device needs no taking away.
fn route(containers: &Containers, id: &Id) -> io::Result<()> {
    let Some(sandbox) = containers.sandbox_by_id(id) else {
        return Ok(());
    };
    let gateways = containers.gateways(id);
    let ways = [(Family::V4, gateways.v4), (Family::V6, gateways.v6)];
    let ways: Vec<_> = ways
        .into_iter()
        .filter_map(|(family, endpoint)| {
            let endpoint = containers.endpoint_by_id(&endpoint?)?;
            let network = containers.network_by_id(&endpoint.network)?;
            let ifname = endpoint.joined.as_ref()?.ifname.clone();
            Some((ifname, network.gateway(family)?))
        })
        .collect();
    if ways.is_empty() {
        return Ok(());
    }
    Place::parse(&sandbox.key).with_links(|links| {
        for (ifname, gateway) in &ways {
            if let Some(link) = links.link_named(ifname)? {
                links.set_default_route(link.ifindex, *gateway)?;
            }
        }
        Ok(())
    })
}
