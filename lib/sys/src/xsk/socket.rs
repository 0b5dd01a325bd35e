//! A bound AF_XDP socket: frames go in and come out, the kernel is told when it must be.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags as Flags, SocketAddrXdpWithSharedUmem, XDP_PGOFF_RX_RING,
    XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpOptionsFlags,
};
use rustix::net::{RecvFlags, SendFlags, sockopt};

use super::ring::{Consumer, Desc, Producer};
use super::stats::Statistics;
use super::umem::{Kind, SharedUmem, TX_METADATA_SIZE};
use crate::memory::{CHUNK_SIZE, Frame, Region};

/// How often, and how long, a queue that is taken is waited for: a quarter of a second together, after
/// which it is somebody else's.
const BUSY_TRIES: u32 = 250;
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// `XDP_PKT_CONTD`: the packet goes on in the next descriptor.
const DESC_CONTINUED: u32 = 1 << 0;
/// `XDP_TX_METADATA`: there is metadata before the packet.
const DESC_METADATA: u32 = 1 << 1;
/// `XDP_TXMD_FLAGS_CHECKSUM` in the metadata: finish the checksum.
const METADATA_CHECKSUM: u64 = 1 << 1;

/// Entries of the four rings, each a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSizes {
    /// Chunks that wait for packets.
    pub fill: u32,
    /// Received packets that we have not read.
    pub rx: u32,
    /// Packets given to the kernel that it has not taken.
    pub tx: u32,
    /// Transmitted chunks on their way back. The kernel takes no more packets than have room here,
    /// so this bounds what is in flight.
    pub completion: u32,
}

impl Default for RingSizes {
    fn default() -> Self {
        Self {
            fill: 2048,
            rx: 2048,
            tx: 2048,
            completion: 2048,
        }
    }
}

/// How chunks and the device meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The kernel copies. Always works, and packets may take several chunks.
    Copy,
    /// The device itself reads and writes chunks; where it refuses, the kernel copies.
    ZeroCopy {
        /// The driver takes packets of several chunks ([`super::XdpFeatures::rx_multi_buffer`]).
        multi_buffer: bool,
    },
}

/// What a socket is bound to.
#[derive(Clone, Copy, Debug)]
pub struct SocketConfig {
    /// The device, in the namespace in which the socket was made.
    pub ifindex: u32,
    /// Its queue, counted from 0. One socket each.
    pub queue: u32,
    /// Entries of the rings.
    pub rings: RingSizes,
    /// How to bind.
    pub binding: Binding,
}

/// Why a socket is not bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A ring size that the kernel does not take.
    #[error("a ring of {0} entries was asked for; ring sizes are powers of two from 64 to 32768")]
    RingSize(u32),
    /// A step that failed.
    #[error("AF_XDP queue {queue} of interface {ifindex}: {step} failed: {error}{}", hint(.error))]
    Step {
        /// The device.
        ifindex: u32,
        /// The queue.
        queue: u32,
        /// What was tried.
        step: &'static str,
        /// What the kernel answered.
        error: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::BUSY) => "; another AF_XDP socket has the queue, end its owner first",
        Some(Errno::NOBUFS) => "; raise the memlock limit (RLIMIT_MEMLOCK) to the size of the UMEM",
        Some(Errno::NOMEM) => "; use fewer frames or smaller rings",
        Some(Errno::NODEV) => "; the device is gone or in another namespace than the socket",
        Some(Errno::INVAL) => "; the device has no such queue, or a socket of ours has the queue",
        _ => "",
    }
}

/// A received piece of a packet.
#[derive(Debug)]
pub struct Received {
    /// The chunk it is in.
    pub frame: Frame,
    /// Where in the chunk.
    pub range: Range<usize>,
    /// The packet goes on in the next piece.
    pub more: bool,
}

/// What the kernel said to the packets in the transmit ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kick {
    /// All are taken.
    Done,
    /// Some have to wait for room in flight; call again.
    Later,
    /// The device is down; they stay in the ring until it is up and [`Socket::kick`] is called.
    Down,
    /// The socket is not bound any more: its device is gone, for good.
    Gone,
}

/// Why a piece was not put into the transmit ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransmitError {
    /// The ring is full.
    Full,
    /// The kernel would refuse it: no bytes, out of the chunk, no room for the metadata before it,
    /// a checksum field outside of it. A refused entry would block the ring.
    Unfit,
}

