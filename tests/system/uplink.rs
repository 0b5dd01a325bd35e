//! A device that the switch shares with the host: what is named is the switch's, everything else
//! stays the host's, whatever becomes of the switch or the device.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use vswitch_tests::netns::Namespace;
use vswitch_tests::process::Switch;
use vswitch_tests::programs::{limited, must};
use vswitch_tests::service::{self, Service, Talk};
use vswitch_tests::traffic::{self, Stream};
use vswitch_tests::{device, wait};

use crate::failed;

/// How long the switch may take to notice what happens to a device.
const NOTICE: Duration = Duration::from_secs(3);

/// The host's end of the cable, and the far end in a namespace of its own.
const UPLINK: &str = "eth0";
const FAR: &str = "eth0";

const HOST: [&str; 2] = ["10.99.0.1/24", "fd99::1/64"];
const PEER: [&str; 2] = ["10.99.0.2/24", "fd99::2/64"];
const HOST_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1));
const HOST_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1));
const PEER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 2));
const PEER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2));

const PAGE: &str = include_str!("../../docs/uplink.md");

/// What is steered, and a port that is not.
const STEERED: u16 = 4789;
const OTHER: u16 = 4790;

/// Datagrams sent at a time.
const SOME: u64 = 200;

/// Where a service of the host listens.
const SSH: u16 = 22;

/// What happens to an uplink, and what must hold.
type Case = fn(&mut Rig) -> Result<()>;

pub(crate) fn trials() -> Vec<Trial> {
    let cases: [(&str, Case); 13] = [
        ("as_the_page_says", as_the_page_says),
        ("the_host_keeps_what_is_not_steered", shared),
        ("bulk_and_small_packets_together", together),
        ("removed_everything_is_the_hosts", removed),
        ("control_killed_goes_on", control_killed),
        ("datapath_killed_is_back", datapath_killed),
        ("both_killed_leaves_the_host_its_connections", both_killed),
        ("down_and_up", flapped),
        ("renamed", renamed),
        ("deleted_and_made_again", made_again),
        ("moved_to_another_namespace", moved),
        ("addresses_are_followed", readdressed),
        ("shut_down_gives_everything_back", shut_down),
    ];
    let trials = cases.into_iter().map(|(name, case)| {
        Trial::test(format!("uplink/{name}"), move || {
            let outcome = Rig::new().and_then(|mut rig| {
                case(&mut rig)
                    .with_context(|| format!("the switch said:\n{}\n", rig.switch.log_tail()))
            });
            outcome.map_err(|error| failed(&error))
        })
    });
    trials.collect()
}

/// A switch with an uplink, and a peer behind it.
struct Rig {
    here: Namespace,
    peer: Namespace,
    switch: Switch,
}

impl Rig {
    fn new() -> Result<Self> {
        let (here, peer) = (Namespace::here()?, Namespace::create("peer")?);
        // Trials ask for more refusals than the kernel tells one peer in that time.
        here.sysctl("net/ipv4/icmp_ratelimit", "0")?;
        here.sysctl("net/ipv6/icmp/ratelimit", "0")?;
        // A cable of the trial before may take its time to go.
        wait::until(NOTICE, "the name of the uplink is free", || {
            Ok((!device::exists(&here, UPLINK)).then_some(()))
        })?;
        let rig = Self {
            here,
            peer,
            switch: Switch::start()?,
        };
        rig.cable()?;
        let rule = format!("steer=udp:{STEERED},tcp:8000-8100");
        rig.switch.vsctl(&["uplink", "add", UPLINK, &rule])?;
        Ok(rig)
    }

    fn cable(&self) -> Result<()> {
        device::veth((&self.here, UPLINK), (&self.peer, FAR), 1500)?;
        device::addresses(&self.here, UPLINK, &HOST)?;
        device::addresses(&self.peer, FAR, &PEER)?;
        device::await_carrier(&self.here, UPLINK)?;
        device::await_carrier(&self.peer, FAR)
    }

    /// What the switch says of its uplink.
    fn uplink(&self) -> Result<Value> {
        let text = self.switch.vsctl(&["--json", "uplink", "ls"])?;
        let uplinks: Vec<Value> = serde_json::from_str(&text)?;
        uplinks.into_iter().next().context("there is no uplink")
    }

    fn rx_packets(&self) -> Result<u64> {
        self.uplink()?["rx_packets"].as_u64().context("a number")
    }

