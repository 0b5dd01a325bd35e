//! Container networks: networks, endpoints and sandboxes, and the rules they obey (the Container Network
//! Model of libnetwork).
//!
//! Pure, as all of the model: ids, defaults and the host's routes are handed in, and what becomes of a change
//! in the kernel and in the datapath is for others.
//!
//! Law, whatever sequence of changes was made:
//! - A network's name is unique, and so is an endpoint's in its network and a sandbox's.
//! - An endpoint belongs to one network for life and is in one sandbox at most. A sandbox has one endpoint of a
//!   network at most, since an endpoint is called after its container.
//! - Creating an endpoint reserves its addresses, joining attaches it, leaving detaches it and keeps the
//!   addresses, removing releases them.
//! - A network with endpoints stays, and so does a configuration that networks were made from. A configuration
//!   has no endpoints.
//! - [`Ipam`] has what networks and endpoints say and nothing else. It is not stored; [`Containers::load`]
//!   asks for everything again.
//! - A change that is refused has changed nothing.
//!
//! Two networks share nothing, so a sandbox in both does not join them.
//!
//! Spec: libnetwork's `docs/design.md`; texts of refusals are libnetwork's and Docker's ([`refusal`]).

pub mod endpoint;
mod endpoints;
pub mod id;
pub mod network;
mod networks;
pub mod refusal;
mod sandboxes;

use std::collections::{BTreeMap, BTreeSet};

pub use endpoint::{Endpoint, Gateways, Joined, NewEndpoint, Sandbox};
pub use id::Id;
pub use network::{Driver, Network, NewNetwork, Subnet};
pub use refusal::{CnmError, Thing};
pub use sandboxes::NewSandbox;

use crate::ipam::Ipam;

/// Everything that should be of container networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Containers {
    networks: BTreeMap<Id, Network>,
    endpoints: BTreeMap<Id, Endpoint>,
    sandboxes: BTreeMap<Id, Sandbox>,
    ipam: Ipam,
}

/// The networks that are always there.
const PREDEFINED: [(Driver, u8); 2] = [(Driver::Host, 1), (Driver::None, 2)];

impl Default for Containers {
    fn default() -> Self {
        let predefined = PREDEFINED.map(|(driver, number)| {
            // The same on every host: nobody else's are so small.
            let mut bytes = [0; 32];
            bytes[31] = number;
            let id = Id::new(bytes);
            let network = Network {
                id,
                name: driver.name().into(),
                driver,
                subnets: Vec::new(),
                internal: false,
                config_only: false,
                config_from: None,
                options: BTreeMap::new(),
                labels: BTreeMap::new(),
            };
            (id, network)
        });
        Self {
            networks: predefined.into(),
            endpoints: BTreeMap::new(),
            sandboxes: BTreeMap::new(),
            ipam: Ipam::default(),
        }
    }
}

impl Containers {
    /// What was remembered, with every address asked for again. The error is a sentence about what was
    /// remembered.
    pub fn load(
        networks: Vec<Network>,
        endpoints: Vec<Endpoint>,
        sandboxes: Vec<Sandbox>,
    ) -> Result<Self, String> {
        let mut all = Self::default();
        for network in networks {
            let wrong =
                |error: &dyn std::fmt::Display| format!("network {}: {error}", network.name);
            for subnet in &network.subnets {
                if network.config_only {
                    continue;
                }
                networks::reserve(&mut all.ipam, subnet, &[]).map_err(|error| wrong(&error))?;
            }
            if all.network_named(&network.name).is_some() {
                return Err(wrong(&"its name is there twice"));
            }
            all.networks.insert(network.id, network);
        }
        all.sandboxes
            .extend(sandboxes.into_iter().map(|sandbox| (sandbox.id, sandbox)));
        for endpoint in endpoints {
            let wrong =
                |error: &dyn std::fmt::Display| format!("endpoint {}: {error}", endpoint.name);
            let Some(network) = all.networks.get(&endpoint.network) else {
                return Err(wrong(&"its network is not there"));
            };
            let joined = endpoint.joined.as_ref();
            if joined.is_some_and(|joined| !all.sandboxes.contains_key(&joined.sandbox)) {
                return Err(wrong(&"its sandbox is not there"));
            }
            for address in endpoint.addresses() {
                let subnet = network.subnet_of(address.addr());
                let Some(subnet) = subnet else {
                    return Err(wrong(&"its address is of no subnet of its network"));
                };
                let taken = all.ipam.take(&subnet.subnet, address.addr());
                taken.map_err(|error| wrong(&error))?;
            }
            all.endpoints.insert(endpoint.id, endpoint);
        }
        Ok(all)
    }

    /// All networks, by name.
    pub fn networks(&self) -> Vec<&Network> {
        let mut networks: Vec<&Network> = self.networks.values().collect();
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        networks
    }

    /// All sandboxes, by name.
    pub fn sandboxes(&self) -> Vec<&Sandbox> {
        let mut sandboxes: Vec<&Sandbox> = self.sandboxes.values().collect();
        sandboxes.sort_by(|a, b| a.name.cmp(&b.name));
        sandboxes
    }

    /// All endpoints, by network and name.
    pub fn endpoints(&self) -> Vec<&Endpoint> {
        let mut endpoints: Vec<&Endpoint> = self.endpoints.values().collect();
        let key = |endpoint: &Endpoint| {
            let network = self.networks.get(&endpoint.network);
            (
                network.map(|network| network.name.clone()),
                endpoint.name.clone(),
            )
        };
        endpoints.sort_by_cached_key(|endpoint| key(endpoint));
        endpoints
    }