/// Which chunks the kernel holds, one bit each.
#[derive(Debug)]
struct Held {
    region: &'static Region,
    words: Box<[u64]>,
}

impl Held {
    fn new(region: &'static Region) -> Self {
        let words = (region.len().0 as usize).div_ceil(64);
        Self {
            region,
            words: vec![0; words].into_boxed_slice(),
        }
    }

    /// Ends the handle and remembers the chunk; answers its UMEM offset.
    #[inline]
    fn give(&mut self, frame: Frame) -> u64 {
        let index = frame.index() as usize;
        self.words[index / 64] |= 1 << (index % 64);
        frame.into_umem()
    }

    /// Makes the handle of the chunk around `address` anew, if it was given.
    #[inline]
    fn take(&mut self, address: u64) -> Option<Frame> {
        let index = (address / CHUNK_SIZE as u64) as usize;
        let (word, bit) = (self.words.get_mut(index / 64)?, 1 << (index % 64));
        if *word & bit == 0 {
            return None;
        }
        *word &= !bit;
        Some(self.region.reclaim(address))
    }

    fn count(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }
}

/// A socket that is bound to one queue of one device.
///
/// Dropping it closes it and loses the frames that the kernel holds; [`Socket::close`] gives them
/// back.
#[derive(Debug)]
pub struct Socket {
    /// Shared with [`SharedUmem`]'s list of donors, which holds it weakly.
    fd: Arc<OwnedFd>,
    fill: Producer<u64>,
    rx: Consumer<Desc>,
    tx: Producer<Desc>,
    completion: Consumer<u64>,
    held: Held,
    umem: Arc<SharedUmem>,
    zero_copy: bool,
    multi_buffer: bool,
    metadata: bool,
}

