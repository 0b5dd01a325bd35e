//! Bulk TCP and ping-pong between two namespaces over ports that keep super-frames whole.
//!
//! `cargo bench --package vswitch-benches --bench tap`, as root. Side by side: a veth cable, the
//! kernel's bridge, the bare TAP forwarder, and the switch's TAP and packet-socket queues without a
//! pipeline. Forwarders are bound to core 1, applications to nothing; congestion control is cubic
//! everywhere. Repeats take turns, so that a machine that changes its mind does so for all. Bytes
//! are counted at the receiver. The first argument, if any, is the number of repeats.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures in wall time"
)]

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use vswitch_benches::bare_tap::Forwarder;
use vswitch_benches::turns;
use vswitch_datapath::buffer::{Batch, FramePool, SharedFrames};
use vswitch_datapath::port::packet::PacketQueue;
use vswitch_datapath::port::tap::TapQueue;
use vswitch_datapath::port::{PortIndex, PortQueue};
use vswitch_sys::packet_socket::{self, PacketSocketSpec};
use vswitch_sys::tap::{self, Tap, TapOffloads, TapSpec};
use vswitch_tests::netns::Namespace;
use vswitch_tests::{device, traffic};

const REPEATS: usize = 5;
const MEASURED: Duration = Duration::from_millis(1000);
const ROUND_TRIPS: usize = 5000;
const SWITCH_CORE: usize = 1;
const MTU: u32 = 1500;

fn main() -> ExitCode {
    turns::in_sandbox(measure)
}

/// Two hosts and what is between them.
struct Contender {
    name: &'static str,
    hosts: [Namespace; 2],
    _forwarder: Option<Forwarder>,
}

fn measure() -> Result<()> {
    let repeats = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(REPEATS);
    let here = Namespace::here()?;
    let contenders = [
        cable()?,
        bridge(&here)?,
        bare_tap()?,
        tap_queues()?,
        packet_queues(&here)?,
    ];
    let address: IpAddr = [10, 0, 0, 2].into();
    let mut rates = contenders.each_ref().map(|_| Vec::new());
    let mut times = contenders.each_ref().map(|_| Vec::new());
    for repeat in 0..=repeats {
        for (i, Contender { name, hosts, .. }) in contenders.iter().enumerate() {
            let [left, right] = hosts;
            let transfer = traffic::tcp_rate(left, right, address, MEASURED)
                .with_context(|| format!("TCP over {name}"))?;
            let latency = traffic::ping_pong(left, right, address, ROUND_TRIPS)
                .with_context(|| format!("ping-pong over {name}"))?;
            // The first round warms the machine up.
            if repeat > 0 {
                rates[i].push(transfer.gbit_per_second());
                times[i].push(latency.p50.as_secs_f64() * 1e6);
            }
        }
    }
    println!(
        "{:<24} {:>26} {:>28}",
        "between two namespaces", "TCP 1 stream Gbit/s", "ping-pong p50 µs"
    );
    println!(
        "{:<24} {:>26} {:>28}",
        "", "min / median / max", "min / median / max"
    );
    for (i, contender) in contenders.iter().enumerate() {
        println!(
            "{:<24} {:>26} {:>28}",
            contender.name,
            spread(&mut rates[i]),
            spread(&mut times[i])
        );
    }
    Ok(())
}

fn spread(values: &mut [f64]) -> String {
    values.sort_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(min), Some(median), Some(max)) => format!("{min:.1} / {median:.1} / {max:.1}"),
        _ => "nothing measured".to_owned(),
    }
}

fn address(hosts: &[Namespace; 2]) -> Result<()> {
    for (host, address) in hosts.iter().zip(["10.0.0.1/24", "10.0.0.2/24"]) {
        device::addresses(host, "eth0", &[address])?;
        host.ip(&["link", "set", "eth0", "up"])?;
        device::await_carrier(host, "eth0")?;
    }
    Ok(())
}

fn cable() -> Result<Contender> {
    let hosts = Namespace::pair("cable")?;
    device::veth((&hosts[0], "eth0"), (&hosts[1], "eth0"), MTU)?;
    address(&hosts)?;
    Ok(Contender {
        name: "veth cable",
        hosts,
        _forwarder: None,
    })
}

