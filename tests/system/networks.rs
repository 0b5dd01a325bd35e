//! Container networks, built from `vsctl` alone: who reaches whom, what is taken back when a step fails, and
//! what survives.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use vswitch_tests::netns::Namespace;
use vswitch_tests::process::Switch;
use vswitch_tests::{device, traffic};

use crate::failed;

/// How long the switch may take to bring everything back.
const BACK: Duration = Duration::from_secs(10);

pub(crate) fn trials() -> Vec<Trial> {
    type Row = (&'static str, fn() -> Result<()>);
    let trials: [Row; 8] = [
        ("members_and_strangers", members_and_strangers),
        ("nobody_is_somebody_else", nobody_is_somebody_else),
        ("members_that_are_apart", members_that_are_apart),
        ("members_have_names", members_have_names),
        ("the_way_out_is_elected", way_out),
        ("what_fails_is_taken_back", taken_back),
        ("restarts", restarts),
        ("many_at_once", many_at_once),
    ];
    trials
        .into_iter()
        .map(|(name, trial)| {
            Trial::test(format!("networks/{name}"), move || {
                trial().map_err(|error| failed(&error))
            })
        })
        .collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address of a test")
}

/// A refusal of one line that contains a text.
fn refused(switch: &Switch, words: &[&str], text: &str) -> Result<()> {
    let output = switch.try_vsctl(words)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1),
        "`vsctl {}` was not refused: {said}",
        words.join(" ")
    );
    ensure!(said.lines().count() == 1 && said.contains(text), "{said}");
    Ok(())
}

/// The named namespaces that there are.
fn namespaces() -> Result<BTreeSet<OsString>> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        // Nobody has made one yet.
        return Ok(BTreeSet::new());
    };
    entries.map(|entry| Ok(entry?.file_name())).collect()
}

/// Nothing of networks is left: no bridge, no device, no namespace that was not there `before`.
fn ensure_nothing_left(
    switch: &Switch,
    here: &Namespace,
    before: &BTreeSet<OsString>,
) -> Result<()> {
    let bridges = switch.vsctl(&["list-br"])?;
    ensure!(bridges.is_empty(), "bridges are left: {bridges}");
    let links = here.ip(&["-o", "link"])?;
    ensure!(links.lines().count() == 1, "devices are left: {links}");
    let left: Vec<_> = namespaces()?.difference(before).cloned().collect();
    ensure!(left.is_empty(), "namespaces are left: {left:?}");
    Ok(())
}

