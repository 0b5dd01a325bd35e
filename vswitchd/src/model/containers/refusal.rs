//! Why a change of container networks was refused, in the words of libnetwork and Docker where they have
//! some: people and programs look for them.

use std::net::IpAddr;

use ipnet::IpNet;
use vswitch_rpc::{Code, Refusal};

use super::id::Id;
use crate::ipam::IpamError;

/// What a name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A network.
    Network,
    /// An endpoint.
    Endpoint,
    /// A sandbox.
    Sandbox,
}

impl Thing {
    /// The word in texts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Endpoint => "endpoint",
            Self::Sandbox => "sandbox",
        }
    }
}

/// A change that would leave networks inconsistent, or was not understood. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CnmError {
    /// A name that is none.
    #[error("invalid name: {0}")]
    Name(String),
    /// There is no such thing, or nothing by that name or id.
    #[error("{} {name} not found", thing.word())]
    NotFound {
        /// What was looked for.
        thing: Thing,
        /// The name or id.
        name: String,
        /// Those there are.
        have: Vec<String>,
    },
    /// The beginning of more than one id.
    #[error("{} {name} is ambiguous ({count} matches found based on ID prefix)", thing.word())]
    Ambiguous {
        /// What was looked for.
        thing: Thing,
        /// The beginning.
        name: String,
        /// How many begin so.
        count: usize,
    },
    /// The network's name is taken.
    #[error("network with name {0} already exists")]
    NetworkExists(String),
    /// An id is taken.
    #[error("{} with id {id} already exists", thing.word())]
    IdExists {
        /// Of what.
        thing: Thing,
        /// The id.
        id: Id,
    },
    /// Nobody knows the driver.
    #[error("unknown driver {name:?}")]
    Driver {
        /// As it was asked for.
        name: String,
        /// The drivers there are.
        have: Vec<&'static str>,
    },
    /// Neither family.
    #[error("IPv4 or IPv6 must be enabled")]
    NoFamily,
    /// A family that is off has a subnet.
    #[error("{0} is given addresses but not enabled: {1}")]
    FamilyOff(&'static str, IpNet),
    /// Subnets of one network overlap.
    #[error("multiple overlapping subnet configuration is not supported")]
    OverlappingSubnets,
    /// More ranges or gateways than subnets.
    #[error("every ip-range or gateway must have a corresponding subnet")]
    MoreThanSubnets,
    /// Something lies in none of the subnets.
    #[error("no matching subnet for {what} {value}")]
    NoSubnet {
        /// A range, a gateway or an auxiliary address.
        what: &'static str,
        /// As it was asked for.
        value: String,
    },
    /// Two of a kind in one subnet.
    #[error("cannot configure multiple {what} ({first}, {second}) on the same subnet ({subnet})")]
    Twice {
        /// Ranges or gateways.
        what: &'static str,
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// The subnet.
        subnet: IpNet,
    },
    /// The driver has no use for what was asked.
    #[error("{0}")]
    Unfit(String),
    /// A network of ours that is always there.
    #[error("operation is not permitted on predefined {0} network")]
    Predefined(String),
    /// The same, to be removed.
    #[error("{0} is a pre-defined network and cannot be removed")]
    PredefinedStays(String),
    /// There is one of these only.
    #[error("only one instance of \"{0}\" network is allowed")]
    OnlyOne(&'static str),
    /// A configuration says more than it may.
    #[error(
        "configuration network can only contain network specific fields. Network operator fields like \
         [ ingress | internal | attachable | scope ] are not supported"
    )]
    ConfigFields,
    /// A configuration has no driver.
    #[error("a configuration network has no driver: the network that is made from it does")]
    ConfigDriver,
    /// A configuration of a configuration.
    #[error("a configuration network cannot depend on another configuration network")]
    ConfigFromConfig,
    /// The configuration and another beside it.
    #[error(
        "user specified configurations are not supported if the network depends on a configuration network"
    )]
    ConfigTwice,
    /// A configuration that is not there.
    #[error("could not find configuration network {0:?}")]
    NoConfig(String),
    /// A network that is no configuration.
    #[error("{0:?} is not a configuration network")]
    NotConfig(String),
    /// A configuration that networks were made from.
    #[error("configuration network {name:?} is in use")]
    ConfigInUse {
        /// The configuration.
        name: String,
        /// By whom.
        by: Vec<String>,
    },
    /// The network has endpoints.
    #[error("network {name} id {id} has active endpoints")]
    ActiveEndpoints {
        /// The network.
        name: String,
        /// Its id.
        id: Id,
        /// Which.
        endpoints: Vec<String>,
    },
    /// The endpoint's name is taken.
    #[error("endpoint with name {name} already exists in network {network}")]
    EndpointExists {
        /// The endpoint.
        name: String,
        /// The network.
        network: String,
    },
    /// Configurations hold nothing else.
    #[error("cannot create endpoint on configuration-only network")]
    EndpointOnConfig,
    /// All addresses of a network are given.
    #[error("no available {family} addresses on this network's address pools: {name} ({id})")]
    Exhausted {
        /// IPv4 or IPv6.
        family: &'static str,
        /// The network.
        name: String,
        /// Its id.
        id: Id,
    },
    /// An address is not of the network, or is taken.
    #[error(transparent)]
    Ipam(#[from] IpamError),
    /// The network has no addresses of this family.
    #[error("Invalid address {address}: the network {network} has no {family} addresses")]
    NoSuchFamily {
        /// As it was asked for.
        address: IpAddr,
        /// The network.
        network: String,
        /// IPv4 or IPv6.
        family: &'static str,
    },
    /// An address that is not what it was called.
    #[error("invalid link local IP address: {0}")]
    LinkLocal(IpAddr),
    /// The MAC address belongs to another endpoint of the network.
    #[error("the MAC address {mac} is taken by endpoint {endpoint} of network {network}")]
    MacTaken {
        /// The address.
        mac: String,
        /// Who has it.
        endpoint: String,
        /// The network.
        network: String,
    },
    /// The endpoint is somewhere already.
    #[error("another container is attached to the same network endpoint")]
    Joined,
    /// A sandbox has one endpoint of a network.
    #[error("endpoint with name {sandbox} already exists in network {network}")]
    Connected {
        /// The sandbox.
        sandbox: String,
        /// The network.
        network: String,
    },
    /// No sandbox to join.
    #[error("invalid Sandbox passed to endpoint join: {0}")]
    JoinNothing(String),
    /// The endpoint is nowhere.
    #[error("cannot leave endpoint with no attached sandbox")]
    NotJoined,
    /// The endpoint is elsewhere.
    #[error("unexpected sandbox ID in leave request. Expected {expected}. Got {got}")]
    OtherSandbox {
        /// Where it is.
        expected: Id,
        /// Where it was said to be.
        got: Id,
    },
    /// The endpoint is in use.
    #[error("endpoint with name {name} id {id} has active containers")]
    ActiveContainers {
        /// The endpoint.
        name: String,
        /// Its id.
        id: Id,
    },
    /// The sandbox has no endpoint of the network.
    #[error("container {sandbox} is not connected to network {network}")]
    NotConnected {
        /// The sandbox.
        sandbox: String,
        /// The network.
        network: String,
    },
    /// The host's own namespace is no sandbox.
    #[error("container cannot be disconnected from host network or connected to host network")]
    HostNetwork,
    /// Nothing goes with nothing.
    #[error(
        "container cannot be connected to multiple networks with one of the networks in private (none) mode"
    )]
    PrivateMode,
    /// The sandbox's name is taken.
    #[error("container {name} is already present in sandbox {id}")]
    SandboxExists {
        /// The name.
        name: String,
        /// Who has it.
        id: Id,
    },
    /// The namespace is another sandbox's.
    #[error("the network namespace {key} belongs to sandbox {name}")]
    NamespaceTaken {
        /// The namespace.
        key: String,
        /// Who has it.
        name: String,
    },
    /// The sandbox has endpoints.
    #[error("sandbox {name} has endpoints")]
    SandboxInUse {
        /// The sandbox.
        name: String,
        /// Of which networks.
        networks: Vec<String>,
    },
}

