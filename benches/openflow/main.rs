//! Flows by the hundred thousand, beside Debian's Open vSwitch with its userspace datapath.
//!
//! `cargo xtask bench openflow [-- --quick]`, as root, with Debian's `openvswitch-switch`. In every
//! repeat each switch is started afresh and takes its turn: loading [`FLOWS`] flows one by one and as
//! a bundle, the memory that they take, packets that no cache knows, and what changing one of the
//! flows does to traffic that has nothing to do with it. Figures are medians of the repeats; both
//! switches serve AF_XDP ports over veth by one thread on core 1, the source of frames is on core 0.
//!
//! The folder `openflow` of the run gets `summary.md`, `raw.csv`, a plot for each measure and one of the round
//! trips' histogram.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures in wall time, for a given time"
)]

mod client;
mod flows;
mod histogram;
mod scene;

use std::net::UdpSocket;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use vswitch_benches::report::{Measure, Report, Target};
use vswitch_benches::spread::Spread;
use vswitch_benches::turns::{self, Run};
use vswitch_tests::traffic;

use client::Client;
use histogram::Histogram;
use scene::{Contender, Frames, Hosts, OURS, Running, THEIRS};

/// Flows that are loaded.
const FLOWS: usize = 100_000;

/// Flows of the frames that are sent while a flow is changed.
const FRAME_FLOWS: u32 = 4096;

/// How often a flow is changed while traffic is looked at.
const CHANGE_EVERY: Duration = Duration::from_millis(10);

/// How long a source runs before it is measured.
const WARM_UP: Duration = Duration::from_millis(300);

/// Parts of a rate's window, of which the median is taken.
const PARTS: usize = 10;

/// How long and how often things are measured.
struct Plan {
    repeats: usize,
    rate: Duration,
    round_trips: usize,
}

const FULL: Plan = Plan {
    repeats: 5,
    rate: Duration::from_millis(1500),
    round_trips: 20_000,
};

const QUICK: Plan = Plan {
    repeats: 1,
    rate: Duration::from_millis(500),
    round_trips: 5_000,
};

const fn measure(file: &'static str, title: &'static str, unit: &'static str) -> Measure {
    Measure { file, title, unit }
}

static LOAD: Measure = measure("load", "100,000 flows by `ovs-ofctl add-flows`", "s");
static BUNDLE: Measure = measure("bundle", "the same with `--bundle`", "s");
static MEMORY: Measure = measure("memory", "memory for a flow", "bytes");
static NEW_FLOWS: Measure = measure(
    "new-flows",
    "new flows through 10 tables, 1,000 rules of 20 masks",
    "k/s",
);
static CHANGE_P50: Measure = measure("change-p50", "changing one flow of 100,000, p50", "µs");
static CHANGE_P99: Measure = measure("change-p99", "changing one flow of 100,000, p99", "µs");
static FRAMES: Measure = measure("frames", "64 B frames of 4,096 flows", "Mpps");
static FRAMES_CHANGED: Measure = measure(
    "frames-changed",
    "the same while another flow is changed every 10 ms",
    "Mpps",
);
static P50: Measure = measure("ping-pong-p50", "UDP ping-pong, p50", "µs");
static P99: Measure = measure("ping-pong-p99", "UDP ping-pong, p99", "µs");
static P50_ASKED: Measure = measure(
    "ping-pong-asked-p50",
    "UDP ping-pong, p50, while a client asks for nothing every 10 ms",
    "µs",
);
static P99_ASKED: Measure = measure(
    "ping-pong-asked-p99",
    "UDP ping-pong, p99, while a client asks for nothing every 10 ms",
    "µs",
);
static P50_CHANGED: Measure = measure(
    "ping-pong-changed-p50",
    "UDP ping-pong, p50, while another flow is changed every 10 ms",
    "µs",
);
static P99_CHANGED: Measure = measure(
    "ping-pong-changed-p99",
    "UDP ping-pong, p99, while another flow is changed every 10 ms",
    "µs",
);

/// A ratio of us to them, of the same measure.
const fn beside(of: &'static Measure, at_least: bool, limit: f64) -> Target {
    Target {
        of: (of, OURS),
        by: (of, THEIRS),
        at_least,
        limit,
    }
}

