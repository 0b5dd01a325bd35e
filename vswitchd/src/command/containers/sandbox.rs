//! Making, seeing and removing sandboxes.

use std::collections::BTreeSet;
use std::path::Path;

use vswitch_rpc::method::Done;
use vswitch_rpc::network::Created;
use vswitch_rpc::sandbox::{self as rpc, SandboxCreate, SandboxExec, SandboxRm};
use vswitch_rpc::{Code, Refusal};

use super::network::kernel;
use super::{check_labels, new_id};
use crate::control::Control;
use crate::host::place::Place;
use crate::host::{named, resolv};
use crate::model::containers::{CnmError, Containers, Id, NewSandbox, Sandbox};
use crate::names;
use crate::store::Belief;

impl Control {
    pub(in crate::command) async fn sandbox_create(
        &mut self,
        call: SandboxCreate,
    ) -> Result<Created, Refusal> {
        check_labels(&call.labels)?;
        let mut next = self.belief.clone();
        let key = match &call.netns {
            Some(netns) => Some(existing(netns)?),
            None => None,
        };
        let new = NewSandbox {
            name: call.name,
            key,
            labels: call.labels,
        };
        let sandbox = add(&mut next, new_id()?, new)?;
        if !sandbox.made {
            self.commit(next, Vec::new()).await?;
        } else {
            let path = Path::new(&sandbox.key);
            if path.exists() {
                let text = format!("there is a network namespace {} already", sandbox.name);
                let hint = format!("--netns {} makes a sandbox of it", sandbox.name);
                return Err(Refusal::new(Code::Exists, text).hint(hint));
            }
            let before = self.belief.clone();
            // First on disk: whatever happens then, the next start makes what is missing.
            self.commit(next, Vec::new()).await?;
            if let Err(error) = named::make(path) {
                self.commit(before, Vec::new()).await?;
                return Err(kernel("make the network namespace", &sandbox.name, &error));
            }
        }
        Ok(Created {
            id: sandbox.id.to_string(),
        })
    }

    pub(in crate::command) fn sandbox_ls(&self) -> Result<Vec<rpc::Sandbox>, Refusal> {
        let sandboxes = self.belief.containers.sandboxes().into_iter();
        Ok(sandboxes.map(|one| self.tell_sandbox(one)).collect())
    }

    pub(in crate::command) async fn sandbox_rm(
        &mut self,
        call: SandboxRm,
    ) -> Result<Done, Refusal> {
        let mut next = self.belief.clone();
        let sandbox = next.containers.sandbox(&call.sandbox)?.clone();
        let endpoints: Vec<_> = next
            .containers
            .in_sandbox(&sandbox.id)
            .map(|one| one.id)
            .collect();
        for endpoint in endpoints {
            super::attach::detach(&mut next, &endpoint)?;
        }
        next.containers.remove_sandbox(&sandbox.id)?;
        if sandbox.made {
            next.graves.insert(sandbox.key.clone());
        }
        self.commit(next, Vec::new()).await?;
        self.bury().await?;
        Ok(Done {})
    }

    /// Takes away the namespaces of sandboxes that are gone. What cannot be taken away is tried again at the
    /// next start.
    pub async fn bury(&mut self) -> Result<(), Refusal> {
        if self.belief.graves.is_empty() {
            return Ok(());
        }
        let mut next = self.belief.clone();
        next.graves
            .retain(|path| match named::remove(Path::new(path)) {
                Ok(()) => false,
                Err(error) => {
                    tracing::warn!(path, %error, "a sandbox's network namespace stays");
                    true
                }
            });
        self.commit(next, Vec::new()).await
    }

    /// Has what runs in sandboxes ask the servers of their networks for names, where we made the namespace.
    /// Sandboxes that are gone were in `before`.
    pub(crate) fn name_servers_for(&self, sandboxes: &BTreeSet<Id>, before: &Containers) {
        for id in sandboxes {
            let containers = &self.belief.containers;
            let here = containers.sandbox_by_id(id);
            let sandbox = here.or_else(|| before.sandbox_by_id(id));
            let Some(sandbox) = sandbox.filter(|sandbox| sandbox.made) else {
                continue;
            };
            let told = if containers.in_sandbox(id).next().is_some() {
                resolv::write(&sandbox.name, &names::servers_of(containers, id))
            } else {
                resolv::remove(&sandbox.name)
            };
            if let Err(error) = told {
                let sandbox = &sandbox.name;
                tracing::warn!(sandbox, %error, "its resolv.conf could not be written");
            }
        }
    }

    /// Makes the namespaces of sandboxes that are not there.
    pub(crate) fn settle_sandboxes(&self) {
        for sandbox in self.belief.containers.sandboxes() {
            let path = Path::new(&sandbox.key);
            if !sandbox.made || named::is_there(path) {
                continue;
            }
            // What is left of a mount that is gone is in the way.
            let made = named::remove(path).and_then(|()| named::make(path));
            match made {
                Ok(()) => tracing::info!(
                    sandbox = sandbox.name,
                    "its network namespace is made again"
                ),
                Err(error) => {
                    tracing::warn!(sandbox = sandbox.name, %error, "a sandbox has no network namespace");
                }
            }
        }
    }

    pub(in crate::command) fn sandbox_exec(
        &self,
        call: &SandboxExec,
    ) -> Result<rpc::Place, Refusal> {
        let sandbox: &Sandbox = self.belief.containers.sandbox(&call.sandbox)?;
        Ok(rpc::Place {
            path: sandbox.key.clone(),
        })
    }
}

/// Makes a sandbox what should be. Its namespace is not to be taken away, whatever one at the same path was.
fn add(next: &mut Belief, id: Id, new: NewSandbox) -> Result<Sandbox, CnmError> {
    let sandbox = next.containers.create_sandbox(id, new)?.clone();
    next.graves.remove(&sandbox.key);
    Ok(sandbox)
}

/// The path of a namespace that is there.
fn existing(netns: &str) -> Result<String, Refusal> {
    let place = Place::parse(netns);
    if let Err(error) = place.open() {
        let text = format!("the network namespace {netns} cannot be entered: {error}");
        return Err(Refusal::new(Code::NotFound, text));
    }
    Ok(place
        .path()
        .map_or_else(|| netns.to_owned(), |path| path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grave_does_not_take_a_new_sandbox_of_the_same_name() {
        let mut belief = Belief::default();
        for name in ["c1", "c2"] {
            belief.graves.insert(format!("/run/netns/{name}"));
        }
        let new = NewSandbox {
            name: "c1".into(),
            ..NewSandbox::default()
        };
        add(&mut belief, Id::new([1; 32]), new).expect("a fresh name");
        assert_eq!(belief.graves, ["/run/netns/c2".to_owned()].into());
    }
}
