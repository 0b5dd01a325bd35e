//! A private Open vSwitch with its userspace datapath, as a peer to be compared with and as the
//! other end of a test.
//!
//! Database, sockets and logs lie in a run directory of its own; nothing of the machine's own Open
//! vSwitch is touched. Needs Debian's `openvswitch-switch`, whose service need not run.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use tempfile::TempDir;

use crate::device;
use crate::netns::Namespace;
use crate::programs::{collect, limited, must};
use crate::wait;

/// Where Debian has the schema of the database.
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// How long a daemon may take until it answers.
const READY: Duration = Duration::from_secs(15);

/// A running Open vSwitch; dropping it ends its processes.
#[derive(Debug)]
pub struct Ovs {
    rundir: TempDir,
    database: Child,
    switch: Option<Child>,
}

impl Ovs {
    /// Whether Open vSwitch is installed.
    pub fn installed() -> bool {
        Path::new(SCHEMA).exists()
    }

    /// Starts database and switch, without bridges.
    pub fn start() -> Result<Self> {
        if !Self::installed() {
            bail!("Open vSwitch is missing: apt-get install openvswitch-switch");
        }
        let rundir = TempDir::with_prefix_in("ovs-", "/run")?;
        let database_file = rundir.path().join("conf.db");
        must(
            limited("ovsdb-tool")
                .arg("create")
                .arg(&database_file)
                .arg(SCHEMA),
        )?;
        let remote = format!("punix:{}", socket(rundir.path()).display());
        let database = daemon(rundir.path(), "ovsdb-server")
            .arg(&database_file)
            .args(["--remote", &remote])
            .spawn()
            .context("could not start ovsdb-server")?;
        let mut ovs = Self {
            rundir,
            database,
            switch: None,
        };
        wait::until(READY, "ovsdb-server answers", || {
            ovs.vsctl(&["--no-wait", "init"]).map(Some)
        })?;
        let server = format!("unix:{}", socket(ovs.rundir()).display());
        let switch = daemon(ovs.rundir(), "ovs-vswitchd")
            .args([&server, "--disable-system", "--pidfile"])
            .spawn()
            .context("could not start ovs-vswitchd")?;
        ovs.switch = Some(switch);
        wait::until(READY, "ovs-vswitchd answers", || {
            ovs.appctl(&["version"]).map(Some)
        })?;
        Ok(ovs)
    }

    /// The process that switches.
    pub fn process_id(&self) -> u32 {
        self.switch.as_ref().expect("it is started by now").id()
    }

    /// Gives the packet sockets of its ports room for `size` bytes. The kernel's default holds some
    /// ninety full frames, and what comes beyond them while the switch does something else is lost;
    /// that default belongs to the whole machine, so the sockets themselves are taken hold of.
    pub fn widen_packet_sockets(&self, size: usize) -> Result<()> {
        let id = self.process_id();
        let pid = Pid::from_raw(id.cast_signed()).context("a process has a number")?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        for entry in std::fs::read_dir(format!("/proc/{id}/fd"))? {
            let number = entry?.file_name().to_string_lossy().parse::<RawFd>()?;
            let fd = pidfd_getfd(&process, number, PidfdGetfdFlags::empty());
            // Closed in the meantime, or no socket.
            if let Ok(fd) = fd
                && sockopt::socket_domain(&fd).is_ok_and(|domain| domain == AddressFamily::PACKET)
            {
                sockopt::set_socket_recv_buffer_size_force(&fd, size)?;
            }
        }
        Ok(())
    }

    /// The run directory, `OVS_RUNDIR` of its clients.
    pub fn rundir(&self) -> &Path {
        self.rundir.path()
    }

    /// The process of the switch.
    pub fn switch_pid(&self) -> Result<u32> {
        let switch = self.switch.as_ref().context("the switch does not run")?;
        Ok(switch.id())
    }

    /// `ovs-vsctl` with arguments.
    pub fn vsctl(&self, arguments: &[&str]) -> Result<String> {
        let database = format!("--db=unix:{}", socket(self.rundir()).display());
        must(
            client(self.rundir(), "ovs-vsctl")
                .args(["--timeout=10", &database])
                .args(arguments),
        )
    }

