//! Open vSwitch's own `ovs-appctl` finds this switch, understands it and is understood.
//!
//! Where the tool is not installed these trials are ignored, and say so.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use vswitch_tests::process::Switch;
use vswitch_tests::programs::{collect, limited, must};
use vswitch_tests::topology::{Kind, Topology};
use vswitch_tests::{traffic, wait};

use crate::failed;

const TOOL: &str = "ovs-appctl";

type Check = fn() -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("finds_the_switch_by_name_and_by_path", finds_it),
    ("tells_of_traffic", tells_of_traffic),
    ("errors_are_those_of_open_vswitch", errors),
    ("log_levels_change_at_once", log_levels),
    (
        "a_killed_process_is_found_dead_and_its_successor_alive",
        killed,
    ),
    (
        "how_connections_are_tracked_outlives_both_processes",
        tracking,
    ),
    ("exit_ends_as_much_as_it_says", exit),
];

pub(crate) fn trials() -> Vec<Trial> {
    let missing = Command::new(TOOL).arg("--version").output().is_err();
    if missing {
        eprintln!(
            "appctl/*: ignored, because {TOOL} is not installed (Debian package openvswitch-switch)"
        );
    }
    let trial = |(name, check): &(&str, Check)| {
        let check = *check;
        Trial::test(format!("appctl/{name}"), move || {
            check().map_err(|error| failed(&error))
        })
        .with_ignored_flag(missing)
    };
    CHECKS.iter().map(trial).collect()
}

fn by_name(switch: &Switch, arguments: &[&str]) -> Command {
    let mut command = limited(TOOL);
    command.env("OVS_RUNDIR", switch.rundir()).args(arguments);
    command
}

fn appctl(switch: &Switch, arguments: &[&str]) -> Result<String> {
    must(&mut by_name(switch, arguments))
}

fn refused(switch: &Switch, arguments: &[&str]) -> Result<Output> {
    let output = collect(&mut by_name(switch, arguments))?;
    ensure!(!output.status.success(), "{arguments:?} was accepted");
    Ok(output)
}

fn finds_it() -> Result<()> {
    let switch = Switch::start()?;
    switch.vsctl(&["add-br", "br0"])?;
    switch.vsctl(&["add-br", "br1"])?;
    let pid = switch.control_pid().context("it runs")?;
    let socket = switch.rundir().join(format!("ovs-vswitchd.{pid}.ctl"));
    let socket = socket.to_str().context("a path of text")?;
    for command in ["ofproto/list", "version", "list-commands", "dpif/show"] {
        let named = appctl(&switch, &[command])?;
        let by_path = must(limited(TOOL).args(["-t", socket, command]))?;
        let ours = switch.vsctl(&["appctl", command])?;
        ensure!(
            named == by_path && named == ours,
            "{command}: {named:?} by name, {by_path:?} by path, {ours:?} by vsctl"
        );
    }
    ensure!(appctl(&switch, &["ofproto/list"])? == "br0\nbr1\n");
    Ok(())
}

