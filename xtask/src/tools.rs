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
    ("traceroute", "traceroute"),
    ("busybox", "busybox"),
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

/// A Python environment of its own, below `target/`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Python {
    /// What it is called.
    pub name: &'static str,
    /// What runs it, and the Debian package that makes environments for it.
    pub interpreter: (&'static str, &'static str),
    /// What packages that have to be compiled need: programs, and their Debian packages.
    pub programs: &'static [(&'static str, &'static str)],
    /// What `pip install` is told, relative to the workspace.
    pub install: &'static [&'static str],
}

/// Debian's Python.
pub(crate) const CPYTHON: (&str, &str) = ("python3", "python3-venv");

/// Debian's PyPy, which runs programs that never rest several times as fast.
pub(crate) const PYPY: (&str, &str) = ("pypy3", "pypy3-venv");

impl Python {
    /// Where it is, made if it is not there as it should be.
    pub(crate) fn environment(&self) -> Result<PathBuf> {
        let environment = tools_dir().join(self.name);
        let done = environment.join(".complete");
        let contents = self.contents()?;
        if std::fs::read_to_string(&done).is_ok_and(|made| made == contents) {
            return Ok(environment);
        }
        note(format_args!(
            "installing Python packages for {} (once)",
            self.name
        ));
        let (program, package) = self.interpreter;
        debian_programs(&[(program, program)])?;
        debian_programs(self.programs)?;
        let make = || {
            run(Command::new(program)
                .args(["-m", "venv", "--clear"])
                .arg(&environment))
        };
        if make().is_err() {
            // Debian's interpreters come without the part that makes environments.
            run(Command::new("apt-get")
                .args(["install", "-y", "-qq", "--no-install-recommends", package])
                .stdout(Stdio::null()))?;
            make()?;
        }
        run(Command::new(environment.join("bin/python"))
            .current_dir(root())
            .args(["-m", "pip", "install", "--quiet"])
            .arg("--disable-pip-version-check")
            .args(self.install))?;
        std::fs::write(&done, &contents)?;
        Ok(environment)
    }

    /// All that decides what is in it.
    fn contents(&self) -> Result<String> {
        let mut contents = self.install.join(" ");
        for file in self.install.iter().filter(|word| word.ends_with(".txt")) {
            contents.push('\n');
            contents += &std::fs::read_to_string(root().join(file))?;
        }
        Ok(contents)
    }
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
