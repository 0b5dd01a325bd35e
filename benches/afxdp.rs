//! AF_XDP between two veths: the bare forwarder beside the switch's port queues without a pipeline.
//!
//! `cargo bench --package vswitch-benches --bench afxdp`, as root. The source has the first core, the
//! forwarder the second. Frames of 60 bytes (64 on a wire) from the XDP source in one namespace to the XDP sink in the
//! other, counted there; then UDP ping-pong between unpinned sockets. Repeats take turns, so that a
//! machine that changes its mind does so for both.
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures in wall time, for a given time"
)]

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use vswitch_benches::bare_afxdp::{BareForwarder, close_both, open_both, refill};
use vswitch_benches::traffic::{Copies, Sink, Source, ifindex, pin};
use vswitch_benches::turns;
use vswitch_datapath::buffer::{BATCH_LEN, Batch, FramePool, SharedFrames};
use vswitch_datapath::port::afxdp::{AfxdpConfig, AfxdpQueue};
use vswitch_datapath::port::{PortIndex, PortQueue};
use vswitch_packet::build::Builder;
use vswitch_sys::bpf::Link;
use vswitch_sys::xsk::{RingSizes, Share, SharedUmem, prepare};
use vswitch_tests::netns::Namespace;
use vswitch_tests::{device, traffic};

const REPEATS: usize = 5;
const WARM_UP: Duration = Duration::from_millis(300);
/// Short, so that some windows of a busy machine are undisturbed: the most is what it can do.
const WINDOW: Duration = Duration::from_millis(100);
const WINDOWS: usize = 10;
/// Packets of a burst whose cost is taken, and how many bursts there are.
const BURST_LEN: u32 = 1024;
const BURSTS: usize = 100;
/// Packets of one transmit call in it.
const SENT_LEN: usize = 64;
const ROUND_TRIPS: usize = 5000;

const SOURCE_CORE: usize = 0;
const SWITCH_CORE: usize = 1;

fn main() -> ExitCode {
    turns::in_sandbox(measure)
}

struct Scene {
    here: Namespace,
    left: Namespace,
    right: Namespace,
}

impl Scene {
    fn new() -> Result<Self> {
        let (here, left, right) = (
            Namespace::here()?,
            Namespace::create("left")?,
            Namespace::create("right")?,
        );
        for (namespace, host, address) in
            [(&left, "v0", "10.0.0.1/24"), (&right, "v1", "10.0.0.2/24")]
        {
            device::veth((&here, host), (namespace, "eth0"), 1500)?;
            device::addresses(namespace, "eth0", &[address])?;
            device::await_carrier(namespace, "eth0")?;
        }
        Ok(Self { here, left, right })
    }

    fn frame(&self) -> Vec<u8> {
        Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
            .udp(1000, 2000)
            .payload(&[0; 18])
            .build()
    }

    fn rates(&self) -> Result<Vec<f64>> {
        let sink = Sink::attach(&self.right, "eth0")?;
        let source = Source::start(&self.left, "eth0", Copies::alike(self.frame()), SOURCE_CORE)?;
        std::thread::sleep(WARM_UP);
        let rates = (0..WINDOWS).map(|_| sink.rate(WINDOW)).collect();
        source.stop()?;
        rates
    }

    fn latency(&self) -> Result<traffic::Latency> {
        let address: IpAddr = [10, 0, 0, 2].into();
        traffic::await_ping(&self.left, address, Duration::from_secs(5))?;
        traffic::ping_pong(&self.left, &self.right, address, ROUND_TRIPS)
    }

    fn checksums_by_device(&self, on: bool) -> Result<()> {
        for namespace in [&self.left, &self.right] {
            let on = if on { "on" } else { "off" };
            namespace.must("ethtool", &["-K", "eth0", "tx", on])?;
        }
        Ok(())
    }
}

