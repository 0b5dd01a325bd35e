//! The pipelines of `docs/conntrack.md`: what a reader pastes is what is tried here.
//!
//! Bridges and ports are made by the harness under the names that the page gives them, so that
//! the same lines are tried over every kind of port; all other lines are run as they stand.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use vswitch_tests::programs::{limited, must};
use vswitch_tests::service::{self, Service, Talk};
use vswitch_tests::topology::{Host, Kind, Topology};
use vswitch_tests::{device, traffic};

use super::{Trying, said, without_flows};

pub(super) const TRIALS: &[(&str, Trying)] = &[
    ("stateful_firewall", firewall),
    ("masquerade_router", router),
    ("load_balancer", balancer),
];

const PAGE: &str = include_str!("../../../docs/conntrack.md");

/// The commands of the section with this heading.
fn commands(heading: &str) -> Result<&'static str> {
    let (_, section) = PAGE
        .split_once(&format!("\n### {heading}\n"))
        .with_context(|| format!("docs/conntrack.md has no section {heading:?}"))?;
    let (_, block) = section.split_once("\n```sh\n").context("no block of sh")?;
    let (block, _) = block.split_once("\n```").context("a block without end")?;
    Ok(block)
}

/// A pipeline of the page at work.
struct Pipeline {
    hosts: BTreeMap<&'static str, Host>,
    topology: Topology,
}

impl Pipeline {
    fn new(heading: &str, kind: Kind) -> Result<Self> {
        let topology = without_flows()?;
        let mut hosts = BTreeMap::new();
        let mut rest = String::new();
        for line in commands(heading)?.lines() {
            if let Some(port) = line.strip_prefix("vsctl add-port br0 ") {
                hosts.insert(port, topology.named_host(port, kind)?);
            } else if line != "vsctl add-br br0 fail_mode=secure" {
                rest += line;
                rest += "\n";
            }
        }
        let switch = &topology.switch;
        let script = format!(
            "vsctl() {{ '{}/vsctl' --rundir '{}' \"$@\"; }}\nset -e\n{rest}",
            switch.binaries().display(),
            switch.rundir().display(),
        );
        must(limited("sh").args(["-c", &script]))?;
        Ok(Self { hosts, topology })
    }

    fn host(&self, port: &str) -> Result<&Host> {
        self.hosts
            .get(port)
            .with_context(|| format!("the page has no port {port}"))
    }

    /// Gives the host on a port another address, and an Ethernet address when the page says so.
    fn settle(
        &self,
        port: &str,
        address: &str,
        mac: Option<&str>,
        gateway: Option<&str>,
    ) -> Result<()> {
        let host = self.host(port)?;
        let (namespace, eth) = (&host.namespace, &host.device);
        namespace.ip(&["addr", "flush", "dev", eth, "scope", "global"])?;
        if let Some(mac) = mac {
            namespace.ip(&["link", "set", eth, "address", mac])?;
        }
        device::addresses(namespace, eth, &[address])?;
        if let Some(gateway) = gateway {
            namespace.ip(&["route", "add", "default", "via", gateway])?;
        }
        Ok(())
    }

    fn hold(&self, work: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        work(self).with_context(|| said(&self.topology))
    }
}

fn firewall(kind: Kind) -> Result<()> {
    Pipeline::new("A stateful firewall", kind)?.hold(|pipeline| {
        let (inside, outside) = (pipeline.host("inside")?, pipeline.host("outside")?);
        for (inner, outer) in [(inside.v4, outside.v4), (inside.v6, outside.v6)] {
            let web = Service::start(&outside.namespace, "web", outer, 80)?;
            let own = Service::start(&inside.namespace, "own", inner, 80)?;
            let ssh = Service::start(&inside.namespace, "ssh", inner, 22)?;
            // From inside everything begins.
            let told = service::ask(&inside.namespace, web.target())?;
            ensure!(told.name == "web" && told.seen.ip() == inner, "{told}");
            service::ask_by_datagram(&inside.namespace, web.target(), 0)?;
            traffic::ping(&inside.namespace, outer, 56, 3)?;
            traffic::ping(&inside.namespace, outer, 3000, 3)?;
            traffic::tcp(&inside.namespace, &outside.namespace, outer, 10_000_000)?;
            // An error about a connection comes in.
            service::ensure_told_of_nobody(&inside.namespace, SocketAddr::new(outer, 9))?;
            // From outside only SSH does.
            service::ask(&outside.namespace, ssh.target())?;
            service::ensure_no_way(&outside.namespace, own.target())?;
            traffic::ensure_no_ping(&outside.namespace, inner, 56)?;
            // While connections from inside are open, no port of theirs is open to others.
            let mut talk = Talk::open(&inside.namespace, web.target())?;
            talk.ask()?;
            service::ensure_no_connection(&outside.namespace, talk.local()?)?;
            talk.ask()?;
        }
        Ok(())
    })
}

