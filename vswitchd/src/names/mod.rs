//! A name server for each container network, at its gateways.
//!
//! Members of a network find each other by name; what is no name here is asked of the servers that the host
//! uses. Not for internal networks, which have no gateway: their members find names by another network, or
//! not.
//!
//! Law: an answer is of networks that the asker's sandbox is on, as they are when it asks. Nobody is answered
//! whose address is not of the server's network.
//!
//! Threads: tasks of the event loop, one for each socket and question; [`Names`] belongs to
//! [`crate::control::Control`] and tells them what is. Cost: a change rebuilds the names of the networks that
//! it is about; a question a few lookups in tables.
//!
//! Bounds: 64 streams of a gateway, 1,024 questions that are asked elsewhere. Spec: RFC 1034, RFC 1035, RFC 4343,
//! RFC 6891, RFC 7766.

mod message;
mod serve;
mod upstream;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use message::{Asker, DATAGRAM_MAX, Reply, reply};
pub use zone::{Answer, Book, Kind, Zone};

use crate::driver::bridge;
use crate::ipam::Family;
use crate::model::containers::{Containers, Driver, Id, Network};

/// The port of name servers.
pub const PORT: u16 = 53;

/// The servers of all networks.
#[derive(Debug, Default)]
pub struct Names {
    book: watch::Sender<Arc<Book>>,
    servers: BTreeMap<Id, Server>,
    upstream: Arc<upstream::Upstream>,
}

/// The server of a network.
#[derive(Debug)]
struct Server {
    gateways: Vec<IpAddr>,
    /// What serves at each gateway, or why nothing does.
    tasks: Result<Vec<JoinHandle<()>>, String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        for task in self.tasks.iter().flatten() {
            task.abort();
        }
    }
}

impl Names {
    /// Serves what is. `changed` are the networks of whose endpoints some are others than the last time.
    pub fn settle(&mut self, containers: &Containers, changed: &BTreeSet<Id>) {
        let served = |id: &Id| {
            let network = containers.network_by_id(id)?;
            Some((network, gateways(network)?))
        };
        self.servers.retain(|id, server| {
            served(id).is_some_and(|(_, gateways)| gateways == server.gateways)
        });
        let mut book = Book::clone(&self.book.borrow());
        book.retain(|id| containers.network_by_id(id).is_some());
        for network in containers.networks() {
            if network.driver == Driver::Bridge
                && (changed.contains(&network.id) || !book.has(&network.id))
            {
                book.put(network.id, Zone::of(containers, network));
            }
        }
        self.book.send_replace(Arc::new(book));
        for network in containers.networks() {
            let serving = self.servers.get(&network.id);
            let Some(gateways) = gateways(network) else {
                continue;
            };
            // What could not be had before may be free now.
            if serving.is_none_or(|server| server.tasks.is_err()) {
                let before = serving.and_then(|server| server.tasks.as_ref().err().cloned());
                let tasks = self.start(&network.id, &gateways);
                if let Err(why) = &tasks
                    && before.as_ref() != Some(why)
                {
                    tracing::warn!(network = network.name, why, "names are not served");
                }
                self.servers.insert(network.id, Server { gateways, tasks });
            }
        }
    }

    fn start(&self, id: &Id, gateways: &[IpAddr]) -> Result<Vec<JoinHandle<()>>, String> {
        let sockets = gateways.iter().map(|gateway| {
            let sockets = serve::Sockets::bind(*gateway);
            sockets.map_err(|error| format!("{gateway} port {PORT}: {error}"))
        });
        let sockets: Vec<serve::Sockets> = sockets.collect::<Result<_, _>>()?;
        let tasks = sockets.into_iter().map(|sockets| {
            let server = serve::Task {
                network: *id,
                book: self.book.subscribe(),
                upstream: Arc::clone(&self.upstream),
            };
            tokio::spawn(server.run(sockets))
        });
        Ok(tasks.collect())
    }

    /// Where names of a network are served, or why they are not. `None` where they are not meant to be.
    pub fn status(&self, network: &Id) -> Option<Result<&[IpAddr], &str>> {
        let server = self.servers.get(network)?;
        Some(match &server.tasks {
            Ok(_) => Ok(&server.gateways),
            Err(why) => Err(why),
        })
    }
}

/// Where the names of a network are served: at the gateways that the host has, if they are to be.
fn gateways(network: &Network) -> Option<Vec<IpAddr>> {
    let wanted = network.driver == Driver::Bridge && !network.config_only;
    if !wanted || !bridge::Options::read(&network.options).ok()?.names {
        return None;
    }
    let gateways: Vec<IpAddr> = [Family::V4, Family::V6]
        .into_iter()
        .filter_map(|family| network.gateway(family))
        .collect();
    (!gateways.is_empty()).then_some(gateways)
}

/// The name servers of a sandbox, the best first: at the gateways of the ways out, then of its other networks.
pub fn servers_of(containers: &Containers, sandbox: &Id) -> Vec<IpAddr> {
    let gateways_of = |endpoint: &Id| -> Vec<IpAddr> {
        let endpoint = containers.endpoint_by_id(endpoint);
        let network = endpoint.and_then(|one| containers.network_by_id(&one.network));
        network.and_then(gateways).unwrap_or_default()
    };
    let elected = containers.gateways(sandbox);
    let first = [elected.v4, elected.v6].into_iter().flatten();
    let all = containers.in_sandbox(sandbox).map(|endpoint| endpoint.id);
    let mut servers: Vec<IpAddr> = Vec::new();
    for address in first.chain(all).flat_map(|id| gateways_of(&id)) {
        if !servers.contains(&address) {
            servers.push(address);
        }
    }
    servers
}
