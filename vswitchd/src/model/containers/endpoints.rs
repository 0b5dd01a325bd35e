//! Making, joining, leaving and removing endpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::networks::{is_exhausted, word};
use super::{
    CnmError, Containers, Driver, Endpoint, Id, Joined, Network, NewEndpoint, Thing, check_name,
};
use crate::ipam::{Family, Ipam};
use crate::model::key::show_mac;

/// The first bytes of addresses on the link that follow from others: Docker's, of local administration.
const MAC_PREFIX: [u8; 2] = [0x02, 0x42];

impl Containers {
    /// Makes an endpoint and reserves its addresses.
    pub fn create_endpoint(
        &mut self,
        id: Id,
        network: &Id,
        new: NewEndpoint,
    ) -> Result<&Endpoint, CnmError> {
        check_name(&new.name)?;
        for alias in &new.aliases {
            check_name(alias)?;
        }
        let network = self.known(network)?;
        if network.config_only {
            return Err(CnmError::EndpointOnConfig);
        }
        if self.of_network(&network.id).any(|one| one.name == new.name) {
            return Err(CnmError::EndpointExists {
                name: new.name,
                network: network.name.clone(),
            });
        }
        if self.endpoints.contains_key(&id) {
            let thing = Thing::Endpoint;
            return Err(CnmError::IdExists { thing, id });
        }
        if let Some(address) = new.link_local.iter().find(|one| !is_link_local(one)) {
            return Err(CnmError::LinkLocal(*address));
        }
        if let Some(mac) = new.mac {
            self.check_mac(network, mac)?;
        }
        let mut network = network.clone();
        // Only pools of this network change, and they change back if the second family has no room.
        let v4 = give(&mut self.ipam, &network, Family::V4, new.v4)?;
        let v6 = match give(&mut self.ipam, &network, Family::V6, new.v6) {
            Ok(v6) => v6,
            Err(error) => {
                release(&mut self.ipam, &network, v4);
                for subnet in &network.subnets {
                    self.ipam.resume(&subnet.subnet, subnet.next)?;
                }
                return Err(error);
            }
        };
        for subnet in &mut network.subnets {
            if let Some(pool) = self.ipam.pool(&subnet.subnet) {
                subnet.next = pool.next();
            }
        }
        let mac = new.mac.unwrap_or_else(|| {
            let taken: BTreeSet<[u8; 6]> =
                self.of_network(&network.id).map(|one| one.mac).collect();
            mac_of(v4.or(v6).map(|address| address.addr()), id, &taken)
        });
        let endpoint = Endpoint {
            id,
            name: new.name,
            network: network.id,
            mac,
            v4,
            v6,
            link_local: new.link_local,
            aliases: new.aliases,
            gateway_priority: new.gateway_priority,
            options: new.options,
            joined: None,
        };
        self.networks.insert(network.id, network);
        Ok(self.endpoints.entry(id).or_insert(endpoint))
    }

    fn known(&self, network: &Id) -> Result<&Network, CnmError> {
        self.networks
            .get(network)
            .ok_or_else(|| CnmError::NotFound {
                thing: Thing::Network,
                name: network.short(),
                have: Vec::new(),
            })
    }

