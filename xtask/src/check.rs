//! `cargo xtask check`: everything that can be known without running the switch.

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::steps::{Steps, note};
use crate::{doors, links, tools};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask check                  all of them\n  cargo xtask check fmt clippy       some of them"
)]
pub(crate) struct Arguments {
    /// What to check; all when none is named
    #[arg(value_enum)]
    which: Vec<Check>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Check {
    /// Every file is as rustfmt would write it
    Fmt,
    /// No lint is left, tests and benches included
    Clippy,
    /// The modules of the datapath use only the modules they may
    Doors,
    /// Licences, banned crates and sources of all dependencies
    Deny,
    /// The documentation builds, and every relative link in a document leads somewhere
    Docs,
}

/// Runs the named checks, or all, and fails if one fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut steps = Steps::new();
    for check in Check::value_variants() {
        if !arguments.which.is_empty() && !arguments.which.contains(check) {
            continue;
        }
        match check {
            Check::Fmt => steps.run("fmt", || {
                tools::run(tools::cargo().args(["fmt", "--all", "--check"]))
            }),
            Check::Clippy => steps.run("clippy", || {
                tools::run(tools::cargo().args([
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--quiet",
                    "--",
                    "-D",
                    "warnings",
                ]))
            }),
            Check::Doors => steps.run("doors", || {
                doors::check(&tools::root().join("datapath/src"))
            }),
            Check::Deny => steps.run("deny", deny),
            Check::Docs => steps.run("docs", || {
                links::check(tools::root())?;
                tools::run(
                    tools::cargo()
                        .env("RUSTDOCFLAGS", "-D warnings")
                        .args(["doc", "--workspace", "--no-deps", "--quiet"])
                        .arg("--document-private-items"),
                )
            }),
        }
    }
    steps.finish()
}

/// cargo-deny; the advisories only where their database can be had, because it lives on the
/// internet and a check must give the same answer without one.
fn deny() -> Result<()> {
    let program = tools::cargo_tool("cargo-deny")?;
    let deny = |arguments: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.current_dir(tools::root()).args(arguments);
        command
    };
    tools::run(&mut deny(&["check", "licenses", "bans", "sources"]))?;
    let fetched = deny(&["fetch", "db"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()?
        .success();
    if fetched {
        tools::run(&mut deny(&["check", "advisories"]))
    } else {
        note("advisories skipped: their database cannot be fetched from here");
        Ok(())
    }
}
