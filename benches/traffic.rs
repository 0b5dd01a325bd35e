//! Packets by the million: a source of XDP frames and a sink that counts.
//!
//! The source is an XDP program that the kernel runs on copies of one frame
//! (`BPF_F_TEST_XDP_LIVE_FRAMES`) and that sends each out of a device. There is no socket and no
//! packet of the stack on its side, so that it costs next to nothing; it flatters whoever receives
//! XDP frames, which results have to say. The other end of the device needs NAPI: an XDP program or
//! GRO. The sink drops in the driver and counts; it is where packets are counted, since those
//! between source and sink may be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use vswitch_sys::bpf::programs::{self, Varied, Word};
use vswitch_sys::bpf::{Attach, Counters, Link, Program, XdpMode};
use vswitch_tests::netns::Namespace;

use crate::spread::Spread;

/// Frames of one call of the kernel. A source is silent between two calls, for long enough that
/// whoever sleeps when idle falls asleep, and ends only when a call is over: at a million frames
/// neither takes much of a measurement.
const CALL_LEN: u32 = 1_000_000;

/// Frames that the kernel hands to the device at a time, what NAPI also takes at a time.
const BATCH_LEN: u32 = 64;

/// What a source sends: copies of a frame that differ in some words.
#[derive(Clone, Debug)]
pub struct Copies {
    /// The frame; checksums over what differs stay right by a word turned round, or are zero.
    pub frame: Vec<u8>,
    /// Different copies, a power of two.
    pub len: u32,
    /// Where words stand that differ, by the offset from the Ethernet header.
    pub words: &'static [(u16, Word)],
    /// Copies of one call of the kernel; the source ends only when one is over.
    pub call_len: u32,
}

impl Copies {
    /// Copies of one frame that do not differ.
    #[must_use]
    pub fn alike(frame: Vec<u8>) -> Self {
        Self {
            frame,
            len: 1,
            words: &[],
            call_len: CALL_LEN,
        }
    }

    fn program(&self, sent: &Counters, index: u32) -> Result<Program> {
        let varied = Varied {
            len: self.len,
            first: FIRST_PORT,
            words: self.words,
        };
        Ok(programs::xdp_source(sent, index, &varied)?)
    }
}

/// The first of the ports that [`Word::Low`] takes turns with.
pub const FIRST_PORT: u16 = 1024;

/// The same frame, UDP over IPv4 without a tag, with 0 for the checksum of UDP: none.
#[must_use]
pub fn without_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    if let Some(checksum) = frame.get_mut(40..42) {
        checksum.fill(0);
    }
    frame
}

/// The number that the kernel has for a device of `namespace`.
///
/// # Errors
/// When there is no such device.
pub fn ifindex(namespace: &Namespace, device: &str) -> Result<u32> {
    let line = namespace.ip(&["-o", "link", "show", device])?;
    let (index, _) = line.split_once(':').context("ip shows no number")?;
    Ok(index.trim().parse()?)
}

/// Binds the calling thread to a core, counted from 0.
///
/// # Errors
/// When the machine has no such core.
pub fn pin(core: usize) -> Result<()> {
    let bound = core_affinity::set_for_current(core_affinity::CoreId { id: core });
    ensure!(bound, "the machine has no core {core} for this process");
    Ok(())
}

