//! Traffic between namespaces, with content that is checked to the last byte, and counted streams
//! for losses.
//!
//! Everything runs in threads of this process that entered a namespace; only `ping` is a program.
//! All waiting is bounded: a switch that swallows packets is an error, not a hang.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::netns::Namespace;

/// How long any single wait in traffic may last.
const PATIENCE: Duration = Duration::from_secs(10);

/// A stream of bytes in which every position has its own value, so that lost, doubled and
/// exchanged parts are all seen. The same seed gives the same stream.
#[derive(Debug, Clone)]
struct Pattern {
    state: u64,
}

impl Pattern {
    fn new(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// Fills `buffer`, whose length is a multiple of eight except at the stream's end.
    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            // xorshift64: cheap enough not to be what is measured.
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            chunk.copy_from_slice(&self.state.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// One finished transfer.
#[derive(Debug, Clone, Copy)]
pub struct Transfer {
    /// Bytes of content that arrived and were right.
    pub size: u64,
    /// From the connection to the receiver's confirmation.
    pub took: Duration,
}

impl Transfer {
    /// Content per second, in Gbit/s.
    pub fn gbit_per_second(&self) -> f64 {
        self.size as f64 * 8.0 / self.took.as_secs_f64() / 1e9
    }
}

/// Bytes written or compared at once.
const BLOCK: usize = 128 * 1024;

/// Sends `size` bytes over one TCP connection to `address`, which is one of `to`'s. The receiver
/// compares every byte and confirms the number.
pub fn tcp(from: &Namespace, to: &Namespace, address: IpAddr, size: u64) -> Result<Transfer> {
    let (listener, target) = listen(to, address)?;
    let receiver = to.spawn(move || receive(&listener, size))?;
    let sent = from.run(|| send(target, size));
    let received = receiver.join().expect("the receiver does not panic");
    // The receiver's refusal says more than the sender's broken pipe.
    received?;
    sent
}

fn listen(to: &Namespace, address: IpAddr) -> Result<(TcpListener, SocketAddr)> {
    to.run(|| {
        let listener = TcpListener::bind((address, 0))
            .with_context(|| format!("could not listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let target = listener.local_addr()?;
        Ok((listener, target))
    })
}

fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let mut waiting = [PollFd::new(listener, PollFlags::IN)];
    let limit = Timespec::try_from(PATIENCE)?;
    poll(&mut waiting, Some(&limit))?;
    // Not blocking: without a connection this is an error now.
    let (stream, _) = listener.accept().context("no connection arrived")?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn connect(target: SocketAddr) -> Result<TcpStream> {
    let family = match target {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // An algorithm that paces would measure its own timers, and a connection that has begun with
    // one goes on pacing whatever is chosen later. Only a kernel without this one says no, and
    // transfers are as right with another.
    let _ = sockopt::set_tcp_congestion(&socket, "cubic");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    // Also bounds how long connecting may take (socket(7)).
    stream.set_write_timeout(Some(PATIENCE))?;
    rustix::net::connect(&stream, &target).with_context(|| format!("no connection to {target}"))?;
    Ok(stream)
}

fn send(target: SocketAddr, size: u64) -> Result<Transfer> {
    let mut stream = connect(target)?;
    let begin = Instant::now();
    let mut pattern = Pattern::new(size);
    let mut block = vec![0; BLOCK];
    let mut left = size;
    while left > 0 {
        let part = &mut block[..BLOCK.min(usize::try_from(left).unwrap_or(BLOCK))];
        pattern.fill(part);
        stream
            .write_all(part)
            .with_context(|| format!("sending stopped {left} bytes before the end"))?;
        left -= part.len() as u64;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut confirmed = [0; 8];
    stream
        .read_exact(&mut confirmed)
        .context("the receiver did not confirm")?;
    let confirmed = u64::from_le_bytes(confirmed);
    ensure!(confirmed == size, "{confirmed} of {size} bytes arrived");
    Ok(Transfer {
        size,
        took: begin.elapsed(),
    })
}

fn receive(listener: &TcpListener, size: u64) -> Result<()> {
    let mut stream = accept(listener)?;
    let mut pattern = Pattern::new(size);
    let mut wanted = vec![0; BLOCK];
    let mut block = vec![0; BLOCK];
    let mut left = size;
    while left > 0 {
        let length = BLOCK.min(usize::try_from(left).unwrap_or(BLOCK));
        pattern.fill(&mut wanted[..length]);
        stream
            .read_exact(&mut block[..length])
            .with_context(|| format!("receiving stopped {left} bytes before the end"))?;
        if block[..length] != wanted[..length] {
            let at = (0..length).find(|&i| block[i] != wanted[i]).unwrap_or(0) as u64;
            bail!("byte {} arrived changed", size - left + at);
        }
        left -= length as u64;
    }
    let beyond = stream.read(&mut block)?;
    ensure!(beyond == 0, "{beyond} bytes too many arrived");
    stream.write_all(&size.to_le_bytes())?;
    Ok(())
}

/// Sends over one TCP connection for a time and counts at the receiver: content is not looked at,
/// so that the path is measured and not the check.
pub fn tcp_rate(
    from: &Namespace,
    to: &Namespace,
    address: IpAddr,
    time: Duration,
) -> Result<Transfer> {
    tcp_rate_on(None, from, to, address, time)
}

/// The same with the sending thread bound to a core, counted from 0; the receiver goes where the
/// scheduler puts it.
pub fn tcp_rate_on(
    core: Option<usize>,
    from: &Namespace,
    to: &Namespace,
    address: IpAddr,
    time: Duration,
) -> Result<Transfer> {
    let (listener, target) = listen(to, address)?;
    let receiver = to.spawn(move || {
        let mut stream = accept(&listener)?;
        let mut block = vec![0; BLOCK];
        let begin = Instant::now();
        let mut size = 0;
        loop {
            match stream.read(&mut block)? {
                0 => break,
                length => size += length as u64,
            }
        }
        Ok(Transfer {
            size,
            took: begin.elapsed(),
        })
    })?;
    let sent = from.run(|| {
        bind_to(core)?;
        let mut stream = connect(target)?;
        let block = vec![0x5a; BLOCK];
        let end = Instant::now() + time;
        while Instant::now() < end {
            stream.write_all(&block).context("sending stopped")?;
        }
        Ok(())
    });
    let received = receiver.join().expect("the receiver does not panic");
    sent.and(received)
}

/// Sends one datagram of every size to an echo at `address` (one of `to`'s) and compares what comes
/// back. None may be lost: only one is on its way at a time.
pub fn udp_echo(from: &Namespace, to: &Namespace, address: IpAddr, sizes: &[usize]) -> Result<()> {
    let (target, echo) = start_echo(None, to, address)?;
    let outcome = from.run(|| {
        let socket = UdpSocket::bind((unspecified(address), 0))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.connect(target)?;
        let mut sent = vec![0; 65536];
        let mut back = vec![0; 65536];
        for &size in sizes {
            Pattern::new(size as u64).fill(&mut sent[..size]);
            socket.send(&sent[..size])?;
            let length = socket
                .recv(&mut back)
                .with_context(|| format!("a datagram of {size} bytes did not come back"))?;
            ensure!(
                sent[..size] == back[..length],
                "a datagram of {size} bytes came back changed ({length} bytes)"
            );
        }
        Ok(())
    });
    stop_echo(target, to, echo)?;
    outcome
}

/// An empty datagram ends an echo; nobody else sends one.
fn start_echo(
    core: Option<usize>,
    to: &Namespace,
    address: IpAddr,
) -> Result<(SocketAddr, JoinHandle<Result<()>>)> {
    let socket = to.run(|| Ok(UdpSocket::bind((address, 0))?))?;
    let target = socket.local_addr()?;
    let echo = to.spawn(move || {
        bind_to(core)?;
        let mut buffer = vec![0; 65536];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            socket.send_to(&buffer[..length], peer)?;
        }
    })?;
    Ok((target, echo))
}

fn stop_echo(target: SocketAddr, to: &Namespace, echo: JoinHandle<Result<()>>) -> Result<()> {
    to.run(|| {
        let socket = UdpSocket::bind((unspecified(target.ip()), 0))?;
        socket.send_to(&[], target)?;
        Ok(())
    })?;
    echo.join().expect("the echo does not panic")
}

/// The address that stands for any, of the same family.
#[must_use]
pub fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The sizes from 1 to 9000 bytes that tests send: every edge of a frame or fragment at the usual
/// MTUs, and a spread between them.
pub fn udp_sizes() -> Vec<usize> {
    const EDGES: [usize; 12] = [1, 2, 17, 18, 1452, 1472, 2928, 2952, 8951, 8952, 8972, 9000];
    let around = EDGES
        .iter()
        .flat_map(|&edge| edge.saturating_sub(1).max(1)..=(edge + 1).min(9000));
    let mut sizes: Vec<_> = (1..=9000).step_by(61).chain(around).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// `ping` with a payload of `size` bytes; every request must be answered, and unchanged.
pub fn ping(from: &Namespace, address: IpAddr, size: usize, count: u32) -> Result<()> {
    let (size, count) = (size.to_string(), count.to_string());
    let address = address.to_string();
    // Once something was answered `ping` waits for the rest only as long as twice the slowest answer
    // or its interval, whichever is longer, and not as long as `-W` says: on a busy machine 10 ms are
    // too short.
    let arguments = [
        "-n", "-q", "-c", &count, "-i", "0.05", "-W", "2", "-s", &size, &address,
    ];
    let shown = from.must("ping", &arguments)?;
    ensure!(
        shown.contains(" 0% packet loss") && !shown.contains("errors"),
        "ping {address} with {size} bytes: {shown}"
    );
    Ok(())
}

/// Makes sure that one `ping` with a payload of `size` bytes is not answered. What passes is answered
/// within milliseconds.
pub fn ensure_no_ping(from: &Namespace, address: IpAddr, size: usize) -> Result<()> {
    let (address, size) = (address.to_string(), size.to_string());
    let arguments = ["-n", "-q", "-c", "1", "-W", "0.25", "-s", &size, &address];
    let shown = from.collect("ping", &arguments)?;
    ensure!(
        !shown.status.success(),
        "{address} answered a ping of {size} bytes"
    );
    Ok(())
}

/// Waits until `address` answers a ping, at most for `limit`; gives back how long it took.
pub fn await_ping(from: &Namespace, address: IpAddr, limit: Duration) -> Result<Duration> {
    let begin = Instant::now();
    let address = address.to_string();
    crate::wait::until(limit, &format!("{address} answers"), || {
        let shown = from.collect("ping", &["-n", "-q", "-c", "1", "-W", "0.2", &address])?;
        Ok(shown.status.success().then(|| begin.elapsed()))
    })
}

/// Binds the thread to a core, if one is given.
fn bind_to(core: Option<usize>) -> Result<()> {
    if let Some(core) = core {
        let bound = vswitch_sys::affinity::pin(core);
        ensure!(bound, "the machine has no core {core} for this process");
    }
    Ok(())
}

/// The distribution of round-trip times.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    pub p50: Duration,
    pub p99: Duration,
}

/// Sends `count` datagrams of 64 bytes to an echo at `address`, one after the other.
pub fn ping_pong(
    from: &Namespace,
    to: &Namespace,
    address: IpAddr,
    count: usize,
) -> Result<Latency> {
    ping_pong_on(None, from, to, address, count)
}

/// The same with both ends bound to a core, counted from 0; otherwise the scheduler decides in every
/// run anew who has to wake up whose core.
pub fn ping_pong_on(
    core: Option<usize>,
    from: &Namespace,
    to: &Namespace,
    address: IpAddr,
    count: usize,
) -> Result<Latency> {
    let (target, echo) = start_echo(core, to, address)?;
    let times = from.run(|| {
        bind_to(core)?;
        let socket = UdpSocket::bind((unspecified(address), 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(target)?;
        let mut times = Vec::with_capacity(count);
        let mut buffer = [0; 64];
        for _ in 0..count {
            let begin = Instant::now();
            socket.send(&buffer)?;
            socket.recv(&mut buffer).context("no echo")?;
            times.push(begin.elapsed());
        }
        Ok(times)
    });
    stop_echo(target, to, echo)?;
    let mut times = times?;
    ensure!(!times.is_empty(), "nothing was measured");
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Ok(Latency {
        p50: at(0.5),
        p99: at(0.99),
    })
}

/// Opens `count` connections one after the other, each with one request and one answer of 64
/// bytes; gives back how many were done in a second.
pub fn connections(from: &Namespace, to: &Namespace, address: IpAddr, count: usize) -> Result<f64> {
    let (listener, target) = listen(to, address)?;
    let server = to.spawn(move || {
        let mut buffer = [0; 64];
        for _ in 0..count {
            let mut stream = accept(&listener)?;
            stream.read_exact(&mut buffer)?;
            stream.write_all(&buffer)?;
        }
        Ok(())
    })?;
    let begin = Instant::now();
    let done = from.run(|| {
        for _ in 0..count {
            let mut stream = connect(target)?;
            let mut buffer = [7; 64];
            stream.write_all(&buffer)?;
            stream.read_exact(&mut buffer)?;
        }
        Ok(())
    });
    let took = begin.elapsed();
    server.join().expect("the server does not panic")?;
    done?;
    Ok(count as f64 / took.as_secs_f64())
}

/// What became of a counted stream.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    pub sent: u64,
    pub received: u64,
    /// Datagrams that the sender's own stack refused (no carrier, no buffer): not the switch's.
    pub refused: u64,
    /// The longest time without an arrival, up to the stream's end.
    pub longest_gap: Duration,
}

impl Count {
    pub fn lost(&self) -> u64 {
        self.sent - self.received
    }
}

/// A steady stream of numbered datagrams, so that what a fault costs can be counted.
#[derive(Debug)]
pub struct Stream {
    stop: Sender<()>,
    sender: JoinHandle<Result<(u64, u64)>>,
    receiver: JoinHandle<Result<(u64, Duration)>>,
}

/// The number that tells the receiver of a [`Stream`] to end.
const END: u64 = u64::MAX;

impl Stream {
    /// Starts to send a datagram of 200 bytes every `pause`, from `from` to `address` of `to`.
    pub fn start(
        from: &Namespace,
        to: &Namespace,
        address: IpAddr,
        pause: Duration,
    ) -> Result<Self> {
        let socket = to.run(|| Ok(UdpSocket::bind((address, 0))?))?;
        // The end mark may be lost with the switch; then silence ends the stream.
        socket.set_read_timeout(Some(Duration::from_secs(3)))?;
        let target = socket.local_addr()?;
        let (stop, stopped) = mpsc::channel();
        let receiver = to.spawn(move || {
            let mut buffer = [0; 256];
            let mut seen = Vec::new();
            let mut longest = Duration::ZERO;
            let mut last: Option<Instant> = None;
            while socket.recv(&mut buffer).is_ok() {
                let number = u64::from_le_bytes(buffer[..8].try_into().expect("eight bytes"));
                if number == END {
                    break;
                }
                seen.push(number);
                let now = Instant::now();
                if let Some(last) = last.replace(now) {
                    longest = longest.max(now - last);
                }
            }
            if let Some(last) = last {
                longest = longest.max(last.elapsed());
            }
            let arrived = seen.len();
            seen.sort_unstable();
            seen.dedup();
            ensure!(
                seen.len() == arrived,
                "{} datagrams arrived twice",
                arrived - seen.len()
            );
            Ok((arrived as u64, longest))
        })?;
        let sender = from.spawn(move || {
            let socket = UdpSocket::bind((unspecified(address), 0))?;
            socket.connect(target)?;
            let mut buffer = [0; 200];
            let (mut sent, mut refused) = (0_u64, 0);
            loop {
                buffer[..8].copy_from_slice(&sent.to_le_bytes());
                match socket.send(&buffer) {
                    Ok(_) => sent += 1,
                    Err(_) => refused += 1,
                }
                match stopped.recv_timeout(pause) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            buffer[..8].copy_from_slice(&END.to_le_bytes());
            // Refused only when the link is down, and then silence ends the receiver.
            let _ = socket.send(&buffer);
            Ok((sent, refused))
        })?;
        Ok(Self {
            stop,
            sender,
            receiver,
        })
    }

    /// Ends the stream and counts.
    pub fn finish(self) -> Result<Count> {
        // The sender is gone only when it failed, which joining tells.
        let _ = self.stop.send(());
        let (sent, refused) = self.sender.join().expect("the sender does not panic")?;
        let (received, longest_gap) = self.receiver.join().expect("the receiver does not panic")?;
        Ok(Count {
            sent,
            received,
            refused,
            longest_gap,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_repeats_with_its_seed_and_differs_at_every_word() {
        let (mut first, mut second, mut other) = ([0; 64], [0; 64], [0; 64]);
        Pattern::new(5).fill(&mut first);
        Pattern::new(5).fill(&mut second);
        Pattern::new(6).fill(&mut other);
        assert_eq!(first, second);
        assert_ne!(first, other);
        let words: std::collections::HashSet<_> = first.chunks(8).collect();
        assert_eq!(words.len(), 8);
    }

    #[test]
    fn sizes_cover_one_to_nine_thousand_in_order() {
        let sizes = udp_sizes();
        assert_eq!((sizes.first(), sizes.last()), (Some(&1), Some(&9000)));
        assert!(sizes.is_sorted());
        assert!(sizes.contains(&1472) && sizes.contains(&1473));
    }
}
