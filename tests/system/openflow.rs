//! The OpenFlow agent in front of the real packet process: processes that die, peers that crowd, stop
//! in the middle of a message, or do not read.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use vswitch_flow::{Action, Field, FlowCommand, FlowMod, FlowRule, Instructions, Match, OfPort};
use vswitch_openflow::Message;
use vswitch_openflow::config::{ConfigFlags, SwitchConfig};
use vswitch_openflow::packet_out::PacketOut;
use vswitch_tests::openflow::{Client, connect};
use vswitch_tests::process::Switch;
use vswitch_tests::topology::{Host, Kind, Topology};
use vswitch_tests::traffic::{self, Stream};
use vswitch_tests::wait;

use crate::failed;

/// Flows of a load.
const FLOWS: u64 = 10_000;

/// Of these, confirmed when the process is killed.
const CONFIRMED: u64 = 6_000;

/// How long a process may take to be back.
const BACK: Duration = Duration::from_secs(10);

/// How much a process may grow for peers that do not read: what eight of them may make it keep, and
/// then some. What they are sent is many times that.
const GROWTH_MAX: u64 = 96 << 20;

/// A trial's name, and what it does.
type Named = (&'static str, fn() -> Result<()>);

pub(crate) fn trials() -> Vec<Trial> {
    let trials: [Named; 5] = [
        ("control_killed_amid_a_load", control_killed),
        ("datapath_killed_gets_its_tables_back", datapath_killed),
        ("a_thousand_connections", crowd),
        ("half_messages_hold_up_nobody", half_messages),
        ("peers_that_do_not_read_are_bounded", slow_readers),
    ];
    let trial = |(name, trial): Named| {
        Trial::test(format!("openflow/{name}"), move || {
            trial().map_err(|error| failed(&error))
        })
    };
    trials.into_iter().map(trial).collect()
}

/// A switch with two hosts that reach each other by what `NORMAL` does.
struct Bench {
    a: Host,
    b: Host,
    topology: Topology,
}

impl Bench {
    fn new() -> Result<Self> {
        let topology = Topology::new(1500)?;
        let a = topology.host(Kind::Packet, true, &["of_port=1"])?;
        let b = topology.host(Kind::Packet, true, &["of_port=2"])?;
        traffic::ping(&a.namespace, b.v4, 56, 2)?;
        Ok(Self { a, b, topology })
    }

    fn switch(&self) -> &Switch {
        &self.topology.switch
    }

    fn client(&self) -> Result<Client> {
        Client::connect(self.switch(), &self.topology.bridge)
    }

    /// Groups, meters and flows, without their counters.
    fn tables(&self) -> Result<[Vec<String>; 3]> {
        let bridge = &self.topology.bridge;
        let dump = |words: &[&str]| -> Result<Vec<String>> {
            let text = self.switch().vsctl(words)?;
            let mut lines: Vec<String> = text
                .lines()
                .filter(|line| !line.starts_with("OFPST_"))
                .map(str::to_owned)
                .collect();
            lines.sort_unstable();
            Ok(lines)
        };
        Ok([
            dump(&["dump-groups", bridge])?,
            dump(&["dump-meters", bridge])?,
            dump(&["dump-flows", bridge, "--no-stats"])?,
        ])
    }

    fn add(&self, command: &str, what: &str) -> Result<()> {
        self.switch()
            .vsctl(&[command, &self.topology.bridge, what])?;
        Ok(())
    }

    fn kill_datapath(&self) -> Result<()> {
        let killed = self.switch().datapath_pid();
        self.switch().kill_datapath()?;
        wait::until(BACK, "a new datapath process", || {
            let now = self.switch().datapath_pid();
            Ok((now.is_some() && now != killed).then_some(()))
        })
    }
}

/// The flow of a load with this number, in a table that no packet comes to.
fn flow(number: u64) -> Message {
    let rule = FlowRule {
        table: 9,
        priority: 1,
        cookie: number,
        matches: Match::any().with(Field::Metadata, number.into()),
        instructions: Instructions::apply(vec![match number % 3 {
            0 => Action::Group(1),
            _ => Action::Output(OfPort(2)),
        }]),
        ..FlowRule::default()
    };
    Message::FlowMod(Box::new(FlowMod::new(FlowCommand::Add, rule).into()))
}

/// The numbers of a load's flows, in order.
fn numbers(client: &mut Client) -> Result<Vec<u64>> {
    let flows = client.flows()?;
    let load = flows.iter().filter(|flow| flow.rule.table == 9);
    let mut numbers: Vec<u64> = load.map(|flow| flow.rule.cookie).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn control_killed() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.add(
        "add-group",
        "group_id=1,type=select,bucket=output:1,bucket=output:2",
    )?;
    bench.add("add-group", "group_id=2,type=all,bucket=group:1")?;
    bench.add("add-meter", "meter=1,kbps,bands=type=drop,rate=1000000")?;
    bench.add(
        "add-flow",
        "table=8,idle_timeout=1000,actions=meter:1,group:2",
    )?;
    let mut client = bench.client()?;
    let (a, b) = (&bench.a, &bench.b);
    let stream = Stream::start(&a.namespace, &b.namespace, b.v4, Duration::from_millis(1))?;
    for number in 1..=FLOWS {
        client.send(&flow(number))?;
        if number % 500 == 0 && number <= CONFIRMED {
            client.settle()?;
        }
        if number == CONFIRMED + 1500 {
            break;
        }
    }
    let datapath = bench.switch().datapath_pid();
    bench.topology.switch.kill_control()?;
    bench.topology.switch.start_control()?;
    ensure!(
        bench.switch().datapath_pid() == datapath,
        "the running datapath was not adopted"
    );
    let mut client = bench.client()?;
    let there = numbers(&mut client)?;
    let len = there.len() as u64;
    ensure!(
        len >= CONFIRMED,
        "{len} of {CONFIRMED} confirmed flows are there"
    );
    ensure!(
        there.iter().copied().eq(1..=len),
        "what is there is not the beginning of what was sent"
    );
    let held = bench.tables()?;
    ensure!(held[2].len() as u64 == len + 2, "others are there besides");
    let count = stream.finish()?;
    ensure!(count.lost() == 0, "the load cost packets: {count:?}");

    // A new datapath is given what the new control process believes; that is what the old one held.
    bench.kill_datapath()?;
    let given = wait::until(BACK, "the tables are back", || {
        let tables = bench.tables()?;
        Ok((tables[2].len() >= held[2].len()).then_some(tables))
    })?;
    ensure!(given == held, "the new datapath was given other tables");
    let mut client = bench.client()?;
    for number in len + 1..=FLOWS {
        client.send(&flow(number))?;
    }
    client.settle()?;
    let there = numbers(&mut client)?;
    ensure!(
        there.into_iter().eq(1..=FLOWS),
        "the load cannot be finished"
    );
    traffic::await_ping(&bench.a.namespace, bench.b.v4, BACK)?;
    Ok(())
}

fn datapath_killed() -> Result<()> {
    let bench = Bench::new()?;
    let bridge = &bench.topology.bridge;
    bench.add(
        "add-group",
        "group_id=1,type=ff,bucket=watch_port:2,output:2",
    )?;
    bench.add("add-group", "group_id=2,type=indirect,bucket=group:1")?;
    bench.add(
        "add-group",
        "group_id=3,type=select,bucket=weight:3,output:1,bucket=output:2",
    )?;
    bench.add(
        "add-meter",
        "meter=1,pktps,burst,bands=type=drop,rate=100000,burst_size=1000",
    )?;
    bench.add(
        "add-meter",
        "meter=7,kbps,bands=type=dscp_remark,rate=100,prec_level=1",
    )?;
    bench.switch().vsctl(&["del-flows", bridge])?;
    for flow in [
        "priority=9,cookie=0x11,in_port=1,actions=meter:1,group:2",
        "priority=9,in_port=2,actions=set_field:5->metadata,goto_table:7",
        "table=7,metadata=5,send_flow_rem,hard_timeout=5000,actions=output:1",
        "table=7,priority=1,actions=learn(table=8,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])",
    ] {
        bench.add("add-flow", flow)?;
    }
    traffic::ping(&bench.a.namespace, bench.b.v4, 56, 3)?;
    let before = bench.tables()?;
    ensure!(before[0].len() == 3 && before[2].len() == 4, "{before:?}");

    for _ in 0..2 {
        bench.kill_datapath()?;
        traffic::await_ping(&bench.a.namespace, bench.b.v4, BACK)?;
        let after = bench.tables()?;
        ensure!(after == before, "{after:?} instead of {before:?}");
    }
    let counted = bench
        .switch()
        .vsctl(&["dump-flows", bridge, "cookie=0x11/-1"])?;
    ensure!(
        !counted.contains("n_packets=0,"),
        "packets take another way: {counted}"
    );
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a person waits is wall time"
)]
fn crowd() -> Result<()> {
    // Each end of a connection is a file.
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).context("more open files")?;
    let bench = Bench::new()?;
    let control = bench.switch().control_pid().context("it runs")?;
    let (a, b) = (&bench.a, &bench.b);
    let stream = Stream::start(&a.namespace, &b.namespace, b.v4, Duration::from_millis(1))?;
    let mut witness = bench.client()?;
    witness.settle()?;
    let before = resident(control)?;
    let mut crowd: Vec<UnixStream> = (0..1000)
        .map(|_| connect(bench.switch(), &bench.topology.bridge))
        .collect::<Result<_>>()?;
    for stream in &mut crowd {
        // Those beyond the limit are closed, perhaps already.
        let _ = stream.write_all(&[4, 0, 0, 16, 0, 0, 0]);
    }
    let begun = Instant::now();
    witness.send(&flow(1))?;
    witness.settle()?;
    let took = begun.elapsed();
    ensure!(
        took < Duration::from_secs(2),
        "a change took {took:?} in the crowd"
    );
    wait::until(BACK, "those beyond the limit are closed", || {
        let open = crowd.iter().filter(|stream| is_open(stream)).count();
        Ok((open == 511).then_some(()))
    })?;
    let grown = resident(control)?.saturating_sub(before);
    ensure!(grown < GROWTH_MAX, "the crowd costs {grown} bytes");
    drop(crowd);
    wait::until(BACK, "there is room again", || Ok(Some(bench.client()?)))?;
    let count = stream.finish()?;
    ensure!(count.lost() == 0, "the crowd cost packets: {count:?}");
    Ok(())
}

