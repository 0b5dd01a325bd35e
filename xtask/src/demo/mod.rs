//! `cargo xtask demo`: the switch at work in a minute, on any machine, leaving nothing behind.
//!
//! Builds the release binaries, then goes on inside a sandbox (own network, mount and process
//! namespaces): both processes with a private run directory, four hosts, pings, TCP both ways,
//! figures beside a cable and a Linux bridge, and what `vsctl` shows of it all.

mod contest;
mod hosts;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use vswitch_tests::process::Switch;
use vswitch_tests::topology::Topology;
use vswitch_tests::{sandbox, traffic};

use crate::steps::{heading, note};
use crate::tools;
use hosts::Hosts;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo -E cargo xtask demo              the whole of it, about a minute\n  sudo -E cargo xtask demo --seconds 0.2   shorter measurements"
)]
pub(crate) struct Arguments {
    /// How long each throughput is measured, in seconds
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.05..=60.0).contains(&value) => Ok(value),
        _ => Err("a number from 0.05 to 60".into()),
    }
}

/// Bytes of the transfers whose content is compared.
const TRANSFER: u64 = 50_000_000;

/// Runs the demonstration; the status of the sandbox's run when called outside one.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !sandbox::inside() {
        if !tools::is_root() {
            anyhow::bail!(
                "the demonstration makes network namespaces and devices and loads eBPF programs, \
                 which needs root: run `sudo -E cargo xtask demo`"
            );
        }
        tools::debian_programs(tools::SANDBOX_PROGRAMS)?;
        if std::env::var_os("VSWITCH_BIN_DIR").is_none() {
            heading("Building vswitchd, vswitch-datapath and vsctl (release)");
            tools::run(
                tools::cargo()
                    .args(["build", "--quiet", "--release", "--bins"])
                    .args(["-p", "vswitchd", "-p", "vswitch-datapath", "-p", "vsctl"]),
            )?;
        }
    }
    if let Some(sandbox::Left::Ended(status)) = sandbox::enter()? {
        return Ok(status);
    }
    show(arguments)?;
    Ok(ExitCode::SUCCESS)
}

fn binaries() -> PathBuf {
    std::env::var_os("VSWITCH_BIN_DIR")
        .map_or_else(|| tools::target_dir().join("release"), PathBuf::from)
}

fn show(arguments: &Arguments) -> Result<()> {
    heading("Starting both processes in a private run directory and a private network namespace");
    let mut topology = Topology::on(Switch::start_from(binaries())?, 1500)?;
    let switch = &topology.switch;
    println!(
        "    vswitchd is process {}, vswitch-datapath is process {}",
        shown_pid(switch.control_pid()),
        shown_pid(switch.datapath_pid()),
    );

    heading("Four hosts, each a network namespace, all in VLAN 10");
    let hosts = Hosts::add(&topology)?;
    hosts.print();

    heading("Pinging every pair");
    hosts.ping_all()?;

    heading("TCP both ways, every byte compared, all offloads on");
    for (from, to) in hosts.pairs() {
        for (from, to) in [(from, to), (to, from)] {
            traffic::tcp(
                &from.host.namespace,
                &to.host.namespace,
                to.host.v4,
                TRANSFER,
            )
            .with_context(|| format!("{} to {}", from.name, to.name))?;
            println!(
                "    {:>5} -> {:5}  {} MB intact",
                from.name,
                to.name,
                TRANSFER / 1_000_000
            );
        }
    }

    heading("The same minute: the switch, a cable and a Linux bridge");
    contest::run(&hosts, arguments.seconds)?;

    for command in [
        &["show"][..],
        &["fdb", "show", &topology.bridge],
        &["pmd", "stats"],
        &["drops"],
    ] {
        heading(format_args!("vsctl {}", command.join(" ")));
        for line in topology.switch.vsctl(command)?.lines() {
            println!("    {line}");
        }
    }

    heading("vsctl shutdown");
    topology.switch.shut_down()?;
    note("both processes have ended; namespaces and devices go with this sandbox");
    Ok(())
}

fn shown_pid(pid: Option<u32>) -> String {
    pid.map_or_else(|| "gone".to_owned(), |pid| pid.to_string())
}