fn tells_of_traffic() -> Result<()> {
    let topology = Topology::new(1500)?;
    let a = topology.host(Kind::Tap, true, &[])?;
    let b = topology.host(Kind::Tap, true, &[])?;
    traffic::ping(&a.namespace, b.v4, 56, 5)?;
    let switch = &topology.switch;
    let ask = |arguments: &[&str]| appctl(switch, arguments);

    let fdb = ask(&["fdb/show", "br0"])?;
    let mut rows = fdb.lines();
    ensure!(
        rows.next() == Some(" port  VLAN  MAC                Age"),
        "{fdb}"
    );
    ensure!(rows.count() >= 2, "both hosts are known: {fdb}");
    let stats = ask(&["fdb/stats-show", "br0"])?;
    ensure!(
        !stats.contains("learned MAC entries     : 0\n"),
        "somebody was learned: {stats}"
    );

    // A cached flow tells of its packets; with names, of the ports by their names.
    let names = ask(&["dpctl/dump-flows", "--names", "filter=icmp"])?;
    let (from, to) = (
        format!("in_port({})", a.port),
        format!("actions:{}", b.port),
    );
    ensure!(
        names
            .lines()
            .any(|line| line.contains(&from) && line.ends_with(&to)),
        "no flow {from} {to}: {names}"
    );
    // Each says which flows it came from: here the one that a new bridge has.
    let origins = switch.vsctl(&["dpctl", "dump-flows", "--names", "--rules", "icmp"])?;
    let mut lines = origins.lines();
    ensure!(
        lines.any(|line| line.contains(&from)),
        "{from} is cached: {origins}"
    );
    ensure!(
        lines.next() == Some("    br0: cookie=0x0, table=0, priority=0 actions=NORMAL"),
        "{origins}"
    );
    let numbers = ask(&[
        "dpctl/dump-flows",
        "netdev@ovs-netdev",
        "filter=icmp",
        "type=ovs",
    ])?;
    ensure!(
        numbers.starts_with("flow-dump from ") && !numbers.contains(&from),
        "{numbers}"
    );
    ensure!(ask(&["dpctl/dump-flows", "type=offloaded"])?.is_empty());
    ensure!(ask(&["dpctl/dump-conntrack"])?.is_empty());

    let lookups = ask(&["dpctl/show"])?;
    ensure!(
        !lookups.contains("hit:0"),
        "packets were looked up: {lookups}"
    );
    let hits = ask(&["coverage/read-counter", "cache_emc_hit"])?;
    let misses = ask(&["coverage/read-counter", "cache_miss"])?;
    let sum = hits.trim().parse::<u64>()? + misses.trim().parse::<u64>()?;
    ensure!(sum >= 10, "hits {hits}, misses {misses}");
    let coverage = ask(&["coverage/show"])?;
    ensure!(
        coverage.contains("cache_miss ") && coverage.contains("events never hit"),
        "{coverage}"
    );

    let received = |text: &str| -> u64 {
        let counts = text
            .lines()
            .filter_map(|line| line.strip_prefix("  packets received: "));
        counts.filter_map(|count| count.parse::<u64>().ok()).sum()
    };
    let before = received(&ask(&["dpif-netdev/pmd-stats-show"])?);
    ensure!(before >= 10, "workers received {before}");
    let perf = ask(&["dpif-netdev/pmd-perf-show"])?;
    ensure!(perf.contains("  Rx packets: "), "{perf}");
    ask(&["dpif-netdev/pmd-stats-clear"])?;
    let after = received(&ask(&["dpif-netdev/pmd-stats-show"])?);
    ensure!(
        after < before,
        "cleared counters went from {before} to {after}"
    );
    let queues = ask(&["dpif-netdev/pmd-rxq-show"])?;
    let queue = format!("  port: {:<16}  queue-id:  0 (enabled) ", a.port);
    ensure!(queues.contains(&queue), "{queues}");

    ensure!(ask(&["fdb/flush", "br0"])? == "table successfully flushed\n");
    let trace = ask(&["ofproto/trace", "br0", "in_port=1,ip"])?;
    let last = trace.lines().last().unwrap_or_default();
    ensure!(last.starts_with("Datapath actions: "), "{trace}");
    Ok(())
}

fn errors() -> Result<()> {
    let switch = Switch::start()?;
    let told = "ovs-appctl: ovs-vswitchd: server returned an error\n";
    for (arguments, error) in [
        (
            &["nope"][..],
            "\"nope\" is not a valid command (use \"list-commands\" to see a list of valid commands)",
        ),
        (
            &["fdb/show"],
            "\"fdb/show\" command requires at least 1 arguments",
        ),
        (
            &["version", "now"],
            "\"version\" command takes at most 0 arguments",
        ),
        (&["fdb/show", "br9"], "no such bridge"),
        (&["bridge/dump-flows", "br9"], "Unknown bridge"),
        (&["coverage/read-counter", "x"], "No such counter"),
        (
            &["dpctl/dump-flows", "nope"],
            "ovs-vswitchd: datapath not found (Invalid argument)",
        ),
        (&["vlog/set", "x"], "no destination, level, or module \"x\""),
        (
            &["ofproto/trace", "in_port(77)"],
            "no OpenFlow port for datapath port 77",
        ),
    ] {
        let output = refused(&switch, arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            said == format!("{error}\n{told}") && output.status.code() == Some(2),
            "{arguments:?}: {said}"
        );
    }
    Ok(())
}

