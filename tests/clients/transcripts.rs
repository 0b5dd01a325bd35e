//! `vsctl` as an OpenFlow client says the same of this switch and of Open vSwitch: every transcript
//! is run against both.
//!
//! The bridge `br0` has ports p1 and p2, numbers 1 and 2, starts empty and forwards nothing by
//! itself. `ovs-appctl` and `ovs-ofctl` speak to the same switch, and `controller TARGET` gives the
//! bridge a controller in that switch's own words. `UPDATE=1` writes what Open vSwitch answers into
//! the files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use libtest_mimic::Trial;
use tempfile::TempDir;
use vswitch_tests::netns::Namespace;
use vswitch_tests::ovs::Ovs;
use vswitch_tests::process::{Switch, binaries};
use vswitch_tests::programs::{collect, limited};
use vswitch_tests::{device, transcript};

use crate::failed;

/// Whose bridge a transcript is run against.
#[derive(Clone, Copy)]
enum Peer {
    OpenVswitch,
    Ours,
}

pub(crate) fn trials() -> Vec<Trial> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/transcripts");
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    let mut trials = Vec::new();
    for file in files {
        for (name, peer) in [("open_vswitch", Peer::OpenVswitch), ("vswitch", Peer::Ours)] {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            let missing = missing(&file, peer);
            let ignored = missing.is_some();
            let why = missing.map_or_else(String::new, |package| format!(" (needs {package})"));
            let trial_name = format!("transcripts/{stem}/{name}{why}");
            let file = file.clone();
            let trial = Trial::test(trial_name, move || {
                compare(&file, peer).map_err(|error| failed(&error))
            });
            trials.push(trial.with_ignored_flag(ignored));
        }
    }
    trials
}

/// The Debian package that a transcript cannot do without, if it is not there.
fn missing(file: &Path, peer: Peer) -> Option<&'static str> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let needs_ovs = matches!(peer, Peer::OpenVswitch) || text.contains("ovs-appctl");
    if needs_ovs && !Ovs::installed() {
        return Some("openvswitch-switch");
    }
    let program = Path::new("/usr/bin/ovs-testcontroller");
    let lacks = text.contains("ovs-testcontroller") && !program.exists();
    lacks.then_some("openvswitch-testcontroller")
}

/// A bridge to speak to; its devices go with it.
struct Bench {
    _hosts: Vec<Namespace>,
    switch: Either,
    /// Where commands run and leave files.
    files: TempDir,
}

enum Either {
    Ovs(Ovs),
    Ours(Switch),
}

impl Bench {
    fn new(peer: Peer) -> Result<Self> {
        let here = Namespace::here()?;
        // Nothing but what a transcript sends is to be counted.
        here.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        here.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
        let mut hosts = Vec::new();
        for number in [1, 2] {
            let host = Namespace::create(&format!("t{number}"))?;
            host.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
            let name = format!("p{number}");
            device::veth((&here, &name), (&host, "eth0"), 1500)?;
            let address = format!("02:00:00:00:00:0{number}");
            here.ip(&["link", "set", &name, "address", &address])?;
            hosts.push(host);
        }
        let switch = match peer {
            Peer::OpenVswitch => {
                let ovs = Ovs::start()?;
                ovs.bridge("br0", "02:00:00:00:00:aa")?;
                for number in [1, 2] {
                    ovs.port("br0", &format!("p{number}"), number)?;
                }
                Either::Ovs(ovs)
            }
            Peer::Ours => {
                let switch = Switch::start()?;
                let id = "datapath_id=00000200000000aa";
                switch.vsctl(&["add-br", "br0", "fail_mode=secure"])?;
                switch.vsctl(&["set-br", "br0", id])?;
                for number in [1, 2] {
                    let (name, of_port) = (format!("p{number}"), format!("of_port={number}"));
                    switch.vsctl(&["add-port", "br0", &name, "type=packet", &of_port])?;
                }
                Either::Ours(switch)
            }
        };
        Ok(Self {
            _hosts: hosts,
            switch,
            files: TempDir::with_prefix_in("files-", "/run")?,
        })
    }

    fn rundir(&self) -> &Path {
        match &self.switch {
            Either::Ovs(ovs) => ovs.rundir(),
            Either::Ours(switch) => switch.rundir(),
        }
    }

    /// What has no common word.
    fn own_words(&self) -> String {
        match &self.switch {
            Either::Ovs(ovs) => {
                let rundir = ovs.rundir().display();
                format!(
                    "controller() {{ ovs-vsctl --timeout=10 --db=unix:{rundir}/db.sock \
                     set-controller br0 \"$1\" -- \
                     set Bridge br0 other_config:disable-in-band=true; }}"
                )
            }
            Either::Ours(_) => "controller() { vsctl set-br br0 \"controller=$1\"; }".to_owned(),
        }
    }

    fn run(&self, command: &str) -> Result<String> {
        let path = std::env::var("PATH").unwrap_or_default();
        let output = collect(
            limited("sh")
                .args([
                    "-c",
                    &format!("{}\n{{ {command}\n}} 2>&1", self.own_words()),
                ])
                .current_dir(self.files.path())
                .env("PATH", format!("{}:{path}", binaries()?.display()))
                .env("VSWITCH_RUNDIR", self.rundir())
                .env("OVS_RUNDIR", self.rundir())
                .env("NO_COLOR", "1")
                .env("LC_ALL", "C"),
        )?;
        let rundir = self.rundir().to_string_lossy();
        let mut text = String::from_utf8_lossy(&output.stdout).replace(rundir.as_ref(), "RUNDIR");
        if let Some(code @ 1..) = output.status.code() {
            text.push_str(&format!("[status {code}]\n"));
        }
        Ok(text)
    }
}

fn compare(file: &Path, peer: Peer) -> Result<()> {
    let text = fs::read_to_string(file)?;
    let mut steps = transcript::parse(&text).map_err(anyhow::Error::msg)?;
    let bench = Bench::new(peer)?;
    let mut different = Vec::new();
    for step in &mut steps {
        let output = bench.run(&step.command)?;
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
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    if update && matches!(peer, Peer::OpenVswitch) {
        return fs::write(file, transcript::print(&steps)).context("the transcript");
    }
    bail!("{}", different.join("\n"))
}
