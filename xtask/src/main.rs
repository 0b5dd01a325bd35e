//! `cargo xtask`: the one front door to the project's proofs and demonstrations.
//!
//! A subcommand is a file beside this one. Each prints what it does, what it skipped and why, and
//! exits with 0 (all is well), 1 (something is not) or 2 (the command line is wrong).
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a tool for people: it measures and shows wall time"
)]

mod bench;
mod check;
mod demo;
mod doors;
mod fuzz;
mod links;
mod steps;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The front door: show the switch, prove it, measure it",
    after_help = "Examples:\n  sudo -E cargo xtask demo     the switch at work in a minute\n  sudo -E cargo xtask test     every proof\n  cargo xtask test unit        those that need nothing\n  cargo xtask check            format, lints, doors, licences, documents\n  cargo xtask bench extract    one benchmark, kept under benches/runs/\n  cargo xtask fuzz 60          every fuzz target for a minute"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the switch at work: four hosts, pings, TCP, figures beside a cable and a Linux bridge
    Demo(demo::Arguments),
    /// Run the proofs: unit, prop, sim, cli, system
    Test(test::Arguments),
    /// Check what needs no running: format, lints, doors, dependencies, documents
    Check(check::Arguments),
    /// Run benchmarks and keep the figures
    Bench(bench::Arguments),
    /// Throw random bytes at everything that reads bytes from outside
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Check(arguments) => check::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Bench(arguments) => bench::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Fuzz(arguments) => fuzz::run(&arguments).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