/// A ratio of what changes do to us to what is without them.
const fn during(of: &'static Measure, by: &'static Measure, at_least: bool, limit: f64) -> Target {
    Target {
        of: (of, OURS),
        by: (by, OURS),
        at_least,
        limit,
    }
}

static TARGETS: [Target; 7] = [
    beside(&LOAD, false, 0.5),
    beside(&BUNDLE, false, 0.5),
    beside(&MEMORY, false, 1.0),
    beside(&NEW_FLOWS, true, 2.0),
    during(&P50_CHANGED, &P50, false, 1.05),
    during(&P99_CHANGED, &P99, false, 1.1),
    during(&FRAMES_CHANGED, &FRAMES, true, 0.95),
];

fn main() -> ExitCode {
    turns::in_sandbox(run)
}

/// A turn that is being taken.
struct Turn<'a> {
    contender: Contender,
    run: &'a mut Run,
    histogram: &'a mut Histogram,
}

impl Turn<'_> {
    fn note(&mut self, measure: &'static Measure, value: f64) {
        self.run.note(measure, self.contender.name(), value);
    }
}

fn run() -> Result<()> {
    let plan = if turns::is_quick() { QUICK } else { FULL };
    let mut run = Run::default();
    let mut histogram = Histogram::default();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("flows.txt");
    std::fs::write(&file, flows::many(FLOWS))?;
    run.repeat(plan.repeats, |run| {
        for contender in [Contender::Theirs, Contender::Ours] {
            run.watch()?;
            let mut turn = Turn {
                contender,
                run,
                histogram: &mut histogram,
            };
            take(&mut turn, &plan, &file).context(contender.name())?;
        }
        Ok(())
    })?;
    let report = Report {
        title: "Flows beside Open vSwitch",
        targets: &TARGETS,
        bounds: &[],
        samples: Vec::new(),
        notes: "The switches take turns in every repeat, each started afresh, and are asked by the same \
             `ovs-ofctl`. Loads are timed with the start of that program; add-flows waits for a \
             barrier after each flow. Memory is what the resident size of ovs-vswitchd, or of \
             vswitchd and vswitch-datapath together, grows by when the flows are added one by one. \
             Both serve AF_XDP ports over veth on core 1; frames come from an XDP program on core 0 \
             and are counted at the receiver. Each frame of the new flows has other UDP ports, which \
             the first flow reads. Changes come over one OpenFlow connection and wait for a barrier; \
             round trips and changes share two cores, so a client that only asks for barriers is \
             measured beside."
            .to_owned(),
    };
    run.tell(report, "openflow")?;
    if let Some(folder) = turns::kept("openflow")? {
        histogram.keep(&folder)?;
    }
    Ok(())
}

/// All that is measured of one switch in one repeat.
fn take(turn: &mut Turn<'_>, plan: &Plan, file: &std::path::Path) -> Result<()> {
    let running = turn.contender.start()?;
    let before = running.resident()?;
    let took = running.add_flows(file, &[])?;
    turn.note(&LOAD, took.as_secs_f64());
    let grown = running.resident()? - before;
    turn.note(&MEMORY, grown / FLOWS as f64);
    ensure!(running.flows_len()? == FLOWS, "flows are missing");
    running.delete_flows()?;
    let took = running.add_flows(file, &["--bundle"])?;
    turn.note(&BUNDLE, took.as_secs_f64());
    ensure!(running.flows_len()? == FLOWS, "flows are missing");
    running.add(flows::FORWARD)?;
    let hosts = running.hosts()?;
    let [left, _] = &hosts.namespaces;
    traffic::await_ping(left, hosts.address, Duration::from_secs(10))?;
    changes(turn, plan, &running, &hosts)?;
    running.delete_flows()?;
    new_flows(turn, plan, &running, &hosts)
}