impl Socket {
    /// Gives `fd`, a socket of [`super::create_socket`] that was not used before, the memory of
    /// `umem` and rings, and binds it. The descriptor must be the only one of its socket, or else
    /// closing does not end the kernel's use of the frames.
    ///
    /// # Errors
    /// The step that failed, and what to do about it.
    pub fn bind(
        fd: OwnedFd,
        umem: &Arc<SharedUmem>,
        config: &SocketConfig,
    ) -> Result<Self, BindError> {
        let sizes = config.rings;
        for size in [sizes.fill, sizes.rx, sizes.tx, sizes.completion] {
            if !size.is_power_of_two() || !(64..=32768).contains(&size) {
                return Err(BindError::RingSize(size));
            }
        }
        let fd = Arc::new(fd);
        let sock = fd.as_fd();
        sockopt::set_xdp_rx_ring_size(sock, sizes.rx).map_err(config.failed("the receive ring"))?;
        sockopt::set_xdp_tx_ring_size(sock, sizes.tx)
            .map_err(config.failed("the transmit ring"))?;
        sockopt::set_xdp_umem_fill_ring_size(sock, sizes.fill)
            .map_err(config.failed("the fill ring"))?;
        sockopt::set_xdp_umem_completion_ring_size(sock, sizes.completion)
            .map_err(config.failed("the completion ring"))?;
        let offsets = sockopt::xdp_mmap_offsets(sock).map_err(config.failed("reading offsets"))?;
        let fill = Producer::map(sock, XDP_UMEM_PGOFF_FILL_RING, offsets.fr, sizes.fill)
            .map_err(config.failed("mapping the fill ring"))?;
        let rx = Consumer::map(sock, XDP_PGOFF_RX_RING, offsets.rx, sizes.rx)
            .map_err(config.failed("mapping the receive ring"))?;
        let tx = Producer::map(sock, XDP_PGOFF_TX_RING, offsets.tx, sizes.tx)
            .map_err(config.failed("mapping the transmit ring"))?;
        let page_offset = XDP_UMEM_PGOFF_COMPLETION_RING;
        let completion = Consumer::map(sock, page_offset, offsets.cr, sizes.completion)
            .map_err(config.failed("mapping the completion ring"))?;

        let bound = bind_queue(sock, umem, config)?;
        let zero_copy = sockopt::xdp_options(sock)
            .map_err(config.failed("reading the mode"))?
            .contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY);
        raise_tx_budget(sock, sizes.tx);
        umem.offer(&fd, bound.kind, bound.metadata);
        Ok(Self {
            fd,
            fill,
            rx,
            tx,
            completion,
            held: Held::new(umem.region()),
            umem: Arc::clone(umem),
            zero_copy,
            multi_buffer: bound.kind.multi_buffer,
            metadata: bound.metadata,
        })
    }

    /// True when the device reads and writes the chunks itself.
    #[must_use]
    pub fn zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// True when packets may take several chunks.
    #[must_use]
    pub fn multi_buffer(&self) -> bool {
        self.multi_buffer
    }

    /// True when the kernel finishes partial checksums of transmitted packets. A zero-copy driver
    /// may ignore the request, so it is not made there.
    #[must_use]
    pub fn finishes_checksums(&self) -> bool {
        self.metadata && !self.zero_copy
    }

    /// Bytes that must be free before a transmitted piece in its chunk.
    #[must_use]
    pub fn tx_headroom(&self) -> usize {
        if self.metadata { TX_METADATA_SIZE } else { 0 }
    }

    /// How many chunks the fill ring takes now.
    #[inline]
    pub fn fill_room(&mut self) -> u32 {
        self.fill.room(self.fill.len())
    }

    /// Puts an empty chunk into the fill ring, published by [`Self::publish_fill`].
    ///
    /// # Errors
    /// The frame, when the ring is full or the frame is no chunk.
    #[inline]
    pub fn fill(&mut self, frame: Frame) -> Result<(), Frame> {
        if frame.size() != CHUNK_SIZE || self.fill.room(1) == 0 {
            return Err(frame);
        }
        let address = self.held.give(frame);
        self.fill.push(address);
        Ok(())
    }

    /// Lets the kernel see the chunks put into the fill ring, and wakes a driver that waits for
    /// them.
    #[inline]
    pub fn publish_fill(&mut self) {
        self.fill.publish();
        if self.fill.needs_wakeup() {
            self.wake_receiver();
        }
    }

    #[cold]
    fn wake_receiver(&self) {
        // Only a zero-copy driver asks for it. Whatever the answer, the chunks stay in the ring
        // and the driver asks again.
        let _ = rustix::net::recv(&*self.fd, &mut [0_u8; 0][..], RecvFlags::DONTWAIT);
    }

    /// The next received piece. Ring entries go back to the kernel with [`Self::release_rx`].
    #[inline]
    pub fn receive(&mut self) -> Option<Received> {
        loop {
            let desc = self.rx.pop()?;
            // Another core has written the bytes, which costs some 100 ns to wait for; a caller
            // that takes a batch before it looks at any of them does not wait.
            self.held.region.prefetch(desc.addr);
            // A chunk that was not given cannot come back; if it does, it is not ours to touch.
            let Some(frame) = self.held.take(desc.addr) else {
                debug_assert!(false, "the kernel returned a chunk it was not given");
                continue;
            };
            let start = (desc.addr % CHUNK_SIZE as u64) as usize;
            let end = (start + desc.size as usize).min(CHUNK_SIZE);
            return Some(Received {
                frame,
                range: start..end,
                more: desc.options & DESC_CONTINUED != 0,
            });
        }
    }

    /// Lets the kernel use the ring entries that were received.
    #[inline]
    pub fn release_rx(&mut self) {
        self.rx.release();
    }

    /// How many pieces the transmit ring takes now, of which `wanted` are needed: the answer is
    /// exact only as far as that.
    #[inline]
    pub fn tx_room(&mut self, wanted: u32) -> u32 {
        self.tx.room(wanted)
    }

    /// Puts the bytes `range` of `frame` into the transmit ring, published by [`Self::kick`].
    /// `more` says that the packet goes on in the next piece. `csum` is given with a packet's first
    /// piece only: where the sum starts and, from there, its field.
    ///
    /// # Errors
    /// The frame, and why it was not taken.
    #[inline]
    pub fn transmit(
        &mut self,
        mut frame: Frame,
        range: Range<usize>,
        more: bool,
        csum: Option<(u16, u16)>,
    ) -> Result<(), (Frame, TransmitError)> {
        let fits = frame.size() == CHUNK_SIZE
            && range.start >= self.tx_headroom()
            && range.start < range.end
            && range.end <= CHUNK_SIZE;
        if !fits {
            return Err((frame, TransmitError::Unfit));
        }
        if self.tx.room(1) == 0 {
            return Err((frame, TransmitError::Full));
        }
        let mut options = if more { DESC_CONTINUED } else { 0 };
        if let Some((start, offset)) = csum {
            let field_end = usize::from(start) + usize::from(offset) + 2;
            if !self.finishes_checksums() || field_end > range.len() {
                return Err((frame, TransmitError::Unfit));
            }
            // struct xsk_tx_metadata: flags, then start and offset of the request.
            let at = range.start - TX_METADATA_SIZE;
            let metadata = &mut frame.bytes_mut()[at..range.start];
            metadata[..8].copy_from_slice(&METADATA_CHECKSUM.to_ne_bytes());
            metadata[8..10].copy_from_slice(&start.to_ne_bytes());
            metadata[10..12].copy_from_slice(&offset.to_ne_bytes());
            metadata[12..].fill(0);
            options |= DESC_METADATA;
        }
        let address = self.held.give(frame);
        self.tx.push(Desc {
            addr: address + range.start as u64,
            size: range.len() as u32,
            options,
        });
        Ok(())
    }

    /// Hands everything in the transmit ring to the kernel. In copy mode the packets are sent
    /// inside of this call. Chunks that come back meanwhile go to `freed`.
    pub fn kick(&mut self, mut freed: impl FnMut(Frame)) -> Kick {
        self.tx.publish();
        loop {
            let pending = self.tx.pending();
            if pending == 0 || (self.zero_copy && !self.tx.needs_wakeup()) {
                return Kick::Done;
            }
            match rustix::net::send(&*self.fd, &[], SendFlags::DONTWAIT) {
                Err(Errno::NETDOWN) => return Kick::Down,
                Err(Errno::NXIO | Errno::BADF | Errno::NODEV) => return Kick::Gone,
                // EAGAIN: the budget of a call, the socket's buffer or room for completions is
                // used up. EBUSY: the device dropped a packet, which is taken from the ring like
                // the others. While packets are taken it is worth to go on.
                Ok(_) | Err(_) => {
                    self.complete(&mut freed);
                    let left = self.tx.pending();
                    if left == 0 {
                        return Kick::Done;
                    }
                    if left == pending {
                        return Kick::Later;
                    }
                }
            }
        }
    }

    /// How many pieces wait in the transmit ring for the kernel to take them.
    #[inline]
    pub fn tx_pending(&mut self) -> u32 {
        self.tx.pending()
    }

    /// Takes back the chunks that were sent.
    #[inline]
    pub fn complete(&mut self, mut freed: impl FnMut(Frame)) {
        let mut any = false;
        while let Some(address) = self.completion.pop() {
            any = true;
            match self.held.take(address) {
                Some(frame) => freed(frame),
                None => debug_assert!(false, "the kernel returned a chunk it was not given"),
            }
        }
        if any {
            self.completion.release();
        }
    }

    /// What the kernel counted.
    ///
    /// # Errors
    /// What `getsockopt(2)` answers.
    pub fn statistics(&self) -> io::Result<Statistics> {
        Statistics::read(self.fd.as_fd())
    }

    /// How many chunks the kernel holds: in rings, and on their way.
    #[must_use]
    pub fn held_len(&self) -> usize {
        self.held.count()
    }

    /// Closes the socket and gives the frames that the kernel held to `freed`. Answers how many
    /// are lost.
    ///
    /// In copy mode none is: the kernel touches chunks while it delivers a packet and inside of
    /// our own transmit call. Releasing the socket takes it out of the map and waits until every
    /// delivery under way has ended (`synchronize_net` in `xsk_unbind_dev`), and packets in flight
    /// have their own copy of the bytes. The release happens inside of this call, since descriptor
    /// and ring mappings, all of which keep the socket, end in it.
    ///
    /// A zero-copy driver lets go later, in the kernel's own time (`xp_release_deferred`), which
    /// nothing tells us. Its chunks could still be written to; they are not used again.
    pub fn close(self, mut freed: impl FnMut(Frame)) -> usize {
        let Self {
            fd,
            fill,
            rx,
            tx,
            completion,
            mut held,
            umem,
            zero_copy,
            ..
        } = self;
        drop((fill, rx, tx, completion));
        umem.close(fd);
        if zero_copy {
            return held.count();
        }
        for index in 0..held.words.len() as u64 * 64 {
            if let Some(frame) = held.take(index * CHUNK_SIZE as u64) {
                freed(frame);
            }
        }
        0
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl SocketConfig {
    fn failed<E: Into<io::Error>>(&self, step: &'static str) -> impl FnOnce(E) -> BindError {
        let (ifindex, queue) = (self.ifindex, self.queue);
        move |error| BindError::Step {
            ifindex,
            queue,
            step,
            error: error.into(),
        }
    }
}

/// The memory that a bound socket uses.
struct Bound {
    kind: Kind,
    metadata: bool,
}

fn bind_queue(
    socket: BorrowedFd<'_>,
    umem: &SharedUmem,
    config: &SocketConfig,
) -> Result<Bound, BindError> {
    let copy = Kind {
        zero_copy: false,
        multi_buffer: true,
    };
    let zero_copy = match config.binding {
        Binding::Copy => None,
        Binding::ZeroCopy { multi_buffer } => Some(Kind {
            zero_copy: true,
            multi_buffer,
        }),
    };
    let own = |flags| SocketAddrXdp::new(flags, config.ifindex, config.queue);
    let join = |donor: BorrowedFd<'_>| {
        let addr = SocketAddrXdpWithSharedUmem {
            addr: own(Flags::XDP_SHARED_UMEM),
            shared_umem_fd: donor,
        };
        match bind_in_time(socket, &addr) {
            Ok(()) => Ok(true),
            // The donor's device is gone: it lends nothing any more.
            Err(Errno::BADF) => Ok(false),
            Err(error) => Err(error.into()),
        }
    };
    if let Some(kind) = zero_copy {
        // A driver that cannot join says so here already; the kernel copies then.
        if let Ok(Some(metadata)) = umem.join(kind, join) {
            return Ok(Bound { kind, metadata });
        }
    } else if let Some(metadata) = umem.join(copy, join).map_err(config.failed("sharing"))? {
        return Ok(Bound {
            kind: copy,
            metadata,
        });
    }
    let metadata = umem
        .register(socket)
        .map_err(config.failed("registering the UMEM"))?;
    if let Some(kind) = zero_copy {
        let mut flags = Flags::XDP_ZEROCOPY | Flags::XDP_USE_NEED_WAKEUP;
        flags.set(Flags::XDP_USE_SG, kind.multi_buffer);
        if bind_in_time(socket, &own(flags)).is_ok() {
            return Ok(Bound { kind, metadata });
        }
    }
    let flags = Flags::XDP_COPY | Flags::XDP_USE_NEED_WAKEUP | Flags::XDP_USE_SG;
    bind_in_time(socket, &own(flags)).map_err(config.failed("binding"))?;
    Ok(Bound {
        kind: copy,
        metadata,
    })
}

