//! The two switches: started for a turn, filled with flows, given two hosts.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use vswitch_benches::traffic::{Copies, Sink, Source, without_checksum};
use vswitch_packet::build::Builder;
use vswitch_sys::bpf::programs::Word;
use vswitch_tests::device;
use vswitch_tests::netns::Namespace;
use vswitch_tests::ovs::{self, Ovs};
use vswitch_tests::process::Switch;
use vswitch_tests::programs::{limited_to, must};
use vswitch_tests::topology::{Kind, Topology};

use crate::client::Client;

/// Where the source of frames runs; both switches serve ports on the other core.
const SOURCE_CORE: usize = 0;
const MTU: u32 = 1500;

/// Seconds that a load may take: a flow is several wake-ups, and on a virtual machine whose host is
/// busy one can take a quarter of a millisecond.
const LOAD_LIMIT: u32 = 300;

/// Who takes a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Ours,
    Theirs,
}

pub(crate) const OURS: &str = "vswitch";
pub(crate) const THEIRS: &str = "Open vSwitch";

#[derive(Debug)]
enum Process {
    Ours(Topology),
    Theirs(Ovs),
}

/// A switch with one bridge that has no flows and no ports.
#[derive(Debug)]
pub(crate) struct Running {
    process: Process,
    bridge: &'static str,
}

/// Two hosts on a switch, the first on port 1.
#[derive(Debug)]
pub(crate) struct Hosts {
    pub(crate) namespaces: [Namespace; 2],
    /// The second one's.
    pub(crate) address: IpAddr,
}

impl Contender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => OURS,
            Self::Theirs => THEIRS,
        }
    }

    pub(crate) fn start(self) -> Result<Running> {
        let (process, bridge) = match self {
            Self::Ours => {
                let bridge = "ofs";
                let topology = Topology::with_bridge(Switch::start()?, bridge, MTU)?;
                (Process::Ours(topology), bridge)
            }
            Self::Theirs => {
                let (ovs, bridge) = (Ovs::start()?, "ofo");
                ovs.bridge(bridge, "02:00:00:00:00:f0")?;
                // The core where our worker is.
                ovs.serve_ports_on(1)?;
                (Process::Theirs(ovs), bridge)
            }
        };
        let running = Running { process, bridge };
        running.ofctl(&["del-flows", bridge])?;
        Ok(running)
    }
}

impl Running {
    fn rundir(&self) -> &Path {
        match &self.process {
            Process::Ours(topology) => topology.switch.rundir(),
            Process::Theirs(ovs) => ovs.rundir(),
        }
    }

    fn ofctl(&self, arguments: &[&str]) -> Result<String> {
        ovs::ofctl(self.rundir(), arguments)
    }

    /// The time that `ovs-ofctl add-flows` takes.
    pub(crate) fn add_flows(&self, file: &Path, options: &[&str]) -> Result<Duration> {
        let mut command = limited_to(LOAD_LIMIT, "ovs-ofctl");
        command.env("OVS_RUNDIR", self.rundir());
        command.args(options).args(["add-flows", self.bridge]);
        let begin = Instant::now();
        must(command.arg(file))?;
        Ok(begin.elapsed())
    }

    /// The same with flows that are given here; how long it takes is of no interest.
    pub(crate) fn add(&self, flows: &str) -> Result<()> {
        let file = self.rundir().join("flows.txt");
        std::fs::write(&file, flows)?;
        self.add_flows(&file, &["--bundle"])?;
        Ok(())
    }

    pub(crate) fn delete_flows(&self) -> Result<()> {
        self.ofctl(&["del-flows", self.bridge])?;
        Ok(())
    }

    /// How many flows the bridge says that it has.
    pub(crate) fn flows_len(&self) -> Result<usize> {
        let shown = self.ofctl(&["dump-aggregate", self.bridge])?;
        let (_, rest) = shown.split_once("flow_count=").context("no flow_count")?;
        Ok(rest.trim().parse()?)
    }

