//! The least that any switch over two TAP devices would do: read a packet from one, write it to the
//! other. The bound that our own TAP port is held against.
//!
//! Neither looks at a packet, nor counts, nor batches: the driver has no batches.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{read, write};
use vswitch_sys::tap::VNET_HDR_SIZE;

use crate::traffic::pin;

/// How long a forwarder spins after the last packet before it sleeps, as the switch does.
pub const SPIN: Duration = Duration::from_micros(50);

/// Packets that are read from one side before the other has its turn.
const TURN_LEN: usize = 32;

/// A thread that forwards until it is dropped.
#[derive(Debug)]
pub struct Forwarder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Calls `round`, which says whether it moved anything, on a thread bound to `core`; between
    /// packets it spins for [`SPIN`] and then sleeps until one of `fds` has something.
    pub fn start(
        core: usize,
        fds: [OwnedFd; 2],
        mut round: impl FnMut() -> bool + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            if let Err(error) = pin(core) {
                eprintln!("{error:#}; the forwarder runs anywhere");
            }
            let mut last = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                if round() {
                    last = Instant::now();
                } else if last.elapsed() > SPIN {
                    let [a, b] = &fds;
                    let mut fds = [PollFd::new(a, PollFlags::IN), PollFd::new(b, PollFlags::IN)];
                    let limit = rustix::time::Timespec {
                        tv_sec: 0,
                        tv_nsec: 100_000_000,
                    };
                    let _ = poll(&mut fds, Some(&limit));
                    last = Instant::now();
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// The bare one, between two TAP queues.
    ///
    /// # Errors
    /// When a descriptor cannot be duplicated.
    pub fn bare(core: usize, taps: [OwnedFd; 2]) -> Result<Self> {
        let waiting = [taps[0].try_clone()?, taps[1].try_clone()?];
        let mut buffer = vec![0; VNET_HDR_SIZE + 80_000];
        Ok(Self::start(core, waiting, move || {
            let [a, b] = &taps;
            let moved = pump(a.as_fd(), b.as_fd(), &mut buffer);
            pump(b.as_fd(), a.as_fd(), &mut buffer) || moved
        }))
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn pump(from: impl AsFd, to: impl AsFd, buffer: &mut [u8]) -> bool {
    for i in 0..TURN_LEN {
        match read(&from, &mut *buffer) {
            Ok(size) => {
                // A device that takes nothing loses the packet, as any switch would.
                let _ = write(&to, &buffer[..size]);
            }
            Err(error) => {
                debug_assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return i > 0;
            }
        }
    }
    true
}
