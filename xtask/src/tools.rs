//! Finding, asking for and installing what the front door itself needs: cargo, cargo's companions
//! and Debian packages.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::steps::note;

/// What runs in a sandbox use besides the switch, with the Debian package of each.
pub(crate) const SANDBOX_PROGRAMS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("ping", "iputils-ping"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("ovs-vswitchd", "openvswitch-switch"),
    ("ovs-testcontroller", "openvswitch-testcontroller"),
];

/// The same of what benchmarks compare the switch with.
pub(crate) const BENCH_PROGRAMS: &[(&str, &str)] =
    &[("nft", "nftables"), ("conntrack", "conntrack")];

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace's root")
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A cargo command in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command to its end with its output shown; an error when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command
        .status()
        .with_context(|| format!("could not start `{shown}`"))?;
    ensure!(status.success(), "`{shown}`: {status}");
    Ok(())
}

/// The command as a person would type it.
fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| {
            let part = part.to_string_lossy();
            let name = Path::new(part.as_ref()).file_name();
            match name {
                Some(name) if part.starts_with('/') && name == "cargo" => "cargo".into(),
                _ => part.into_owned(),
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// The path of a program on `PATH` or where `cargo_tool` installs.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into(), tools_dir().join("bin")])
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

fn tools_dir() -> PathBuf {
    target_dir().join("tools")
}

/// The path of a cargo companion, installed below `target/` when it is missing.
pub(crate) fn cargo_tool(name: &str) -> Result<PathBuf> {
    if let Some(found) = find_program(name) {
        return Ok(found);
    }
    note(format_args!("{name} is missing: building it (once)"));
    run(cargo()
        .args(["install", name, "--locked", "--root"])
        .arg(tools_dir()))
    .with_context(|| format!("{name} is needed and could not be installed"))?;
    find_program(name).with_context(|| format!("{name} was installed but is not there"))
}

/// Whether we are root: namespaces, devices and eBPF want it.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes sure that programs from Debian packages are there: `(program, package)` each.
pub(crate) fn debian_programs(wanted: &[(&str, &str)]) -> Result<()> {
    let mut missing: Vec<&str> = wanted
        .iter()
        .filter(|(program, _)| find_program(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if find_program("apt-get").is_none() {
        bail!("these Debian packages, or what they hold, are needed: {list}");
    }
    if !is_root() {
        bail!("Debian packages are missing: run `sudo apt-get install {list}`");
    }
    note(format_args!("installing Debian packages: {list}"));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(arguments)
            .stdout(Stdio::null());
        command
    };
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(&missing);
    if run(&mut apt(&install)).is_err() {
        run(&mut apt(&["update", "-qq"]))?;
        run(&mut apt(&install))?;
    }
    Ok(())
}

/// A Python environment of its own, below `target/`, that holds a package of the Python index
/// (`name==version`) and what it needs.
pub(crate) fn python_environment(package: &str) -> Result<PathBuf> {
    let environment = tools_dir().join(package.replace("==", "-"));
    let done = environment.join(".complete");
    if done.is_file() {
        return Ok(environment);
    }
    note(format_args!(
        "installing the Python package {package} (once)"
    ));
    debian_programs(&[("python3", "python3")])?;
    let make = || {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment))
    };
    if make().is_err() {
        // Debian's Python comes without the part that makes environments.
        run(Command::new("apt-get")
            .args([
                "install",
                "-y",
                "-qq",
                "--no-install-recommends",
                "python3-venv",
            ])
            .stdout(Stdio::null()))?;
        make()?;
    }
    run(Command::new(environment.join("bin/python"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .arg(package))?;
    std::fs::write(&done, "")?;
    Ok(environment)
}

/// A command of `git` in the workspace that prints one line.
pub(crate) fn git<S: AsRef<OsStr>>(arguments: &[S]) -> Option<String> {
    let output = Command::new("git")
        .current_dir(root())
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
