//! Routers between real hosts: the examples of `docs/routing.md` as they stand there, and what hosts see of
//! a router with their own programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use vswitch_tests::netns::Namespace;
use vswitch_tests::process::Switch;
use vswitch_tests::programs::{limited_to, must};
use vswitch_tests::{device, traffic, wait};

use crate::failed;

const PAGE: &str = include_str!("../../docs/routing.md");

/// How long something may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// The routes of a large table.
const MANY: u32 = 1_000_000;

/// The device's name inside a host's own namespace.
const INSIDE: &str = "eth0";

/// Whether hosts are behind TAPs or veths with AF_XDP.
#[derive(Clone, Copy, Debug)]
enum Ports {
    Tap,
    Afxdp,
}

pub(crate) fn trials() -> Vec<Trial> {
    type Trying = fn(Ports) -> Result<()>;
    let both: [(&str, Trying); 4] = [
        ("two_networks", two_networks),
        ("translation", translation),
        ("errors", errors),
        ("path_mtu", path_mtu),
    ];
    let one: [(&str, Trying); 5] = [
        ("vlans", vlans),
        ("routes_of_the_page", routes_of_the_page),
        ("isolation", isolation),
        ("survival", survival),
        ("a_million_routes", a_million_routes),
    ];
    let mut trials = Vec::new();
    let mut add = |name: String, trying: Trying, ports: Ports| {
        trials.push(Trial::test(name, move || {
            trying(ports).map_err(|error| failed(&error))
        }));
    };
    for (name, trying) in both {
        for (kind, ports) in [("tap", Ports::Tap), ("afxdp", Ports::Afxdp)] {
            add(format!("routing/{name}/{kind}"), trying, ports);
        }
    }
    for (name, trying) in one {
        add(format!("routing/{name}"), trying, Ports::Tap);
    }
    trials
}

/// The commands of the section with this heading.
fn commands(heading: &str) -> Result<&'static str> {
    let (_, section) = PAGE
        .split_once(&format!("\n## {heading}\n"))
        .with_context(|| format!("docs/routing.md has no section {heading:?}"))?;
    let (_, block) = section.split_once("\n```sh\n").context("no block of sh")?;
    let (block, _) = block.split_once("\n```").context("a block without end")?;
    Ok(block)
}

/// A switch with what a section of the page makes.
struct Rig {
    switch: Switch,
    /// By the names of their ports.
    hosts: BTreeMap<String, Namespace>,
}

impl Rig {
    fn new(heading: &str, ports: Ports) -> Result<Self> {
        let mut rig = Self {
            switch: Switch::start()?,
            hosts: BTreeMap::new(),
        };
        for line in commands(heading)?.lines() {
            let words: Vec<_> = line.split_whitespace().skip(1).collect();
            match words.as_slice() {
                ["add-port", bridge, port, settings @ ..] => {
                    rig.host(bridge, port, settings, ports)?;
                }
                words => drop(rig.switch.vsctl(words)?),
            }
        }
        Ok(rig)
    }

    /// A port with a host behind it.
    fn host(&mut self, bridge: &str, port: &str, settings: &[&str], ports: Ports) -> Result<()> {
        let here = Namespace::here()?;
        // An earlier host's device of this name goes with its namespace, when the kernel gets to it.
        wait::until(PATIENCE, "the name of a device is free", || {
            Ok((!device::exists(&here, port)).then_some(()))
        })?;
        let namespace = Namespace::create(&format!("r-{port}"))?;
        let mut words = vec!["add-port", bridge, port];
        match ports {
            Ports::Tap => words.push("type=tap"),
            Ports::Afxdp => {
                device::veth((&here, port), (&namespace, INSIDE), 1500)?;
                words.push("type=afxdp");
            }
        }
        words.extend(settings);
        self.switch.vsctl(&words)?;
        if matches!(ports, Ports::Tap) {
            device::move_to(&here, port, &namespace, INSIDE)?;
        }
        namespace.ip(&["link", "set", INSIDE, "up"])?;
        device::await_carrier(&namespace, INSIDE)?;
        self.hosts.insert(port.to_owned(), namespace);
        Ok(())
    }

    fn at(&self, port: &str) -> Result<&Namespace> {
        let host = self.hosts.get(port);
        host.with_context(|| format!("the page has no port {port}"))
    }