fn log_levels() -> Result<()> {
    let switch = Switch::start()?;
    let log = || std::fs::read_to_string(switch.rundir().join("vswitchd.out"));
    let provoke = || switch.try_vsctl(&["del-br", "br9"]);
    provoke()?;
    ensure!(!log()?.contains("refused"), "it says more than asked for");
    appctl(&switch, &["vlog/set", "main:console:dbg"])?;
    let levels = appctl(&switch, &["vlog/list"])?;
    ensure!(
        levels.contains("\nmain               DBG        OFF       INFO\n"),
        "{levels}"
    );
    provoke()?;
    let said = log()?;
    ensure!(said.contains("refused") && said.contains("br9"), "{said}");
    Ok(())
}

fn killed() -> Result<()> {
    let mut switch = Switch::start()?;
    let pid = switch.control_pid().context("it runs")?;
    switch.kill_control()?;
    let output = refused(&switch, &["version"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        said.contains("ovs-vswitchd.pid") && said.contains("No such process"),
        "{said}"
    );
    switch.start_control()?;
    appctl(&switch, &["version"])?;
    let socket = switch.rundir().join(format!("ovs-vswitchd.{pid}.ctl"));
    ensure!(!socket.exists(), "the dead process's socket is left");
    Ok(())
}

/// A zone may have no connection: whoever enforces it was told.
fn tracking() -> Result<()> {
    let mut switch = Switch::start()?;
    switch.vsctl(&["add-br", "br0", "fail_mode=secure"])?;
    let untold = appctl(&switch, &["dpctl/ct-set-limits", "zone=5,limit=0"])?;
    ensure!(untold.is_empty(), "{untold}");
    // Of one packet and of several: both are sent below.
    let timeouts = ["udp_first=7", "udp_single=7"];
    for timeout in timeouts {
        appctl(&switch, &["dpctl/ct-set-timeout", "zone=6", timeout])?;
    }
    let held = |switch: &Switch, zone: u32| {
        let packet = "50540000000a50540000000908004500001c000000000011a4cd\
                      0a0101010a0101020001000200080000";
        let actions = format!("in_port=controller packet={packet} actions=ct(commit,zone={zone})");
        switch.vsctl(&["packet-out", "br0", &actions])?;
        let zone = format!("zone={zone}");
        appctl(switch, &["dpctl/dump-conntrack", "-s", &zone])
    };
    let told = |switch: &Switch| -> Result<()> {
        let none = held(switch, 5)?;
        ensure!(none.is_empty(), "zone 5 may have none: {none}");
        let one = held(switch, 6)?;
        let (timeout, packets) = (",timeout=6", ",packets=");
        ensure!(
            one.contains(timeout) && one.contains(packets),
            "zone 6: {one}"
        );
        Ok(())
    };
    told(&switch)?;

    // Connections go on without vswitchd, and are told by the next one.
    switch.kill_control()?;
    switch.start_control()?;
    let before = appctl(&switch, &["dpctl/ct-get-nconns"])?;
    ensure!(before == "1\n", "{before}");
    told(&switch)?;

    let killed = switch.datapath_pid();
    switch.kill_datapath()?;
    wait::until(Duration::from_secs(5), "a new datapath process", || {
        let now = switch.datapath_pid();
        Ok((now.is_some() && now != killed).then_some(()))
    })?;
    told(&switch)?;
    let limits = appctl(&switch, &["dpctl/ct-get-limits"])?;
    ensure!(limits.contains("zone=5,limit=0,count=0\n"), "{limits}");

    appctl(&switch, &["dpctl/flush-conntrack", "zone=6"])?;
    let output = refused(&switch, &["dpctl/ct-set-maxconns", "x"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(said.starts_with("ovs-vswitchd: maxconns missing"), "{said}");
    Ok(())
}

fn exit() -> Result<()> {
    let mut switch = Switch::start()?;
    ensure!(appctl(&switch, &["exit"])?.is_empty());
    switch.await_control_end()?;
    ensure!(switch.datapath_pid().is_some(), "packets have stopped");
    ensure!(!switch.rundir().join("ovs-vswitchd.pid").exists());
    switch.start_control()?;
    appctl(&switch, &["exit", "--cleanup"])?;
    switch.await_control_end()?;
    wait::until(Duration::from_secs(5), "the datapath ends as well", || {
        Ok(switch.datapath_pid().is_none().then_some(()))
    })
}
