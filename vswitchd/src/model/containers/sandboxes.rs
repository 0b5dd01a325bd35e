//! Making and removing sandboxes, and their way to everywhere else.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{CnmError, Containers, Endpoint, Gateways, Id, Network, Sandbox, Thing, check_name};
use crate::ipam::Family;

/// Where named namespaces are (`ip-netns(8)`).
const NAMED: &str = "/run/netns";

/// A sandbox as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSandbox {
    /// Its name.
    pub name: String,
    /// A namespace that is there; one of the sandbox's name is made otherwise.
    pub key: Option<String>,
    /// For people.
    pub labels: BTreeMap<String, String>,
}

impl Containers {
    /// Makes a sandbox.
    pub fn create_sandbox(&mut self, id: Id, new: NewSandbox) -> Result<&Sandbox, CnmError> {
        check_name(&new.name)?;
        let made = new.key.is_none();
        let key = new.key.unwrap_or_else(|| format!("{NAMED}/{}", new.name));
        for sandbox in self.sandboxes.values() {
            if sandbox.name == new.name {
                return Err(CnmError::SandboxExists {
                    name: new.name,
                    id: sandbox.id,
                });
            }
            if sandbox.key == key {
                return Err(CnmError::NamespaceTaken {
                    key,
                    name: sandbox.name.clone(),
                });
            }
        }
        if self.sandboxes.contains_key(&id) {
            let thing = Thing::Sandbox;
            return Err(CnmError::IdExists { thing, id });
        }
        let sandbox = Sandbox {
            id,
            name: new.name,
            key,
            made,
            labels: new.labels,
        };
        Ok(self.sandboxes.entry(id).or_insert(sandbox))
    }

    /// Removes a sandbox, which has no endpoints any more.
    pub fn remove_sandbox(&mut self, id: &Id) -> Result<Sandbox, CnmError> {
        let Some(sandbox) = self.sandboxes.get(id) else {
            return Err(CnmError::NotFound {
                thing: Thing::Sandbox,
                name: id.short(),
                have: Vec::new(),
            });
        };
        let networks: Vec<String> = self
            .in_sandbox(id)
            .filter_map(|endpoint| Some(self.networks.get(&endpoint.network)?.name.clone()))
            .collect();
        if !networks.is_empty() {
            return Err(CnmError::SandboxInUse {
                name: sandbox.name.clone(),
                networks,
            });
        }
        Ok(self.sandboxes.remove(id).expect("looked up just now"))
    }

    /// By which endpoints a sandbox reaches everywhere else: each family by the one of the highest priority;
    /// among those by one that has both families, then by the network whose name comes first. Internal
    /// networks lead nowhere.
    pub fn gateways(&self, sandbox: &Id) -> Gateways {
        let elect = |family: Family| {
            let candidates = self.in_sandbox(sandbox).filter_map(|endpoint| {
                let network = self.networks.get(&endpoint.network)?;
                let leads = leads(endpoint, network, family);
                leads.then_some((endpoint, network))
            });
            let best = candidates.min_by_key(|(endpoint, network)| {
                let other = match family {
                    Family::V4 => Family::V6,
                    Family::V6 => Family::V4,
                };
                let both = leads(endpoint, network, other);
                (
                    Reverse(endpoint.gateway_priority),
                    Reverse(both),
                    network.name.clone(),
                )
            });
            best.map(|(endpoint, _)| endpoint.id)
        };
        Gateways {
            v4: elect(Family::V4),
            v6: elect(Family::V6),
        }
    }
}

fn leads(endpoint: &Endpoint, network: &Network, family: Family) -> bool {
    endpoint.address(family).is_some() && network.gateway(family).is_some()
}