    /// Makes sure that datagrams to the steered port come to the switch, each of them, at an address.
    fn ensure_steered(&self, address: IpAddr) -> Result<()> {
        let before = self.rx_packets()?;
        self.send(address, STEERED, SOME)?;
        wait::until(NOTICE, "all steered datagrams are counted", || {
            let now = self.rx_packets()?;
            ensure!(now <= before + SOME, "{now} are more than were sent");
            Ok((now == before + SOME).then_some(()))
        })
        .with_context(|| format!("{} came before", before))
    }

    /// Waits until datagrams to the steered port come to the switch again.
    fn await_steered(&self, address: IpAddr) -> Result<()> {
        wait::until(NOTICE, "a datagram is steered", || {
            let before = self.rx_packets()?;
            self.send(address, STEERED, 1)?;
            wait::until(Duration::from_millis(50), "it is counted", || {
                Ok((self.rx_packets()? > before).then_some(()))
            })?;
            Ok(Some(()))
        })?;
        self.ensure_steered(address)
    }

    /// Sends datagrams to the host.
    fn send(&self, address: IpAddr, port: u16, len: u64) -> Result<()> {
        self.peer.run(|| {
            let socket = UdpSocket::bind((traffic::unspecified(address), 0))?;
            for _ in 0..len {
                socket.send_to(&[7; 100], (address, port))?;
            }
            Ok(())
        })
    }

    /// Makes sure that everything but the steered ports is the host's.
    fn ensure_hosts(&self) -> Result<()> {
        for address in [HOST_V4, HOST_V6] {
            traffic::ping(&self.peer, address, 56, 2)?;
            traffic::ping(&self.peer, address, 3000, 2)?;
            service::ensure_told_of_nobody(&self.peer, SocketAddr::new(address, OTHER))?;
            let ssh = Service::start(&self.here, "ssh", address, 0)?;
            service::ask(&self.peer, ssh.target())?;
            service::ask_by_datagram(&self.peer, ssh.target(), 0)?;
        }
        for address in [PEER_V4, PEER_V6] {
            let far = Service::start(&self.peer, "far", address, 0)?;
            service::ask(&self.here, far.target())?;
            service::ask_by_datagram(&self.here, far.target(), 0)?;
        }
        Ok(())
    }

    /// Makes sure that the device is the host's alone.
    fn ensure_given_back(&self, device: &str) -> Result<()> {
        let shown = self.here.ip(&["-d", "link", "show", "dev", device])?;
        ensure!(!shown.contains("xdp"), "a program is left: {shown}");
        // Where nobody listens, the host's own stack says so.
        service::ensure_told_of_nobody(&self.peer, SocketAddr::new(HOST_V4, STEERED))
    }

    /// Connections of the host both ways, which must outlive what happens to the switch.
    fn talks(&self) -> Result<Talks> {
        let ssh = Service::start(&self.here, "ssh", HOST_V4, SSH)?;
        let far = Service::start(&self.peer, "far", PEER_V6, SSH)?;
        let talks = [
            Talk::open(&self.peer, ssh.target())?,
            Talk::open(&self.here, far.target())?,
        ];
        let mut talks = Talks {
            talks,
            _services: [ssh, far],
        };
        talks.go_on()?;
        Ok(talks)
    }
}

/// Connections, and who answers on them.
struct Talks {
    talks: [Talk; 2],
    _services: [Service; 2],
}

impl Talks {
    fn go_on(&mut self) -> Result<()> {
        for talk in &mut self.talks {
            talk.ask()?;
        }
        Ok(())
    }
}

/// The lines of `docs/uplink.md`, run as they stand there.
fn as_the_page_says(rig: &mut Rig) -> Result<()> {
    rig.switch.vsctl(&["uplink", "rm", UPLINK])?;
    let (_, block) = PAGE.split_once("\n```sh\n").context("no block of sh")?;
    let (block, _) = block.split_once("\n```").context("a block without end")?;
    let script = format!(
        "vsctl() {{ '{}/vsctl' --rundir '{}' \"$@\"; }}\nset -e\n{block}",
        rig.switch.binaries().display(),
        rig.switch.rundir().display(),
    );
    let said = must(limited("sh").args(["-c", &script]))?;
    for rule in [
        "udp:10.99.0.1:4789 for uplink add",
        "udp:[fd99::1]:4789 for uplink add",
        "udp:[fd99::1]:6081 for uplink add",
        "tcp:10.99.0.1:8000-8100 for uplink add",
    ] {
        ensure!(said.contains(rule), "{rule} is not in {said}");
    }
    rig.ensure_steered(HOST_V4)?;
    rig.ensure_hosts()
}

