//! The demonstration's figures: the switch beside a plain veth cable and the kernel's own bridge,
//! measured one after the other with the same traffic.
//!
//! One short run each on a machine that does other things too: an impression, not a benchmark.
//! `cargo xtask bench` repeats, interleaves and commits.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use vswitch_tests::netns::Namespace;
use vswitch_tests::{device, traffic};

use super::hosts::Hosts;
use crate::steps::{note, watched};

/// Round trips of 64 bytes over UDP that make a latency.
const ROUND_TRIPS: usize = 5000;

/// Connections opened one after the other that make a rate.
const CONNECTIONS: usize = 1000;

/// What was measured over one path.
#[derive(Debug)]
struct Row {
    path: &'static str,
    there: f64,
    back: f64,
    latency: traffic::Latency,
    connections: f64,
}

/// One end of a path.
type End<'a> = (&'a Namespace, IpAddr);

/// Measures all paths and prints the table.
pub(crate) fn run(hosts: &Hosts, seconds: f64) -> Result<()> {
    let time = Duration::from_secs_f64(seconds);
    let bar = if watched() {
        ProgressBar::new(5)
    } else {
        ProgressBar::hidden()
    };
    bar.set_style(
        ProgressStyle::with_template("    {msg:24} {wide_bar} {pos}/{len}")
            .expect("a template that is constant"),
    );
    let (cable, bridge) = (Rival::cable()?, Rival::bridge()?);
    let [taps, xdp, mixed] = hosts.pairs().map(|(a, b)| {
        [
            (&a.host.namespace, a.host.v4),
            (&b.host.namespace, b.host.v4),
        ]
    });
    let mut rows = Vec::new();
    for (path, ends) in [
        ("vswitch, TAP to TAP", taps),
        ("vswitch, AF_XDP to AF_XDP", xdp),
        ("vswitch, TAP to AF_XDP", mixed),
        ("Linux bridge, veth", bridge.ends()),
        ("veth cable", cable.ends()),
    ] {
        bar.set_message(path);
        rows.push(measure(path, ends, time).with_context(|| path.to_owned())?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!(
        "    {:26} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "TCP ->", "TCP <-", "ping-pong", "", "connect"
    );
    println!(
        "    {:26} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "Gbit/s", "Gbit/s", "p50 us", "p99 us", "per s"
    );
    for row in &rows {
        println!(
            "    {:26} {:9.2} {:9.2} {:9.1} {:9.1} {:9.0}",
            row.path,
            row.there,
            row.back,
            row.latency.p50.as_secs_f64() * 1e6,
            row.latency.p99.as_secs_f64() * 1e6,
            row.connections
        );
    }
    note(format_args!(
        "TCP: one stream, cubic, {seconds} s; ping-pong: {ROUND_TRIPS} datagrams of 64 bytes and back; \
         connect: request and answer of 64 bytes"
    ));
    Ok(())
}

fn measure(path: &'static str, [a, b]: [End<'_>; 2], time: Duration) -> Result<Row> {
    // The first packets find neighbours and flows; they are not what is measured.
    traffic::ping(a.0, b.1, 56, 3)?;
    Ok(Row {
        path,
        there: traffic::tcp_rate(a.0, b.0, b.1, time)?.gbit_per_second(),
        back: traffic::tcp_rate(b.0, a.0, a.1, time)?.gbit_per_second(),
        latency: traffic::ping_pong(a.0, b.0, b.1, ROUND_TRIPS)?,
        connections: traffic::connections(a.0, b.0, b.1, CONNECTIONS)?,
    })
}

/// Two hosts, whatever lies between them.
#[derive(Debug)]
struct Rival {
    hosts: [Namespace; 2],
    addresses: [IpAddr; 2],
}

impl Rival {
    /// A veth pair and nothing else.
    fn cable() -> Result<Self> {
        let rival = Self::unconnected("cable", 1)?;
        let [a, b] = &rival.hosts;
        device::veth((a, "eth0"), (b, "eth0"), 1500)?;
        rival.give_addresses()
    }

    /// A Linux bridge with a veth port for each.
    fn bridge() -> Result<Self> {
        let here = Namespace::here()?;
        here.ip(&["link", "add", "linuxbr0", "type", "bridge"])?;
        here.ip(&["link", "set", "linuxbr0", "up"])?;
        let rival = Self::unconnected("bridge", 2)?;
        for (host, port) in rival.hosts.iter().zip(["linuxbr0-a", "linuxbr0-b"]) {
            device::veth((&here, port), (host, "eth0"), 1500)?;
            here.ip(&["link", "set", port, "master", "linuxbr0"])?;
        }
        rival.give_addresses()
    }

    fn unconnected(name: &str, subnet: u8) -> Result<Self> {
        Ok(Self {
            hosts: [
                Namespace::create(&format!("{name}-a"))?,
                Namespace::create(&format!("{name}-b"))?,
            ],
            addresses: [1, 2].map(|host| IpAddr::from([10, 78, subnet, host])),
        })
    }

    fn give_addresses(self) -> Result<Self> {
        for (host, address) in self.hosts.iter().zip(self.addresses) {
            device::addresses(host, "eth0", &[&format!("{address}/24")])?;
            device::await_carrier(host, "eth0")?;
        }
        Ok(self)
    }

    fn ends(&self) -> [End<'_>; 2] {
        let [a, b] = &self.hosts;
        [(a, self.addresses[0]), (b, self.addresses[1])]
    }
}