    /// The network of this number.
    pub fn network_by_id(&self, id: &Id) -> Option<&Network> {
        self.networks.get(id)
    }

    /// The endpoint of this number.
    pub fn endpoint_by_id(&self, id: &Id) -> Option<&Endpoint> {
        self.endpoints.get(id)
    }

    /// The first endpoint in the order of ids whose id begins with these digits, or follows all that do.
    pub fn endpoint_from(&self, digits: &str) -> Option<&Endpoint> {
        let first: Id = format!("{digits:0<64}").parse().ok()?;
        self.endpoints.range(first..).next().map(|(_, found)| found)
    }

    /// The sandbox of this number.
    pub fn sandbox_by_id(&self, id: &Id) -> Option<&Sandbox> {
        self.sandboxes.get(id)
    }

    fn network_named(&self, name: &str) -> Option<&Network> {
        self.networks.values().find(|network| network.name == name)
    }

    /// The network of this name, this id, or the only one whose id begins so.
    pub fn network(&self, word: &str) -> Result<&Network, CnmError> {
        let names = self.networks.values().map(|one| (&one.id, &one.name, one));
        find(Thing::Network, word, names)
    }

    /// The same for a sandbox.
    pub fn sandbox(&self, word: &str) -> Result<&Sandbox, CnmError> {
        let names = self.sandboxes.values().map(|one| (&one.id, &one.name, one));
        find(Thing::Sandbox, word, names)
    }

    /// The same for an endpoint, whose name need not be unique: `NETWORK/NAME` is.
    pub fn endpoint(&self, word: &str) -> Result<&Endpoint, CnmError> {
        if let Some((network, name)) = word.split_once('/') {
            let network = self.network(network)?;
            let of_network = self.of_network(&network.id);
            let names = of_network.map(|one| (&one.id, &one.name, one));
            return find(Thing::Endpoint, name, names);
        }
        let named = self.endpoints.values().filter(|one| one.name == word);
        if named.count() > 1 {
            let have = self.endpoints().into_iter().filter(|one| one.name == word);
            let path = |one: &Endpoint| match self.networks.get(&one.network) {
                Some(network) => format!("{}/{word}", network.name),
                None => word.to_owned(),
            };
            return Err(CnmError::NotFound {
                thing: Thing::Endpoint,
                name: format!("{word}, of which there is more than one,"),
                have: have.map(path).collect(),
            });
        }
        let names = self.endpoints.values().map(|one| (&one.id, &one.name, one));
        find(Thing::Endpoint, word, names)
    }

    /// The endpoints of a network.
    pub fn of_network(&self, network: &Id) -> impl Iterator<Item = &Endpoint> + Clone {
        let network = *network;
        self.endpoints
            .values()
            .filter(move |endpoint| endpoint.network == network)
    }

    /// What has other endpoints than in `before`.
    pub fn changes(&self, before: &Self) -> Changes {
        let mut changes = Changes::default();
        for (one, other) in [(self, before), (before, self)] {
            let endpoints = one.endpoints.iter();
            let differ =
                endpoints.filter(|(id, endpoint)| other.endpoints.get(id) != Some(endpoint));
            for (_, endpoint) in differ {
                changes.networks.insert(endpoint.network);
                let joined = endpoint.joined.as_ref();
                changes
                    .sandboxes
                    .extend(joined.map(|joined| joined.sandbox));
            }
        }
        changes
    }

    /// The endpoints in a sandbox.
    pub fn in_sandbox(&self, sandbox: &Id) -> impl Iterator<Item = &Endpoint> {
        let sandbox = *sandbox;
        self.endpoints.values().filter(move |endpoint| {
            let joined = endpoint.joined.as_ref();
            joined.is_some_and(|joined| joined.sandbox == sandbox)
        })
    }

    /// Who has which address.
    pub fn ipam(&self) -> &Ipam {
        &self.ipam
    }
}

/// What a change of endpoints is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Networks that they are on or were on.
    pub networks: BTreeSet<Id>,
    /// Sandboxes that they are in or were in.
    pub sandboxes: BTreeSet<Id>,
}

/// The one that a person means: by name, by id, or by the beginning of an id.
fn find<'a, T>(
    thing: Thing,
    word: &str,
    all: impl Iterator<Item = (&'a Id, &'a String, &'a T)> + Clone,
) -> Result<&'a T, CnmError> {
    if let Some((.., found)) = all.clone().find(|(_, name, _)| *name == word) {
        return Ok(found);
    }
    let begins = |id: &Id| !word.is_empty() && id.to_string().starts_with(word);
    let mut matches = all.clone().filter(|(id, ..)| begins(id));
    match (matches.next(), matches.count()) {
        (Some((.., found)), 0) => Ok(found),
        (Some(_), more) => Err(CnmError::Ambiguous {
            thing,
            name: word.into(),
            count: more + 1,
        }),
        (None, _) => Err(CnmError::NotFound {
            thing,
            name: word.into(),
            have: all.map(|(_, name, _)| name.clone()).collect(),
        }),
    }
}

/// Most bytes of a name: a label of the domain name system has no more (RFC 1035 §2.3.4).
const NAME_LEN_MAX: usize = 63;

/// Refuses names that could not be told apart from ids, paths and lists, or asked a name server for.
fn check_name(name: &str) -> Result<(), CnmError> {
    let refuse = |why: &str| Err(CnmError::Name(why.into()));
    if name.trim().is_empty() {
        return refuse("name is empty");
    }
    if name.len() > NAME_LEN_MAX {
        return refuse("name is longer than 63 bytes");
    }
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(good) {
        return Err(CnmError::Name(format!(
            "{name:?} is not a letter or digit, followed by letters, digits, '_', '.' and '-'"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
