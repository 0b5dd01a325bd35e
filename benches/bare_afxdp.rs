//! The bound of AF_XDP: a forwarder between two devices that does nothing but move descriptors.
//!
//! It looks at no byte, knows no address and counts nothing. What it reaches on a machine, a switch
//! over the same sockets can at best come near to. Checksums have to be whole, since it passes none
//! on: `ethtool -K DEV tx off` in the containers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use vswitch_sys::bpf::Link;
use vswitch_sys::memory::{Frame, Region};
use vswitch_sys::xsk::{Binding, RingSizes, Share, SharedUmem, Socket, SocketConfig, prepare};
use vswitch_tests::netns::Namespace;

use crate::traffic;

/// Descriptors moved at a time: one transmit call each.
const BURST_LEN: usize = 64;

/// Chunks for both fill rings and all that is in flight.
const CHUNKS: u32 = 16 * 1024;

/// A running forwarder.
#[derive(Debug)]
pub struct BareForwarder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
    _links: [Link; 2],
}

impl BareForwarder {
    /// Forwards between two devices of `namespace`, which have one queue each, spinning on `core`.
    ///
    /// # Errors
    /// When a device cannot be used.
    pub fn start(namespace: &Namespace, devices: [&str; 2], core: usize) -> Result<Self> {
        let (sockets, links, frames) = open_both(namespace, devices)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            traffic::pin(core)?;
            forward(sockets, frames, &stopped);
            Ok(())
        });
        Ok(Self {
            stop,
            thread: Some(thread),
            _links: links,
        })
    }
}

impl Drop for BareForwarder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // An error has shown as a rate of nothing.
            let _ = thread.join();
        }
    }
}

/// Sockets of two devices over one new memory, what keeps them attached, and all frames.
///
/// # Errors
/// When a device cannot be used.
pub fn open_both(
    namespace: &Namespace,
    devices: [&str; 2],
) -> Result<([Socket; 2], [Link; 2], Vec<Frame>)> {
    let (region, frames) = Region::leak(CHUNKS, 0)?;
    let umem = Arc::new(SharedUmem::new(region));
    let (left, left_link) = open(namespace, devices[0], &umem)?;
    let (right, right_link) = open(namespace, devices[1], &umem)?;
    Ok(([left, right], [left_link, right_link], frames))
}

fn open(namespace: &Namespace, device: &str, umem: &Arc<SharedUmem>) -> Result<(Socket, Link)> {
    let ifindex = traffic::ifindex(namespace, device)?;
    let prepared = namespace.run(|| Ok(prepare(ifindex, Some(1), None, Share::All)?))?;
    let fd = prepared.sockets.into_iter().next().context("a socket")?;
    let socket = Socket::bind(
        fd,
        umem,
        &SocketConfig {
            ifindex,
            queue: 0,
            rings: RingSizes::default(),
            binding: Binding::Copy,
        },
    )?;
    prepared
        .map
        .set(0, std::os::fd::AsFd::as_fd(&socket))
        .context("the map of sockets")?;
    Ok((socket, prepared.link))
}

fn forward(mut sockets: [Socket; 2], mut free: Vec<Frame>, stop: &AtomicBool) {
    // Room for every frame, so that nothing is allocated on the way.
    free.reserve(CHUNKS as usize);
    while !stop.load(Ordering::Relaxed) {
        let [a, b] = &mut sockets;
        burst(a, b, &mut free);
        burst(b, a, &mut free);
    }
    close_both(sockets, free);
}

/// Ends sockets and frames.
///
/// # Panics
/// When frames were lost.
pub fn close_both(sockets: [Socket; 2], mut free: Vec<Frame>) {
    for socket in sockets {
        socket.close(|frame| free.push(frame));
    }
    assert_eq!(free.len(), CHUNKS as usize, "frames were lost");
    // The region has no other end than that of the process.
    free.into_iter().for_each(std::mem::forget);
}

fn burst(from: &mut Socket, to: &mut Socket, free: &mut Vec<Frame>) {
    let mut moved = 0;
    while moved < BURST_LEN {
        let Some(piece) = from.receive() else { break };
        moved += 1;
        if let Err((frame, _)) = to.transmit(piece.frame, piece.range, piece.more, None) {
            free.push(frame);
        }
    }
    if moved > 0 {
        from.release_rx();
    }
    to.complete(|frame| free.push(frame));
    if from.fill_room() >= BURST_LEN as u32 {
        refill(from, free);
    }
    if moved > 0 {
        to.kick(|frame| free.push(frame));
    }
}

/// Fills the fill ring.
pub fn refill(socket: &mut Socket, free: &mut Vec<Frame>) {
    for _ in 0..socket.fill_room() {
        let Some(frame) = free.pop() else { break };
        if let Err(frame) = socket.fill(frame) {
            free.push(frame);
            break;
        }
    }
    socket.publish_fill();
}