    /// Memory of its processes that is in use, bytes.
    pub(crate) fn resident(&self) -> Result<f64> {
        let pids = match &self.process {
            Process::Ours(topology) => vec![
                topology.switch.control_pid().context("no vswitchd")?,
                topology.switch.datapath_pid().context("no datapath")?,
            ],
            Process::Theirs(ovs) => {
                let file = ovs.rundir().join("ovs-vswitchd.pid");
                vec![std::fs::read_to_string(file)?.trim().parse()?]
            }
        };
        let sizes: Result<Vec<f64>> = pids.into_iter().map(resident).collect();
        Ok(sizes?.iter().sum())
    }

    pub(crate) fn client(&self) -> Result<Client> {
        let socket: PathBuf = self.rundir().join(format!("{}.mgmt", self.bridge));
        Client::connect(&socket)
    }

    /// Adds two AF_XDP ports over veth with a host behind each.
    pub(crate) fn hosts(&self) -> Result<Hosts> {
        let (namespaces, address) = match &self.process {
            Process::Ours(topology) => {
                let [left, right] = ["of_port=1", "of_port=2"]
                    .map(|number| topology.host(Kind::Afxdp, true, &[number]));
                let (left, right) = (left?, right?);
                ([left.namespace, right.namespace], right.v4)
            }
            Process::Theirs(ovs) => {
                let here = Namespace::here()?;
                let mut hosts = Vec::new();
                for number in 1..=2_u32 {
                    let host = Namespace::create(&format!("ofo-{number}"))?;
                    let end = format!("ofo{number}");
                    ovs.afxdp_host(self.bridge, (&here, &end), number, &host, MTU)?;
                    let address = format!("10.78.0.{number}/16");
                    device::addresses(&host, "eth0", &[&address])?;
                    hosts.push(host);
                }
                let hosts = hosts.try_into().ok().context("two hosts")?;
                (hosts, IpAddr::from([10, 78, 0, 2]))
            }
        };
        Ok(Hosts {
            namespaces,
            address,
        })
    }
}

/// Memory of a process that is in use, bytes.
fn resident(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mut lines = text.lines();
    let size = lines.find_map(|line| line.strip_prefix("VmRSS:"));
    let size = size.context("no VmRSS")?.trim().trim_end_matches("kB");
    Ok(size.trim().parse::<f64>()? * 1024.0)
}

/// UDP ports of an IPv4 packet.
const PORTS: &[(u16, Word)] = &[(34, Word::Low), (36, Word::High)];

/// Frames of 60 bytes from the first host to the second, of which this many flows (UDP source ports,
/// and then destination ports) take turns.
pub(crate) struct Frames {
    sink: Sink,
    source: Source,
}

impl Frames {
    /// Starts them; `last` is the last octet but one of their source address.
    pub(crate) fn start(hosts: &Hosts, flows: u32, last: u8) -> Result<Self> {
        let [left, right] = &hosts.namespaces;
        let frame = Builder::eth(device::mac(left, "eth0")?, device::mac(right, "eth0")?)
            .ipv4([10, 79, last, 1], [10, 79, 255, 2])
            .udp(1000, 2000)
            .payload(&[0; 18])
            .build();
        let copies = Copies {
            len: flows,
            words: PORTS,
            ..Copies::alike(without_checksum(frame))
        };
        let sink = Sink::attach(right, "eth0")?;
        let source = Source::start(left, "eth0", copies, SOURCE_CORE)?;
        Ok(Self { sink, source })
    }

    /// Frames that arrive in a second, in each of `parts` parts of `time`.
    pub(crate) fn rates(&self, time: Duration, parts: usize) -> Result<Vec<f64>> {
        let part = time / parts as u32;
        (0..parts).map(|_| self.sink.rate(part)).collect()
    }

    pub(crate) fn stop(self) -> Result<()> {
        self.source.stop()?;
        Ok(())
    }
}
