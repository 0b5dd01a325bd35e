//! The whole switch, real processes and all, beside what else could connect two namespaces.
//!
//! `cargo xtask bench contest [-- --quick]`, as root. All contenders stand at once and take turns in
//! every repeat, so that a machine that changes its mind does so for all; a figure is the median
//! of the repeats. Packets and bytes are counted at the receiver. The switch's worker and the bare
//! forwarders are pinned to core 1, the XDP source, whoever sends over TCP and both ends of
//! ping-pong to core 0, receivers over TCP to nothing. Congestion control is cubic, which the
//! sending sockets choose before they connect. Before each turn, with everything of ours asleep,
//! the run notes how busy the machine is anyway, and marks turns that something disturbed.
//!
//! The folder `contest` of the run gets `summary.md`, `raw.csv` and a plot for each measure.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures in wall time, for a given time"
)]

mod scene;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use vswitch_benches::report::{Bound, Measure, Report, Target};
use vswitch_benches::traffic::Window;
use vswitch_benches::turns::{self, Run};
use vswitch_tests::traffic;

use scene::{Contender, Idle};

const fn measure(file: &'static str, title: &'static str, unit: &'static str) -> Measure {
    Measure { file, title, unit }
}

static FRAMES: Measure = measure("frames", "64 B frames (XDP-frame source)", "Mpps");
static P50: Measure = measure("ping-pong-p50", "UDP ping-pong p50", "µs");
static P99: Measure = measure("ping-pong-p99", "UDP ping-pong p99", "µs");
static TCP: Measure = measure("tcp", "TCP, one stream", "Gbit/s");
static TCP_BESIDE_IDLE: Measure = measure("tcp-beside-idle", "TCP between TAP ports", "Gbit/s");
static IDLE_CPU: Measure = measure("idle-cpu", "use of a core while idle", "%");

const OURS: &str = "vswitch, AF_XDP";
const OURS_TAP: &str = "vswitch, TAP";
const BARE: &str = "bare AF_XDP forwarder";
const BARE_TAP: &str = "bare TAP forwarder";
const BRIDGE: &str = "Linux bridge";
const CABLE: &str = "veth cable";
const ALONE: &str = "0 idle ports";
const BESIDE_IDLE: &str = "idle ports";

const fn target(
    of: &'static Measure,
    ours: &'static str,
    theirs: &'static str,
    at_least: bool,
    limit: f64,
) -> Target {
    Target {
        of: (of, ours),
        by: (of, theirs),
        at_least,
        limit,
    }
}

static TARGETS: [Target; 5] = [
    target(&FRAMES, OURS, BARE, true, 0.95),
    target(&P50, OURS, BARE, false, 1.05),
    target(&TCP, OURS_TAP, BARE_TAP, true, 0.95),
    target(&TCP, OURS_TAP, BRIDGE, true, 0.9),
    target(&TCP_BESIDE_IDLE, BESIDE_IDLE, ALONE, true, 0.95),
];

static BOUNDS: [Bound; 1] = [Bound {
    of: &IDLE_CPU,
    title: "both processes with 100 idle TAP ports, of a core",
    limit: 1.0,
}];

/// Of 64 B frames.
const WARM_UP: Duration = Duration::from_millis(300);
const PARTS: usize = 10;

/// How long and how often things are measured.
struct Plan {
    repeats: usize,
    rate: Duration,
    tcp: Duration,
    round_trips: usize,
    idle_ports: usize,
    idle: Duration,
}

const FULL: Plan = Plan {
    repeats: 7,
    rate: Duration::from_millis(1000),
    tcp: Duration::from_millis(1500),
    round_trips: 5000,
    idle_ports: 1000,
    idle: Duration::from_secs(5),
};

const QUICK: Plan = Plan {
    repeats: 3,
    rate: Duration::from_millis(500),
    tcp: Duration::from_millis(500),
    round_trips: 2000,
    idle_ports: 200,
    idle: Duration::from_secs(5),
};

/// Ports of the switch whose use of the processor is measured while nothing happens.
const QUIET_PORTS: usize = 100;

fn main() -> ExitCode {
    turns::in_sandbox(run)
}

fn run() -> Result<()> {
    let plan = if turns::is_quick() { QUICK } else { FULL };
    let contenders = scene::all()?;
    let idle = Idle::new(plan.idle_ports)?;
    let mut run = Run::default();
    run.repeat(plan.repeats, |run| {
        for contender in &contenders {
            turn(contender, &plan, run).context(contender.name())?;
        }
        for (name, pair) in [(ALONE, &idle.without), (BESIDE_IDLE, &idle.with)] {
            run.watch()?;
            let [left, right] = pair.hosts();
            let core = Some(scene::SOURCE_CORE);
            let sent = traffic::tcp_rate_on(core, left, right, pair.address(), plan.tcp)
                .with_context(|| format!("TCP beside {name}"))?;
            run.note(&TCP_BESIDE_IDLE, name, sent.gbit_per_second());
        }
        Ok(())
    })?;
    drop(contenders);
    drop(idle);

    let quiet = scene::quiet(QUIET_PORTS)?;
    run.repeat(3, |run| {
        run.watch()?;
        for (name, share) in scene::cpu_shares(&quiet, plan.idle)? {
            run.note(&IDLE_CPU, name, share * 100.0);
        }
        Ok(())
    })?;
    drop(quiet);

    let report = Report {
        title: "The switch beside its alternatives",
        targets: &TARGETS,
        bounds: &BOUNDS,
        samples: Vec::new(),
        notes: format!(
            "Contenders took turns in every repeat; figures are counted at the receiver. Worker and \
             bare forwarders on core 1, XDP source and TCP sender on core 0, as are both ends of \
             ping-pong, receivers unpinned; cubic. XDP frames \
             flatter AF_XDP: there is no socket on the sender's side. Hosts behind the bare AF_XDP \
             forwarder have checksum offload off, which it cannot carry; all others have every offload \
             on. \"idle ports\" are {} TAP ports, up, on the same switch.",
            plan.idle_ports
        ),
    };
    run.tell(report, "contest")
}

/// All that is measured of one contender in one repeat.
fn turn(contender: &Contender, plan: &Plan, run: &mut Run) -> Result<()> {
    run.watch()?;
    let running = contender.start()?;
    let [left, right] = contender.hosts();
    traffic::await_ping(left, contender.address(), Duration::from_secs(10))?;
    if contender.has_xdp() {
        let rate = contender.frame_rate(Window {
            warm_up: WARM_UP,
            time: plan.rate,
            parts: PARTS,
        })?;
        run.note(&FRAMES, contender.name(), rate / 1e6);
        traffic::await_ping(left, contender.address(), Duration::from_secs(10))?;
    } else {
        let core = Some(scene::SOURCE_CORE);
        let sent = traffic::tcp_rate_on(core, left, right, contender.address(), plan.tcp)?;
        run.note(&TCP, contender.name(), sent.gbit_per_second());
    }
    if contender.has_latency() {
        let core = Some(scene::SOURCE_CORE);
        let address = contender.address();
        let latency = traffic::ping_pong_on(core, left, right, address, plan.round_trips)?;
        run.note(&P50, contender.name(), latency.p50.as_secs_f64() * 1e6);
        run.note(&P99, contender.name(), latency.p99.as_secs_f64() * 1e6);
    }
    drop(running);
    Ok(())
}