/// Whether the other end has not closed a connection.
fn is_open(mut stream: &UnixStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    let mut bytes = [0; 64];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

fn half_messages() -> Result<()> {
    let bench = Bench::new()?;
    bench.add("add-group", "group_id=1,type=all,bucket=output:1")?;
    let mut witness = bench.client()?;
    let mut halves = Vec::new();
    for number in 1..=100 {
        let mut client = bench.client()?;
        let bytes = client.encode(&flow(number))?;
        let (half, rest) = bytes.split_at(number as usize % bytes.len());
        client.write(half)?;
        halves.push((client, rest.to_vec()));
    }
    witness.send(&flow(1000))?;
    witness.settle()?;
    ensure!(
        numbers(&mut witness)? == [1000],
        "half a message was taken for a whole one"
    );
    for (client, rest) in halves.iter_mut().rev() {
        client.write(rest)?;
        client.settle()?;
    }
    let there = numbers(&mut witness)?;
    ensure!(
        there.into_iter().eq((1..=100).chain([1000])),
        "a message was lost"
    );
    Ok(())
}

fn slow_readers() -> Result<()> {
    let bench = Bench::new()?;
    let control = bench.switch().control_pid().context("it runs")?;
    let datapath = bench.switch().datapath_pid().context("it runs")?;
    let (a, b) = (&bench.a, &bench.b);
    let stream = Stream::start(&a.namespace, &b.namespace, b.v4, Duration::from_millis(1))?;
    let mut witness = bench.client()?;
    bench.add("add-group", "group_id=1,type=all,bucket=output:1")?;
    for number in 1..=FLOWS {
        witness.send(&flow(number))?;
    }
    witness.settle()?;
    let before = [resident(control)?, resident(datapath)?];

    // Eight that ask for a megabyte a hundred times, and eight that are to be told of packets.
    let wish = Message::SetConfig(SwitchConfig {
        flags: ConfigFlags::default(),
        miss_send_len: u16::MAX,
    });
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut client = bench.client()?;
        for _ in 0..100 {
            client.ask_for_flows()?;
        }
        slow.push(client);
        let mut client = bench.client()?;
        client.send(&wish)?;
        client.settle()?;
        slow.push(client);
    }
    let mut reader = bench.client()?;
    reader.send(&wish)?;
    reader.settle()?;
    let packet = Message::PacketOut(Box::new(PacketOut {
        buffer: None,
        in_port: OfPort::CONTROLLER,
        metadata: Match::any(),
        actions: vec![Action::Output(OfPort::CONTROLLER)],
        packet: vec![0xab; 1400],
    }));
    // 14 MB for each.
    for _ in 0..100 {
        for _ in 0..100 {
            witness.send(&packet)?;
        }
        witness.settle()?;
    }
    let told = reader.receive()?;
    ensure!(matches!(told.message, Message::PacketIn(_)), "{told:?}");
    let after = [resident(control)?, resident(datapath)?];
    for (before, after) in before.into_iter().zip(after) {
        let grown = after.saturating_sub(before);
        ensure!(
            grown < GROWTH_MAX,
            "peers that do not read cost {grown} bytes"
        );
    }
    // The eight hold all the places that lists of flows have, until somebody else wants one.
    ensure!(
        witness.flows()?.len() as u64 > FLOWS,
        "others get their answers"
    );
    let count = stream.finish()?;
    ensure!(
        count.lost() == 0,
        "peers that do not read cost packets: {count:?}"
    );
    Ok(())
}

/// Memory that a process has, in bytes.
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.context("VmRSS")?.trim().trim_end_matches(" kB");
    Ok(kilobytes.trim().parse::<u64>()? << 10)
}
