//! A private machine for one run: own network, mount and process namespaces.
//!
//! A program calls [`enter`] first thing in `main`. Outside, the call starts the same program again
//! inside a new sandbox, waits for it and ends with its status; inside, it returns. All that the
//! run makes (processes, devices, names of namespaces, files below `/run`) ends with the sandbox,
//! and the sandbox ends with the program that began it, even by `kill -9`: the kernel does the
//! tidying, no handler has to run.
//!
//! Needs root and util-linux (`unshare`, `setpriv`, `mount`), an essential package of Debian.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// Set inside, so that the second start of the program knows where it is.
const MARK: &str = "VSWITCH_SANDBOX";

/// What the first process inside does before the program starts: `/run` of its own for names of
/// namespaces and run directories, `/sys` that shows the own devices, and loopback up. It stays as
/// the parent of orphans, as process 1 must.
const PREPARE: &str =
    "mount -t tmpfs tmpfs /run && mount -t sysfs sysfs /sys && ip link set lo up && \"$@\"";

/// Why the program may not go on here.
#[derive(Debug)]
pub enum Left {
    /// The run inside the sandbox is over; end with this status.
    Ended(ExitCode),
}

/// Whether this process runs inside a sandbox already.
pub fn inside() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Goes on inside a sandbox.
///
/// `Ok(None)` inside. Outside `Ok(Some(_))` after the run inside has ended.
///
/// # Errors
/// When the caller is not root or a program is missing: one sentence that says what is needed.
pub fn enter() -> Result<Option<Left>> {
    if inside() {
        return Ok(None);
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "this makes network namespaces and devices and loads eBPF programs, which needs root: \
             run it with sudo"
        );
    }
    let program = std::env::current_exe().context("the path of this program")?;
    // The death of this process must reach the one in between (`--pdeathsig`) and from there the
    // whole process namespace (`--kill-child`).
    let child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(["--net", "--mount", "--pid", "--fork"])
        .args(["--kill-child", "--mount-proc"])
        .args(["sh", "-c", PREPARE, "sandbox"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .spawn()
        .context("could not start `setpriv` (Debian package util-linux)")?;
    wait(child).map(|code| Some(Left::Ended(code)))
}

/// Waits for the run inside; an interrupt or a request to end takes the whole sandbox down.
fn wait(mut child: Child) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("the watch over signals")?;
    runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut ended = signal(SignalKind::terminate())?;
        let mut hung_up = signal(SignalKind::hangup())?;
        let mut child_ended = signal(SignalKind::child())?;
        loop {
            if let Some(status) = child.try_wait()? {
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                return match (code, status.signal()) {
                    (Some(code), _) => Ok(ExitCode::from(code)),
                    (None, signal) => bail!("the sandbox ended by signal {signal:?}"),
                };
            }
            tokio::select! {
                _ = child_ended.recv() => continue,
                _ = interrupted.recv() => {}
                _ = ended.recv() => {}
                _ = hung_up.recv() => {}
            }
            child.kill()?;
            child.wait()?;
            eprintln!("interrupted: everything that was made is gone");
            return Ok(ExitCode::from(130));
        }
    })
}