fn members_and_strangers() -> Result<()> {
    let here = Namespace::here()?;
    let named = namespaces()?;
    // A host that routes must not join what is apart.
    here.sysctl("net/ipv4/ip_forward", "1")?;
    here.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    let switch = Switch::start()?;
    let vsctl = |line: &str| switch.vsctl(&line.split(' ').collect::<Vec<_>>());
    vsctl("network create red --subnet 10.1.0.0/24 --opt com.docker.network.driver.mtu=1400")?;
    vsctl("network create blue --ipv6 --subnet 10.2.0.0/24 --subnet fd02::/64")?;
    vsctl("network create inner --internal --subnet 10.3.0.0/24")?;
    for name in ["c1", "c2", "c3"] {
        vsctl(&format!("sandbox create {name}"))?;
    }
    let got = vsctl("network connect red c1")?;
    ensure!(got == "eth0 02:42:0a:01:00:02 10.1.0.2/24\n", "{got}");
    vsctl("network connect red c2")?;
    vsctl("network connect blue c2 --ip 10.2.0.9 --ip6 fd02::9")?;
    vsctl("network connect blue c3")?;
    vsctl("network connect inner c1")?;
    vsctl("network connect inner c3")?;
    {
        let [c1, c2, c3] = ["c1", "c2", "c3"]
            .map(|name| Namespace::named(name).expect("a sandbox has a namespace of its name"));
        // Members reach each other, whatever the size, over both families.
        traffic::ping(&c1, ip("10.1.0.3"), 1600, 2)?;
        traffic::tcp(&c1, &c2, ip("10.1.0.3"), 5_000_000)?;
        traffic::ping(&c2, ip("10.2.0.2"), 56, 2)?;
        traffic::ping(&c3, ip("fd02::9"), 1600, 2)?;
        traffic::tcp(&c3, &c2, ip("fd02::9"), 5_000_000)?;
        traffic::ping(&c1, ip("10.3.0.2"), 56, 2)?;
        // The host and the members reach each other at the gateway, of red and blue.
        traffic::ping(&here, ip("10.1.0.2"), 56, 2)?;
        traffic::ping(&c1, ip("10.1.0.1"), 56, 2)?;
        traffic::ping(&here, ip("fd02::9"), 56, 2)?;
        traffic::ping(&c3, ip("fd02::1"), 56, 2)?;
        // Strangers do not, by whatever way: not by the sandbox in both, not by the host.
        c2.sysctl("net/ipv4/ip_forward", "1")?;
        traffic::ensure_no_ping(&c1, ip("10.2.0.2"), 56)?;
        traffic::ensure_no_ping(&c3, ip("10.1.0.2"), 56)?;
        traffic::ensure_no_ping(&c1, ip("10.2.0.1"), 56)?;
        traffic::ensure_no_ping(&here, ip("10.3.0.1"), 56)?;
        // What was asked for is what there is.
        let shown = c1.ip(&["-o", "link", "show", "eth0"])?;
        ensure!(shown.contains("mtu 1400"), "{shown}");
        ensure!(shown.contains("02:42:0a:01:00:02"), "{shown}");
        let shown = vsctl("sandbox exec c2 ip -o addr show dev eth1")?;
        ensure!(
            shown.contains("10.2.0.9/24") && shown.contains("fd02::9/64"),
            "{shown}"
        );
        let status = switch.try_vsctl(&["sandbox", "exec", "c2", "sh", "-c", "exit 7"])?;
        ensure!(status.status.code() == Some(7), "{status:?}");
        // An address that is released is somebody else's, a name's interface gone.
        vsctl("network disconnect red c2")?;
        ensure!(!device::exists(&c2, "eth0"), "the interface is left");
        traffic::ensure_no_ping(&c1, ip("10.1.0.3"), 56)?;
        vsctl("network connect red c3 --ip 10.1.0.3")?;
        traffic::await_ping(&c1, ip("10.1.0.3"), BACK)?;
    }
    refused(&switch, &["network", "rm", "red"], "has active endpoints")?;
    let bridge = vsctl("list-br")?;
    let bridge = bridge.lines().next().context("a bridge")?.to_owned();
    refused(&switch, &["del-br", &bridge], "belongs to the network")?;
    for name in ["c1", "c2", "c3"] {
        vsctl(&format!("sandbox rm {name}"))?;
    }
    let gone = vsctl("network prune")?;
    ensure!(gone == "blue\ninner\nred\n", "{gone}");
    ensure_nothing_left(&switch, &here, &named)
}