    /// `ovs-appctl` with arguments.
    pub fn appctl(&self, arguments: &[&str]) -> Result<String> {
        must(client(self.rundir(), "ovs-appctl").args(arguments))
    }

    /// `ovs-ofctl` with arguments.
    pub fn ofctl(&self, arguments: &[&str]) -> Result<String> {
        ofctl(self.rundir(), arguments)
    }

    /// Adds a bridge that starts empty and forwards nothing by itself.
    pub fn bridge(&self, name: &str, address: &str) -> Result<()> {
        let hwaddr = format!("other_config:hwaddr={address}");
        self.vsctl(&[
            "add-br",
            name,
            "--",
            "set",
            "Bridge",
            name,
            "datapath_type=netdev",
            "fail_mode=secure",
            "protocols=OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15",
            &hwaddr,
        ])?;
        Ok(())
    }

    /// Adds a device of this namespace to a bridge.
    pub fn port(&self, bridge: &str, device: &str, number: u32) -> Result<()> {
        let request = format!("ofport_request={number}");
        self.vsctl(&[
            "add-port",
            bridge,
            device,
            "--",
            "set",
            "Interface",
            device,
            &request,
        ])?;
        Ok(())
    }

    /// Has ports that are polled served by one thread on `core`, counted from 0.
    pub fn serve_ports_on(&self, core: u32) -> Result<()> {
        let mask = format!("other_config:pmd-cpu-mask={:x}", 1_u64 << core);
        self.vsctl(&["set", "Open_vSwitch", ".", &mask])?;
        Ok(())
    }

    /// Adds an AF_XDP port over a veth pair that is made for it: `end` is the port, the other end
    /// `eth0` of `host`.
    pub fn afxdp_host(
        &self,
        bridge: &str,
        end: (&Namespace, &str),
        number: u32,
        host: &Namespace,
        mtu: u32,
    ) -> Result<()> {
        device::veth(end, (host, "eth0"), mtu)?;
        // It passes no checksum on that is only begun.
        host.must("ethtool", &["-K", "eth0", "tx", "off"])?;
        let request = format!("ofport_request={number}");
        self.vsctl(&[
            "add-port",
            bridge,
            end.1,
            "--",
            "set",
            "Interface",
            end.1,
            "type=afxdp",
            &request,
        ])?;
        Ok(())
    }
}

impl Drop for Ovs {
    fn drop(&mut self) {
        // An orderly end takes the devices of its bridges along.
        let _ = self.appctl(&["exit", "--cleanup"]);
        if let Some(switch) = &mut self.switch {
            let ended = wait::until(READY, "ovs-vswitchd ends", || Ok(switch.try_wait()?));
            if ended.is_err() {
                let _ = switch.kill();
                let _ = switch.wait();
            }
        }
        let _ = self.database.kill();
        let _ = self.database.wait();
    }
}

fn socket(rundir: &Path) -> PathBuf {
    rundir.join("db.sock")
}

/// A client of Open vSwitch that looks for its server in `rundir`, which may be ours.
pub fn client(rundir: &Path, program: &str) -> Command {
    let mut command = limited(program);
    command.env("OVS_RUNDIR", rundir);
    command
}

/// `ovs-ofctl` with arguments, against the switch that has this run directory.
pub fn ofctl(rundir: &Path, arguments: &[&str]) -> Result<String> {
    must(client(rundir, "ovs-ofctl").args(arguments))
}

/// `ovs-ofctl` with arguments, whatever its status.
pub fn try_ofctl(rundir: &Path, arguments: &[&str]) -> Result<Output> {
    collect(client(rundir, "ovs-ofctl").args(arguments))
}

fn daemon(rundir: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("OVS_RUNDIR", rundir)
        .env("OVS_LOGDIR", rundir)
        .env("OVS_DBDIR", rundir)
        .current_dir(rundir)
        .args(["--no-chdir", "--log-file", "-vconsole:off"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}
