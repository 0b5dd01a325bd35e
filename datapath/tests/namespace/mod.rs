//! Network namespaces, traffic between them and a two-port forwarder, for tests that need root.
//!
//! Everything made here goes when its owner is dropped, also when a test fails.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use vswitch_datapath::buffer::{Batch, FramePool, Packet, SharedFrames};
use vswitch_datapath::port::{PortCounters, PortQueue, Readiness, RxStatus};

/// Whether this process may make namespaces. A test that may not says so and ends.
pub(crate) fn privileged() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root for network namespaces");
    }
    root
}

/// The time, which tests that talk to a kernel take from where the kernel does.
#[expect(
    clippy::disallowed_methods,
    reason = "the other end of these tests lives by the kernel's clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Runs a command line and panics with its output when it fails.
pub(crate) fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let program = words.next().expect("a command");
    let output = Command::new(program)
        .args(words)
        .output()
        .unwrap_or_else(|e| panic!("{line}: {e}"));
    assert!(
        output.status.success(),
        "{line}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A network namespace with loopback up.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
}

impl Namespace {
    pub(crate) fn new(label: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vst-{}-{number}-{label}", std::process::id());
        run(&format!("ip netns add {name}"));
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// `ip` inside the namespace.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        run(&format!("ip -n {} {arguments}", self.name))
    }

    /// Any command inside the namespace.
    pub(crate) fn exec(&self, line: &str) -> String {
        run(&format!("ip netns exec {} {line}", self.name))
    }

    /// Whether a command inside the namespace ends well.
    pub(crate) fn succeeds(&self, line: &str) -> bool {
        Command::new("ip")
            .args(["netns", "exec", &self.name])
            .args(line.split_whitespace())
            .output()
            .is_ok_and(|output| output.status.success())
    }

    /// Runs `f` on a thread of its own inside the namespace.
    pub(crate) fn enter<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let path = format!("/run/netns/{}", self.name);
        thread::spawn(move || {
            let file = std::fs::File::open(&path).expect("the namespace's name");
            move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&file),
                Some(LinkNameSpaceType::Network),
            )
            .expect("setns");
            f()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .output();
    }
}

/// Sends `size` pseudo-random bytes from one namespace to a listener in the other; every byte is
/// compared on arrival.
pub(crate) fn tcp(from: &Namespace, to: &Namespace, address: &str, size: usize) -> Duration {
    let address: SocketAddr = address.parse().expect("an address");
    let listener = to
        .enter(move || TcpListener::bind(address).expect("bind"))
        .join()
        .expect("listener");
    let receiver = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("timeout");
        let mut expected = Stream::default();
        let (mut buffer, mut wanted) = (vec![0; 1 << 18], vec![0; 1 << 18]);
        let mut total = 0;
        loop {
            let len = stream.read(&mut buffer).expect("bytes within 20 s");
            if len == 0 {
                return total;
            }
            expected.fill(&mut wanted[..len]);
            assert!(
                buffer[..len] == wanted[..len],
                "bytes changed after {total}"
            );
            total += len;
        }
    });
    let begin = now();
    from.enter(move || {
        let mut stream =
            TcpStream::connect_timeout(&address, Duration::from_secs(10)).expect("connect");
        stream
            .set_write_timeout(Some(Duration::from_secs(20)))
            .expect("timeout");
        let mut source = Stream::default();
        let mut buffer = vec![0; 1 << 18];
        let mut left = size;
        while left > 0 {
            let len = left.min(buffer.len());
            source.fill(&mut buffer[..len]);
            stream.write_all(&buffer[..len]).expect("room within 20 s");
            left -= len;
        }
    })
    .join()
    .expect("sender");
    assert_eq!(receiver.join().expect("receiver"), size);
    begin.elapsed()
}

/// A stream of bytes in which nothing repeats, the same for each reader whatever its read sizes.
#[derive(Default)]
struct Stream {
    position: u64,
}

impl Stream {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            let word = (self.position / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *byte = (word ^ (word >> 29)).to_le_bytes()[(self.position % 8) as usize];
            self.position += 1;
        }
    }
}

/// What a [`Forwarder`] has seen when it ends.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) counters: [PortCounters; 2],
    /// Bytes of the largest packet received.
    pub(crate) largest: usize,
}

/// What happens to a packet on its way from one port to the other: it may be replaced by others.
pub(crate) type Hook =
    Box<dyn FnMut(Packet, &dyn PortQueue, &mut FramePool, &mut Vec<Packet>) + Send>;

/// Moves every packet from each of two ports to the other, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Forwarder {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<Seen>>,
}

impl Forwarder {
    /// Forwards packets as they are.
    pub(crate) fn start(ports: [Box<dyn PortQueue>; 2]) -> Self {
        Self::with_hook(ports, Box::new(|packet, _, _, out| out.push(packet)))
    }

    /// Forwards what `hook` makes of each packet.
    pub(crate) fn with_hook(ports: [Box<dyn PortQueue>; 2], hook: Hook) -> Self {
        let frames = SharedFrames::new(2048, 256).expect("memory");
        Self::with_frames(frames, ports, hook)
    }

    /// As [`Forwarder::with_hook`], for ports that were opened with some of `frames`.
    pub(crate) fn with_frames(
        frames: Arc<SharedFrames>,
        ports: [Box<dyn PortQueue>; 2],
        hook: Hook,
    ) -> Self {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).expect("eventfd"));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || forward(&frames, ports, &stopped, hook));
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Ends it; all frames have come back to the pool.
    pub(crate) fn stop(mut self) -> Seen {
        self.signal();
        let thread = self.thread.take().expect("stopped once");
        thread.join().expect("the forwarder did not panic")
    }

    fn signal(&self) {
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.signal();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn forward(
    frames: &Arc<SharedFrames>,
    mut ports: [Box<dyn PortQueue>; 2],
    stop: &OwnedFd,
    mut hook: Hook,
) -> Seen {
    let mut pool = FramePool::new(Arc::clone(frames));
    let mut batch = Batch::new();
    let mut out = Vec::new();
    let mut largest = 0;
    loop {
        let mut more = false;
        for from in 0..2 {
            more |= ports[from].rx(now(), &mut pool, &mut batch) == RxStatus::More;
            for packet in batch.drain(..) {
                largest = largest.max(packet.len());
                hook(packet, &*ports[1 - from], &mut pool, &mut out);
            }
            ports[1 - from].tx(now(), &mut pool, &mut out);
        }
        if more {
            continue;
        }
        let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
        for port in &ports {
            if let Readiness::Fd { fd, .. } = port.readiness() {
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            }
        }
        poll(&mut fds, None).expect("poll");
        if fds[0].revents().contains(PollFlags::IN) {
            break;
        }
    }
    for port in &mut ports {
        port.refresh_counters();
    }
    let counters = [*ports[0].counters(), *ports[1].counters()];
    for port in ports {
        port.close(&mut pool);
    }
    pool.drain();
    let (chunks, larges) = frames.region().len();
    let all = (chunks as usize, larges as usize);
    assert_eq!(frames.free_len(), all, "frames were lost");
    Seen { counters, largest }
}
