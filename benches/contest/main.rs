//! The whole switch, real processes and all, beside what else could connect two namespaces.
//!
//! `cargo xtask bench contest [-- --quick]`, as root. All contenders stand at once and take turns in
//! every repeat, so that a machine that changes its mind does so for all; a figure is the median
//! of the repeats. Packets and bytes are counted at the receiver. The switch's worker and the bare
//! forwarders are pinned to core 1, the XDP source and whoever sends over TCP to core 0, receivers
//! and ping-pong to nothing. Congestion control is cubic, which the sending sockets choose before
//! they connect. Before each turn, with everything of ours asleep, the run notes how busy the
//! machine is anyway, and marks turns that something disturbed.
//!
//! The folder of the run gets `summary.md`, `raw.csv` and a plot for each measure.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures in wall time, for a given time"
)]

mod report;
mod scene;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use vswitch_tests::{sandbox, traffic};

use report::{Measure, Sample};
use scene::{Contender, Idle};

/// Parts of a rate's window, of which the median is taken.
const PARTS: usize = 10;

/// How long a source runs before it is measured.
const WARM_UP: Duration = Duration::from_millis(300);

/// How long the machine is watched before each turn.
const WATCH: Duration = Duration::from_millis(300);

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
    match sandbox::enter() {
        Ok(Some(sandbox::Left::Ended(code))) => return code,
        Ok(None) => {}
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Samples so far, and the turn that is being taken.
#[derive(Default)]
struct Run {
    samples: Vec<Sample>,
    repeat: usize,
    others: f64,
}

impl Run {
    /// Watches the machine before a turn.
    fn watch(&mut self) -> Result<()> {
        let (begin, before) = (Instant::now(), busy_ticks()?);
        std::thread::sleep(WATCH);
        // The kernel counts in hundredths of a second towards user space.
        let busy = (busy_ticks()? - before) as f64 / 100.0;
        self.others = busy / begin.elapsed().as_secs_f64();
        Ok(())
    }

    fn note(&mut self, measure: Measure, contender: &'static str, value: f64) {
        self.samples.push(Sample {
            measure,
            contender,
            repeat: self.repeat,
            value,
            others: self.others,
        });
    }
}

/// Time that all cores together were not idle since the start, in ticks.
fn busy_ticks() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    // user nice system idle iowait irq softirq steal; guests are in user already.
    Ok([0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|&at| ticks.get(at))
        .sum())
}

fn measure() -> Result<()> {
    let plan = if std::env::args().any(|argument| argument == "--quick") {
        QUICK
    } else {
        FULL
    };
    let begin = Instant::now();
    let load_before = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let contenders = scene::all()?;
    let idle = Idle::new(plan.idle_ports)?;
    let mut run = Run::default();
    for repeat in 0..plan.repeats {
        run.repeat = repeat;
        for contender in &contenders {
            turn(contender, &plan, &mut run)
                .with_context(|| format!("{}, repeat {repeat}", contender.name()))?;
        }
        for (name, pair) in [("0 idle ports", &idle.without), ("idle ports", &idle.with)] {
            run.watch()?;
            let [left, right] = pair.hosts();
            let core = Some(scene::SOURCE_CORE);
            let sent = traffic::tcp_rate_on(core, left, right, pair.address(), plan.tcp)
                .with_context(|| format!("TCP beside {name}"))?;
            run.note(Measure::TcpBesideIdle, name, sent.gbit_per_second());
        }
        eprintln!(
            "repeat {} of {}: {:.0} s",
            repeat + 1,
            plan.repeats,
            begin.elapsed().as_secs_f64()
        );
    }
    drop(contenders);
    drop(idle);

    let quiet = scene::quiet(QUIET_PORTS)?;
    for repeat in 0..3 {
        run.repeat = repeat;
        run.watch()?;
        for (name, share) in scene::cpu_shares(&quiet, plan.idle)? {
            run.note(Measure::IdleCpu, name, share * 100.0);
        }
    }
    drop(quiet);

    let report = report::Report {
        samples: run.samples,
        idle_ports: plan.idle_ports,
        quiet_ports: QUIET_PORTS,
        load: [
            load_before,
            std::fs::read_to_string("/proc/loadavg").unwrap_or_default(),
        ],
        took: begin.elapsed(),
    };
    println!("{}", report.summary());
    if let Some(folder) = std::env::var_os("VSWITCH_BENCH_RUN") {
        report.keep(&PathBuf::from(folder))?;
    }
    Ok(())
}

/// All that is measured of one contender in one repeat.
fn turn(contender: &Contender, plan: &Plan, run: &mut Run) -> Result<()> {
    run.watch()?;
    let running = contender.start()?;
    let [left, right] = contender.hosts();
    traffic::await_ping(left, contender.address(), Duration::from_secs(10))?;
    if contender.has_xdp() {
        let rate = contender.frame_rate(plan.rate, PARTS, WARM_UP)?;
        run.note(Measure::Frames, contender.name(), rate / 1e6);
        traffic::await_ping(left, contender.address(), Duration::from_secs(10))?;
    } else {
        let core = Some(scene::SOURCE_CORE);
        let sent = traffic::tcp_rate_on(core, left, right, contender.address(), plan.tcp)?;
        run.note(Measure::Tcp, contender.name(), sent.gbit_per_second());
    }
    if let Some([p50, p99]) = contender.latency_measures() {
        let latency = traffic::ping_pong(left, right, contender.address(), plan.round_trips)?;
        run.note(p50, contender.name(), latency.p50.as_secs_f64() * 1e6);
        run.note(p99, contender.name(), latency.p99.as_secs_f64() * 1e6);
    }
    drop(running);
    Ok(())
}
