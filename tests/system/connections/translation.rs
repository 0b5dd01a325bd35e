//! Addresses are translated there and back, and so is what is told about the packets.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use vswitch_tests::service::{self, Service, Talk};
use vswitch_tests::topology::{Host, Kind};
use vswitch_tests::{device, traffic};

use super::{Rig, Trying, bracketed, family, mac_of, tell_of, tell_of_mac, without_flows};

pub(super) const TRIALS: &[(&str, Trying)] = &[
    ("source", source),
    ("destination", destination),
    ("range_of_addresses_and_ports", range),
    ("hairpin_through_two_zones", hairpin),
    ("same_addresses_in_two_zones", zones),
];

/// Addresses of the hosts' subnets that no host has.
fn spare(number: u8) -> [IpAddr; 2] {
    [
        IpAddr::from([10, 77, 240, number]),
        IpAddr::from([0xfd00, 0x77, 0, 0, 0, 0, 0xf0, u16::from(number)]),
    ]
}

fn addresses(host: &Host) -> [IpAddr; 2] {
    [host.v4, host.v6]
}

/// `left` shows itself as another address; everything passes and nobody comes back in.
fn source(kind: Kind) -> Result<()> {
    let rig = Rig::new(kind)?;
    let mut flows = String::new();
    for shown in spare(1) {
        let ip = family(shown);
        tell_of(&rig.right, shown, &rig.left)?;
        flows += &format!(
            "table=0,in_port=left,{ip} actions=ct(commit,zone=1,nat(src={shown})),right\n\
             table=0,in_port=right,{ip},ct_state=-trk actions=ct(zone=1,nat,table=0)\n\
             table=0,in_port=right,{ip},ct_state=+trk+est actions=left\n\
             table=0,in_port=right,{ip},ct_state=+trk+rel actions=left\n"
        );
    }
    rig.flows(&flows)?;
    rig.hold(|rig| {
        let Rig { left, right, .. } = rig;
        for ((shown, server), client) in spare(1)
            .into_iter()
            .zip(addresses(right))
            .zip(addresses(left))
        {
            let service = Service::start(&right.namespace, "right", server, 80)?;
            let mut talk = Talk::open(&left.namespace, service.target())?;
            let told = talk.ask()?;
            let kept = SocketAddr::new(shown, talk.local()?.port());
            ensure!(told.seen == kept, "{told}, not {kept}");
            let told = service::ask_by_datagram(&left.namespace, service.target(), 4000)?;
            ensure!(told.seen == SocketAddr::new(shown, 4000), "{told}");
            talk.close()?;

            traffic::ping(&left.namespace, server, 56, 3)?;
            traffic::tcp(&left.namespace, &right.namespace, server, 5_000_000)?;
            traffic::udp_echo(
                &left.namespace,
                &right.namespace,
                server,
                &[1, 1400, 3000, 9000],
            )?;
            // Nobody listens there; the error's outside and inside are translated back.
            service::ensure_told_of_nobody(&left.namespace, SocketAddr::new(server, 9))?;

            let inner = Service::start(&left.namespace, "left", client, 80)?;
            service::ensure_no_way(&right.namespace, inner.target())?;
            service::ensure_no_way(&right.namespace, SocketAddr::new(shown, 80))?;
        }
        Ok(())
    })
}

/// `left` talks to an address that is `right`'s in truth, at another port.
fn destination(kind: Kind) -> Result<()> {
    let rig = Rig::new(kind)?;
    let mut flows = String::new();
    for (shown, server) in spare(1).into_iter().zip(addresses(&rig.right)) {
        let ip = family(shown);
        tell_of(&rig.left, shown, &rig.right)?;
        let (tcp, udp, dst) = match shown {
            IpAddr::V4(_) => ("tcp", "udp", "nw_dst"),
            IpAddr::V6(_) => ("tcp6", "udp6", "ipv6_dst"),
        };
        let real = bracketed(server);
        for transport in [tcp, udp] {
            flows += &format!(
                "table=0,priority=20,in_port=left,{transport},{dst}={shown},tp_dst=8080 \
                 actions=ct(commit,zone=1,nat(dst={real}:80)),right\n"
            );
        }
        flows += &format!(
            "table=0,priority=10,in_port=left,{ip},{dst}={shown} \
             actions=ct(commit,zone=1,nat(dst={server})),right\n\
             table=0,in_port=right,{ip},ct_state=-trk actions=ct(zone=1,nat,table=0)\n\
             table=0,in_port=right,{ip},ct_state=+trk+est actions=left\n\
             table=0,in_port=right,{ip},ct_state=+trk+rel actions=left\n"
        );
    }
    rig.flows(&flows)?;
    rig.hold(|rig| {
        let Rig { left, right, .. } = rig;
        for ((shown, server), client) in spare(1)
            .into_iter()
            .zip(addresses(right))
            .zip(addresses(left))
        {
            let service = Service::start(&right.namespace, "right", server, 80)?;
            let target = SocketAddr::new(shown, 8080);
            let mut talk = Talk::open(&left.namespace, target)?;
            let told = talk.ask()?;
            ensure!(
                told.seen == SocketAddr::new(client, talk.local()?.port()),
                "{told}"
            );
            let told = service::ask_by_datagram(&left.namespace, target, 4000)?;
            ensure!(told.seen == SocketAddr::new(client, 4000), "{told}");
            talk.close()?;
            traffic::ping(&left.namespace, shown, 56, 3)?;
            traffic::ping(&left.namespace, shown, 3000, 3)?;
            // The error comes from the address that was asked.
            service::ensure_told_of_nobody(&left.namespace, SocketAddr::new(shown, 9))?;
            // The port itself is only reached by its other name.
            service::ensure_no_way(&left.namespace, service.target())?;
        }
        Ok(())
    })
}

