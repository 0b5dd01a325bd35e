//! Making and removing networks.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::network::Wanted;
use super::{CnmError, Containers, Driver, Id, Network, NewNetwork, Subnet, Thing, check_name};
use crate::ipam::{Defaults, Family, Ipam, IpamError};

impl Containers {
    /// Makes a network. Subnets that nobody asked for are of `defaults`; the host reaches `routes` by other
    /// ways.
    pub fn create_network(
        &mut self,
        id: Id,
        new: NewNetwork,
        defaults: &Defaults,
        routes: &[IpNet],
    ) -> Result<&Network, CnmError> {
        if PREDEFINED_NAMES.contains(&new.name.as_str()) {
            return Err(CnmError::Predefined(new.name));
        }
        check_name(&new.name)?;
        if self.network_named(&new.name).is_some() {
            return Err(CnmError::NetworkExists(new.name));
        }
        if self.networks.contains_key(&id) {
            let thing = Thing::Network;
            return Err(CnmError::IdExists { thing, id });
        }
        let driver = check_driver(&new)?;
        let new = self.configured(new)?;
        let mut ipam = self.ipam.clone();
        let subnets = if new.config_only {
            let kept = new.wanted()?.into_iter().map(keep);
            kept.collect::<Result<_, _>>()?
        } else {
            subnets(&mut ipam, &new, defaults, routes)?
        };
        let network = Network {
            id,
            name: new.name,
            driver,
            subnets,
            internal: new.internal,
            config_only: new.config_only,
            config_from: new.config_from,
            options: new.options,
            labels: new.labels,
        };
        self.ipam = ipam;
        Ok(self.networks.entry(id).or_insert(network))
    }

    /// The network as it should be, its configuration taken from where it says.
    fn configured(&self, mut new: NewNetwork) -> Result<NewNetwork, CnmError> {
        let Some(name) = &new.config_from else {
            return Ok(new);
        };
        if new.config_only {
            return Err(CnmError::ConfigFromConfig);
        }
        let from = self.network_named(name);
        let from = from.ok_or_else(|| CnmError::NoConfig(name.clone()))?;
        if !from.config_only {
            return Err(CnmError::NotConfig(name.clone()));
        }
        if new.has_configuration() {
            return Err(CnmError::ConfigTwice);
        }
        new.ipv6 = from.of_family(Family::V6).next().is_some();
        new.ipv4 = !new.ipv6 || from.of_family(Family::V4).next().is_some();
        for subnet in &from.subnets {
            new.subnets.push(subnet.subnet);
            new.ranges.extend(subnet.range);
            new.gateways.extend(subnet.gateway);
            new.aux.extend(subnet.aux.clone());
        }
        new.options.clone_from(&from.options);
        new.labels.clone_from(&from.labels);
        Ok(new)
    }

    /// Removes a network and releases its subnets.
    pub fn remove_network(&mut self, id: &Id) -> Result<Network, CnmError> {
        let Some(network) = self.networks.get(id) else {
            return Err(CnmError::NotFound {
                thing: Thing::Network,
                name: id.short(),
                have: Vec::new(),
            });
        };
        if network.is_predefined() {
            return Err(CnmError::PredefinedStays(network.name.clone()));
        }
        let endpoints: Vec<String> = self.of_network(id).map(|one| one.name.clone()).collect();
        if !endpoints.is_empty() {
            return Err(CnmError::ActiveEndpoints {
                name: network.name.clone(),
                id: *id,
                endpoints,
            });
        }
        let by = self.users_of(network);
        if !by.is_empty() {
            return Err(CnmError::ConfigInUse {
                name: network.name.clone(),
                by,
            });
        }
        let network = self.networks.remove(id).expect("looked up just now");
        for subnet in network.subnets.iter().filter(|_| !network.config_only) {
            self.ipam
                .remove(&subnet.subnet)
                .expect("a network's subnets are pools as long as it is there");
        }
        Ok(network)
    }

    /// Networks that were made from a configuration.
    fn users_of(&self, config: &Network) -> Vec<String> {
        let users = self.networks.values().filter(|network| {
            config.config_only && network.config_from.as_ref() == Some(&config.name)
        });
        users.map(|network| network.name.clone()).collect()
    }