/// A running source.
#[derive(Debug)]
pub struct Source {
    stop: Arc<AtomicBool>,
    sent: Arc<Counters>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Source {
    /// Sends copies out of `device` of `namespace` from a thread on `core`, until it is stopped.
    ///
    /// # Errors
    /// When the program is refused or there is no such device.
    pub fn start(namespace: &Namespace, device: &str, copies: Copies, core: usize) -> Result<Self> {
        let len = copies.len;
        ensure!(len.is_power_of_two(), "{len} copies are no power of two");
        let sent = Arc::new(Counters::new(1)?);
        let index = ifindex(namespace, device)?;
        let program = copies.program(&sent, index)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = namespace.spawn(move || {
            pin(core)?;
            while !stopped.load(Ordering::Relaxed) {
                program.run_live(&copies.frame, copies.call_len, BATCH_LEN)?;
            }
            Ok(())
        })?;
        Ok(Self {
            stop,
            sent,
            thread: Some(thread),
        })
    }

    /// Frames that were given to the device.
    ///
    /// # Errors
    /// When the counter cannot be read.
    pub fn sent(&self) -> Result<u64> {
        Ok(self.sent.read(0)?)
    }

    /// Ends it and says how many frames were given to the device.
    ///
    /// # Errors
    /// What ended the source before.
    pub fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the source does not panic")?;
        }
        self.sent()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whoever wanted to know called `stop`.
            let _ = thread.join();
        }
    }
}

/// Sends `len` copies of `frame` out of `device` of `namespace`, and returns when the receiving end
/// has them.
///
/// # Errors
/// When the program is refused or there is no such device.
pub fn send(namespace: &Namespace, device: &str, frame: &[u8], len: u32) -> Result<()> {
    let index = ifindex(namespace, device)?;
    let program = Copies::alike(frame.to_vec()).program(&Counters::new(1)?, index)?;
    namespace.run(|| Ok(program.run_live(frame, len, BATCH_LEN)?))
}

/// Drops and counts everything that a device receives, as long as it lives.
#[derive(Debug)]
pub struct Sink {
    counters: Counters,
    _link: Link,
}

impl Sink {
    /// Attaches to `device` of `namespace`.
    ///
    /// # Errors
    /// When another XDP program is attached.
    pub fn attach(namespace: &Namespace, device: &str) -> Result<Self> {
        let counters = Counters::new(2)?;
        let index = ifindex(namespace, device)?;
        let program = programs::xdp_sink(&counters)?;
        let link = namespace.run(|| {
            Link::attach(&program, index, Attach::Xdp(XdpMode::Native)).context("the sink")
        })?;
        Ok(Self {
            counters,
            _link: link,
        })
    }

    /// Frames that have arrived. Exact while all arrive on one core.
    ///
    /// # Errors
    /// When the counter cannot be read.
    pub fn packets(&self) -> Result<u64> {
        Ok(self.counters.read(0)?)
    }

    /// Bytes that have arrived, from the Ethernet header on.
    ///
    /// # Errors
    /// When the counter cannot be read.
    pub fn bytes(&self) -> Result<u64> {
        Ok(self.counters.read(1)?)
    }

    /// Frames per second that arrive during `time`.
    ///
    /// # Errors
    /// When the counter cannot be read.
    pub fn rate(&self, time: Duration) -> Result<f64> {
        let (begin, before) = (Instant::now(), self.packets()?);
        std::thread::sleep(time);
        let arrived = self.packets()? - before;
        Ok(arrived as f64 / begin.elapsed().as_secs_f64())
    }
}

/// When a rate is measured.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// From the source's begin to that of the window.
    pub warm_up: Duration,
    /// The window.
    pub time: Duration,
    /// Parts of the window, of which the median is taken.
    pub parts: usize,
}

/// Copies per second that arrive at the second host's `eth0` while the first one sends them out of
/// its own.
///
/// # Errors
/// When a program is refused.
pub fn frame_rate(
    [from, to]: [&Namespace; 2],
    copies: Copies,
    core: usize,
    window: Window,
) -> Result<f64> {
    let sink = Sink::attach(to, "eth0")?;
    let source = Source::start(from, "eth0", copies, core)?;
    std::thread::sleep(window.warm_up);
    let part = window.time / window.parts as u32;
    let rates: Result<Vec<f64>> = (0..window.parts).map(|_| sink.rate(part)).collect();
    source.stop()?;
    Ok(Spread::of(&rates?).median)
}
