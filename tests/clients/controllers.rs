//! Controllers of others, live: what they allow passes, what they do not allow does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;
use vswitch_tests::process::Switch;
use vswitch_tests::topology::{Host, Kind, Topology};
use vswitch_tests::{device, ovs, traffic, wait};

use crate::failed;

/// Where every controller listens.
const PORT: &str = "6653";

/// The same for the switch.
const TARGET: &str = "tcp:127.0.0.1:6653";

/// Long enough for a Python program to start on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// Bytes of a transfer.
const TRANSFER: u64 = 1_000_000;

pub(crate) fn trials() -> Vec<Trial> {
    type Row = (&'static str, Option<String>, fn() -> Result<()>);
    let trials: [Row; 3] = [
        (
            "ovs_testcontroller",
            missing("ovs-testcontroller", "openvswitch-testcontroller"),
            ovs_testcontroller,
        ),
        ("os_ken", unnamed("VSWITCH_OSKEN"), os_ken),
        ("faucet", unnamed("VSWITCH_FAUCET"), faucet),
    ];
    trials
        .into_iter()
        .map(|(name, ignored, trial)| {
            let name = match &ignored {
                Some(why) => format!("controllers/{name} ({why})"),
                None => format!("controllers/{name}"),
            };
            Trial::test(name, move || trial().map_err(|error| failed(&error)))
                .with_ignored_flag(ignored.is_some())
        })
        .collect()
}

fn missing(program: &str, package: &str) -> Option<String> {
    let found = ["/usr/bin", "/usr/sbin"]
        .iter()
        .any(|directory| Path::new(directory).join(program).exists());
    (!found).then(|| format!("needs the Debian package {package}"))
}

fn unnamed(variable: &str) -> Option<String> {
    let set = std::env::var_os(variable).is_some();
    (!set).then(|| format!("{variable} names no Python environment"))
}

/// A controller's process, ended when dropped, with what it said.
pub(crate) struct Controller {
    child: Child,
    files: TempDir,
}

impl Controller {
    pub(crate) fn start(
        program: impl AsRef<Path>,
        set_up: impl FnOnce(&mut Command, &Path) -> Result<()>,
    ) -> Result<Self> {
        let files = TempDir::with_prefix_in("controller-", "/run")?;
        let log = fs::File::create(files.path().join("log"))?;
        let mut command = Command::new(program.as_ref());
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .env("PYTHONUNBUFFERED", "1");
        set_up(&mut command, files.path())?;
        let child = command
            .spawn()
            .with_context(|| format!("could not start {}", program.as_ref().display()))?;
        Ok(Self { child, files })
    }

    fn log(&self) -> String {
        fs::read_to_string(self.files.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A switch that asks a controller at `target` about everything, and hosts on ports 1 to `kinds.len()`.
pub(crate) fn network(kinds: &[Kind], target: &str) -> Result<(Topology, Vec<Host>)> {
    let topology = Topology::on(Switch::start()?, 1500)?;
    topology
        .switch
        .vsctl(&["set-br", &topology.bridge, "fail_mode=secure"])?;
    topology
        .switch
        .vsctl(&["set-br", &topology.bridge, &format!("controller={target}")])?;
    let hosts = kinds
        .iter()
        .zip(1..)
        .map(|(kind, number)| topology.host(*kind, true, &[&format!("of_port={number}")]))
        .collect::<Result<_>>()?;
    Ok((topology, hosts))
}

fn flows(topology: &Topology) -> Result<String> {
    ovs::ofctl(
        topology.switch.rundir(),
        &["-O", "OpenFlow13", "dump-flows", &topology.bridge],
    )
}

/// A ping must not come through.
fn silent(from: &Host, to: &Host) -> Result<()> {
    if traffic::ping(&from.namespace, to.v4, 56, 1).is_ok() {
        bail!("a ping from {} to {} came through", from.port, to.port);
    }
    Ok(())
}

/// Forwarding that a controller has taught, with the flows it installed.
pub(crate) fn learned(topology: &Topology, hosts: &[Host], controller: &Controller) -> Result<()> {
    traffic::await_ping(&hosts[0].namespace, hosts[1].v4, READY)
        .with_context(|| format!("the controller said: {}", controller.log()))?;
    for from in hosts {
        for to in hosts.iter().filter(|to| to.port != from.port) {
            traffic::ping(&from.namespace, to.v4, 56, 2)?;
        }
        let to = if from.port == hosts[0].port {
            &hosts[1]
        } else {
            &hosts[0]
        };
        traffic::tcp(&from.namespace, &to.namespace, to.v4, TRANSFER)?;
    }
    wait::until(READY, "the controller has installed flows", || {
        let flows = flows(topology)?;
        ensure!(flows.contains("dl_dst="), "there are only: {flows}");
        Ok(Some(()))
    })
}

fn ovs_testcontroller() -> Result<()> {
    let (topology, hosts) = network(&[Kind::Afxdp, Kind::Tap, Kind::Packet], TARGET)?;
    silent(&hosts[0], &hosts[1])
        .context("without a controller a secure bridge forwards nothing")?;
    let controller = Controller::start("ovs-testcontroller", |command, files| {
        command
            // In 1.5 its packets out have a match that it never set, and end it now and then.
            .args(["-O", "OpenFlow13"])
            .arg(format!("ptcp:{PORT}:127.0.0.1"))
            .arg(format!("--unixctl={}", files.join("ctl").display()));
        Ok(())
    })?;
    learned(&topology, &hosts, &controller)
}

fn os_ken() -> Result<()> {
    let (topology, hosts) = network(&[Kind::Tap, Kind::Afxdp, Kind::Packet], TARGET)?;
    silent(&hosts[0], &hosts[1])
        .context("without a controller a secure bridge forwards nothing")?;
    let environment = environment("VSWITCH_OSKEN")?;
    let controller = Controller::start(environment.join("bin/osken-manager"), |command, files| {
        let app = files.join("learning_switch.py");
        fs::write(&app, include_str!("learning_switch.py"))?;
        command.args([
            "--ofp-listen-host",
            "127.0.0.1",
            "--ofp-tcp-listen-port",
            PORT,
        ]);
        command.arg(app);
        Ok(())
    })?;
    learned(&topology, &hosts, &controller)?;
    // A controller that is gone leaves its flows; new pairs of hosts find nobody to ask.
    drop(controller);
    traffic::ping(&hosts[0].namespace, hosts[1].v4, 56, 1)?;
    let stranger = topology.host(Kind::Tap, true, &["of_port=9"])?;
    silent(&stranger, &hosts[0])
}

/// Two VLANs with a router between them, and a list that blocks one TCP port.
const FAUCET: &str = r#"
vlans:
  office:
    vid: 100
    faucet_mac: "0e:00:00:00:10:01"
    faucet_vips: ["10.0.100.254/24"]
  guests:
    vid: 200
    faucet_mac: "0e:00:00:00:20:01"
    faucet_vips: ["10.0.200.254/24"]
routers:
  between:
    vlans: [office, guests]
acls:
  guests-in:
    - rule: {dl_type: 0x800, nw_proto: 1, ipv4_dst: 10.0.100.2/32, actions: {allow: 0}}
    - rule: {actions: {allow: 1}}
dps:
  switch:
    dp_id: DATAPATH
    hardware: "Open vSwitch"
    interfaces:
      1: {native_vlan: office}
      2: {native_vlan: office}
      3: {native_vlan: guests, acl_in: guests-in}
      4: {native_vlan: guests}
"#;

fn faucet() -> Result<()> {
    let (topology, mut hosts) =
        network(&[Kind::Afxdp, Kind::Tap, Kind::Packet, Kind::Tap], TARGET)?;
    for (host, address) in hosts.iter_mut().zip(["100.1", "100.2", "200.1", "200.2"]) {
        let (vlan, _) = address.split_once('.').context("an address has a dot")?;
        host.v4 = format!("10.0.{address}").parse()?;
        device::addresses(&host.namespace, &host.device, &[&format!("{}/24", host.v4)])?;
        let gateway = format!("10.0.{vlan}.254");
        host.namespace
            .ip(&["route", "add", "default", "via", &gateway])?;
    }
    let shown = ovs::ofctl(
        topology.switch.rundir(),
        &["-O", "OpenFlow13", "show", &topology.bridge],
    )?;
    let (_, id) = shown
        .split_once("dpid:")
        .context("features have a datapath id")?;
    let id: String = id.chars().take_while(char::is_ascii_hexdigit).collect();
    let environment = environment("VSWITCH_FAUCET")?;
    let controller = Controller::start(environment.join("bin/faucet"), |command, files| {
        let config = files.join("faucet.yaml");
        fs::write(&config, FAUCET.replace("DATAPATH", &format!("0x{id}")))?;
        command
            .args([
                "--ryu-ofp-listen-host",
                "127.0.0.1",
                "--ryu-ofp-tcp-listen-port",
                PORT,
            ])
            .env("FAUCET_CONFIG", config)
            .env("FAUCET_LOG", files.join("log"))
            .env("FAUCET_EXCEPTION_LOG", files.join("log"))
            .env("FAUCET_PROMETHEUS_ADDR", "127.0.0.1")
            // The scripts beside it are those of its own environment.
            .env("PATH", path_with(&environment.join("bin")));
        Ok(())
    })?;
    let told = || format!("the controller said: {}", controller.log());
    traffic::await_ping(&hosts[0].namespace, hosts[1].v4, READY).with_context(told)?;
    traffic::await_ping(&hosts[2].namespace, hosts[3].v4, READY).with_context(told)?;
    for gateway in ["10.0.100.254", "10.0.200.254"] {
        let host = if gateway.contains("100") {
            &hosts[0]
        } else {
            &hosts[3]
        };
        traffic::await_ping(&host.namespace, gateway.parse()?, READY).with_context(told)?;
    }
    traffic::await_ping(&hosts[3].namespace, hosts[0].v4, READY)
        .with_context(|| format!("between the VLANs; {}", told()))?;
    traffic::await_ping(&hosts[2].namespace, hosts[0].v4, READY).with_context(told)?;
    // By now the router knows everybody; what still does not pass is blocked.
    traffic::await_ping(&hosts[3].namespace, hosts[1].v4, READY).with_context(told)?;
    silent(&hosts[2], &hosts[1]).context("the access list blocks it")?;
    traffic::tcp(
        &hosts[2].namespace,
        &hosts[1].namespace,
        hosts[1].v4,
        TRANSFER,
    )
    .context("the access list blocks ICMP only")?;
    traffic::tcp(
        &hosts[0].namespace,
        &hosts[3].namespace,
        hosts[3].v4,
        TRANSFER,
    )?;
    Ok(())
}

fn environment(variable: &str) -> Result<PathBuf> {
    let value = std::env::var_os(variable).with_context(|| format!("{variable} is not set"))?;
    Ok(PathBuf::from(value))
}

fn path_with(first: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(first.to_owned()).chain(std::env::split_paths(&path));
    std::env::join_paths(paths).unwrap_or(path)
}