fn shared(rig: &mut Rig) -> Result<()> {
    for address in [HOST_V4, HOST_V6] {
        rig.ensure_steered(address)?;
    }
    rig.ensure_hosts()?;
    let published = SocketAddr::new(HOST_V4, 8050);
    service::ensure_no_connection(&rig.peer, published)?;
    let uplink = rig.uplink()?;
    ensure!(uplink["state"] == "up", "{uplink}");
    ensure!(uplink["detail"]["mode"] == "native", "{uplink}");
    ensure!(!uplink["why"].to_string().is_empty(), "{uplink}");
    let steered = uplink["steered"].to_string();
    for rule in [
        "udp:10.99.0.1:4789",
        "udp:[fd99::1]:4789",
        "tcp:10.99.0.1:8000-8100",
    ] {
        ensure!(steered.contains(rule), "{rule} is not in {steered}");
    }
    let shown = rig.switch.vsctl(&["show"])?;
    ensure!(
        shown.contains("udp:10.99.0.1:4789 for uplink add"),
        "{shown}"
    );
    Ok(())
}

/// Bulk TCP of the host both ways while datagrams come for the switch: neither loses anything.
fn together(rig: &mut Rig) -> Result<()> {
    let mut talks = rig.talks()?;
    let stream = Stream::start(&rig.here, &rig.peer, PEER_V4, Duration::from_millis(1))?;
    for _ in 0..3 {
        traffic::tcp(&rig.peer, &rig.here, HOST_V4, 10_000_000)?;
        rig.ensure_steered(HOST_V4)?;
        traffic::tcp(&rig.here, &rig.peer, PEER_V6, 10_000_000)?;
        rig.ensure_steered(HOST_V6)?;
        talks.go_on()?;
    }
    let count = stream.finish()?;
    ensure!(count.lost() == 0, "{count:?}");
    Ok(())
}

fn removed(rig: &mut Rig) -> Result<()> {
    let mut talks = rig.talks()?;
    rig.ensure_steered(HOST_V4)?;
    rig.switch.vsctl(&["uplink", "rm", UPLINK])?;
    rig.ensure_given_back(UPLINK)?;
    rig.ensure_hosts()?;
    talks.go_on()?;
    let left = rig.switch.vsctl(&["uplink", "ls"])?;
    ensure!(left.is_empty(), "{left}");
    let rule = format!("steer=udp:{STEERED}");
    rig.switch.vsctl(&["uplink", "add", UPLINK, &rule])?;
    rig.ensure_steered(HOST_V4)?;
    talks.go_on()
}

fn control_killed(rig: &mut Rig) -> Result<()> {
    let mut talks = rig.talks()?;
    let datapath = rig.switch.datapath_pid();
    let before = rig.rx_packets()?;
    rig.switch.kill_control()?;
    rig.send(HOST_V4, STEERED, SOME)?;
    talks.go_on()?;
    rig.switch.start_control()?;
    ensure!(rig.switch.datapath_pid() == datapath, "another datapath");
    wait::until(NOTICE, "what came meanwhile was counted", || {
        Ok((rig.rx_packets()? == before + SOME).then_some(()))
    })?;
    rig.ensure_steered(HOST_V4)?;
    // Adopted whole: the table, too, can be changed.
    rig.switch.vsctl(&["uplink", "rm", UPLINK])?;
    rig.ensure_given_back(UPLINK)?;
    talks.go_on()
}

fn datapath_killed(rig: &mut Rig) -> Result<()> {
    let mut talks = rig.talks()?;
    let datapath = rig.switch.datapath_pid();
    rig.switch.kill_datapath()?;
    talks.go_on()?;
    wait::until(NOTICE, "another datapath runs", || {
        let now = rig.switch.datapath_pid();
        Ok((now.is_some() && now != datapath).then_some(()))
    })?;
    rig.await_steered(HOST_V4)?;
    rig.ensure_hosts()?;
    talks.go_on()
}

fn both_killed(rig: &mut Rig) -> Result<()> {
    let mut talks = rig.talks()?;
    let stream = Stream::start(&rig.peer, &rig.here, HOST_V4, Duration::from_millis(1))?;
    rig.ensure_steered(HOST_V4)?;
    rig.switch.kill_control()?;
    rig.switch.kill_datapath()?;
    wait::until(NOTICE, "the device is the host's alone", || {
        rig.ensure_given_back(UPLINK).map(Some)
    })?;
    talks.go_on()?;
    rig.ensure_hosts()?;
    rig.switch.start_control()?;
    rig.await_steered(HOST_V6)?;
    rig.ensure_hosts()?;
    talks.go_on()?;
    let count = stream.finish()?;
    ensure!(count.lost() == 0, "the host lost {count:?}");
    Ok(())
}