/// Binds, also to a queue whose last socket was closed just now: it stays taken until a thread of the
/// kernel's has let go of that socket's memory (`xp_release_deferred`), some milliseconds that end
/// without a word.
#[expect(clippy::disallowed_methods, reason = "there is no event to wait for")]
fn bind_in_time(
    socket: BorrowedFd<'_>,
    address: &impl rustix::net::addr::SocketAddrArg,
) -> Result<(), Errno> {
    for _ in 0..BUSY_TRIES {
        match rustix::net::bind(socket, address) {
            Err(Errno::BUSY) => std::thread::sleep(BUSY_PAUSE),
            other => return other,
        }
    }
    Err(Errno::BUSY)
}

/// Lets one transmit call take the whole ring, instead of 32 packets. Kernels before 6.17 do not
/// know the option, which costs calls and no packets.
fn raise_tx_budget(socket: BorrowedFd<'_>, budget: u32) {
    use std::os::fd::AsRawFd;
    /// `XDP_MAX_TX_SKB_BUDGET`
    const MAX_TX_SKB_BUDGET: libc::c_int = 9;
    // SAFETY: the option's value is a 32-bit integer, which lives through the call.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            MAX_TX_SKB_BUDGET,
            std::ptr::from_ref(&budget).cast(),
            size_of::<u32>() as libc::socklen_t,
        );
    }
}
