//! What people see: transcripts of `vsctl` against a running switch, one trial for each file.
//!
//! `UPDATE=1 cargo xtask test cli` writes what the commands print into the files where it differs;
//! the change is then read like any other. A transcript begins with a switch of its own, in a
//! sandbox of its own kind of machine: nothing but loopback is there. The text `RUNDIR` stands for
//! the run directory.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Trial};
use vswitch_tests::process::{self, Switch};
use vswitch_tests::programs::{collect, limited};
use vswitch_tests::{sandbox, transcript};

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    // Transcripts name devices, of which a sandbox has only one set.
    arguments.test_threads = Some(1);
    if !arguments.list {
        if !sandbox::inside() {
            process::build()?;
        }
        if let Some(sandbox::Left::Ended(status)) = sandbox::enter()? {
            return Ok(status);
        }
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("cli");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    let trials = files
        .into_iter()
        .map(|file| {
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            Trial::test(format!("cli/{name}"), move || {
                compare(&file).map_err(|error| format!("{error:#}").into())
            })
        })
        .collect();
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

/// Runs a transcript's commands and compares, or writes the file anew when asked to.
fn compare(file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file)?;
    let mut steps = transcript::parse(&text).map_err(anyhow::Error::msg)?;
    let switch = Switch::start()?;
    let mut different = Vec::new();
    for step in &mut steps {
        let output = run_command(&switch, &step.command)?;
        if !transcript::matches(&step.expected, &output) {
            different.push(format!(
                "$ {}\n--- expected\n{}--- printed\n{output}",
                step.command, step.expected
            ));
            step.expected = output;
        }
    }
    if different.is_empty() {
        return Ok(());
    }
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(file, transcript::print(&steps))?;
        return Ok(());
    }
    bail!(
        "{}\n(UPDATE=1 writes what was printed into the file)\nthe switch said:\n{}",
        different.join("\n"),
        switch.log_tail()
    );
}

fn run_command(switch: &Switch, command: &str) -> Result<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = collect(
        limited("sh")
            .args(["-c", &format!("{{ {command}\n}} 2>&1")])
            .env("PATH", format!("{}:{path}", switch.binaries().display()))
            .env("VSWITCH_RUNDIR", switch.rundir())
            .env("NO_COLOR", "1"),
    )?;
    let rundir = switch
        .rundir()
        .to_str()
        .context("a run directory of text")?;
    let mut text = String::from_utf8_lossy(&output.stdout).replace(rundir, "RUNDIR");
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    match output.status.code() {
        Some(0) => {}
        Some(code) => text.push_str(&format!("[status {code}]\n")),
        None => bail!("`{command}` ended by a signal"),
    }
    Ok(text)
}
