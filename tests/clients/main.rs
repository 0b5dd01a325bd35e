//! Foreign programs drive the switch: controllers and tools of others, unchanged.
//!
//! Runs inside a sandbox (root needed), one trial after the other. What needs a program that is not
//! there is reported as ignored, with what to install; `cargo xtask test clients` installs it.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "proofs of real processes wait and measure in wall time"
)]

mod controllers;
mod tls;
mod transcripts;

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
    let mut trials = transcripts::trials();
    trials.extend(controllers::trials());
    trials.extend(tls::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
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
