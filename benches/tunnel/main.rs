//! Tunnels and routers: VXLAN between two hosts by the switch, by the kernel and by Open vSwitch, and
//! routed packets beside bridged ones, in turns.
//!
//! `cargo xtask bench tunnel [-- --quick]`, as root, with Debian's `openvswitch-switch`. Each of two
//! hosts is a namespace, a veth joins them, and behind each is a guest: on a bridge with a VXLAN
//! device of the kernel's, on this switch by its ways to other hosts, on Open vSwitch's userspace
//! datapath with AF_XDP ports. For routing one switch has two guests, on one bridge or on two with a
//! router between them. Each is started afresh for its turn.
//!
//! Frames come from the XDP source on core 0 and are counted where they arrive at the second guest;
//! each is of 60 bytes, 64 on a wire. Whatever works for hosts, both of them, does so on core 1.
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
use vswitch_benches::traffic::{self, Copies, Window};
use vswitch_benches::turns::{self, Run};
use vswitch_tests::traffic as streams;

use scene::{Contender, SOURCE_CORE, Standing};

const fn measure(file: &'static str, title: &'static str, unit: &'static str) -> Measure {
    Measure { file, title, unit }
}

static FRAMES: Measure = measure("frames", "64 B frames through VXLAN", "Mpps");
static STREAM: Measure = measure("tcp", "TCP through VXLAN, one stream", "Gbit/s");
static LOCAL: Measure = measure("routed", "64 B frames between two guests of a host", "Mpps");

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

const UPLINK: &str = "vswitch, uplink";
const UPLINK_TAP: &str = "vswitch, TAP, uplink";
const SOCKET_TAP: &str = "vswitch, TAP, UDP socket";
const KERNEL: &str = "Linux bridge and VXLAN";
const OVS: &str = "Open vSwitch, AF_XDP";
const BRIDGED: &str = "bridged";
const ROUTED: &str = "routed";

static TARGETS: [Target; 7] = [
    target(&FRAMES, UPLINK, KERNEL, 1.7),
    target(&FRAMES, UPLINK, OVS, 1.1),
    target(&STREAM, SOCKET_TAP, KERNEL, 0.6),
    target(&STREAM, SOCKET_TAP, OVS, 6.0),
    target(&STREAM, UPLINK_TAP, KERNEL, 0.6),
    target(&STREAM, UPLINK_TAP, OVS, 6.0),
    // At most 15 % more for each packet.
    target(&LOCAL, ROUTED, BRIDGED, 1.0 / 1.15),
];

/// How long and how often things are measured.
struct Plan {
    repeats: usize,
    rate: Duration,
    stream: Duration,
}

const FULL: Plan = Plan {
    repeats: 7,
    rate: Duration::from_millis(1000),
    stream: Duration::from_millis(1500),
};

const QUICK: Plan = Plan {
    repeats: 2,
    rate: Duration::from_millis(500),
    stream: Duration::from_millis(500),
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
        title: "Tunnels and routers beside the kernel and Open vSwitch",
        targets: &TARGETS,
        bounds: &[],
        samples: Vec::new(),
        notes: "Contenders took turns in every repeat, each started afresh; figures are counted at the \
             receiver. Both hosts' workers, Open vSwitch's threads and the kernel's bridges (behind \
             NAPI, by RPS) on core 1, XDP source and TCP sender on core 0. XDP frames flatter AF_XDP: \
             there is no socket on the sender's side. Guests and the wire of Open vSwitch have checksum \
             offload off, which its AF_XDP ports cannot carry; all others have every offload on."
            .to_owned(),
    };
    run.tell(report, "tunnel")
}

/// All that is measured of one contender in one repeat.
fn turn(standing: &Standing, plan: &Plan, run: &mut Run) -> Result<()> {
    let [left, right] = standing.guests();
    let contender = standing.contender();
    let address = standing.address().into();
    streams::await_ping(left, address, Duration::from_secs(10))?;
    if contender.has_frames() {
        let window = Window {
            warm_up: Duration::from_millis(300),
            time: plan.rate,
            parts: 10,
        };
        let copies = Copies::alike(standing.frame()?);
        let rate = traffic::frame_rate([left, right], copies, SOURCE_CORE, window)?;
        let measure = if contender.is_local() {
            &LOCAL
        } else {
            &FRAMES
        };
        run.note(measure, contender.name(), rate / 1e6);
    }
    if contender.has_stream() {
        let core = Some(SOURCE_CORE);
        let sent = streams::tcp_rate_on(core, left, right, address, plan.stream)?;
        run.note(&STREAM, contender.name(), sent.gbit_per_second());
    }
    Ok(())
}