/// Endpoints are held to their own addresses, whatever they say.
fn nobody_is_somebody_else() -> Result<()> {
    let here = Namespace::here()?;
    let named = namespaces()?;
    let mut switch = Switch::start()?;
    let vsctl = |switch: &Switch, line: &str| switch.vsctl(&line.split(' ').collect::<Vec<_>>());
    let subnets = "--ipv6 --subnet 10.1.0.0/24 --subnet fd01::/64";
    let names = "--opt com.docker.network.bridge.name=red0";
    vsctl(&switch, &format!("network create red {subnets} {names}"))?;
    for name in ["c1", "c2"] {
        vsctl(&switch, &format!("sandbox create {name}"))?;
        vsctl(&switch, &format!("network connect red {name}"))?;
    }
    let c1 = Namespace::named("c1")?;
    let c2 = Namespace::named("c2")?;
    for address in ["10.1.0.3", "fd01::3", "10.1.0.1", "fd01::1"] {
        traffic::ping(&c1, ip(address), 56, 2)?;
    }
    // Addresses of the link are one's own, once it is known that nobody else has them.
    let link = c2.ip(&["-o", "-6", "addr", "show", "dev", "eth0", "scope", "link"])?;
    let link = link.split_whitespace().nth(3).context("an address")?;
    let link = link.split('/').next().context("an address")?;
    let link = format!("{link}%eth0");
    let words = ["-c", "10", "-i", "0.5", "-W", "1", link.as_str()];
    c1.must("ping", &words)?;

    let listed = vsctl(&switch, "list-ports red0")?;
    let listed: Vec<&str> = listed.lines().collect();
    let port = |switch: &Switch, name: &str| -> Result<String> {
        let shown = vsctl(switch, &format!("endpoint inspect red/{name}"))?;
        let line = shown
            .lines()
            .find_map(|line| line.trim().strip_prefix("port "));
        Ok(line.context("a port")?.to_owned())
    };
    let from = port(&switch, "c1")?;
    ensure!(listed.contains(&from.as_str()), "{listed:?} has no {from}");
    // What the flows do with what c1 might say. Its own are 02:42:0a:01:00:02, 10.1.0.2 and fd01::2.
    let own = "dl_src=02:42:0a:01:00:02";
    let other = "dl_src=02:42:0a:01:00:03";
    let arp = "arp,dl_dst=ff:ff:ff:ff:ff:ff,arp_op=2";
    let icmp6 = "icmp6,dl_dst=33:33:00:00:00:01,nw_ttl=255,ipv6_dst=ff02::1";
    let says = [
        (true, format!("{own},ip,nw_src=10.1.0.2,nw_dst=10.1.0.3")),
        (false, format!("{own},ip,nw_src=10.1.0.3,nw_dst=10.1.0.1")),
        (false, format!("{other},ip,nw_src=10.1.0.2,nw_dst=10.1.0.3")),
        (
            false,
            format!("{own},ip,nw_src=0.0.0.0,nw_dst=255.255.255.255"),
        ),
        (
            true,
            format!("{own},ipv6,ipv6_src=fd01::2,ipv6_dst=fd01::3"),
        ),
        (
            false,
            format!("{own},ipv6,ipv6_src=fd01::3,ipv6_dst=fd01::1"),
        ),
        (
            true,
            format!("{own},ipv6,ipv6_src=fe80::42:aff:fe01:2,ipv6_dst=ff02::1"),
        ),
        (
            false,
            format!("{own},ipv6,ipv6_src=fe80::1,ipv6_dst=ff02::1"),
        ),
        (
            true,
            format!("{own},{arp},arp_sha=02:42:0a:01:00:02,arp_spa=10.1.0.2"),
        ),
        (
            true,
            format!("{own},{arp},arp_sha=02:42:0a:01:00:02,arp_spa=0.0.0.0"),
        ),
        (
            false,
            format!("{own},{arp},arp_sha=02:42:0a:01:00:02,arp_spa=10.1.0.1"),
        ),
        (
            false,
            format!("{own},{arp},arp_sha=02:42:0a:01:00:09,arp_spa=10.1.0.2"),
        ),
        // Neighbour advertisements and solicitations.
        (
            true,
            format!(
                "{own},{icmp6},ipv6_src=fd01::2,icmp_type=136,nd_target=fd01::2,nd_tll=02:42:0a:01:00:02"
            ),
        ),
        (
            false,
            format!(
                "{own},{icmp6},ipv6_src=fd01::2,icmp_type=136,nd_target=fd01::1,nd_tll=02:42:0a:01:00:02"
            ),
        ),
        (
            false,
            format!(
                "{own},{icmp6},ipv6_src=fd01::2,icmp_type=136,nd_target=fd01::2,nd_tll=02:42:0a:01:00:09"
            ),
        ),
        (
            true,
            format!("{own},{icmp6},ipv6_src=::,icmp_type=135,nd_target=fd01::2"),
        ),
        (
            false,
            format!("{own},{icmp6},ipv6_src=::,icmp_type=135,nd_target=fd01::1"),
        ),
        (
            false,
            format!(
                "{own},{icmp6},ipv6_src=fd01::2,icmp_type=135,nd_target=fd01::1,nd_sll=02:42:0a:01:00:09"
            ),
        ),
        // No member is a router.
        (
            false,
            format!("{own},{icmp6},ipv6_src=fe80::42:aff:fe01:2,icmp_type=134"),
        ),
        (
            false,
            format!("{own},{icmp6},ipv6_src=fe80::42:aff:fe01:2,icmp_type=137"),
        ),
        (
            true,
            format!("{own},dl_dst=ff:ff:ff:ff:ff:ff,dl_type=0x88b5"),
        ),
        (
            false,
            format!("{other},dl_dst=ff:ff:ff:ff:ff:ff,dl_type=0x88b5"),
        ),
    ];
    for (passes, flow) in &says {
        let flow = format!("in_port={from},{flow}");
        let told = switch.vsctl(&["trace", "red0", &flow])?;
        let last = told.lines().last().context("a trace ends with actions")?;
        let drops = last == "Datapath actions: drop";
        ensure!(drops != *passes, "{flow}: {told}");
    }
    // And what the kernels see of it.
    c1.ip(&["addr", "add", "10.1.0.99/24", "dev", "eth0"])?;
    let spoof = c1.collect(
        "ping",
        &["-c", "1", "-W", "1", "-I", "10.1.0.99", "10.1.0.3"],
    )?;
    ensure!(!spoof.status.success(), "a foreign address is heard");
    let dropped = vsctl(&switch, "drops")?;
    ensure!(dropped.contains("rule_drop"), "{dropped}");
    c1.ip(&["link", "set", "eth0", "address", "02:42:0a:01:00:09"])?;
    traffic::ensure_no_ping(&c1, ip("10.1.0.3"), 56)?;
    c1.ip(&["link", "set", "eth0", "address", "02:42:0a:01:00:02"])?;
    traffic::await_ping(&c1, ip("10.1.0.3"), BACK)?;
    // The flows are there after any restart, those of endpoints that are gone are not.
    let dumped = |switch: &Switch| -> Result<Vec<String>> {
        let text = switch.vsctl(&["dump-flows", "red0", "--no-stats"])?;
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        Ok(lines)
    };
    let before = dumped(&switch)?;
    switch.kill_control()?;
    switch.kill_datapath()?;
    switch.start_control()?;
    let after = dumped(&switch)?;
    ensure!(after == before, "{before:#?} {after:#?}");
    vsctl(&switch, "network disconnect red c1")?;
    vsctl(&switch, "network connect red c1")?;
    let between = dumped(&switch)?;
    ensure!(between.len() == before.len(), "{between:#?}");
    vsctl(&switch, "network disconnect red c1")?;
    vsctl(&switch, "network disconnect red c2")?;
    let rest = dumped(&switch)?;
    let is_left = |line: &String| line.contains("02:42:0a:01:00:0") || line.contains("in_port=1");
    ensure!(!rest.iter().any(is_left), "{rest:#?}");
    // Who asks for it may say anything.
    let option = "--opt vswitch.antispoof=false";
    vsctl(
        &switch,
        &format!("network create free --subnet 10.2.0.0/24 {option}"),
    )?;
    for name in ["c1", "c2"] {
        vsctl(&switch, &format!("network connect free {name}"))?;
    }
    c1.ip(&["addr", "add", "10.2.0.99/24", "dev", "eth0"])?;
    c1.must(
        "ping",
        &["-c", "1", "-W", "2", "-I", "10.2.0.99", "10.2.0.3"],
    )?;
    drop((c1, c2));
    for name in ["c1", "c2"] {
        vsctl(&switch, &format!("sandbox rm {name}"))?;
    }
    vsctl(&switch, "network prune")?;
    ensure_nothing_left(&switch, &here, &named)
}