fn bridge(here: &Namespace) -> Result<Contender> {
    let hosts = Namespace::pair("bridge")?;
    here.ip(&["link", "add", "br0", "type", "bridge"])?;
    here.ip(&["link", "set", "br0", "up"])?;
    for (host, end) in hosts.iter().zip(["b0", "b1"]) {
        device::veth((here, end), (host, "eth0"), MTU)?;
        here.ip(&["link", "set", end, "master", "br0"])?;
    }
    address(&hosts)?;
    Ok(Contender {
        name: "Linux bridge",
        hosts,
        _forwarder: None,
    })
}

fn taps(hosts: &[Namespace; 2]) -> Result<[Tap; 2]> {
    let open = |host: &Namespace| {
        host.run(|| {
            Ok(tap::open(&TapSpec {
                name: "eth0",
                queues: 1,
                exclusive: true,
                offloads: TapOffloads::all(),
            })?)
        })
    };
    let taps = [open(&hosts[0])?, open(&hosts[1])?];
    address(hosts)?;
    Ok(taps)
}

fn only_queue(tap: Tap) -> Result<OwnedFd> {
    tap.queues.into_iter().next().context("a TAP without queue")
}

fn bare_tap() -> Result<Contender> {
    let hosts = Namespace::pair("bare")?;
    let [a, b] = taps(&hosts)?;
    let forwarder = Forwarder::bare(SWITCH_CORE, [only_queue(a)?, only_queue(b)?])?;
    Ok(Contender {
        name: "bare TAP forwarder",
        hosts,
        _forwarder: Some(forwarder),
    })
}

fn tap_queues() -> Result<Contender> {
    let hosts = Namespace::pair("tap")?;
    let [a, b] = taps(&hosts)?;
    let offloads = a.offloads;
    let fds = [only_queue(a)?, only_queue(b)?];
    let waiting = [fds[0].try_clone()?, fds[1].try_clone()?];
    let mut port = 0;
    let queues = fds.map(|fd| {
        port += 1;
        Box::new(TapQueue::new(fd, PortIndex(port), offloads, MTU)) as Box<dyn PortQueue>
    });
    Ok(Contender {
        name: "TAP queues",
        hosts,
        _forwarder: Some(switch(waiting, queues)?),
    })
}

fn packet_queues(here: &Namespace) -> Result<Contender> {
    let hosts = Namespace::pair("packet")?;
    let mut fds = Vec::new();
    for (host, end) in hosts.iter().zip(["p0", "p1"]) {
        device::veth((here, end), (host, "eth0"), MTU)?;
        here.sysctl(&format!("net/ipv6/conf/{end}/disable_ipv6"), "1")?;
        let line = here.ip(&["-o", "link", "show", end])?;
        let (index, _) = line.split_once(':').context("ip shows no number")?;
        fds.push(packet_socket::open(&PacketSocketSpec {
            ifindex: index.trim().parse()?,
            receive_size: 16 << 20,
            send_size: 16 << 20,
            qdisc_bypass: false,
            promiscuous: true,
        })?);
    }
    address(&hosts)?;
    let fds: [OwnedFd; 2] = fds.try_into().ok().context("two sockets")?;
    let waiting = [fds[0].try_clone()?, fds[1].try_clone()?];
    let mut port = 0;
    let queues = fds.map(|fd| {
        port += 1;
        Box::new(PacketQueue::new(fd, PortIndex(port), MTU)) as Box<dyn PortQueue>
    });
    Ok(Contender {
        name: "packet-socket queues",
        hosts,
        _forwarder: Some(switch(waiting, queues)?),
    })
}

/// Hands the packets of each queue to the other as they are.
fn switch(waiting: [OwnedFd; 2], mut queues: [Box<dyn PortQueue>; 2]) -> Result<Forwarder> {
    let mut pool = FramePool::new(SharedFrames::new(4096, 256)?);
    let mut batch = Batch::new();
    let mut out = Vec::new();
    Ok(Forwarder::start(SWITCH_CORE, waiting, move || {
        let now = Instant::now();
        let mut moved = false;
        for from in 0..2 {
            queues[from].rx(now, &mut pool, &mut batch);
            moved |= !batch.is_empty();
            out.extend(batch.drain(..));
            queues[1 - from].tx(now, &mut pool, &mut out);
        }
        moved
    }))
}