    /// Networks that nobody would miss: without endpoints, not always there, and no configuration in use.
    pub fn unused_networks(&self) -> Vec<&Network> {
        let mut networks = self.networks();
        networks.retain(|network| {
            !network.is_predefined()
                && self.of_network(&network.id).next().is_none()
                && self.users_of(network).is_empty()
        });
        networks
    }
}

/// Names that nobody may give.
const PREDEFINED_NAMES: [&str; 2] = ["host", "none"];

fn check_driver(new: &NewNetwork) -> Result<Driver, CnmError> {
    if new.config_only {
        if new.driver.is_some() {
            return Err(CnmError::ConfigDriver);
        }
        if new.internal {
            return Err(CnmError::ConfigFields);
        }
        return Ok(Driver::Null);
    }
    match Driver::parse(new.driver.as_deref().unwrap_or("bridge"))? {
        driver @ (Driver::Host | Driver::None) => Err(CnmError::OnlyOne(driver.name())),
        driver => Ok(driver),
    }
}

/// A subnet of a configuration: checked, and nobody's.
fn keep(wanted: Wanted) -> Result<Subnet, CnmError> {
    let mut alone = Ipam::default();
    let subnet = Subnet {
        next: first(&wanted),
        subnet: wanted.subnet,
        range: wanted.range,
        gateway: wanted.gateway,
        aux: wanted.aux,
        asked: true,
    };
    reserve(&mut alone, &subnet, &[])?;
    Ok(subnet)
}

fn first(wanted: &Wanted) -> std::net::IpAddr {
    wanted.range.unwrap_or(wanted.subnet).network()
}

/// The pools of a network that is made, with its gateways and auxiliary addresses taken.
fn subnets(
    ipam: &mut Ipam,
    new: &NewNetwork,
    defaults: &Defaults,
    routes: &[IpNet],
) -> Result<Vec<Subnet>, CnmError> {
    let mut wanted: Vec<(Wanted, bool)> = Vec::new();
    for one in new.wanted()? {
        let family = Family::of(&one.subnet);
        let on = match family {
            Family::V4 => new.ipv4,
            Family::V6 => new.ipv6,
        };
        if !on {
            return Err(CnmError::FamilyOff(word(family), one.subnet));
        }
        wanted.push((one, true));
    }
    if !new.ipv4 && !new.ipv6 {
        return Err(CnmError::NoFamily);
    }
    for (family, on) in [(Family::V4, new.ipv4), (Family::V6, new.ipv6)] {
        let there = wanted
            .iter()
            .any(|(one, _)| Family::of(&one.subnet) == family);
        if on && !there {
            let one = Wanted {
                subnet: ipam.choose(defaults, family, routes)?,
                range: None,
                gateway: None,
                aux: BTreeMap::new(),
            };
            wanted.push((one, false));
        }
    }
    wanted.sort_by_key(|(one, _)| Family::of(&one.subnet));
    let mut subnets = Vec::with_capacity(wanted.len());
    for (one, asked) in wanted {
        let mut subnet = Subnet {
            next: first(&one),
            subnet: one.subnet,
            range: one.range,
            gateway: one.gateway,
            aux: one.aux,
            asked,
        };
        reserve(ipam, &subnet, routes)?;
        // Where nobody leaves there is nobody to ask the way.
        if subnet.gateway.is_none() && !new.internal {
            subnet.gateway = Some(ipam.give(&subnet.subnet)?);
        }
        let pool = ipam.pool(&subnet.subnet);
        subnet.next = pool.expect("made just now").next();
        subnets.push(subnet);
    }
    Ok(subnets)
}

/// Takes what a network says of a subnet.
pub(super) fn reserve(ipam: &mut Ipam, subnet: &Subnet, routes: &[IpNet]) -> Result<(), CnmError> {
    ipam.add(subnet.subnet, subnet.range, routes)?;
    for address in subnet.gateway.iter().chain(subnet.aux.values()) {
        ipam.take(&subnet.subnet, *address)?;
    }
    ipam.resume(&subnet.subnet, subnet.next)?;
    Ok(())
}

/// The family in a refusal.
pub(super) fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// Whether a pool has nothing left, which the next one may have.
pub(super) fn is_exhausted(error: &IpamError) -> bool {
    matches!(error, IpamError::Exhausted(_))
}