/// Without communication between containers members reach the host and nobody else.
fn members_that_are_apart() -> Result<()> {
    let here = Namespace::here()?;
    let named = namespaces()?;
    let switch = Switch::start()?;
    let vsctl = |line: &str| switch.vsctl(&line.split(' ').collect::<Vec<_>>());
    let option = "--opt com.docker.network.bridge.enable_icc=false";
    let subnets = "--ipv6 --subnet 10.1.0.0/24 --subnet fd01::/64";
    vsctl(&format!("network create red {subnets} {option}"))?;
    vsctl("network create blue --subnet 10.2.0.0/24")?;
    for name in ["c1", "c2"] {
        vsctl(&format!("sandbox create {name}"))?;
        vsctl(&format!("network connect red {name}"))?;
    }
    vsctl("network connect blue c2")?;
    let c1 = Namespace::named("c1")?;
    let c2 = Namespace::named("c2")?;
    for (from, to) in [(&c1, "10.1.0.3"), (&c2, "10.1.0.2")] {
        traffic::ping(from, ip("10.1.0.1"), 1600, 2)?;
        traffic::ping(from, ip("fd01::1"), 56, 2)?;
        traffic::ensure_no_ping(from, ip(to), 56)?;
    }
    traffic::ensure_no_ping(&c1, ip("fd01::3"), 56)?;
    // Who knows a neighbour's address without having asked gets no further.
    c1.ip(&[
        "neigh",
        "replace",
        "10.1.0.3",
        "lladdr",
        "02:42:0a:01:00:03",
        "dev",
        "eth0",
    ])?;
    traffic::ensure_no_ping(&c1, ip("10.1.0.3"), 56)?;
    for address in ["10.1.0.2", "10.1.0.3", "fd01::2", "fd01::3"] {
        traffic::ping(&here, ip(address), 56, 2)?;
    }
    traffic::tcp(&here, &c1, ip("10.1.0.2"), 5_000_000)?;
    for (from, to, verdict, carried) in [
        (
            "red/c1",
            "red/c2",
            "red/c1 does not reach red/c2: members of network red do not",
            false,
        ),
        (
            "red/c1",
            "blue/c2",
            "red/c1 does not reach blue/c2: networks red and blue are apart",
            false,
        ),
        (
            "red/c2",
            "blue/c2",
            "are apart; its sandbox has blue/c2 there",
            false,
        ),
        (
            "blue/c2",
            "blue/c2",
            "blue/c2 reaches blue/c2: they are one endpoint",
            true,
        ),
    ] {
        let told = vsctl(&format!("network explain {from} {to}"))?;
        let first = told.lines().next().unwrap_or_default();
        ensure!(first.contains(verdict), "{told}");
        let arrives = told.contains("Flows let it arrive");
        ensure!(!arrives || carried, "{told}");
    }
    drop((c1, c2));
    for name in ["c1", "c2"] {
        vsctl(&format!("sandbox rm {name}"))?;
    }
    vsctl("network prune")?;
    ensure_nothing_left(&switch, &here, &named)
}