/// Connections at once from a range: each has its own address and port, one more has none, and
/// those that are go on.
fn range(kind: Kind) -> Result<()> {
    const PORTS: u16 = 4;
    let rig = Rig::new(kind)?;
    let mut flows = String::new();
    for (first, last) in spare(1).into_iter().zip(spare(3)) {
        let ip = family(first);
        for number in 1..=3 {
            let at = usize::from(first.is_ipv6());
            tell_of(&rig.right, spare(number)[at], &rig.left)?;
        }
        flows += &format!(
            "table=0,in_port=left,{ip} actions=ct(commit,zone=1,nat(src={}-{}:5000-{})),right\n\
             table=0,in_port=right,{ip},ct_state=-trk actions=ct(zone=1,nat,table=0)\n\
             table=0,in_port=right,{ip},ct_state=+trk+est actions=left\n",
            bracketed(first),
            bracketed(last),
            5000 + PORTS - 1,
        );
    }
    rig.flows(&flows)?;
    rig.hold(|rig| {
        let Rig { left, right, .. } = rig;
        for (at, server) in addresses(right).into_iter().enumerate() {
            let service = Service::start(&right.namespace, "right", server, 80)?;
            let mut talks = Vec::new();
            let mut seen = BTreeSet::new();
            for _ in 0..3 * PORTS {
                let mut talk = Talk::open(&left.namespace, service.target())?;
                let told = talk.ask()?.seen;
                let is_in = (1..=3).any(|number| spare(number)[at] == told.ip())
                    && (5000..5000 + PORTS).contains(&told.port());
                ensure!(is_in, "{told} is not in the range");
                ensure!(seen.insert(told), "{told} is two connections'");
                talks.push((talk, told));
            }
            service::ensure_no_connection(&left.namespace, service.target())?;
            for (mut talk, told) in talks {
                ensure!(talk.ask()?.seen == told, "another address half way");
                talk.close()?;
            }
        }
        Ok(())
    })
}

/// A host reaches itself by an address that it does not have: translated once each way, in a zone
/// for the destination and one for the source.
fn hairpin(kind: Kind) -> Result<()> {
    const NOBODY: &str = "02:00:00:00:00:99";
    let rig = Rig::new(kind)?;
    let mac = mac_of(&rig.left)?;
    let mut flows = String::new();
    for ((shown, source), server) in spare(1).into_iter().zip(spare(2)).zip(addresses(&rig.left)) {
        let (tcp, dst) = match shown {
            IpAddr::V4(_) => ("tcp", "nw_dst"),
            IpAddr::V6(_) => ("tcp6", "ipv6_dst"),
        };
        tell_of_mac(&rig.left, shown, NOBODY)?;
        tell_of_mac(&rig.left, source, NOBODY)?;
        let back = format!("set_field:{NOBODY}->eth_src,set_field:{mac}->eth_dst,IN_PORT");
        flows += &format!(
            "table=0,{tcp},{dst}={shown} actions=ct(commit,zone=1,nat(dst={real}:80),table=1)\n\
             table=1,{tcp} actions=ct(commit,zone=2,nat(src={source})),{back}\n\
             table=0,{tcp},{dst}={source} actions=ct(zone=2,nat,table=2)\n\
             table=2,{tcp},ct_state=+trk-inv actions=ct(zone=1,nat,table=3)\n\
             table=3,{tcp},ct_state=+trk+est actions={back}\n",
            real = bracketed(server),
        );
    }
    rig.flows(&flows)?;
    rig.hold(|rig| {
        let left = &rig.left;
        for ((shown, source), server) in spare(1).into_iter().zip(spare(2)).zip(addresses(left)) {
            let _service = Service::start(&left.namespace, "left", server, 80)?;
            for _ in 0..3 {
                let told = service::ask(&left.namespace, SocketAddr::new(shown, 8080))?;
                ensure!(told.seen.ip() == source, "{told}");
            }
        }
        Ok(())
    })
}

/// Two clients with the same address and the same port are told apart by their zones.
fn zones(kind: Kind) -> Result<()> {
    let topology = without_flows()?;
    let clients = [
        topology.named_host("left1", kind)?,
        topology.named_host("left2", kind)?,
    ];
    let right = topology.named_host("right", kind)?;
    let own = IpAddr::from([10, 77, 241, 1]);
    let mut flows = super::NEIGHBOURS.to_owned();
    for (zone, client) in (1..).zip(&clients) {
        let (shown, port) = (spare(zone)[0], &client.port);
        let namespace = &client.namespace;
        namespace.ip(&["addr", "flush", "dev", &client.device])?;
        device::addresses(namespace, &client.device, &[&format!("{own}/16")])?;
        tell_of(client, right.v4, &right)?;
        tell_of(&right, shown, client)?;
        flows += &format!(
            "table=0,in_port={port},ip actions=ct(commit,zone={zone},nat(src={shown})),right\n\
             table=0,in_port=right,ip,ct_state=-trk,nw_dst={shown} actions=ct(zone={zone},nat,table=0)\n\
             table=0,in_port=right,ip,ct_state=+trk+est,ct_zone={zone} actions={port}\n"
        );
    }
    super::replace_flows(&topology, &flows)?;
    let service = Service::start(&right.namespace, "right", right.v4, 80)?;
    for _ in 0..3 {
        for (zone, client) in (1..).zip(&clients) {
            let told = service::ask_by_datagram(&client.namespace, service.target(), 4000)?;
            ensure!(told.seen == SocketAddr::new(spare(zone)[0], 4000), "{told}");
        }
    }
    Ok(())
}