    /// Gives a host addresses and gateways.
    fn settle(&self, port: &str, addresses: &[&str], gateways: &[&str]) -> Result<()> {
        let host = self.at(port)?;
        device::addresses(host, INSIDE, addresses)?;
        for gateway in gateways {
            let family = if gateway.contains(':') { "-6" } else { "-4" };
            host.ip(&[family, "route", "add", "default", "via", gateway])?;
        }
        Ok(())
    }

    /// What the switch says when something has gone wrong.
    fn hold(&self, work: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        work(self).with_context(|| {
            let ask = |words: &[&str]| self.switch.vsctl(words).unwrap_or_default();
            format!(
                "drops:\n{}flows:\n{}log:\n{}",
                ask(&["drops"]),
                ask(&["dpctl", "dump-flows"]),
                self.switch.log_tail()
            )
        })
    }
}

const LEFT: [&str; 2] = ["10.0.1.2", "fd00:1::2"];
const RIGHT: [&str; 2] = ["10.0.2.2", "fd00:2::2"];

/// The page's two networks with their hosts.
fn joined(ports: Ports) -> Result<Rig> {
    let rig = Rig::new("Two networks", ports)?;
    rig.settle(
        "left",
        &["10.0.1.2/24", "fd00:1::2/64"],
        &["10.0.1.1", "fd00:1::1"],
    )?;
    rig.settle(
        "right",
        &["10.0.2.2/24", "fd00:2::2/64"],
        &["10.0.2.1", "fd00:2::1"],
    )?;
    Ok(rig)
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn two_networks(ports: Ports) -> Result<()> {
    joined(ports)?.hold(|rig| {
        let (left, right) = (rig.at("left")?, rig.at("right")?);
        for (own, other) in LEFT.into_iter().zip(RIGHT) {
            let other = address(other);
            traffic::ping(left, other, 56, 3)?;
            traffic::ping(left, other, 4000, 3)?;
            traffic::ping(right, address(own), 56, 3)?;
            traffic::tcp(left, right, other, 20_000_000)?;
            traffic::tcp(right, left, address(own), 20_000_000)?;
            traffic::udp_echo(left, right, other, &[1, 100, 1400, 5000])?;
        }
        // The hops, as people look at them.
        let hops = |target: &str, gateway: &str| -> Result<()> {
            let shown = left.must(
                "traceroute",
                &["-n", "-w", "2", "-q", "1", "-m", "4", target],
            )?;
            let lines: Vec<_> = shown.lines().skip(1).collect();
            let whom = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
            let seen: Vec<_> = lines.iter().filter_map(|line| whom(line)).collect();
            ensure!(seen == [gateway, target], "{shown}");
            Ok(())
        };
        hops(RIGHT[0], "10.0.1.1")?;
        hops(RIGHT[1], "fd00:1::1")?;
        // The router's own addresses answer, the far one too.
        for own in ["10.0.1.1", "10.0.2.1", "fd00:1::1", "fd00:2::1"] {
            traffic::ping(left, address(own), 56, 2)?;
            traffic::ping(left, address(own), 1400, 2)?;
        }
        let shown = rig.switch.vsctl(&["neigh", "show", "r1"])?;
        for host in LEFT.into_iter().chain(RIGHT) {
            let row = shown
                .lines()
                .find(|line| line.contains(&format!(" {host} ")));
            ensure!(row.is_some_and(|row| row.contains("reachable")), "{shown}");
        }
        Ok(())
    })
}

/// Has a client send something to a server and hear it again; who asked, as the server sees it.
fn exchange(
    (client, target): (&Namespace, &str),
    (server, own): (&Namespace, &str),
) -> Result<IpAddr> {
    let listener = server.run(|| Ok(TcpListener::bind(own)?))?;
    let serving = server.spawn(move || {
        let (mut stream, peer) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut heard = [0; 4];
        stream.read_exact(&mut heard)?;
        stream.write_all(&heard)?;
        Ok(peer.ip())
    })?;
    client.run(|| {
        let target: SocketAddr = target.parse()?;
        let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"ping")?;
        let mut heard = [0; 4];
        stream.read_exact(&mut heard)?;
        ensure!(&heard == b"ping", "{heard:?} came back");
        Ok(())
    })?;
    match serving.join() {
        Ok(peer) => peer,
        Err(_) => bail!("the server panicked"),
    }
}

