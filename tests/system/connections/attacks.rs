//! Whoever begins connections without end, from everywhere: those that are there go on, others
//! still begin, and no more is remembered than may be.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vswitch_tests::service::{self, Service, Talk};
use vswitch_tests::topology::{Host, Kind};
use vswitch_tests::traffic::{self, Stream};
use vswitch_tests::wait;

use super::{Rig, Trying, tell_of};

pub(super) const TRIALS: &[(&str, Trying)] = &[("flood_from_everywhere", flood)];

/// Connections that there may be.
const MOST: usize = 2000;
const TALKS: usize = 20;

/// Clients on the left and the world talk to the right; answers go to the left.
const FLOWS: &str = "\
table=0,ip actions=ct(zone=1,table=1)
table=1,priority=20,ip,ct_state=+trk+inv actions=drop
table=1,priority=10,ip,ct_state=+trk+new,in_port=left actions=ct(commit,zone=1),right
table=1,priority=10,ip,ct_state=+trk+new,in_port=world actions=ct(commit,zone=1),right
table=1,priority=10,ip,ct_state=+trk+est,in_port=left actions=right
table=1,priority=10,ip,ct_state=+trk+est,in_port=right actions=left
";

/// Datagrams from 64 addresses to all ports, each the first of a connection.
struct Flood {
    sent: Arc<AtomicU64>,
    stop: Sender<()>,
    sender: JoinHandle<Result<()>>,
}

impl Flood {
    fn start(world: &Host, target: IpAddr) -> Result<Self> {
        // All of 100.64.0.0/10 is the world's.
        let ip = |words: &[&str]| world.namespace.ip(words);
        ip(&["link", "set", "lo", "up"])?;
        ip(&["route", "add", "local", "100.64.0.0/10", "dev", "lo"])?;
        let (stop, stopped) = mpsc::channel();
        let sent = Arc::<AtomicU64>::default();
        let count = Arc::clone(&sent);
        let sender = world.namespace.spawn(move || {
            let sockets: Result<Vec<_>, _> = (0..64)
                .map(|number| UdpSocket::bind((Ipv4Addr::new(100, 64, number, 1), 0)))
                .collect();
            let sockets = sockets?;
            for port in 1..u16::MAX {
                for socket in &sockets {
                    // Refused when the device's queue is full, which is as good as a loss.
                    let was_sent = socket.send_to(b"!", (target, port)).is_ok();
                    count.fetch_add(u64::from(was_sent), Ordering::Relaxed);
                }
                // Some fifty thousand a second: many for the table, few for the processors.
                match stopped.recv_timeout(Duration::from_millis(1)) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            Ok(())
        })?;
        Ok(Self { sent, stop, sender })
    }

    /// Datagrams until now.
    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn finish(self) -> Result<()> {
        // The sender is gone only when it failed, which joining tells.
        let _ = self.stop.send(());
        self.sender.join().expect("the sender does not panic")
    }
}

fn dpctl(rig: &Rig, words: &[&str]) -> Result<String> {
    let words = [&["dpctl"], words].concat();
    rig.topology.switch.vsctl(&words)
}

fn connections(rig: &Rig) -> Result<usize> {
    let text = dpctl(rig, &["ct-get-nconns"])?;
    text.trim().parse().with_context(|| format!("{text:?}"))
}

fn flood(kind: Kind) -> Result<()> {
    let rig = Rig::new(kind)?;
    let world = rig.topology.named_host("world", kind)?;
    rig.flows(FLOWS)?;
    dpctl(&rig, &["ct-set-maxconns", &MOST.to_string()])?;
    tell_of(&world, rig.right.v4, &rig.right)?;
    rig.hold(|rig| {
        let Rig { left, right, .. } = rig;
        let service = Service::start(&right.namespace, "right", right.v4, 80)?;
        let mut talks = Vec::new();
        for _ in 0..TALKS {
            talks.push(Talk::open(&left.namespace, service.target())?);
        }
        let flood = Flood::start(&world, right.v4)?;
        wait::until(Duration::from_secs(10), "the table is full", || {
            Ok((connections(rig)? > MOST * 9 / 10).then_some(()))
        })?;
        let pause = Duration::from_millis(1);
        let stream = Stream::start(&left.namespace, &right.namespace, right.v4, pause)?;
        while flood.sent() < 10 * MOST as u64 {
            for talk in &mut talks {
                talk.ask().context("who was there is harmed")?;
            }
            service::ask(&left.namespace, service.target()).context("nobody gets in")?;
            let held = connections(rig)?;
            ensure!(held <= MOST, "{held} connections are remembered");
        }
        traffic::tcp(&left.namespace, &right.namespace, right.v4, 10_000_000)?;
        let count = stream.finish()?;
        flood.finish()?;
        ensure!(count.lost() * 10 <= count.sent, "{count:?}");
        for talk in talks {
            talk.close()?;
        }
        // What the flood sent last may still be on its way, and begins connections anew.
        wait::until(Duration::from_secs(10), "all is forgotten", || {
            dpctl(rig, &["flush-conntrack"])?;
            Ok((connections(rig)? == 0).then_some(()))
        })
    })
}