/// Nanoseconds for a packet, receiving and transmitting, each the least of many bursts.
#[derive(Clone, Copy)]
struct Cost {
    rx: f64,
    tx: f64,
}

/// Time spent in a burst.
#[derive(Default)]
struct Spent {
    len: usize,
    rx: Duration,
    tx: Duration,
}

impl Cost {
    const NONE: Self = Self {
        rx: f64::INFINITY,
        tx: f64::INFINITY,
    };

    fn add(&mut self, spent: &Spent) {
        // A short burst is mostly fixed cost.
        if spent.len >= BURST_LEN as usize / 2 {
            let per_packet = |time: Duration| time.as_secs_f64() * 1e9 / spent.len as f64;
            self.rx = self.rx.min(per_packet(spent.rx));
            self.tx = self.tx.min(per_packet(spent.tx));
        }
    }
}

/// Cost of the bare sockets: descriptors taken, then given.
fn bare_cost(scene: &Scene) -> Result<Cost> {
    let _sink = Sink::attach(&scene.right, "eth0")?;
    let (mut sockets, _links, mut free) = open_both(&scene.here, ["v0", "v1"])?;
    let [from, to] = &mut sockets;
    let mut cost = Cost::NONE;
    let mut pieces = Vec::with_capacity(SENT_LEN);
    for _ in 0..BURSTS {
        refill(from, &mut free);
        vswitch_benches::traffic::send(&scene.left, "eth0", &scene.frame(), BURST_LEN)?;
        let mut spent = Spent::default();
        loop {
            let begin = Instant::now();
            pieces.extend(std::iter::from_fn(|| from.receive()).take(SENT_LEN));
            if pieces.is_empty() {
                break;
            }
            from.release_rx();
            refill(from, &mut free);
            let received = Instant::now();
            spent.len += pieces.len();
            spent.rx += received - begin;
            to.complete(|frame| free.push(frame));
            for piece in pieces.drain(..) {
                if let Err((frame, _)) = to.transmit(piece.frame, piece.range, piece.more, None) {
                    free.push(frame);
                }
            }
            to.kick(|frame| free.push(frame));
            spent.tx += received.elapsed();
        }
        cost.add(&spent);
    }
    close_both(sockets, free);
    Ok(cost)
}

/// The same of the switch's port queues.
fn queue_cost(scene: &Scene) -> Result<Cost> {
    let _sink = Sink::attach(&scene.right, "eth0")?;
    let mut opened = open_queues(&scene.here, ["v0", "v1"])?;
    let now = Instant::now();
    let mut cost = Cost::NONE;
    let (mut batch, mut out) = (Batch::new(), Vec::with_capacity(SENT_LEN));
    for _ in 0..BURSTS {
        vswitch_benches::traffic::send(&scene.left, "eth0", &scene.frame(), BURST_LEN)?;
        let Opened { queues, pool, .. } = &mut opened;
        let mut spent = Spent::default();
        loop {
            let begin = Instant::now();
            for _ in 0..SENT_LEN / BATCH_LEN {
                queues[0].rx(now, pool, &mut batch);
                out.extend(batch.drain(..));
            }
            if out.is_empty() {
                break;
            }
            let received = Instant::now();
            spent.len += out.len();
            spent.rx += received - begin;
            queues[1].tx(now, pool, &mut out);
            spent.tx += received.elapsed();
        }
        cost.add(&spent);
    }
    opened.close();
    Ok(cost)
}

/// Both queues of the switch, and what they live on.
struct Opened {
    queues: Vec<AfxdpQueue>,
    pool: FramePool,
    _links: Vec<Link>,
}

impl Opened {
    fn close(mut self) {
        for queue in self.queues.drain(..) {
            Box::new(queue).close(&mut self.pool);
        }
    }
}