fn flapped(rig: &mut Rig) -> Result<()> {
    let mut talks = rig.talks()?;
    for _ in 0..3 {
        rig.here.ip(&["link", "set", UPLINK, "down"])?;
        wait::until(NOTICE, "the uplink is down", || {
            Ok((rig.uplink()?["state"] == "down").then_some(()))
        })?;
        rig.here.ip(&["link", "set", UPLINK, "up"])?;
        // The kernel takes IPv6 addresses away with the link.
        rig.here
            .ip(&["addr", "replace", HOST[1], "dev", UPLINK, "nodad"])?;
        device::await_carrier(&rig.here, UPLINK)?;
        rig.await_steered(HOST_V4)?;
    }
    rig.await_steered(HOST_V6)?;
    talks.go_on()?;
    rig.ensure_hosts()
}

fn renamed(rig: &mut Rig) -> Result<()> {
    rig.here.ip(&["link", "set", UPLINK, "down"])?;
    rig.here.ip(&["link", "set", UPLINK, "name", "wan0"])?;
    rig.here.ip(&["link", "set", "wan0", "up"])?;
    device::addresses(&rig.here, "wan0", &HOST[1..])?;
    device::await_carrier(&rig.here, "wan0")?;
    rig.await_steered(HOST_V4)?;
    rig.await_steered(HOST_V6)?;
    ensure!(rig.uplink()?["detail"]["device"] == "wan0");
    rig.ensure_hosts()?;
    rig.switch.vsctl(&["uplink", "rm", UPLINK])?;
    rig.ensure_given_back("wan0")?;
    rig.here.ip(&["link", "del", "wan0"])?;
    Ok(())
}

fn made_again(rig: &mut Rig) -> Result<()> {
    for _ in 0..2 {
        rig.here.ip(&["link", "del", UPLINK])?;
        wait::until(NOTICE, "the uplink is missing", || {
            Ok((rig.uplink()?["state"] == "missing").then_some(()))
        })?;
        rig.cable()?;
        rig.await_steered(HOST_V4)?;
        rig.await_steered(HOST_V6)?;
        rig.ensure_hosts()?;
    }
    Ok(())
}

/// Moved away, the device is followed; the addresses are lost by the move, and steered again when it
/// gets some.
fn moved(rig: &mut Rig) -> Result<()> {
    let elsewhere = Namespace::create("elsewhere")?;
    device::move_to(&rig.here, UPLINK, &elsewhere, UPLINK)?;
    wait::until(NOTICE, "the uplink is elsewhere", || {
        Ok((rig.uplink()?["detail"]["netns"] == "elsewhere").then_some(()))
    })?;
    device::addresses(&elsewhere, UPLINK, &HOST)?;
    rig.await_steered(HOST_V4)?;
    rig.await_steered(HOST_V6)?;
    traffic::ping(&rig.peer, HOST_V4, 56, 2)?;
    // Removing the namespace would remove the device; the sandbox removes both in the end.
    std::mem::forget(elsewhere);
    Ok(())
}

fn readdressed(rig: &mut Rig) -> Result<()> {
    let second = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 77));
    rig.ensure_steered(HOST_V4)?;
    rig.here
        .ip(&["addr", "add", "10.99.0.77/24", "dev", UPLINK])?;
    rig.await_steered(second)?;
    rig.here
        .ip(&["addr", "del", "10.99.0.77/24", "dev", UPLINK])?;
    wait::until(NOTICE, "the address is not steered any more", || {
        let steered = rig.uplink()?["steered"].to_string();
        Ok((!steered.contains("10.99.0.77")).then_some(()))
    })?;
    rig.ensure_steered(HOST_V4)?;
    // Routes of the host may change as they like.
    rig.here
        .ip(&["route", "add", "10.98.0.0/16", "via", "10.99.0.2"])?;
    rig.here.ip(&["route", "del", "10.98.0.0/16"])?;
    rig.ensure_steered(HOST_V4)?;
    rig.ensure_hosts()
}

fn shut_down(rig: &mut Rig) -> Result<()> {
    let mut talks = rig.talks()?;
    rig.switch.shut_down()?;
    rig.ensure_given_back(UPLINK)?;
    rig.ensure_hosts()?;
    talks.go_on()
}