fn router(kind: Kind) -> Result<()> {
    Pipeline::new("A masquerade router", kind)?.hold(|pipeline| {
        let public = IpAddr::from([203, 0, 113, 2]);
        pipeline.settle("lan1", "192.168.0.11/24", None, Some("192.168.0.1"))?;
        pipeline.settle("lan2", "192.168.0.12/24", None, Some("192.168.0.1"))?;
        let next_hop = Some("02:00:00:00:00:fe");
        pipeline.settle("wan", "203.0.113.1/24", next_hop, None)?;
        let (first, second) = (pipeline.host("lan1")?, pipeline.host("lan2")?);
        let wan = pipeline.host("wan")?;
        let world = IpAddr::from([203, 0, 113, 1]);
        let web = Service::start(&wan.namespace, "web", world, 80)?;

        for client in [first, second] {
            let told = service::ask(&client.namespace, web.target())?;
            ensure!(told.seen.ip() == public, "{told}");
            traffic::ping(&client.namespace, world, 56, 3)?;
            traffic::ping(&client.namespace, world, 3000, 3)?;
            service::ensure_told_of_nobody(&client.namespace, SocketAddr::new(world, 9))?;
            traffic::tcp(&client.namespace, &wan.namespace, world, 10_000_000)?;
        }
        // The same port at the same time: one of them gets another.
        let told = [first, second]
            .map(|client| service::ask_by_datagram(&client.namespace, web.target(), 4000));
        let [a, b] = told;
        let (a, b) = (a?.seen, b?.seen);
        ensure!(a == SocketAddr::new(public, 4000), "{a}");
        ensure!(b.ip() == public && b.port() != 4000, "{b}");

        // Nothing begins from outside: not by the public address, nor by a private one.
        let own = IpAddr::from([192, 168, 0, 11]);
        let service = Service::start(&first.namespace, "own", own, 80)?;
        service::ensure_no_way(&wan.namespace, SocketAddr::new(public, 80))?;
        wan.namespace
            .ip(&["route", "add", "192.168.0.0/24", "via", "203.0.113.2"])?;
        service::ensure_no_way(&wan.namespace, service.target())?;
        Ok(())
    })
}

/// Connections to the balanced service: so many that no server is left out by chance.
const ASKED: usize = 60;

fn balancer(kind: Kind) -> Result<()> {
    Pipeline::new("A load balancer", kind)?.hold(|pipeline| {
        let service = SocketAddr::new([192, 168, 0, 100].into(), 80);
        pipeline.settle("clients", "192.168.0.5/24", None, None)?;
        let client = pipeline.host("clients")?;
        let mut servers = Vec::new();
        for (name, last) in [("server1", 11), ("server2", 12), ("server3", 13)] {
            let address = IpAddr::from([192, 168, 0, last]);
            let mac = format!("02:00:00:00:00:{last}");
            pipeline.settle(name, &format!("{address}/24"), Some(&mac), None)?;
            let host = &pipeline.host(name)?.namespace;
            servers.push(Service::start(host, name, address, 80)?);
        }
        let mut talks = Vec::new();
        let mut chosen = BTreeMap::<_, usize>::new();
        for _ in 0..ASKED {
            let mut talk = Talk::open(&client.namespace, service)?;
            let told = talk.ask()?;
            ensure!(
                told.seen == talk.local()?,
                "{told}, but the client is {:?}",
                talk.local()
            );
            *chosen.entry(told.name.clone()).or_default() += 1;
            talks.push((talk, told));
        }
        ensure!(chosen.len() == 3, "not all servers were chosen: {chosen:?}");
        // A server that is no longer chosen keeps the connections it has.
        let switch = &pipeline.topology.switch;
        let bucket = "group_id=1,command_bucket_id=0";
        switch.vsctl(&["-O", "OpenFlow15", "remove-buckets", "br0", bucket])?;
        let gone = "server1";
        for (talk, told) in &mut talks {
            ensure!(talk.ask()? == *told, "another server half way");
        }
        for _ in 0..ASKED {
            let told = service::ask(&client.namespace, service)?;
            ensure!(told.name != gone, "{gone} was chosen although it is out");
        }
        for (talk, _) in talks {
            talk.close()?;
        }
        // Nobody is there at other ports, and each server has its own address still.
        service::ensure_no_connection(&client.namespace, SocketAddr::new(service.ip(), 81))?;
        let told = service::ask(&client.namespace, servers[1].target())?;
        ensure!(told.name == "server2", "{told}");
        Ok(())
    })
}
