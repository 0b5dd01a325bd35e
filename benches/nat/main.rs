//! Address translation by the switch, by the kernel and by Open vSwitch, in turns.
//!
//! `cargo xtask bench nat [-- --quick]`, as root, with Debian's `nftables`, `conntrack` and
//! `openvswitch-switch`. Between two hosts on two subnets stands a router that gives the first one's
//! packets its own address: this switch and Open vSwitch's userspace datapath with the same flows,
//! and the kernel with `nft` and `masquerade`. Each is started afresh for its turn.
//!
//! Frames come from the XDP source on core 0 and are counted where they arrive at the second host;
//! each is of 60 bytes, 64 on a wire. *Established* connections were answered before. Of *new* ones
//! every frame begins one: UDP datagrams and SYNs of ever other ports, into a table that was
//! emptied before. How the table itself does with a million connections is the benchmark
//! `conntrack`.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures in wall time, for a given time"
)]

mod scene;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use vswitch_benches::report::{Measure, Report, Target};
use vswitch_benches::traffic::{self, Window};
use vswitch_benches::turns::{self, Run};
use vswitch_tests::traffic as streams;

use scene::{Contender, New, SOURCE_CORE, Standing};

const fn measure(file: &'static str, title: &'static str, unit: &'static str) -> Measure {
    Measure { file, title, unit }
}

static ONE: Measure = measure("established-1", "64 B frames of 1 connection", "Mpps");
static MANY: Measure = measure(
    "established-16384",
    "64 B frames of 16,384 connections",
    "Mpps",
);
static NEW_UDP: Measure = measure("new-udp", "new UDP connections", "million/s");
static NEW_TCP: Measure = measure("new-tcp", "new TCP connections (SYN)", "million/s");
static WHOLE_TCP: Measure = measure(
    "whole-tcp",
    "TCP: connect, ask, be answered, close; one after the other",
    "k/s",
);
static STREAM: Measure = measure("tcp", "TCP, one stream", "Gbit/s");

const fn target(
    of: &'static Measure,
    ours: &'static str,
    theirs: &'static str,
    limit: f64,
) -> Target {
    Target {
        of: (of, ours),
        by: (of, theirs),
        at_least: true,
        limit,
    }
}

const OURS: &str = "vswitch, AF_XDP";
const OURS_TAP: &str = "vswitch, TAP";
const KERNEL: &str = "nft masquerade";
const OVS: &str = "Open vSwitch, AF_XDP";

static TARGETS: [Target; 9] = [
    target(&ONE, OURS, KERNEL, 1.3),
    target(&ONE, OURS, OVS, 1.15),
    target(&MANY, OURS, KERNEL, 1.3),
    target(&MANY, OURS, OVS, 1.15),
    target(&NEW_UDP, OURS, KERNEL, 2.0),
    target(&NEW_UDP, OURS, OVS, 1.8),
    target(&NEW_TCP, OURS, KERNEL, 2.0),
    target(&NEW_TCP, OURS, OVS, 1.8),
    target(&STREAM, OURS_TAP, KERNEL, 0.8),
];

/// Connections that are established, many of them.
const CONNECTIONS: u32 = 16_384;

/// How long and how often things are measured.
struct Plan {
    repeats: usize,
    rate: Duration,
    stream: Duration,
    whole: usize,
}

const FULL: Plan = Plan {
    repeats: 7,
    rate: Duration::from_millis(1000),
    stream: Duration::from_millis(1500),
    whole: 5000,
};

const QUICK: Plan = Plan {
    repeats: 2,
    rate: Duration::from_millis(500),
    stream: Duration::from_millis(500),
    whole: 1000,
};

/// Of new connections: so short that what begins in it and around it has room in the kernel's table,
/// whose 262,144 places are for the whole machine and not for a run to change.
const NEW: Window = Window {
    warm_up: Duration::from_millis(50),
    time: Duration::from_millis(200),
    parts: 5,
};

fn main() -> ExitCode {
    turns::in_sandbox(run)
}

fn run() -> Result<()> {
    let plan = if turns::is_quick() { QUICK } else { FULL };
    scene::prepare()?;
    let mut run = Run::default();
    run.repeat(plan.repeats, |run| {
        for contender in Contender::ALL {
            run.watch()?;
            let standing = contender.start().context(contender.name())?;
            turn(&standing, &plan, run).context(contender.name())?;
        }
        Ok(())
    })?;
    let report = Report {
        title: "Address translation beside the kernel and Open vSwitch",
        targets: &TARGETS,
        bounds: &[],
        samples: Vec::new(),
        notes: "Contenders took turns in every repeat, each started afresh; figures are counted at the \
             receiver. The switch's worker and Open vSwitch's thread on core 1, XDP source and TCP \
             sender on core 0; the kernel's router is steered to core 1 behind NAPI (RPS). XDP frames \
             flatter AF_XDP: there is no socket on the sender's side. Every frame of new connections has other ports, so that \
             none has to look for one that is free. Hosts behind Open vSwitch have checksum offload \
             off, which its AF_XDP ports cannot carry; all others have every offload on."
            .to_owned(),
    };
    run.tell(report, "nat")
}

/// All that is measured of one contender in one repeat.
fn turn(standing: &Standing, plan: &Plan, run: &mut Run) -> Result<()> {
    let [left, right] = standing.hosts();
    let name = standing.contender().name();
    let address = scene::RIGHT.into();
    streams::await_ping(left, address, Duration::from_secs(10))?;
    if standing.contender().has_frames() {
        let window = Window {
            warm_up: Duration::from_millis(300),
            time: plan.rate,
            parts: 10,
        };
        for (measure, len) in [(&ONE, 1), (&MANY, CONNECTIONS)] {
            standing.establish(len)?;
            let copies = scene::established(len);
            let rate = traffic::frame_rate([left, right], copies, SOURCE_CORE, window)?;
            run.note(measure, name, rate / 1e6);
        }
        for (measure, new) in [(&NEW_UDP, New::Udp), (&NEW_TCP, New::Tcp)] {
            standing.forget()?;
            let copies = scene::new_connections(new);
            let rate = traffic::frame_rate([left, right], copies, SOURCE_CORE, NEW)?;
            run.note(measure, name, rate / 1e6);
        }
        standing.forget()?;
    }
    let rate = streams::connections(left, right, address, plan.whole)?;
    run.note(&WHOLE_TCP, name, rate / 1e3);
    let sent = streams::tcp_rate_on(Some(SOURCE_CORE), left, right, address, plan.stream)?;
    run.note(&STREAM, name, sent.gbit_per_second());
    Ok(())
}
