//! The switch tester of os-ken (formerly Ryu): 991 tests of OpenFlow 1.3, each with frames that are
//! compared byte by byte or counted.
//!
//! Three cables join the switch under test (`br0`, ports 1 to 3) with a tester bridge, which is
//! Debian's Open vSwitch so that a mistake of ours is not made twice. Both connect to the tester
//! program, which fills tables, sends frames through the tester bridge and looks at what comes back.
//!
//! Needs root, `openvswitch-switch`, and os-ken 3.1.1 in a Python environment that `VSWITCH_OSKEN`
//! names; `cargo xtask test ryu` makes both, the latter of PyPy: under CPython the tester sends less
//! than the 2 Mb/s that it wants to count. Arguments name directories or files of the suite:
//! `match` (714 tests), `action` (226), `group` (15), `meter` (36); all when there are none.
//!
//! The tests of groups and meters count what the tester sends, up to 20,000 packets a second within a
//! tenth. It sends every 10 ms what is due and makes good for no delay, so it has to wake up in
//! time and to be done with 200 packets in less: see [`Bench`] and [`Tester`].
//!
//! Law: every test passes, or stands in `expected.txt` with the reason why it cannot; one that
//! stands there and passes is an error too.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "proofs of real processes wait and measure in wall time"
)]

mod report;

use std::io::{BufRead, BufReader, PipeReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use vswitch_tests::netns::Namespace;
use vswitch_tests::ovs::Ovs;
use vswitch_tests::process::Switch;
use vswitch_tests::programs::{collect, limited, must};
use vswitch_tests::{device, ovs, process, sandbox};

use report::Report;

/// Where the tester listens.
const CONTROLLER: &str = "tcp:127.0.0.1:6653";

/// Seconds after which a run counts as hung: the throughput tests take half a minute each.
const LIMIT: &str = "3600";

/// Where the tester and its bridge run; a worker of the switch takes the last core. Waking what
/// sleeps on another core costs more than a packet does, on a virtual machine several times more.
const CORE: &str = "0";

/// Real-time priorities: of everything here, so that whatever else the machine does delays no packet,
/// and of the tester, whose bridge works off what it sent while it waits.
const PRIORITY: &str = "10";
const PRIORITY_TESTER: &str = "20";

/// Room of the tester bridge's packet sockets, bytes: what comes back while it sends 200 frames.
const PACKET_SOCKET_SIZE: usize = 4 << 20;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let kind = std::env::var("VSWITCH_PORT_TYPE").unwrap_or_else(|_| "afxdp".into());
    let Some(environment) = std::env::var_os("VSWITCH_OSKEN").map(PathBuf::from) else {
        println!(
            "skipped: VSWITCH_OSKEN names no Python environment with os-ken; `cargo xtask test ryu` makes one"
        );
        return Ok(ExitCode::SUCCESS);
    };
    if !sandbox::inside() {
        process::build()?;
    }
    if let Some(sandbox::Left::Ended(status)) = sandbox::enter()? {
        return Ok(status);
    }
    let suite = suite(&environment)?;
    let own = std::process::id().to_string();
    must(limited("chrt").args(["--rr", "--pid", PRIORITY, &own]))?;
    let bench = Bench::new(&kind)?;
    let work = tempfile::TempDir::with_prefix_in("suite-", "/run")?;
    let all = ["match", "action", "group", "meter"].map(str::to_owned);
    let chosen = if chosen.is_empty() { &all[..] } else { &chosen };
    let planned = link_files(&suite.join("of13"), chosen, work.path())?;
    let mut report = Report::new(include_str!("expected.txt"), planned);
    let (tester, lines) = Tester::start(&environment, &suite, &bench, work.path())?;
    for line in BufReader::new(lines).lines() {
        if !report.line(&line?) {
            break;
        }
    }
    drop(tester);
    Ok(report.finish())
}

/// The directory of the tester and its tests.
fn suite(environment: &Path) -> Result<PathBuf> {
    let python = environment.join("bin/python");
    let output = collect(limited(&python.to_string_lossy()).args([
        "-c",
        "import os_ken.tests.switch as s; print(s.__path__[0])",
    ]))?;
    ensure!(
        output.status.success(),
        "{}: {}",
        python.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(PathBuf::from(
        String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    ))
}

/// Gathers the chosen files in one directory, in order; returns how many tests they hold.
fn link_files(root: &Path, chosen: &[String], to: &Path) -> Result<usize> {
    let mut files = Vec::new();
    for name in chosen {
        let before = files.len();
        gather(&root.join(name), &mut files)
            .with_context(|| format!("{name} is no directory or file of the suite"))?;
        ensure!(files.len() > before, "{name} holds no tests");
    }
    for (number, file) in files.iter().enumerate() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        symlink(file, to.join(format!("{number:04}_{name}")))?;
    }
    files.iter().map(|file| tests_in(file)).sum()
}

