//! A network and its subnets.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::id::Id;
use super::refusal::CnmError;
use crate::ipam::Family;

/// Who moves a network's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// A bridge of the switch for each network.
    Bridge,
    /// The host's own namespace.
    Host,
    /// Nobody: only loopback.
    None,
    /// Nobody: the network is a configuration that others are made from.
    Null,
}

impl Driver {
    /// Those that can be asked for.
    pub const NAMES: [&'static str; 3] = ["bridge", "host", "none"];

    /// The driver of this name.
    pub fn parse(name: &str) -> Result<Self, CnmError> {
        match name {
            "bridge" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            _ => Err(CnmError::Driver {
                name: name.into(),
                have: Self::NAMES.to_vec(),
            }),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::None => "none",
            Self::Null => "null",
        }
    }
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// All its addresses.
    pub subnet: IpNet,
    /// Where addresses come from that nobody names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<IpNet>,
    /// The way to everywhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Addresses of others, by what they are for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aux: BTreeMap<String, IpAddr>,
    /// Somebody asked for this subnet.
    pub asked: bool,
    /// Where the search for the next address begins.
    pub next: IpAddr,
}

impl Subnet {
    /// An address of it with the length of its prefix.
    pub fn with_prefix(&self, address: IpAddr) -> IpNet {
        IpNet::new(address, self.subnet.prefix_len()).unwrap_or(self.subnet)
    }
}

/// A group of endpoints that reach each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its number.
    pub id: Id,
    /// Its name, unique.
    pub name: String,
    /// Who moves its packets.
    pub driver: Driver,
    /// Those of IPv4 first, each family in the order of asking.
    #[serde(default)]
    pub subnets: Vec<Subnet>,
    /// It leads nowhere else.
    #[serde(default)]
    pub internal: bool,
    /// It is only a configuration.
    #[serde(default)]
    pub config_only: bool,
    /// The configuration it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_from: Option<String>,
    /// For the driver.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// For people.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Network {
    /// It is always there.
    pub fn is_predefined(&self) -> bool {
        matches!(self.driver, Driver::Host | Driver::None)
    }

    /// Its subnets of a family.
    pub fn of_family(&self, family: Family) -> impl Iterator<Item = &Subnet> {
        self.subnets
            .iter()
            .filter(move |subnet| Family::of(&subnet.subnet) == family)
    }

    /// The gateway of a family, if the network leads anywhere.
    pub fn gateway(&self, family: Family) -> Option<IpAddr> {
        let mut subnets = self.of_family(family).filter(|_| !self.internal);
        subnets.find_map(|subnet| subnet.gateway)
    }

    /// The subnet that an address is of.
    pub fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets
            .iter()
            .find(|subnet| subnet.subnet.contains(&address))
    }
}

/// A network as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewNetwork {
    /// Its name.
    pub name: String,
    /// The driver; bridge unless said otherwise.
    pub driver: Option<String>,
    /// IPv4 is wanted.
    pub ipv4: bool,
    /// IPv6 is wanted.
    pub ipv6: bool,
    /// Subnets; a family without one gets one of the defaults.
    pub subnets: Vec<IpNet>,
    /// Parts of them.
    pub ranges: Vec<IpNet>,
    /// Gateways in them.
    pub gateways: Vec<IpAddr>,
    /// Addresses of others in them.
    pub aux: BTreeMap<String, IpAddr>,
    /// It leads nowhere else.
    pub internal: bool,
    /// It is only a configuration.
    pub config_only: bool,
    /// The configuration to make it from.
    pub config_from: Option<String>,
    /// For the driver.
    pub options: BTreeMap<String, String>,
    /// For people.
    pub labels: BTreeMap<String, String>,
}

/// A subnet as it was asked for, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) subnet: IpNet,
    pub(super) range: Option<IpNet>,
    pub(super) gateway: Option<IpAddr>,
    pub(super) aux: BTreeMap<String, IpAddr>,
}

impl NewNetwork {
    /// Puts ranges, gateways and auxiliary addresses to their subnets, as Docker does.
    pub(super) fn wanted(&self) -> Result<Vec<Wanted>, CnmError> {
        let count = self.subnets.len();
        if count < self.ranges.len() || count < self.gateways.len() {
            return Err(CnmError::MoreThanSubnets);
        }
        let mut wanted: Vec<Wanted> = Vec::with_capacity(count);
        for subnet in &self.subnets {
            if wanted
                .iter()
                .any(|other| crate::ipam::overlap(&other.subnet, subnet))
            {
                return Err(CnmError::OverlappingSubnets);
            }
            wanted.push(Wanted {
                subnet: *subnet,
                range: None,
                gateway: None,
                aux: BTreeMap::new(),
            });
        }
        for range in &self.ranges {
            let home = home(&mut wanted, "range", range.addr(), range)?;
            if let Some(first) = home.range.replace(*range) {
                return Err(twice("ranges", &first, range, home.subnet));
            }
        }
        for gateway in &self.gateways {
            let home = home(&mut wanted, "gateway", *gateway, gateway)?;
            if let Some(first) = home.gateway.replace(*gateway) {
                return Err(twice("gateways", &first, gateway, home.subnet));
            }
        }
        for (name, address) in &self.aux {
            let home = home(&mut wanted, "aux-address", *address, address)?;
            home.aux.insert(name.clone(), *address);
        }
        wanted.sort_by_key(|wanted| Family::of(&wanted.subnet));
        Ok(wanted)
    }

    /// Whether it says anything that a configuration would.
    pub(super) fn has_configuration(&self) -> bool {
        self.ipv6
            || !self.ipv4
            || !self.subnets.is_empty()
            || !self.ranges.is_empty()
            || !self.gateways.is_empty()
            || !self.aux.is_empty()
            || !self.options.is_empty()
            || !self.labels.is_empty()
    }
}

fn home<'a>(
    wanted: &'a mut [Wanted],
    what: &'static str,
    address: IpAddr,
    value: &dyn std::fmt::Display,
) -> Result<&'a mut Wanted, CnmError> {
    let mut subnets = wanted.iter_mut();
    let found = subnets.find(|wanted| wanted.subnet.contains(&address));
    found.ok_or_else(|| CnmError::NoSubnet {
        what,
        value: value.to_string(),
    })
}

fn twice(
    what: &'static str,
    first: &dyn std::fmt::Display,
    second: &dyn std::fmt::Display,
    subnet: IpNet,
) -> CnmError {
    CnmError::Twice {
        what,
        first: first.to_string(),
        second: second.to_string(),
        subnet,
    }
}
