//! Running other programs: with a time limit, and with an error that shows what they said.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Seconds after which a program counts as hung.
const LIMIT: u32 = 30;

/// A command that is stopped when it hangs (`timeout` of coreutils; its exit status is then 124).
pub fn limited(program: &str) -> Command {
    limited_to(LIMIT, program)
}

/// The same for a program that may take so many seconds.
pub fn limited_to(seconds: u32, program: &str) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=1", &seconds.to_string(), program])
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end and gives back what it printed.
///
/// # Errors
/// When it cannot start or fails, with what it said.
pub fn must(command: &mut Command) -> Result<String> {
    let output = collect(command)?;
    if !output.status.success() {
        bail!(
            "`{}`: {}: {}{}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim(),
            String::from_utf8_lossy(&output.stdout).trim(),
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command to its end, whatever its status.
pub fn collect(command: &mut Command) -> Result<Output> {
    command
        .output()
        .with_context(|| format!("could not start `{}`", shown(command)))
}

fn shown(command: &Command) -> String {
    let words: Vec<_> = command
        .get_args()
        .skip(2)
        .map(|word| word.to_string_lossy())
        .collect();
    words.join(" ")
}