/// How many tests a file holds: an array of objects, with titles between them.
fn tests_in(file: &Path) -> Result<usize> {
    let read =
        || -> Result<Vec<serde_json::Value>> { Ok(serde_json::from_slice(&std::fs::read(file)?)?) };
    let rows = read().with_context(|| file.display().to_string())?;
    Ok(rows.iter().filter(|row| row.is_object()).count())
}

fn gather(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries: Vec<_> = std::fs::read_dir(path)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() || entry.extension().is_some_and(|e| e == "json") {
            gather(&entry, files)?;
        }
    }
    Ok(())
}

/// Both switches and the cables between them.
struct Bench {
    switch: Switch,
    tester: Ovs,
}

impl Bench {
    fn new(kind: &str) -> Result<Self> {
        let here = Namespace::here()?;
        // The tester takes the first packet it hears of for its own.
        here.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        here.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
        let switch = Switch::start()?;
        switch.vsctl(&["add-br", "br0", "fail_mode=secure"])?;
        let tester = Ovs::start()?;
        let process = tester.process_id().to_string();
        must(limited("taskset").args(["--all-tasks", "--cpu-list", "--pid", CORE, &process]))?;
        tester.bridge("tester", "aa:55:aa:55:00:02")?;
        // Open vSwitch looks at changed tables late: packets soon after a change go as before it.
        // Without cached flows each is looked up, so that no test fails for what the tester did last.
        tester.vsctl(&["set", "Open_vSwitch", ".", "other_config:flow-limit=0"])?;
        for number in 1..=3 {
            let (ours, theirs) = (format!("sw{number}"), format!("te{number}"));
            device::veth((&here, &ours), (&here, &theirs), 1500)?;
            // The tester's packet sockets would take a tag out of the frame and give it back
            // elsewhere.
            let off = ["tx", "off", "txvlan", "off", "rxvlan", "off"];
            here.must("ethtool", &[&["-K", &theirs][..], &off].concat())?;
            let (of_port, kind) = (format!("of_port={number}"), format!("type={kind}"));
            switch.vsctl(&["add-port", "br0", &ours, &kind, &of_port])?;
            tester.port("tester", &theirs, number)?;
        }
        tester.widen_packet_sockets(PACKET_SOCKET_SIZE)?;
        switch.vsctl(&["set-br", "br0", &format!("controller={CONTROLLER}")])?;
        tester.vsctl(&["set-controller", "tester", CONTROLLER])?;
        tester.vsctl(&[
            "set",
            "controller",
            "tester",
            "max_backoff=1000",
            "inactivity_probe=60000",
            "connection_mode=out-of-band",
        ])?;
        Ok(Self { switch, tester })
    }
}

/// The datapath id of a bridge, as its features say it.
fn datapath_id(rundir: &Path, bridge: &str) -> Result<String> {
    let shown = ovs::ofctl(rundir, &["-O", "OpenFlow13", "show", bridge])?;
    let Some((_, id)) = shown.split_once("dpid:") else {
        bail!("`ovs-ofctl show` says no datapath id: {shown}");
    };
    Ok(id.chars().take_while(char::is_ascii_hexdigit).collect())
}

/// The tester program; dropping it ends it.
struct Tester(Child);

impl Tester {
    /// Starts it; what it says comes by the pipe.
    fn start(
        environment: &Path,
        suite: &Path,
        bench: &Bench,
        tests: &Path,
    ) -> Result<(Self, PipeReader)> {
        let (lines, output) = std::io::pipe()?;
        let manager = environment.join("bin/osken-manager");
        let child = Command::new("timeout")
            .args(["--kill-after=1", LIMIT])
            .args(["taskset", "--cpu-list", CORE])
            .args(["chrt", "--fifo", PRIORITY_TESTER])
            .arg(manager)
            .args([
                "--test-switch-target",
                &datapath_id(bench.switch.rundir(), "br0")?,
            ])
            .args([
                "--test-switch-tester",
                &datapath_id(bench.tester.rundir(), "tester")?,
            ])
            .arg("--test-switch-dir")
            .arg(tests)
            .args(["--ofp-tcp-listen-port", "6653"])
            .arg(suite.join("tester.py"))
            .env("PYTHONUNBUFFERED", "1")
            // The others wait for whole milliseconds, which makes ten of them eleven.
            .env("EVENTLET_HUB", "selects")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("could not start osken-manager")?;
        Ok((Self(child), lines))
    }
}

impl Drop for Tester {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
