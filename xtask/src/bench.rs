//! `cargo xtask bench`: runs benchmarks and keeps what they said under `benches/runs/`.
//!
//! A run is a folder `<date>-<machine>` with one text file per benchmark and a note of the command,
//! the commit and the machine, so that a figure can be traced to what gave it. A benchmark that
//! writes more (raw samples, plots) finds the folder in `VSWITCH_BENCH_RUN`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::steps::{Steps, heading, note};
use crate::tools;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench                        every benchmark, kept under benches/runs/\n  cargo xtask bench extract                one of them\n  cargo xtask bench extract --no-keep -- --help\n                                           its own arguments, nothing kept"
)]
pub(crate) struct Arguments {
    /// Which benchmarks, by the name in benches/Cargo.toml; all when none is named
    names: Vec<String>,

    /// Only show, keep nothing
    #[arg(long)]
    no_keep: bool,

    /// Passed on to the benchmarks
    #[arg(last = true)]
    pass: Vec<String>,
}

/// Runs the named benchmarks, or all.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let known = known()?;
    for name in &arguments.names {
        ensure!(
            known.contains(name),
            "no benchmark is called {name}; there are: {}",
            known.join(", ")
        );
    }
    // Without root, those that make devices say what they need.
    if tools::is_root() {
        tools::debian_programs(tools::SANDBOX_PROGRAMS)?;
        tools::debian_programs(tools::BENCH_PROGRAMS)?;
    }
    heading("Building the switch and its benchmarks (release)");
    tools::run(tools::cargo().args(["build", "--quiet", "--release", "--bins"]))?;
    let folder = if arguments.no_keep {
        None
    } else {
        Some(new_folder()?)
    };
    let mut steps = Steps::new();
    for name in known {
        if !arguments.names.is_empty() && !arguments.names.contains(&name) {
            continue;
        }
        steps.run(&name, || one(&name, folder.as_deref(), &arguments.pass));
    }
    if let Some(folder) = &folder {
        note(format_args!("kept in {}", folder.display()));
    }
    steps.finish()
}

/// The benchmarks that the manifest lists.
fn known() -> Result<Vec<String>> {
    let output = tools::cargo()
        .args(["metadata", "--no-deps", "--format-version=1"])
        .output()?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata does not answer")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let names: Vec<String> = packages
        .filter(|package| package["name"] == "vswitch-benches")
        .flat_map(|package| package["targets"].as_array().into_iter().flatten())
        .filter(|target| target["kind"][0] == "bench")
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect();
    if names.is_empty() {
        bail!("benches/Cargo.toml lists no benchmark");
    }
    Ok(names)
}

/// Runs one benchmark, shows what it prints and keeps it.
fn one(name: &str, folder: Option<&Path>, pass: &[String]) -> Result<()> {
    let mut cargo = tools::cargo();
    cargo
        .args(["bench", "--quiet", "-p", "vswitch-benches", "--bench", name])
        .env("VSWITCH_BIN_DIR", tools::target_dir().join("release"));
    if !pass.is_empty() {
        cargo.arg("--").args(pass);
    }
    let Some(folder) = folder else {
        return tools::run(&mut cargo);
    };
    let mut child = cargo
        .env("VSWITCH_BENCH_RUN", folder)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut kept = fs::File::create(folder.join(format!("{name}.txt")))?;
    let output = child.stdout.take().context("its output was asked for")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        writeln!(kept, "{line}")?;
    }
    let status = child.wait()?;
    ensure!(status.success(), "{name}: {status}");
    Ok(())
}

/// Makes the folder of this run and notes in it what gave the figures.
fn new_folder() -> Result<PathBuf> {
    let line = |program: &str, arguments: &[&str]| -> String {
        Command::new(program)
            .args(arguments)
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
            .unwrap_or_default()
    };
    let date = line("date", &["--utc", "+%Y-%m-%d"]);
    let model = fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .lines()
        .find_map(|line| {
            Some(
                line.strip_prefix("model name")?
                    .split_once(':')?
                    .1
                    .trim()
                    .to_owned(),
            )
        })
        .unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    // A processor says more to a reader than a host's name, and tells nothing private.
    let machine: String = format!("{model}-{cores}c")
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let machine = machine
        .split('-')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-");
    let base = tools::root().join("benches/runs");
    let folder = (1..)
        .map(|number| match number {
            1 => base.join(format!("{date}-{machine}")),
            _ => base.join(format!("{date}-{machine}-{number}")),
        })
        .find(|folder| !folder.exists())
        .expect("some number is free");
    fs::create_dir_all(&folder)?;
    let command: Vec<String> = std::env::args().skip(1).collect();
    let commit = tools::git(&["describe", "--always", "--dirty"]).unwrap_or_default();
    let text = format!(
        "# Run of {date}\n\n\
         | what | value |\n|---|---|\n\
         | command | `cargo xtask {}` |\n\
         | commit | {} |\n\
         | processor | {model}, {cores} cores |\n\
         | kernel | {} |\n\
         | compiler | {} |\n",
        command.join(" "),
        commit.trim(),
        line("uname", &["-r"]),
        line("rustc", &["--version"]),
    );
    fs::write(folder.join("README.md"), text)?;
    Ok(folder)
}
