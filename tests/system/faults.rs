//! Either process dies while traffic runs, and the loss is counted.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use vswitch_tests::topology::{Host, Kind, Topology};
use vswitch_tests::traffic::{self, Count, Stream};
use vswitch_tests::{device, wait};

use crate::failed;

/// The pairs of ports that faults are tried over: both ends alike, and mixed.
const PAIRS: [(Kind, Kind); 4] = [
    (Kind::Tap, Kind::Tap),
    (Kind::Afxdp, Kind::Afxdp),
    (Kind::Packet, Kind::Tap),
    (Kind::Internal, Kind::Afxdp),
];

/// One datagram per millisecond in each direction: fast enough to count a gap in milliseconds,
/// slow enough that no queue is ever full for another reason.
const PAUSE: Duration = Duration::from_millis(1);

/// Round trips by ping before and after a fault, so that the streams run a while.
const STEADY: u32 = 30;

/// A killed datapath is replaced and forwards again within this time.
const BACK: Duration = Duration::from_secs(1);

/// What happens to a pair, and what must hold.
type Fault = fn(&mut Pair) -> Result<()>;

pub(crate) fn trials() -> Vec<Trial> {
    let faults: [(&str, Fault); 4] = [
        ("control_killed_loses_nothing", control_killed),
        ("control_ended_loses_nothing", control_ended),
        ("datapath_killed_is_back_at_once", datapath_killed),
        ("both_killed_come_back", both_killed),
    ];
    let mut trials = Vec::new();
    for (a, b) in PAIRS {
        for (name, fault) in faults {
            // A TAP lives as long as someone holds it, so only a veth outlives both.
            if name == "both_killed_come_back" && (a, b) != (Kind::Afxdp, Kind::Afxdp) {
                continue;
            }
            trials.push(Trial::test(format!("faults/{name}/{a}-{b}"), move || {
                let outcome = Pair::new(a, b).and_then(|mut pair| {
                    fault(&mut pair).with_context(|| {
                        format!("the switch said:\n{}\n", pair.topology.switch.log_tail())
                    })
                });
                outcome.map_err(|error| failed(&error))
            }));
        }
    }
    trials
}

/// Two hosts on a switch.
#[derive(Debug)]
struct Pair {
    a: Host,
    b: Host,
    topology: Topology,
}

impl Pair {
    fn new(a: Kind, b: Kind) -> Result<Self> {
        let topology = Topology::new(1500)?;
        let (a, b) = (topology.host(a, false, &[])?, topology.host(b, true, &[])?);
        traffic::ping(&a.namespace, b.v4, 56, 3)?;
        Ok(Self { a, b, topology })
    }

    /// Starts a stream each way.
    fn streams(&self) -> Result<[Stream; 2]> {
        let streams = [
            Stream::start(&self.a.namespace, &self.b.namespace, self.b.v4, PAUSE)?,
            Stream::start(&self.b.namespace, &self.a.namespace, self.a.v4, PAUSE)?,
        ];
        self.steady()?;
        Ok(streams)
    }

    fn steady(&self) -> Result<()> {
        traffic::ping(&self.a.namespace, self.b.v4, 56, STEADY)
    }

    /// The port's link as its host sees it. A veth is the kernel's own and stays anyway.
    fn links_are_up(&self) -> Result<()> {
        for host in [&self.a, &self.b] {
            ensure!(
                device::has_carrier(&host.namespace, &host.device)?,
                "the link of {} ({}) went down",
                host.port,
                host.kind
            );
        }
        Ok(())
    }

    fn list_ports(&self) -> Result<String> {
        let topology = &self.topology;
        topology.switch.vsctl(&["list-ports", &topology.bridge])
    }
}

fn finish(streams: [Stream; 2]) -> Result<[Count; 2]> {
    let [there, back] = streams;
    let (there, back) = (there.finish(), back.finish());
    Ok([there?, back?])
}

fn nothing_lost(counts: [Count; 2]) -> Result<()> {
    for count in counts {
        ensure!(
            count.lost() == 0 && count.refused == 0,
            "lost {} of {} ({count:?})",
            count.lost(),
            count.sent
        );
    }
    Ok(())
}

fn control_killed(pair: &mut Pair) -> Result<()> {
    let ports = pair.list_ports()?;
    let datapath = pair.topology.switch.datapath_pid();
    let streams = pair.streams()?;

    pair.topology.switch.kill_control()?;
    pair.steady()?;
    pair.links_are_up()?;
    pair.topology.switch.start_control()?;
    pair.steady()?;

    ensure!(
        pair.topology.switch.datapath_pid() == datapath,
        "the running datapath was not adopted"
    );
    ensure!(pair.list_ports()? == ports, "the ports are others now");
    nothing_lost(finish(streams)?)
}

fn control_ended(pair: &mut Pair) -> Result<()> {
    let datapath = pair.topology.switch.datapath_pid();
    let streams = pair.streams()?;

    pair.topology.switch.end_control()?;
    pair.steady()?;
    ensure!(
        pair.topology.switch.datapath_pid() == datapath,
        "SIGTERM to the control process reached the datapath"
    );
    pair.topology.switch.start_control()?;
    pair.steady()?;

    ensure!(
        pair.topology.switch.datapath_pid() == datapath,
        "the running datapath was not adopted"
    );
    nothing_lost(finish(streams)?)
}

fn datapath_killed(pair: &mut Pair) -> Result<()> {
    let killed = pair.topology.switch.datapath_pid();
    let streams = pair.streams()?;

    pair.topology.switch.kill_datapath()?;
    pair.links_are_up()?;
    await_other_datapath(pair, killed)?;
    pair.links_are_up()?;
    traffic::await_ping(&pair.a.namespace, pair.b.v4, Duration::from_secs(5))?;
    pair.steady()?;

    for count in finish(streams)? {
        ensure!(
            count.longest_gap < BACK,
            "nothing arrived for {:?} ({count:?})",
            count.longest_gap
        );
        ensure!(
            count.refused == 0,
            "the host's own stack refused to send: its link was down ({count:?})"
        );
        eprintln!(
            "datapath killed: {} of {} datagrams lost, gap {:?}",
            count.lost(),
            count.sent,
            count.longest_gap
        );
    }
    Ok(())
}

fn both_killed(pair: &mut Pair) -> Result<()> {
    let ports = pair.list_ports()?;
    let killed = pair.topology.switch.datapath_pid();

    pair.topology.switch.kill_control()?;
    pair.topology.switch.kill_datapath()?;
    pair.topology.switch.start_control()?;
    await_other_datapath(pair, killed)?;

    ensure!(pair.list_ports()? == ports, "the ports are others now");
    traffic::await_ping(&pair.a.namespace, pair.b.v4, Duration::from_secs(5))?;
    pair.steady()
}

fn await_other_datapath(pair: &Pair, killed: Option<u32>) -> Result<()> {
    wait::until(Duration::from_secs(5), "a new datapath process", || {
        let now = pair.topology.switch.datapath_pid();
        Ok((now.is_some() && now != killed).then_some(()))
    })
}
