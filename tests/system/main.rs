//! The switch as a whole: real processes, real kernel devices, real traffic between namespaces.
//!
//! Runs inside a sandbox (root needed), one trial after the other: they share two cores with the
//! switch itself. `cargo xtask test system` is the usual way in; a filter such as
//! `cargo test -p vswitch-tests --test system -- matrix/1500/tap` runs a part.
#![forbid(unsafe_code)]

mod appctl;
mod bad_input;
mod cable;
mod connections;
mod faults;
mod matrix;
mod networks;
mod openflow;
mod replug;
mod routing;
mod shutdown;
mod tunnels;
mod uplink;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed};
use vswitch_tests::{process, sandbox};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if !arguments.list {
        match prepare() {
            Ok(None) => {}
            Ok(Some(sandbox::Left::Ended(status))) => return status,
            Err(error) => {
                eprintln!("error: {error:#}");
                return ExitCode::FAILURE;
            }
        }
    }
    let rigs = matrix::Rigs::default();
    let mut trials = Vec::new();
    trials.extend(cable::trials());
    trials.extend(appctl::trials());
    trials.extend(bad_input::trials());
    trials.extend(shutdown::trials());
    trials.extend(replug::trials());
    trials.extend(uplink::trials());
    trials.extend(connections::trials());
    trials.extend(faults::trials());
    trials.extend(tunnels::trials());
    trials.extend(openflow::trials());
    trials.extend(routing::trials());
    trials.extend(networks::trials());
    trials.extend(matrix::trials(&rigs));
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The last switch ends while the sandbox still stands.
    drop(rigs);
    conclusion.exit_code()
}

/// Builds the switch, then goes into the sandbox, where nothing is built.
fn prepare() -> anyhow::Result<Option<sandbox::Left>> {
    if !sandbox::inside() {
        process::build()?;
    }
    sandbox::enter()
}

/// What a trial makes of an error: the whole chain of causes.
fn failed(error: &anyhow::Error) -> Failed {
    format!("{error:#}").into()
}