impl From<CnmError> for Refusal {
    fn from(error: CnmError) -> Self {
        let message = error.to_string();
        let new = |code| Self::new(code, message.clone());
        match error {
            CnmError::NotFound { have, .. } => new(Code::NotFound).allowed(have),
            CnmError::NoConfig(_) | CnmError::NotConnected { .. } => new(Code::NotFound),
            CnmError::NetworkExists(_)
            | CnmError::IdExists { .. }
            | CnmError::EndpointExists { .. }
            | CnmError::Connected { .. }
            | CnmError::SandboxExists { .. }
            | CnmError::NamespaceTaken { .. }
            | CnmError::MacTaken { .. }
            | CnmError::Ipam(IpamError::InUse(_) | IpamError::Overlap { .. }) => new(Code::Exists),
            CnmError::Driver { have, .. } => new(Code::NotFound).allowed(have),
            CnmError::ActiveEndpoints {
                name, endpoints, ..
            } => new(Code::Refused).hint(format!(
                "vsctl network disconnect {name} takes {} off it",
                endpoints.join(", ")
            )),
            CnmError::ConfigInUse { by, .. } => {
                new(Code::Refused).hint(format!("remove {} first", by.join(", ")))
            }
            CnmError::SandboxInUse { networks, .. } => {
                new(Code::Refused).hint(format!("it is connected to {}", networks.join(", ")))
            }
            _ => new(Code::Refused),
        }
    }
}
