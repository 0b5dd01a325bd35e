//! An endpoint, and the sandbox it may be in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::id::Id;
use crate::ipam::Family;

/// A place on a network: one interface with its addresses. It keeps them until it is removed, in a sandbox
/// or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its number.
    pub id: Id,
    /// Its name, unique in its network.
    pub name: String,
    /// Its network, for life.
    pub network: Id,
    /// Its address on the link.
    pub mac: [u8; 6],
    /// Its address of IPv4, with the subnet's prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v4: Option<IpNet>,
    /// The same of IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6: Option<IpNet>,
    /// Further addresses that hold on the link only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<IpAddr>,
    /// Other names that members of the network know it by.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub aliases: BTreeSet<String>,
    /// The higher, the sooner it is its sandbox's way to everywhere else.
    #[serde(default)]
    pub gateway_priority: i32,
    /// For the driver.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Joined>,
}

impl Endpoint {
    /// Its address of a family.
    pub fn address(&self, family: Family) -> Option<IpNet> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpNet> {
        self.v4.into_iter().chain(self.v6)
    }
}

/// An endpoint's place in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The sandbox.
    pub sandbox: Id,
    /// The interface's name there.
    pub ifname: String,
}

/// An endpoint as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewEndpoint {
    /// Its name.
    pub name: String,
    /// Its address of IPv4; one of the network's otherwise.
    pub v4: Option<IpAddr>,
    /// The same of IPv6.
    pub v6: Option<IpAddr>,
    /// Its address on the link; one that follows from its addresses otherwise.
    pub mac: Option<[u8; 6]>,
    /// Addresses that hold on the link only.
    pub link_local: Vec<IpAddr>,
    /// Other names.
    pub aliases: BTreeSet<String>,
    /// The higher, the sooner it is the way to everywhere else.
    pub gateway_priority: i32,
    /// For the driver.
    pub options: BTreeMap<String, String>,
}

/// A network namespace with the endpoints in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Its number.
    pub id: Id,
    /// What people call it: the container.
    pub name: String,
    /// Its namespace, as `netns=` of a port: a name of `ip netns`, or a path.
    pub key: String,
    /// We made the namespace, so we take it away with the sandbox.
    pub made: bool,
    /// For people.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// The way out of a sandbox, which each family has for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gateways {
    /// The endpoint that IPv4 goes by.
    pub v4: Option<Id>,
    /// The endpoint that IPv6 goes by.
    pub v6: Option<Id>,
}