/// A question for a name's IPv4 addresses (RFC 1035 §4.1).
fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// The name server of the host: everything is at 192.0.2.7 until it hears an empty datagram.
fn answer_everything() -> Result<JoinHandle<std::io::Result<()>>> {
    let socket = UdpSocket::bind("127.0.0.1:53")?;
    Ok(std::thread::spawn(move || {
        let mut buffer = [0; 512];
        loop {
            let (size, from) = socket.recv_from(&mut buffer)?;
            if size == 0 {
                return Ok(());
            }
            // The question again, marked as an answer with one record that is about the name in it.
            let question = &buffer[12..size];
            let end = question.iter().position(|byte| *byte == 0).unwrap_or(0) + 5;
            let is_ipv4 = question.get(end - 4..end) == Some(&[0, 1, 0, 1]);
            let mut answer = buffer[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
            answer.extend(&question[..end]);
            if is_ipv4 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
            }
            socket.send_to(&answer, from)?;
        }
    }))
}

/// Members find each other by name, and whoever else there is by the host's name servers.
fn members_have_names() -> Result<()> {
    let here = Namespace::here()?;
    let named = namespaces()?;
    let conf = tempfile::NamedTempFile::new()?;
    std::fs::write(conf.path(), "nameserver 127.0.0.1\n")?;
    let conf = conf.path().to_str().context("a path")?.to_owned();
    here.must("mount", &["--bind", &conf, "/etc/resolv.conf"])?;
    let host = answer_everything()?;
    let mut switch = Switch::start()?;
    let vsctl = |switch: &Switch, line: &str| switch.vsctl(&line.split(' ').collect::<Vec<_>>());
    let subnets = "--ipv6 --subnet 10.1.0.0/24 --subnet fd01::/64";
    vsctl(&switch, &format!("network create red {subnets}"))?;
    vsctl(&switch, "network create blue --subnet 10.2.0.0/24")?;
    vsctl(
        &switch,
        "network create mute --subnet 10.3.0.0/24 --opt vswitch.dns=false",
    )?;
    let shown = vsctl(&switch, "network inspect red")?;
    ensure!(shown.contains("name server 10.1.0.1\n"), "{shown}");
    ensure!(shown.contains("name server fd01::1\n"), "{shown}");
    for name in ["c1", "c2", "c3"] {
        vsctl(&switch, &format!("sandbox create {name}"))?;
    }
    vsctl(&switch, "network connect red c1 --alias web")?;
    vsctl(&switch, "network connect red c2 --alias Web")?;
    vsctl(&switch, "network connect blue c2")?;
    vsctl(&switch, "network connect blue c3 --alias db")?;
    vsctl(&switch, "network connect mute c3 --gw-priority 1")?;
    // What a program in a sandbox finds, in the words of getent(1).
    let finds =
        |switch: &Switch, sandbox: &str, database: &str, name: &str| -> Result<BTreeSet<String>> {
            let words = ["sandbox", "exec", sandbox, "getent", database, name];
            let output = switch.try_vsctl(&words)?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let lines = text.lines().filter_map(|line| {
                let mut words = line.split_whitespace();
                let first = words.next()?;
                let word = if database == "hosts" {
                    words.next()?
                } else {
                    first
                };
                Some(word.to_owned())
            });
            Ok(lines.collect())
        };
    let expect = |switch: &Switch, sandbox: &str, database: &str, name: &str, wanted: &[&str]| {
        let found = finds(switch, sandbox, database, name)?;
        let wanted: BTreeSet<String> = wanted.iter().map(|&word| word.to_owned()).collect();
        ensure!(
            found == wanted,
            "{sandbox} finds {name} at {found:?}, not at {wanted:?}"
        );
        Ok(())
    };
    for name in ["c2", "C2", "c2.red"] {
        expect(&switch, "c1", "ahostsv4", name, &["10.1.0.3"])?;
    }
    expect(&switch, "c1", "ahostsv6", "c2", &["fd01::3"])?;
    expect(&switch, "c1", "ahostsv4", "web", &["10.1.0.2", "10.1.0.3"])?;
    expect(&switch, "c1", "hosts", "10.1.0.3", &["c2.red"])?;
    expect(&switch, "c1", "hosts", "fd01::3", &["c2.red"])?;
    // Who is on two networks hears of both, by whatever server.
    expect(&switch, "c2", "ahostsv4", "c1", &["10.1.0.2"])?;
    expect(&switch, "c2", "ahostsv4", "db", &["10.2.0.3"])?;
    expect(&switch, "c1", "ahostsv4", "db", &["192.0.2.7"])?;
    expect(&switch, "c1", "ahostsv4", "www.example.org", &["192.0.2.7"])?;
    // By a stream, and of nobody who is not on the network.
    let c1 = Namespace::named("c1")?;
    let c3 = Namespace::named("c3")?;
    let answer = c1.run(|| {
        let mut stream = TcpStream::connect("10.1.0.1:53")?;
        stream.set_read_timeout(Some(BACK))?;
        let question = question("web.red");
        stream.write_all(&(question.len() as u16).to_be_bytes())?;
        stream.write_all(&question)?;
        let mut size = [0; 2];
        stream.read_exact(&mut size)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(size))];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    })?;
    ensure!(
        answer[..2] == [0, 7] && answer[6..8] == [0, 2],
        "{answer:?}"
    );
    let refused = c3.run(|| Ok(TcpStream::connect("10.3.0.1:53").map(drop)))?;
    let kind = refused.map_err(|error| error.kind());
    ensure!(kind == Err(ErrorKind::ConnectionRefused), "{kind:?}");
    drop((c1, c3));
    // Whoever leaves has no name any more; nothing else changes by a restart.
    switch.kill_control()?;
    switch.start_control()?;
    expect(&switch, "c1", "ahostsv4", "c2", &["10.1.0.3"])?;
    vsctl(&switch, "network disconnect red c2")?;
    expect(&switch, "c1", "ahostsv4", "c2", &["192.0.2.7"])?;
    expect(&switch, "c1", "ahostsv4", "web", &["10.1.0.2"])?;
    expect(&switch, "c2", "ahostsv4", "db", &["10.2.0.3"])?;
    // A host whose servers do not answer says so, and goes on with names of its own.
    UdpSocket::bind("127.0.0.1:0")?.send_to(&[], "127.0.0.1:53")?;
    host.join()
        .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    expect(&switch, "c1", "ahostsv4", "www.example.org", &[])?;
    expect(&switch, "c1", "ahostsv4", "c1", &["10.1.0.2"])?;
    for name in ["c1", "c2", "c3"] {
        vsctl(&switch, &format!("sandbox rm {name}"))?;
        ensure!(
            !Path::new("/etc/netns").join(name).exists(),
            "its files are left"
        );
    }
    vsctl(&switch, "network prune")?;
    here.must("umount", &["/etc/resolv.conf"])?;
    ensure_nothing_left(&switch, &here, &named)
}

