//! Container networks: making, seeing, removing, and connecting sandboxes to them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::flow::Story;

/// `network-create`: makes a network. Words and defaults are Docker's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkCreate {
    /// The network.
    pub name: String,
    /// Who moves its packets; `bridge` unless said otherwise.
    #[serde(default)]
    pub driver: Option<String>,
    /// It has no addresses of IPv4.
    #[serde(default)]
    pub no_ipv4: bool,
    /// It has addresses of IPv6.
    #[serde(default)]
    pub ipv6: bool,
    /// Subnets, `10.1.0.0/24`; a family without one gets one of the defaults.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// Parts of them from which addresses come that nobody names.
    #[serde(default)]
    pub ip_ranges: Vec<String>,
    /// An address in each of them.
    #[serde(default)]
    pub gateways: Vec<IpAddr>,
    /// Addresses in them that are somebody else's, by name.
    #[serde(default)]
    pub aux_addresses: BTreeMap<String, IpAddr>,
    /// It leads nowhere else.
    #[serde(default)]
    pub internal: bool,
    /// It only holds a configuration.
    #[serde(default)]
    pub config_only: bool,
    /// The configuration to make it from.
    #[serde(default)]
    pub config_from: Option<String>,
    /// For the driver.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// For people.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// The id of what was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// 64 hexadecimal digits.
    pub id: String,
}

/// `network-ls`: all networks, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkLs {}

/// `network-inspect`: all there is to know of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkInspect {
    /// Its name, its id, or the beginning of its id.
    pub network: String,
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its number.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Who moves its packets.
    pub driver: String,
    /// It leads nowhere else.
    pub internal: bool,
    /// It only holds a configuration.
    pub config_only: bool,
    /// The configuration it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_from: Option<String>,
    /// The bridge of the switch that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// For the driver.
    pub options: BTreeMap<String, String>,
    /// For people.
    pub labels: BTreeMap<String, String>,
    /// Where its members' names are served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_servers: Vec<IpAddr>,
    /// Why they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_server_error: Option<String>,
    /// Who is on it.
    pub endpoints: Vec<Endpoint>,
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// All its addresses.
    pub subnet: String,
    /// Where addresses come from that nobody names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<String>,
    /// The way to everywhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Addresses that are somebody else's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aux_addresses: BTreeMap<String, IpAddr>,
}

/// `network-rm`: removes a network that has no endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkRm {
    /// Its name, its id, or the beginning of its id.
    pub network: String,
}

/// `network-prune`: removes all networks that have no endpoints. The names of those that went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPrune {}

/// `network-connect`: makes an endpoint on a network and puts it into a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConnect {
    /// The network.
    pub network: String,
    /// The sandbox.
    pub sandbox: String,
    /// Its address of IPv4; one of the network's otherwise.
    #[serde(default)]
    pub ip: Option<IpAddr>,
    /// The same of IPv6.
    #[serde(default)]
    pub ip6: Option<IpAddr>,
    /// Further addresses that hold on the link only.
    #[serde(default)]
    pub link_local_ips: Vec<IpAddr>,
    /// Its address on the link; one that follows from its addresses otherwise.
    #[serde(default)]
    pub mac_address: Option<String>,
    /// Other names that members of the network know it by.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The higher, the sooner it is the sandbox's way to everywhere else.
    #[serde(default)]
    pub gw_priority: i32,
    /// For the driver.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// `network-disconnect`: takes a sandbox's endpoint off a network and removes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkDisconnect {
    /// The network.
    pub network: String,
    /// The sandbox.
    pub sandbox: String,
}

/// `network-explain`: whether one endpoint reaches another, and why. Both as in [`EndpointInspect`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkExplain {
    /// Who would begin.
    pub from: String,
    /// With whom.
    pub to: String,
}

/// The answer to `network-explain`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// `NETWORK/NAME`.
    pub from: String,
    /// `NETWORK/NAME`.
    pub to: String,
    /// What networks say.
    pub reaches: bool,
    /// Why they say so.
    pub why: String,
    /// Whether an echo request of the first leaves by the second's port; absent where no bridge would carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<bool>,
    /// What is done with that request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub story: Option<Story>,
}

/// `endpoint-ls`: all endpoints, by network and name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointLs {}

/// `endpoint-inspect`: all there is to know of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointInspect {
    /// `NETWORK/NAME`, its name where there is one of it only, its id, or the beginning of its id.
    pub endpoint: String,
}

/// An endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its number.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its network's name.
    pub network: String,
    /// The sandbox it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// The interface's name there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The port of the switch behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Its address on the link.
    pub mac_address: String,
    /// Its addresses with the prefixes of their subnets.
    pub addresses: Vec<String>,
    /// Addresses that hold on the link only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_local_ips: Vec<IpAddr>,
    /// Other names that members of the network know it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The higher, the sooner it is the sandbox's way to everywhere else.
    #[serde(default)]
    pub gw_priority: i32,
    /// Families that leave the sandbox by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateway_of: Vec<String>,
    /// For the driver.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}