fn open_queues(namespace: &Namespace, devices: [&str; 2]) -> Result<Opened> {
    let frames = SharedFrames::new(16 * 1024, 1)?;
    let umem = Arc::new(SharedUmem::new(frames.region()));
    let mut opened = Opened {
        queues: Vec::new(),
        pool: FramePool::new(Arc::clone(&frames)),
        _links: Vec::new(),
    };
    for (device, port) in devices.into_iter().zip(1..) {
        let ifindex = ifindex(namespace, device)?;
        let prepared = namespace.run(|| Ok(prepare(ifindex, Some(1), None, Share::All)?))?;
        let socket = prepared.sockets.into_iter().next().context("a socket")?;
        let config = AfxdpConfig {
            ifindex,
            queue: 0,
            rings: RingSizes::default(),
            mode: prepared.mode,
            multi_buffer: prepared.features.rx_multi_buffer,
            local: true,
            uplink: false,
            mtu: 1500,
        };
        let (port, pool) = (PortIndex(port), &mut opened.pool);
        let queue = AfxdpQueue::open(socket, port, &config, &prepared.map, &umem, pool)?;
        opened.queues.push(queue);
        opened._links.push(prepared.link);
    }
    Ok(opened)
}

/// Port queues of the switch, packets handed from one to the other as they are.
struct Queues {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Result<()>>>,
}

impl Queues {
    fn start(namespace: &Namespace, devices: [&str; 2], core: usize) -> Result<Self> {
        let mut opened = open_queues(namespace, devices)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            pin(core)?;
            let now = Instant::now();
            let (mut batch, mut out) = (Batch::new(), Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                let Opened { queues, pool, .. } = &mut opened;
                for from in 0..2 {
                    // Two batches a call, as the bare forwarder has.
                    for _ in 0..2 {
                        queues[from].rx(now, pool, &mut batch);
                        out.extend(batch.drain(..));
                    }
                    queues[1 - from].tx(now, pool, &mut out);
                }
            }
            opened.close();
            Ok(())
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Default)]
struct Results {
    rates: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Results {
    fn add(&mut self, scene: &Scene) -> Result<()> {
        let rates = scene.rates()?;
        self.rates.extend(rates.iter().map(|rate| rate / 1e6));
        let latency = scene.latency()?;
        self.p50.push(latency.p50.as_secs_f64() * 1e6);
        self.p99.push(latency.p99.as_secs_f64() * 1e6);
        Ok(())
    }
}

/// Least, median and most.
fn spread(values: &mut [f64]) -> String {
    values.sort_by(f64::total_cmp);
    let median = values[values.len() / 2];
    format!(
        "{:>6.2} {:>6.2} {:>6.2}",
        values[0],
        median,
        values[values.len() - 1]
    )
}

fn measure() -> Result<()> {
    let scene = Scene::new()?;
    println!("least ns of a 60 B packet, kernel included    rx      tx");
    for (name, cost) in [
        ("bare sockets", bare_cost(&scene)?),
        ("port queues", queue_cost(&scene)?),
    ] {
        println!("{name:<41} {:>6.1} {:>7.1}", cost.rx, cost.tx);
    }
    let (mut bare, mut queues) = (Results::default(), Results::default());
    for _ in 0..REPEATS {
        scene.checksums_by_device(false)?;
        let forwarder = BareForwarder::start(&scene.here, ["v0", "v1"], SWITCH_CORE)?;
        bare.add(&scene)?;
        drop(forwarder);
        scene.checksums_by_device(true)?;
        let forwarder = Queues::start(&scene.here, ["v0", "v1"], SWITCH_CORE)?;
        queues.add(&scene)?;
        drop(forwarder);
    }
    println!("min, median, max          60 B Mpps            p50 µs               p99 µs");
    for (name, mut results) in [("bare forwarder", bare), ("port queues", queues)] {
        println!(
            "{name:<24} {} {} {}",
            spread(&mut results.rates),
            spread(&mut results.p50),
            spread(&mut results.p99)
        );
    }
    Ok(())
}
