//! The switch's own processes: finding their binaries, starting, asking and killing them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::programs::{collect, limited, must};
use crate::wait;

/// How long the switch may take to answer `show` after its start.
const READY: Duration = Duration::from_secs(15);

/// The directory that holds `vswitchd`, `vswitch-datapath` and `vsctl`: `VSWITCH_BIN_DIR`, or the
/// one that the running test or tool was built into.
pub fn binaries() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("VSWITCH_BIN_DIR") {
        let directory = PathBuf::from(directory);
        ensure!(
            directory.join("vswitchd").exists(),
            "VSWITCH_BIN_DIR={} holds no vswitchd",
            directory.display()
        );
        return Ok(directory);
    }
    let program = std::env::current_exe()?;
    let directory = program.parent().context("a program lies in a directory")?;
    let directory = match directory.file_name() {
        Some(name) if name == "deps" => directory.parent().context("deps lies in a directory")?,
        _ => directory,
    };
    Ok(directory.to_owned())
}

/// Builds the three programs in the profile of the running test, unless `VSWITCH_BIN_DIR` says
/// where they are. Quick when nothing changed; called before entering a sandbox.
pub fn build() -> Result<()> {
    if std::env::var_os("VSWITCH_BIN_DIR").is_some() {
        return Ok(());
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--bins"])
        .args(["-p", "vswitchd", "-p", "vswitch-datapath", "-p", "vsctl"]);
    if binaries()?.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().context("could not start cargo")?;
    ensure!(status.success(), "the switch does not build");
    Ok(())
}

/// A running switch with a run directory of its own. Dropping it shuts it down, and shows its log
/// when the test is failing.
#[derive(Debug)]
pub struct Switch {
    binaries: PathBuf,
    rundir: TempDir,
    control: Option<Child>,
}

impl Switch {
    /// Starts both processes and waits until they answer.
    pub fn start() -> Result<Self> {
        Self::start_from(binaries()?)
    }

    /// The same with the programs of a certain directory.
    pub fn start_from(binaries: PathBuf) -> Result<Self> {
        let mut switch = Self {
            binaries,
            rundir: TempDir::with_prefix_in("vswitch-", "/run")?,
            control: None,
        };
        switch.start_control()?;
        Ok(switch)
    }

    /// The directory of the programs that run.
    pub fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// The run directory.
    pub fn rundir(&self) -> &Path {
        self.rundir.path()
    }

    /// Starts the control process, which starts the datapath or adopts a running one, and waits
    /// until it answers.
    pub fn start_control(&mut self) -> Result<()> {
        ensure!(self.control.is_none(), "the control process runs already");
        let child = self.spawn_control()?;
        self.control = Some(child);
        wait::until(READY, "the switch is ready", || {
            if let Some(status) = self.control.as_mut().and_then(|c| c.try_wait().transpose()) {
                bail!("vswitchd ended at once: {}: {}", status?, self.log_tail());
            }
            let shown = collect(&mut self.vsctl_command(&["show"]))?;
            ensure!(
                shown.status.success(),
                "{}",
                String::from_utf8_lossy(&shown.stderr)
            );
            Ok(Some(()))
        })
        .with_context(|| self.log_tail())
    }

    fn spawn_control(&self) -> Result<Child> {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.log_file())?;
        Command::new(self.binaries.join("vswitchd"))
            .arg("--rundir")
            .arg(self.rundir())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("could not start {}/vswitchd", self.binaries.display()))
    }

    /// Runs a second control process on the same run directory to its end.
    pub fn second_control(&self) -> Result<Output> {
        let program = self.binaries.join("vswitchd");
        collect(
            limited(&program.to_string_lossy())
                .arg("--rundir")
                .arg(self.rundir()),
        )
    }

    /// Kills the control process as an accident would (SIGKILL).
    pub fn kill_control(&mut self) -> Result<()> {
        let mut control = self.control.take().context("no control process runs")?;
        control.kill()?;
        control.wait()?;
        Ok(())
    }

    /// Asks the control process to end as an upgrade does (SIGTERM) and waits for it.
    pub fn end_control(&mut self) -> Result<()> {
        let mut control = self.control.take().context("no control process runs")?;
        signal(control.id(), Signal::TERM)?;
        wait::until(Duration::from_secs(5), "vswitchd ends on SIGTERM", || {
            Ok(control.try_wait()?)
        })
        .inspect_err(|_| {
            let _ = control.kill();
        })?;
        Ok(())
    }

    /// Waits until the control process has ended by itself, after it was told to.
    pub fn await_control_end(&mut self) -> Result<()> {
        let mut control = self.control.take().context("no control process runs")?;
        wait::until(Duration::from_secs(5), "vswitchd ends when told to", || {
            Ok(control.try_wait()?)
        })
        .inspect_err(|_| {
            let _ = control.kill();
        })?;
        Ok(())
    }

    /// Kills the datapath process as an accident would (SIGKILL).
    pub fn kill_datapath(&self) -> Result<()> {
        let pid = self.datapath_pid().context("no datapath process runs")?;
        signal(pid, Signal::KILL)
    }

    /// The process id of the control process.
    pub fn control_pid(&self) -> Option<u32> {
        self.control.as_ref().map(Child::id)
    }

    /// The process id of the datapath process that belongs to this run directory.
    pub fn datapath_pid(&self) -> Option<u32> {
        let rundir = self.rundir().to_string_lossy();
        let entries = std::fs::read_dir("/proc").ok()?;
        entries.flatten().find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // The name is cut to 15 bytes; a zombie has a name but no arguments.
            let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
            let arguments = std::fs::read(entry.path().join("cmdline")).ok()?;
            let ours = String::from_utf8_lossy(&arguments).contains(rundir.as_ref());
            (name.trim() == "vswitch-datapat" && ours).then_some(pid)
        })
    }

    /// `vsctl` with arguments; an error, with what it said, when it fails.
    pub fn vsctl(&self, arguments: &[&str]) -> Result<String> {
        must(&mut self.vsctl_command(arguments))
    }

    /// `vsctl` with arguments, whatever its status.
    pub fn try_vsctl(&self, arguments: &[&str]) -> Result<Output> {
        collect(&mut self.vsctl_command(arguments))
    }

    fn vsctl_command(&self, arguments: &[&str]) -> Command {
        let program = self.binaries.join("vsctl");
        let mut command = limited(&program.to_string_lossy());
        command.arg("--rundir").arg(self.rundir()).args(arguments);
        command
    }

    /// Ends both processes; every device goes back.
    pub fn shut_down(&mut self) -> Result<()> {
        self.vsctl(&["shutdown"])?;
        let mut control = self.control.take().context("no control process ran")?;
        wait::until(Duration::from_secs(5), "vswitchd ends on shutdown", || {
            Ok(control.try_wait()?)
        })
        .inspect_err(|_| {
            let _ = control.kill();
        })?;
        wait::until(
            Duration::from_secs(5),
            "the datapath ends on shutdown",
            || Ok(self.datapath_pid().is_none().then_some(())),
        )
    }

    fn log_file(&self) -> PathBuf {
        self.rundir().join("vswitchd.out")
    }

    /// The end of what both processes said.
    pub fn log_tail(&self) -> String {
        const LINES: usize = 40;
        let text = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of the switch's log\n{}\n---", self.log_tail());
        }
        if self.control.is_some() && self.shut_down().is_ok() {
            return;
        }
        // Not in order any more: nothing of it may disturb the next test.
        if let Some(mut control) = self.control.take() {
            let _ = control.kill();
            let _ = control.wait();
        }
        let _ = self.kill_datapath();
    }
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    kill_process(pid.context("not a process id")?, signal)?;
    Ok(())
}