    fn check_mac(&self, network: &Network, mac: [u8; 6]) -> Result<(), CnmError> {
        match self.of_network(&network.id).find(|one| one.mac == mac) {
            Some(other) => Err(CnmError::MacTaken {
                mac: show_mac(mac),
                endpoint: other.name.clone(),
                network: network.name.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Puts an endpoint into a sandbox. Its interface is called `prefix` and the first number that is free
    /// there.
    pub fn join(
        &mut self,
        endpoint: &Id,
        sandbox: &Id,
        prefix: &str,
    ) -> Result<&Endpoint, CnmError> {
        let found = self.known_endpoint(endpoint)?;
        if found.joined.is_some() {
            return Err(CnmError::Joined);
        }
        let Some(place) = self.sandboxes.get(sandbox) else {
            return Err(CnmError::JoinNothing(format!(
                "there is no sandbox {}",
                sandbox.short()
            )));
        };
        let network = self.known(&found.network)?;
        if network.driver == Driver::Host {
            return Err(CnmError::HostNetwork);
        }
        let mut names = BTreeSet::new();
        for other in self.in_sandbox(sandbox) {
            let its = self.known(&other.network)?;
            if its.id == network.id {
                return Err(CnmError::Connected {
                    sandbox: place.name.clone(),
                    network: network.name.clone(),
                });
            }
            if its.driver == Driver::None || network.driver == Driver::None {
                return Err(CnmError::PrivateMode);
            }
            names.extend(other.joined.as_ref().map(|joined| joined.ifname.clone()));
        }
        let ifname = (0_u32..)
            .map(|number| format!("{prefix}{number}"))
            .find(|name| !names.contains(name))
            .expect("a sandbox has fewer endpoints than there are numbers");
        let joined = Joined {
            sandbox: *sandbox,
            ifname,
        };
        let found = self.endpoints.get_mut(endpoint);
        let found = found.expect("looked up just now");
        found.joined = Some(joined);
        Ok(found)
    }

    /// Takes an endpoint out of the sandbox it is in. It keeps its addresses.
    pub fn leave(&mut self, endpoint: &Id, sandbox: &Id) -> Result<(), CnmError> {
        let found = self.known_endpoint(endpoint)?;
        let Some(joined) = &found.joined else {
            return Err(CnmError::NotJoined);
        };
        if joined.sandbox != *sandbox {
            return Err(CnmError::OtherSandbox {
                expected: joined.sandbox,
                got: *sandbox,
            });
        }
        if let Some(found) = self.endpoints.get_mut(endpoint) {
            found.joined = None;
        }
        Ok(())
    }

    /// Removes an endpoint and releases its addresses. One in a sandbox is removed by force only.
    pub fn remove_endpoint(&mut self, endpoint: &Id, force: bool) -> Result<Endpoint, CnmError> {
        let found = self.known_endpoint(endpoint)?;
        if found.joined.is_some() && !force {
            return Err(CnmError::ActiveContainers {
                name: found.name.clone(),
                id: found.id,
            });
        }
        let network = self.known(&found.network)?.clone();
        let endpoint = self.endpoints.remove(endpoint).expect("looked up just now");
        for address in endpoint.addresses() {
            release(&mut self.ipam, &network, Some(address));
        }
        Ok(endpoint)
    }

    fn known_endpoint(&self, endpoint: &Id) -> Result<&Endpoint, CnmError> {
        let found = self.endpoints.get(endpoint);
        found.ok_or_else(|| CnmError::NotFound {
            thing: Thing::Endpoint,
            name: endpoint.short(),
            have: Vec::new(),
        })
    }

    /// The endpoint by which a sandbox is connected to a network.
    pub fn connection(&self, network: &Id, sandbox: &Id) -> Result<&Endpoint, CnmError> {
        let mut endpoints = self.in_sandbox(sandbox);
        endpoints
            .find(|endpoint| endpoint.network == *network)
            .ok_or_else(|| {
                let name =
                    |id: &Id, name: Option<&String>| name.cloned().unwrap_or_else(|| id.short());
                let sandboxes = self.sandboxes.get(sandbox);
                CnmError::NotConnected {
                    sandbox: name(sandbox, sandboxes.map(|one| &one.name)),
                    network: name(network, self.networks.get(network).map(|one| &one.name)),
                }
            })
    }
}

/// An address of a family for a new endpoint: this one, or any of the network's subnets, in their order.
fn give(
    ipam: &mut Ipam,
    network: &Network,
    family: Family,
    asked: Option<IpAddr>,
) -> Result<Option<IpNet>, CnmError> {
    let mut subnets = network.of_family(family).peekable();
    if let Some(address) = asked {
        if subnets.peek().is_none() {
            return Err(CnmError::NoSuchFamily {
                address,
                network: network.name.clone(),
                family: word(family),
            });
        }
        let subnet = network
            .subnet_of(address)
            .ok_or(crate::ipam::IpamError::Outside(address))?;
        ipam.take(&subnet.subnet, address)?;
        return Ok(Some(subnet.with_prefix(address)));
    }
    if subnets.peek().is_none() {
        return Ok(None);
    }
    for subnet in subnets {
        match ipam.give(&subnet.subnet) {
            Ok(address) => return Ok(Some(subnet.with_prefix(address))),
            Err(error) if is_exhausted(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CnmError::Exhausted {
        family: word(family),
        name: network.name.clone(),
        id: network.id,
    })
}

fn release(ipam: &mut Ipam, network: &Network, address: Option<IpNet>) {
    let Some(address) = address.map(|address| address.addr()) else {
        return;
    };
    if let Some(subnet) = network.subnet_of(address) {
        ipam.release(&subnet.subnet, address)
            .expect("a network's subnets are pools as long as it is there");
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// An address on the link that follows from an address, so that neighbours that remember it are right after a
/// restart. Two addresses of IPv6 that end alike have different ones.
fn mac_of(address: Option<IpAddr>, id: Id, taken: &BTreeSet<[u8; 6]>) -> [u8; 6] {
    let end = match address {
        Some(IpAddr::V4(address)) => address.octets(),
        Some(IpAddr::V6(address)) => {
            let [.., a, b, c, d] = address.octets();
            [a, b, c, d]
        }
        None => {
            let digits = id.to_string();
            u32::from_str_radix(digits.get(..8).unwrap_or("0"), 16)
                .unwrap_or_default()
                .to_be_bytes()
        }
    };
    let number = u32::from_be_bytes(end);
    let [first, second] = MAC_PREFIX;
    (0..=u32::MAX)
        .map(|step| {
            let [a, b, c, d] = number.wrapping_add(step).to_be_bytes();
            [first, second, a, b, c, d]
        })
        .find(|mac| !taken.contains(mac))
        .expect("a network has fewer endpoints than there are addresses on a link")
}