fn way_out() -> Result<()> {
    let here = Namespace::here()?;
    let named = namespaces()?;
    let switch = Switch::start()?;
    let vsctl = |line: &str| switch.vsctl(&line.split(' ').collect::<Vec<_>>());
    vsctl("network create nn --subnet 10.1.0.0/24")?;
    vsctl("network create mm --subnet 10.2.0.0/24")?;
    vsctl("network create both --ipv6 --subnet 10.4.0.0/24 --subnet fd04::/64")?;
    vsctl("sandbox create c1")?;
    let c1 = Namespace::named("c1")?;
    let way = |destination: &str| -> Result<String> {
        let output = c1.collect("ip", &["-o", "route", "get", destination])?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let leads = |destination: &str, by: &str| -> Result<()> {
        let way = way(destination)?;
        ensure!(way.contains(by), "{destination} goes {way:?}, not {by}");
        Ok(())
    };
    vsctl("network connect nn c1")?;
    leads("192.0.2.1", "via 10.1.0.1 dev eth0")?;
    vsctl("network connect mm c1")?;
    leads("192.0.2.1", "via 10.2.0.1 dev eth1")?;
    vsctl("network connect both c1 --gw-priority -1")?;
    leads("192.0.2.1", "via 10.2.0.1 dev eth1")?;
    leads("2001:db8::1", "via fd04::1 dev eth2")?;
    vsctl("network disconnect mm c1")?;
    leads("192.0.2.1", "via 10.1.0.1 dev eth0")?;
    vsctl("network disconnect nn c1")?;
    leads("192.0.2.1", "via 10.4.0.1 dev eth2")?;
    vsctl("network disconnect both c1")?;
    ensure!(way("192.0.2.1")?.is_empty(), "a way is left");
    drop(c1);
    vsctl("sandbox rm c1")?;
    vsctl("network prune")?;
    ensure_nothing_left(&switch, &here, &named)
}

fn taken_back() -> Result<()> {
    let here = Namespace::here()?;
    let named = namespaces()?;
    let switch = Switch::start()?;
    let vsctl = |line: &str| switch.vsctl(&line.split(' ').collect::<Vec<_>>());
    let state = || -> Result<String> {
        Ok([
            vsctl("network ls --json")?,
            vsctl("endpoint ls --json")?,
            vsctl("sandbox ls --json")?,
            vsctl("list-br")?,
            here.ip(&["-o", "link"])?,
        ]
        .concat())
    };
    vsctl("network create red --subnet 10.1.0.0/24")?;
    vsctl("network create blue --subnet 10.2.0.0/24")?;
    vsctl("sandbox create c1")?;
    vsctl("sandbox create c2")?;
    vsctl("network connect red c1 --ip 10.1.0.7")?;
    let before = state()?;
    for (line, text) in [
        (
            "network connect red c1",
            "endpoint with name c1 already exists in network red",
        ),
        (
            "network connect red c2 --ip 10.1.0.7",
            "Address already in use",
        ),
        (
            "network connect red c2 --ip 10.9.0.7",
            "does not belong to any of this network's subnets",
        ),
        (
            "network connect red c2 --ip fd00::1",
            "takes an IPv4 address",
        ),
        (
            "network connect red c2 --mac-address 01:00:00:00:00:01",
            "invalid MAC address",
        ),
        (
            "network connect red c2 --mac-address 02:42:0a:01:00:07",
            "is taken by endpoint c1",
        ),
        ("network connect red nobody", "sandbox nobody not found"),
        ("network connect nothing c2", "network nothing not found"),
        ("network connect host c2", "connected to host network"),
        (
            "network disconnect red c2",
            "container c2 is not connected to network red",
        ),
        ("network create red", "network with name red already exists"),
        (
            "network create x --subnet 10.1.0.0/25",
            "Pool overlaps with other one on this address space",
        ),
        ("network create x --subnet 10.1/25", "invalid subnet"),
        ("network create x --opt colour=red", "has no option"),
        ("network create x --driver overlay", "unknown driver"),
        ("network rm red", "has active endpoints"),
        (
            "network rm host",
            "is a pre-defined network and cannot be removed",
        ),
        (
            "sandbox create c1",
            "container c1 is already present in sandbox",
        ),
        ("sandbox create x --netns nowhere", "cannot be entered"),
        ("endpoint inspect nobody", "endpoint nobody not found"),
    ] {
        refused(&switch, &line.split(' ').collect::<Vec<_>>(), text)?;
    }
    ensure!(
        state()? == before,
        "a refusal changed something: {}",
        state()?
    );
    // A device of the interface's name is in the way.
    let c2 = Namespace::named("c2")?;
    device::veth((&c2, "eth0"), (&c2, "other"), 1500)?;
    refused(
        &switch,
        &["network", "connect", "red", "c2"],
        "there is a device eth0 already",
    )?;
    ensure!(state()? == before, "a failure left something: {}", state()?);
    let links = c2.ip(&["-o", "link"])?;
    ensure!(links.lines().count() == 3, "the sandbox has {links}");
    c2.ip(&["link", "del", "eth0"])?;
    vsctl("network connect red c2")?;
    traffic::ping(&c2, ip("10.1.0.7"), 56, 2)?;
    vsctl("network disconnect red c2")?;
    drop(c2);
    // The namespace is gone.
    here.must("ip", &["netns", "del", "c2"])?;
    refused(&switch, &["network", "connect", "red", "c2"], "c2")?;
    ensure!(state()? == before, "a failure left something: {}", state()?);
    // A name that somebody else has.
    let other = Namespace::create("c9")?;
    refused(
        &switch,
        &["sandbox", "create", "c9"],
        "there is a network namespace c9 already",
    )?;
    vsctl("sandbox create c9 --netns c9")?;
    vsctl("network connect red c9")?;
    traffic::ping(&other, ip("10.1.0.7"), 56, 2)?;
    vsctl("sandbox rm c9")?;
    ensure!(
        Path::new("/run/netns/c9").exists(),
        "it was not ours to remove"
    );
    ensure!(!device::exists(&other, "eth0"), "the interface is left");
    drop(other);
    for name in ["c1", "c2"] {
        vsctl(&format!("sandbox rm {name}"))?;
    }
    vsctl("network prune")?;
    ensure_nothing_left(&switch, &here, &named)
}

fn restarts() -> Result<()> {
    let here = Namespace::here()?;
    let named = namespaces()?;
    let mut switch = Switch::start()?;
    let vsctl = |switch: &Switch, line: &str| switch.vsctl(&line.split(' ').collect::<Vec<_>>());
    vsctl(
        &switch,
        "network create red --ipv6 --subnet 10.1.0.0/24 --subnet fd01::/64",
    )?;
    for name in ["c1", "c2"] {
        vsctl(&switch, &format!("sandbox create {name}"))?;
        vsctl(&switch, &format!("network connect red {name}"))?;
    }
    let c1 = Namespace::named("c1")?;
    traffic::ping(&c1, ip("10.1.0.3"), 56, 2)?;
    let before = vsctl(&switch, "network inspect red")?;
    // vswitchd alone: nothing is made anew, and addresses go on where they were.
    switch.kill_control()?;
    traffic::ping(&c1, ip("10.1.0.3"), 56, 2)?;
    switch.start_control()?;
    traffic::ping(&c1, ip("fd01::3"), 56, 2)?;
    ensure!(vsctl(&switch, "network inspect red")? == before);
    vsctl(&switch, "sandbox create c3")?;
    let got = vsctl(&switch, "network connect red c3")?;
    ensure!(
        got.contains("10.1.0.4/24") && got.contains("fd01::4/64"),
        "{got}"
    );
    vsctl(&switch, "sandbox rm c3")?;
    // Killed between a change and the way out that it makes: the way is there after the next start.
    switch.kill_control()?;
    for family in ["-4", "-6"] {
        c1.ip(&[family, "route", "del", "default"])?;
    }
    switch.start_control()?;
    for (destination, gateway) in [("192.0.2.1", "10.1.0.1"), ("2001:db8::1", "fd01::1")] {
        let way = c1.ip(&["-o", "route", "get", destination])?;
        ensure!(way.contains(&format!("via {gateway}")), "{way}");
    }
    // The datapath alone: devices stay, flows come back.
    switch.kill_datapath()?;
    traffic::await_ping(&c1, ip("10.1.0.3"), BACK)?;
    traffic::await_ping(&here, ip("10.1.0.2"), BACK)?;
    // Both: devices, addresses and routes are made again, and a namespace that is gone.
    here.must("ip", &["netns", "del", "c2"])?;
    switch.kill_control()?;
    switch.kill_datapath()?;
    switch.start_control()?;
    ensure!(vsctl(&switch, "network inspect red")? == before);
    traffic::await_ping(&c1, ip("10.1.0.3"), BACK)?;
    traffic::await_ping(&c1, ip("fd01::3"), BACK)?;
    traffic::await_ping(&here, ip("10.1.0.3"), BACK)?;
    let way = c1.ip(&["-o", "route", "get", "192.0.2.1"])?;
    ensure!(way.contains("via 10.1.0.1"), "{way}");
    drop(c1);
    for name in ["c1", "c2"] {
        vsctl(&switch, &format!("sandbox rm {name}"))?;
    }
    vsctl(&switch, "network prune")?;
    ensure_nothing_left(&switch, &here, &named)
}

/// 20 sandboxes come, talk and go at the same time.
fn many_at_once() -> Result<()> {
    const COUNT: usize = 20;
    let here = Namespace::here()?;
    let named = namespaces()?;
    let switch = Switch::start()?;
    switch.vsctl(&["network", "create", "red", "--subnet", "10.1.0.0/24"])?;
    let each = |work: &(dyn Fn(&str) -> Result<()> + Sync)| -> Result<()> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..COUNT)
                .map(|number| scope.spawn(move || work(&format!("c{number}"))))
                .collect();
            for thread in threads {
                match thread.join() {
                    Ok(result) => result?,
                    Err(_) => bail!("a thread panicked"),
                }
            }
            Ok(())
        })
    };
    each(&|name| {
        switch.vsctl(&["sandbox", "create", name])?;
        switch.vsctl(&["network", "connect", "red", name])?;
        Ok(())
    })?;
    let endpoints = switch.vsctl(&["endpoint", "ls"])?;
    ensure!(endpoints.lines().count() == COUNT + 1, "{endpoints}");
    each(&|name| {
        let own = Namespace::named(name)?;
        traffic::ping(&own, ip("10.1.0.1"), 56, 1)
    })?;
    each(&|name| {
        switch.vsctl(&["network", "disconnect", "red", name])?;
        switch.vsctl(&["sandbox", "rm", name])?;
        Ok(())
    })?;
    switch.vsctl(&["network", "rm", "red"])?;
    ensure_nothing_left(&switch, &here, &named)
}
