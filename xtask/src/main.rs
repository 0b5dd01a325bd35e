//! `cargo xtask`: the one front door to the project's proofs and demonstrations.
//!
//! A subcommand is a file beside this one. Each prints what it does, what it skipped and why, and
//! exits with 0 (all is well), 1 (something is not) or 2 (the command line is wrong).
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a tool for people: it measures and shows wall time"
)]

mod check;
mod doors;
mod links;
mod steps;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The front door: show the switch, prove it, measure it",
    after_help = "Examples:\n  cargo xtask check            format, lints, doors, licences, documents\n  cargo xtask check doors      one of them"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check what needs no running: format, lints, doors, dependencies, documents
    Check(check::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Check(arguments) => check::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
