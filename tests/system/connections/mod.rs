//! Connections between real hosts: what tracking lets through, translates and survives.
//!
//! * `pipelines` — the pipelines of `docs/conntrack.md`, as they stand there
//! * `translation` — NAT of both families, its errors, ranges, zones and hairpins
//! * `fragments` — datagrams in pieces
//! * `transfers` — FTP, whose data connections are expected
//! * `survival` — either process dies under connections that are in use
//! * `attacks` — somebody begins connections without end

mod attacks;
mod fragments;
mod pipelines;
mod survival;
mod transfers;
mod translation;

use std::net::IpAddr;

use anyhow::{Context, Result};
use libtest_mimic::Trial;
use vswitch_tests::device;
use vswitch_tests::topology::{Host, Kind, Topology};

use crate::failed;

/// The kinds of port that connections are tried over.
const KINDS: [Kind; 3] = [Kind::Afxdp, Kind::Tap, Kind::Packet];

/// What is tried, with all ports of one kind.
type Trying = fn(Kind) -> Result<()>;

pub(crate) fn trials() -> Vec<Trial> {
    let groups = [
        ("pipelines", pipelines::TRIALS),
        ("translation", translation::TRIALS),
        ("fragments", fragments::TRIALS),
        ("transfers", transfers::TRIALS),
        ("survival", survival::TRIALS),
        ("attacks", attacks::TRIALS),
    ];
    let mut trials = Vec::new();
    for (group, of_group) in groups {
        for (name, trying) in of_group {
            for kind in KINDS {
                trials.push(Trial::test(
                    format!("connections/{group}/{name}/{kind}"),
                    move || trying(kind).map_err(|error| failed(&error)),
                ));
            }
        }
    }
    trials
}

/// Who is where is the hosts' own matter, whatever becomes of the rest.
const NEIGHBOURS: &str = "\
table=0,priority=60000,arp actions=NORMAL
table=0,priority=60000,icmp6,icmp_type=135 actions=NORMAL
table=0,priority=60000,icmp6,icmp_type=136 actions=NORMAL
";

/// Two hosts, on ports `left` and `right` of a switch without flows.
struct Rig {
    left: Host,
    right: Host,
    topology: Topology,
}

impl Rig {
    fn new(kind: Kind) -> Result<Self> {
        let topology = without_flows()?;
        Ok(Self {
            left: topology.named_host("left", kind)?,
            right: topology.named_host("right", kind)?,
            topology,
        })
    }

    /// Makes these the flows, beside those for neighbours.
    fn flows(&self, flows: &str) -> Result<()> {
        replace_flows(&self.topology, &format!("{NEIGHBOURS}{flows}"))
    }

    /// Does `work`; its error comes with what the switch said.
    fn hold(&self, work: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        work(self).with_context(|| said(&self.topology))
    }
}

fn said(topology: &Topology) -> String {
    let ask = |words: &[&str]| topology.switch.vsctl(words).unwrap_or_default();
    format!(
        "the switch said:\n{}\nflows:\n{}drops:\n{}",
        topology.switch.log_tail(),
        ask(&["dump-flows", &topology.bridge]),
        ask(&["drops"]),
    )
}

/// A switch whose bridge does nothing by itself.
fn without_flows() -> Result<Topology> {
    let topology = Topology::new(1500)?;
    let bridge = topology.bridge.clone();
    topology
        .switch
        .vsctl(&["set-br", &bridge, "fail_mode=secure"])?;
    topology.switch.vsctl(&["del-flows", &bridge])?;
    Ok(topology)
}

fn replace_flows(topology: &Topology, flows: &str) -> Result<()> {
    let file = topology.switch.rundir().join("flows");
    std::fs::write(&file, flows)?;
    let file = file.to_str().context("a path of text")?;
    topology
        .switch
        .vsctl(&["replace-flows", &topology.bridge, file])?;
    Ok(())
}

/// Tells a host that another has an address, which nobody else says.
fn tell_of(host: &Host, address: IpAddr, other: &Host) -> Result<()> {
    tell_of_mac(host, address, &mac_of(other)?)
}

/// A host's Ethernet address as text, `02:00:00:00:00:01`.
fn mac_of(host: &Host) -> Result<String> {
    let mac = device::mac(&host.namespace, &host.device)?;
    Ok(mac.map(|byte| format!("{byte:02x}")).join(":"))
}

fn tell_of_mac(host: &Host, address: IpAddr, mac: &str) -> Result<()> {
    let address = address.to_string();
    let device = &host.device;
    host.namespace
        .ip(&["neigh", "replace", &address, "lladdr", mac, "dev", device])?;
    Ok(())
}

/// The word of a flow for the family of an address.
fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ipv6" }
}

/// An address as `nat` has it before a port.
fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}