/// Traffic with and without changes to a flow that is not its own.
fn changes(turn: &mut Turn<'_>, plan: &Plan, running: &Running, hosts: &Hosts) -> Result<()> {
    let frames = Frames::start(hosts, FRAME_FLOWS, 0)?;
    std::thread::sleep(WARM_UP);
    let rates = frames.rates(plan.rate, PARTS)?;
    turn.note(&FRAMES, Spread::of(&rates).median / 1e6);
    let pacer = Pacer::start(running.client()?, change)?;
    let rates = frames.rates(plan.rate, PARTS)?;
    turn.note(&FRAMES_CHANGED, Spread::of(&rates).median / 1e6);
    pacer.stop()?;
    frames.stop()?;

    let quiet = round_trips(hosts, plan.round_trips)?;
    let pacer = Pacer::start(running.client()?, ask)?;
    let asked = round_trips(hosts, plan.round_trips)?;
    pacer.stop()?;
    let pacer = Pacer::start(running.client()?, change)?;
    let changed = round_trips(hosts, plan.round_trips)?;
    let times = pacer.stop()?;
    for (times, p50, p99) in [
        (&quiet, &P50, &P99),
        (&asked, &P50_ASKED, &P99_ASKED),
        (&changed, &P50_CHANGED, &P99_CHANGED),
        (&times, &CHANGE_P50, &CHANGE_P99),
    ] {
        turn.note(p50, share(times, 0.5) * 1e6);
        turn.note(p99, share(times, 0.99) * 1e6);
    }
    let name = turn.contender.name();
    turn.histogram.add(name, "no changes", &quiet);
    turn.histogram.add(name, "a change every 10 ms", &changed);
    Ok(())
}

fn ask(client: &mut Client, _: u32) -> Result<()> {
    client.barrier()
}

fn change(client: &mut Client, number: u32) -> Result<()> {
    client.change(flows::change_one(1 + number % 2))
}

/// The time that this share of sorted times does not exceed, seconds.
fn share(times: &[Duration], share: f64) -> f64 {
    let at = (times.len().saturating_sub(1) as f64 * share) as usize;
    times.get(at).map_or(0.0, Duration::as_secs_f64)
}

/// A client that asks something of the switch at a steady pace.
struct Pacer {
    stop: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<Result<Vec<Duration>>>,
}

impl Pacer {
    fn start(mut client: Client, ask: fn(&mut Client, u32) -> Result<()>) -> Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut times = Vec::new();
            for number in 0.. {
                let begin = Instant::now();
                ask(&mut client, number)?;
                times.push(begin.elapsed());
                match stopped.recv_timeout(CHANGE_EVERY.saturating_sub(begin.elapsed())) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            Ok(times)
        });
        Ok(Self { stop, thread })
    }

    /// Ends it; how long each request took, sorted.
    fn stop(self) -> Result<Vec<Duration>> {
        // One that has failed says why below.
        let _ = self.stop.send(());
        let mut times = self.thread.join().expect("a client does not panic")?;
        times.sort_unstable();
        Ok(times)
    }
}

/// Times of round trips between the hosts, one after the other, sorted.
fn round_trips(hosts: &Hosts, len: usize) -> Result<Vec<Duration>> {
    let [left, right] = &hosts.namespaces;
    let address = hosts.address;
    let patience = Some(Duration::from_secs(5));
    let echo = right.run(|| Ok(UdpSocket::bind((address, 0))?))?;
    echo.set_read_timeout(patience)?;
    let target = echo.local_addr()?;
    let echo = right.spawn(move || {
        let mut buffer = [0; 64];
        for _ in 0..len {
            let (_, peer) = echo.recv_from(&mut buffer).context("no datagram came")?;
            echo.send_to(&buffer, peer)?;
        }
        Ok(())
    })?;
    let times = left.run(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.set_read_timeout(patience)?;
        socket.connect(target)?;
        let mut times = Vec::with_capacity(len);
        let mut buffer = [0; 64];
        for _ in 0..len {
            let begin = Instant::now();
            socket.send(&buffer)?;
            socket.recv(&mut buffer).context("no echo came")?;
            times.push(begin.elapsed());
        }
        Ok(times)
    });
    let echoed = echo.join().expect("the echo does not panic");
    let mut times = times?;
    echoed?;
    times.sort_unstable();
    Ok(times)
}

/// Packets of which each is the first of its flow.
fn new_flows(turn: &mut Turn<'_>, plan: &Plan, running: &Running, hosts: &Hosts) -> Result<()> {
    running.add(&flows::miss_path())?;
    let frames = Frames::start(hosts, 1 << 24, 1)?;
    std::thread::sleep(WARM_UP);
    let rates = frames.rates(plan.rate, PARTS)?;
    turn.note(&NEW_FLOWS, Spread::of(&rates).median / 1e3);
    frames.stop()
}