/// The same by datagrams.
fn exchange_datagrams(
    (client, target): (&Namespace, &str),
    (server, own): (&Namespace, &str),
) -> Result<IpAddr> {
    let listener = server.run(|| Ok(UdpSocket::bind(own)?))?;
    listener.set_read_timeout(Some(PATIENCE))?;
    let serving = server.spawn(move || {
        let mut heard = [0; 4000];
        let (size, peer) = listener.recv_from(&mut heard)?;
        listener.send_to(&heard[..size], peer)?;
        Ok(peer.ip())
    })?;
    client.run(|| {
        let target: SocketAddr = target.parse()?;
        let socket = UdpSocket::bind((traffic::unspecified(target.ip()), 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(target)?;
        // Two packets of 1500 bytes do not hold it, so it comes in pieces.
        socket.send(&[7; 3500])?;
        let mut heard = [0; 4000];
        let size = socket.recv(&mut heard)?;
        ensure!(size == 3500, "{size} bytes came back");
        Ok(())
    })?;
    match serving.join() {
        Ok(peer) => peer,
        Err(_) => bail!("the server panicked"),
    }
}

/// A network behind one address, as hosts see it from both sides.
fn translation(ports: Ports) -> Result<()> {
    let mut rig = Rig::new("A network behind one address", ports)?;
    let (inner, outer) = (
        ["10.0.4.2/24", "fd00:4::2/64"],
        ["192.0.2.9/24", "2001:db8:5::9/64"],
    );
    rig.settle("inner", &inner, &["10.0.4.1", "fd00:4::1"])?;
    rig.settle("outer", &outer, &[])?;
    let (masked, masked_v6) = (address("192.0.2.1"), address("2001:db8:5::1"));
    let work = |rig: &Rig| -> Result<()> {
        let (inner, outer) = (rig.at("inner")?, rig.at("outer")?);
        for far in ["192.0.2.9", "2001:db8:5::9"] {
            traffic::await_ping(inner, address(far), PATIENCE)?;
            traffic::ping(inner, address(far), 4000, 2)?;
            traffic::tcp(inner, outer, address(far), 20_000_000)?;
        }
        let seen = exchange((inner, "192.0.2.9:7000"), (outer, "192.0.2.9:7000"))?;
        ensure!(seen == masked, "{seen} is seen outside");
        let seen = exchange(
            (inner, "[2001:db8:5::9]:7000"),
            (outer, "[2001:db8:5::9]:7000"),
        )?;
        ensure!(seen == masked_v6, "{seen} is seen outside");
        let seen = exchange_datagrams((inner, "192.0.2.9:7000"), (outer, "192.0.2.9:7000"))?;
        ensure!(seen == masked, "{seen} is seen outside");
        // Who is led inside sees who asks.
        let seen = exchange((outer, "192.0.2.1:8080"), (inner, "10.0.4.2:80"))?;
        ensure!(seen == address("192.0.2.9"), "{seen} is seen inside");
        let seen = exchange_datagrams((outer, "192.0.2.1:5003"), (inner, "10.0.4.2:5003"))?;
        ensure!(seen == address("192.0.2.9"), "{seen} is seen inside");
        // A port that nobody has published, and one behind which nobody listens.
        for port in [8081, 8080] {
            let refused = outer.run(|| Ok(TcpStream::connect((masked, port)).map(drop)))?;
            let kind = refused.map_err(|error| error.kind());
            let closed = port == 8080;
            ensure!(
                kind.is_err() && (!closed || kind == Err(ErrorKind::ConnectionRefused)),
                "{kind:?}"
            );
        }
        traffic::ping(outer, masked, 56, 2)?;
        Ok(())
    };
    rig.hold(work)?;
    rig.hold(|rig| {
        // Errors from beyond the translation reach who is meant.
        let shown = rig.at("inner")?.must(
            "traceroute",
            &["-n", "-w", "2", "-q", "1", "-m", "3", "192.0.2.9"],
        )?;
        let hops = shown.lines().skip(1);
        let seen: Vec<_> = hops
            .filter_map(|line| line.split_whitespace().nth(1))
            .collect();
        ensure!(seen == ["10.0.4.1", "192.0.2.9"], "{shown}");
        let tracked = rig
            .switch
            .vsctl(&["dpctl", "dump-conntrack", "zone=61440"])?;
        ensure!(tracked.contains("src=10.0.4.2"), "{tracked}");
        Ok(())
    })?;
    // What begins after a datapath has ended is translated by the next one.
    rig.switch.kill_control()?;
    rig.switch.start_control()?;
    rig.switch.kill_datapath()?;
    rig.hold(work)
}

/// What `ping` says of a target that does not answer.
fn complaint(host: &Namespace, target: &str, more: &[&str]) -> Result<String> {
    let mut words = vec!["-n", "-c", "1", "-W", "5"];
    words.extend(more);
    words.push(target);
    let output = host.collect("ping", &words)?;
    ensure!(!output.status.success(), "{target} answers");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn errors(ports: Ports) -> Result<()> {
    joined(ports)?.hold(|rig| {
        let left = rig.at("left")?;
        for route in [
            "192.0.2.0/24 prohibit",
            "198.51.100.0/24 unreachable",
            "2001:db8:1::/48 prohibit",
            "2001:db8:2::/48 unreachable",
        ] {
            let mut words = vec!["route", "add", "r1"];
            words.extend(route.split(' '));
            rig.switch.vsctl(&words)?;
        }
        for (target, more, from, says) in [
            (
                "10.0.2.2",
                &["-t", "1"][..],
                "10.0.1.1",
                "Time to live exceeded",
            ),
            ("8.8.8.8", &[], "10.0.1.1", "Destination Net Unreachable"),
            ("192.0.2.1", &[], "10.0.1.1", "Packet filtered"),
            (
                "198.51.100.1",
                &[],
                "10.0.1.1",
                "Destination Host Unreachable",
            ),
            ("10.0.2.99", &[], "10.0.1.1", "Destination Host Unreachable"),
            (
                "fd00:2::2",
                &["-t", "1"],
                "fd00:1::1",
                "Time exceeded: Hop limit",
            ),
            (
                "2001:db8::1",
                &[],
                "fd00:1::1",
                "Destination unreachable: No route",
            ),
            (
                "2001:db8:1::1",
                &[],
                "fd00:1::1",
                "Destination unreachable: Administratively prohibited",
            ),
            (
                "2001:db8:2::1",
                &[],
                "fd00:1::1",
                "Destination unreachable: Address unreachable",
            ),
            (
                "fd00:2::99",
                &[],
                "fd00:1::1",
                "Destination unreachable: Address unreachable",
            ),
        ] {
            let shown = complaint(left, target, more)?;
            ensure!(
                shown.contains(&format!("From {from} ")) && shown.contains(says),
                "{target}: {shown}"
            );
        }
        Ok(())
    })
}

fn path_mtu(ports: Ports) -> Result<()> {
    joined(ports)?.hold(|rig| {
        rig.switch
            .vsctl(&["router", "port", "set", "gw1", "mtu=1300"])?;
        let (left, right) = (rig.at("left")?, rig.at("right")?);
        for other in RIGHT {
            // Hosts send what fits their own links, and learn.
            traffic::tcp(left, right, address(other), 20_000_000)?;
            let known = left.ip(&["route", "get", other])?;
            ensure!(known.contains("mtu 1300"), "{known}");
        }
        // What may be cut is cut.
        let pieces = left.collect(
            "ping",
            &["-n", "-c", "2", "-M", "dont", "-s", "1400", RIGHT[0]],
        )?;
        ensure!(
            pieces.status.success(),
            "packets that may be cut do not pass"
        );
        Ok(())
    })
}

/// Has a host ask for an address with the client that small systems have.
fn lease(host: &Namespace) -> Result<Ipv4Addr> {
    let directory = tempfile::tempdir()?;
    let script = directory.path().join("lease.sh");
    let text = "#!/bin/sh\n\
        [ \"$1\" = bound ] || exit 0\n\
        ip addr add $ip/$mask dev $interface\n\
        ip link set $interface mtu ${mtu:-1500}\n\
        ip route add default via $router\n";
    std::fs::write(&script, text)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let script = script.to_string_lossy();
    let words = [
        "udhcpc", "-i", INSIDE, "-n", "-q", "-f", "-t", "5", "-T", "1", "-s", &script,
    ];
    host.must("busybox", &words)?;
    let shown = host.ip(&["-4", "-o", "addr", "show", "dev", INSIDE])?;
    let own = shown.split_whitespace().nth(3).context("no address")?;
    let (own, len) = own.split_once('/').context("no length")?;
    ensure!(len == "24", "{shown}");
    Ok(own.parse()?)
}

/// The address that a host's kernel has made from an advertisement.
fn autoconfigured(host: &Namespace, network: &str) -> Result<IpAddr> {
    wait::until(PATIENCE, "an address by autoconfiguration", || {
        let shown = host.ip(&["-6", "-o", "addr", "show", "dev", INSIDE, "scope", "global"])?;
        let mut words = shown.split_whitespace();
        let own = words.find(|word| word.starts_with(network));
        let own = own.and_then(|own| own.split('/').next()?.parse().ok());
        let routes = host.ip(&["-6", "route", "show", "default"])?;
        Ok(own.filter(|_| routes.contains("proto ra")))
    })
}

fn vlans(ports: Ports) -> Result<()> {
    let rig = Rig::new("Networks in VLANs, with everything for hosts", ports)?;
    rig.hold(|rig| {
        let (desk, lab) = (rig.at("desk")?, rig.at("lab")?);
        let own = [lease(desk)?, lease(lab)?];
        for (own, net) in own.iter().zip([10, 20]) {
            let [_, _, third, fourth] = own.octets();
            ensure!(third == net && (100..=199).contains(&fourth), "{own}");
        }
        let told = rig.switch.vsctl(&["router", "leases", "r1"])?;
        ensure!(
            own.iter().all(|own| told.contains(&own.to_string())),
            "{told}"
        );
        traffic::ping(desk, own[1].into(), 56, 3)?;
        traffic::tcp(lab, desk, own[0].into(), 10_000_000)?;
        let seen = [
            autoconfigured(desk, "fd00:10:")?,
            autoconfigured(lab, "fd00:20:")?,
        ];
        traffic::ping(desk, seen[1], 56, 3)?;
        traffic::tcp(lab, desk, seen[0], 10_000_000)?;
        // The two are not on one network, whatever the bridge.
        ensure!(
            desk.ip(&["neigh", "show", &own[1].to_string()])?.is_empty(),
            "a host of the other VLAN is a neighbour"
        );
        Ok(())
    })
}

/// Every block of the page can be pasted.
fn routes_of_the_page(ports: Ports) -> Result<()> {
    Rig::new("Neighbours", ports)?.hold(|_| Ok(()))?;
    Rig::new("Routes", ports)?.hold(|rig| {
        let shown = rig.switch.vsctl(&["route", "show", "r2"])?;
        ensure!(
            shown
                == "0.0.0.0/0 via 192.0.2.254\n\
                 0.0.0.0/0 from 192.0.2.128/25 prohibit\n\
                 198.51.100.0/24 via 192.0.2.2 weight 3 via 192.0.2.3\n\
                 ::/0 via fe80::1 port up\n",
            "{shown}"
        );
        let way = rig
            .switch
            .vsctl(&["route", "get", "r2", "8.8.8.8", "--from", "192.0.2.200"])?;
        ensure!(
            way == "route 0.0.0.0/0 from 192.0.2.128/25 prohibit\n",
            "{way}"
        );
        Ok(())
    })
}

/// Two routers with the same networks, on one bridge in different VLANs.
fn isolation(ports: Ports) -> Result<()> {
    let mut rig = Rig::new("Neighbours", ports)?;
    rig.switch.vsctl(&["add-br", "br0"])?;
    for (router, vlans) in [("red", [10, 11]), ("blue", [20, 21])] {
        rig.switch.vsctl(&["router", "add", router])?;
        for (net, vlan) in (1..).zip(vlans) {
            let (port, host) = (format!("{router}{net}"), format!("{router}h{net}"));
            let (tag, own) = (format!("tag={vlan}"), format!("address=10.0.{net}.1/24"));
            rig.switch
                .vsctl(&["router", "port", "add", router, &port, "br0", &tag, &own])?;
            rig.host("br0", &host, &[&tag], ports)?;
            let gateway = format!("10.0.{net}.1");
            rig.settle(&host, &[&format!("10.0.{net}.2/24")], &[&gateway])?;
        }
    }
    rig.hold(|rig| {
        // The blue host with the other address is down: nobody answers for it, red's least of all.
        rig.at("blueh2")?.ip(&["link", "set", INSIDE, "down"])?;
        traffic::ping(rig.at("redh1")?, address("10.0.2.2"), 56, 3)?;
        let shown = complaint(rig.at("blueh1")?, "10.0.2.2", &[])?;
        ensure!(shown.contains("Destination Host Unreachable"), "{shown}");
        let blue = rig.switch.vsctl(&["neigh", "show", "blue"])?;
        let red = rig.switch.vsctl(&["neigh", "show", "red"])?;
        ensure!(
            !blue.contains("red") && !red.contains("blue"),
            "{blue}{red}"
        );
        Ok(())
    })
}

/// Either process dies: routers, routes and traffic go on.
fn survival(ports: Ports) -> Result<()> {
    let mut rig = joined(ports)?;
    let route = ["route", "add", "r1", "192.0.2.0/24", "via", "10.0.2.2"];
    rig.switch.vsctl(&route)?;
    let before = rig.switch.vsctl(&["router", "show"])?;
    rig.at("right")?
        .ip(&["addr", "add", "192.0.2.1/32", "dev", "lo"])?;
    let there = address("192.0.2.1");
    traffic::ping(rig.at("left")?, there, 56, 3)?;
    rig.switch.kill_control()?;
    traffic::ping(rig.at("left")?, there, 56, 3)?;
    rig.switch.start_control()?;
    traffic::ping(rig.at("left")?, there, 56, 3)?;
    rig.switch.kill_datapath()?;
    traffic::await_ping(rig.at("left")?, there, PATIENCE)?;
    let after = rig.switch.vsctl(&["router", "show"])?;
    ensure!(before == after, "before:\n{before}after:\n{after}");
    let shown = rig.switch.vsctl(&["route", "show", "r1"])?;
    ensure!(shown == "192.0.2.0/24 via 10.0.2.2\n", "{shown}");
    Ok(())
}

fn a_million_routes(ports: Ports) -> Result<()> {
    joined(ports)?.hold(|rig| {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("routes.txt");
        let mut text = String::from("# a million ways to the same host\n");
        for number in 0..MANY {
            let network = Ipv4Addr::from_bits(0x1400_0000 + (number << 8));
            writeln!(text, "{network}/24 via 10.0.2.2")?;
        }
        std::fs::write(&file, &text)?;
        let file = file.to_string_lossy();
        let program = rig.switch.binaries().join("vsctl");
        let vsctl = |words: &[&str]| {
            let mut command = limited_to(240, &program.to_string_lossy());
            command
                .args(["--timeout", "200", "--rundir"])
                .arg(rig.switch.rundir());
            must(command.args(words))
        };
        // One bad line, and nothing of the file is added.
        let bad = directory.path().join("bad.txt");
        std::fs::write(&bad, format!("{text}10.0.0.0/8 via 10.9.9.9\n"))?;
        let refused = vsctl(&["route", "add", "r1", "--file", &bad.to_string_lossy()]);
        ensure!(refused.is_err(), "a gateway that is nowhere is taken");
        ensure!(
            vsctl(&["router", "show", "r1"])?.contains(" 0 routes"),
            "half a file"
        );
        vsctl(&["route", "add", "r1", "--file", &file])?;
        ensure!(
            vsctl(&["router", "show", "r1"])?.contains(" 1000000 routes"),
            "not all of them"
        );
        let way = vsctl(&["route", "get", "r1", "30.0.0.7"])?;
        ensure!(way == "route 30.0.0.0/24 via 10.0.2.2\n", "{way}");
        rig.at("right")?
            .ip(&["addr", "add", "30.0.0.7/32", "dev", "lo"])?;
        traffic::ping(rig.at("left")?, address("30.0.0.7"), 56, 3)?;
        let within = vsctl(&["route", "show", "r1", "30.0.0.0/23"])?;
        ensure!(within.lines().count() == 2, "{within}");
        let all = vsctl(&["route", "del", "r1", "--all"]);
        ensure!(all.is_ok(), "{all:?}");
        let gone = complaint(rig.at("left")?, "30.0.0.7", &[])?;
        ensure!(gone.contains("Destination Net Unreachable"), "{gone}");
        Ok(())
    })
}
