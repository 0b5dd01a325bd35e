//! AF_XDP ports: frames of a network card or a veth, through rings shared with the kernel.
//!
//! For physical devices and for veths whose peer is somebody's container. Not for bulk TCP of
//! local containers at MTU 1500: XDP takes segmentation offload from them, a TAP or packet port
//! keeps it. `README.md` has the caveats.
//!
//! Law: the frames of a queue are in the fill ring, in the hands of the kernel, or in a packet of
//! which only some pieces have arrived; [`AfxdpQueue::close`] gives them all back. A descriptor that
//! the kernel would refuse is never written, since it would block the ring.
//!
//! Threads: one queue, one worker. Cost: `rx` reads memory only; `tx` is one call for a burst, in
//! which the kernel copies and, on a veth, runs the receiver's stack. From one such port to another
//! the switch itself copies nothing.
//!
//! Spec: Documentation/networking/af_xdp.rst, xsk-tx-metadata.rst.

mod counters;
mod rx;
mod tx;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use vswitch_sys::bpf::XskMap;
use vswitch_sys::xsk::{BindError, Binding, Mode, RingSizes, SharedUmem, Socket, SocketConfig};

use super::{PortCounters, PortIndex, PortQueue, Readiness, RxStatus};
use crate::buffer::{Batch, FramePool, Packet, TAIL_LEN};
use crate::offload::Capabilities;

/// What a queue is opened with.
#[derive(Clone, Copy, Debug)]
pub struct AfxdpConfig {
    /// The device, in the namespace in which the socket was made.
    pub ifindex: u32,
    /// Its queue, counted from 0.
    pub queue: u32,
    /// Entries of the rings.
    pub rings: RingSizes,
    /// The mode that `vswitch_sys::xsk::prepare` chose.
    pub mode: Mode,
    /// The driver receives packets of several buffers (`XdpFeatures::rx_multi_buffer`); asked for
    /// with zero-copy only.
    pub multi_buffer: bool,
    /// The peer is a stack on this machine (a veth), which leaves checksums for the device to
    /// finish. Never true of a wire, where such a packet is a damaged one.
    pub local: bool,
    /// The device is shared with the host, and only tunnels come from it.
    pub uplink: bool,
    /// Largest layer-3 packet, bytes.
    pub mtu: u32,
}

/// Why a queue did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The socket was not bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Too few free frames for the fill ring.
    #[error(
        "an AF_XDP queue needs {needed} free frames for its fill ring and {had} are left; give the \
         datapath more frames, or the port smaller rings or fewer queues"
    )]
    Frames {
        /// Entries of the fill ring.
        needed: u32,
        /// Frames that were free.
        had: u32,
    },
    /// The socket could not be put into the map.
    #[error("directing queue {queue} to its AF_XDP socket failed: {error}")]
    Map {
        /// The queue.
        queue: u32,
        /// What `bpf(2)` answered.
        error: io::Error,
    },
}

/// What the device last said to a transmit call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Up,
    /// Set down; it is asked again at the next burst.
    Down,
    /// Gone for good: the socket is bound to nothing.
    Gone,
}

/// One queue of an AF_XDP port.
#[derive(Debug)]
pub struct AfxdpQueue {
    socket: Socket,
    port: PortIndex,
    mode: Mode,
    local: bool,
    uplink: bool,
    capabilities: Capabilities,
    counters: PortCounters,
    link: Link,
    /// Chunks that the fill ring lacks because the pool had none.
    fill_missing: u32,
    /// A packet of which more pieces are to come.
    open: Option<Packet>,
    /// The pieces of the current packet are thrown away up to its end.
    skip: bool,
    /// Pieces wait in the transmit ring for the kernel to have room.
    waiting: bool,
}

impl AfxdpQueue {
    /// Binds `socket` to its queue with the memory of `umem`, fills the fill ring from `pool`, whose
    /// frames must be of the same region, and directs the queue's packets to it.
    ///
    /// # Errors
    /// A sentence that says what to do. Frames taken are back in `pool`, and the queue's packets go
    /// where they went before.
    pub fn open(
        socket: OwnedFd,
        port: PortIndex,
        config: &AfxdpConfig,
        map: &XskMap,
        umem: &Arc<SharedUmem>,
        pool: &mut FramePool,
    ) -> Result<Self, OpenError> {
        let binding = match config.mode {
            Mode::ZeroCopy => Binding::ZeroCopy {
                multi_buffer: config.multi_buffer,
            },
            Mode::Native | Mode::Generic => Binding::Copy,
        };
        let socket = Socket::bind(
            socket,
            umem,
            &SocketConfig {
                ifindex: config.ifindex,
                queue: config.queue,
                rings: config.rings,
                binding,
            },
        )?;
        let mode = match config.mode {
            Mode::ZeroCopy if !socket.zero_copy() => Mode::Native,
            mode => mode,
        };
        let needed = config.rings.fill;
        let mut queue = Self {
            port,
            mode,
            local: config.local,
            uplink: config.uplink,
            capabilities: Capabilities {
                csum: socket.finishes_checksums(),
                mtu: config.mtu,
                max_segments: if socket.multi_buffer() {
                    1 + TAIL_LEN
                } else {
                    1
                },
                ..Capabilities::default()
            },
            counters: PortCounters::default(),
            link: Link::Up,
            fill_missing: needed,
            open: None,
            skip: false,
            waiting: false,
            socket,
        };
        queue.refill(pool);
        if queue.fill_missing > 0 {
            let had = needed - queue.fill_missing;
            Box::new(queue).close(pool);
            return Err(OpenError::Frames { needed, had });
        }
        if let Err(error) = map.set(config.queue, queue.socket.as_fd()) {
            Box::new(queue).close(pool);
            return Err(OpenError::Map {
                queue: config.queue,
                error,
            });
        }
        Ok(queue)
    }

    /// The mode that the queue works in: zero-copy may have been refused.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

impl PortQueue for AfxdpQueue {
    fn rx(&mut self, _now: Instant, pool: &mut FramePool, batch: &mut Batch) -> RxStatus {
        self.receive(pool, batch)
    }

    fn tx(&mut self, _now: Instant, pool: &mut FramePool, packets: &mut Vec<Packet>) {
        self.transmit(pool, packets);
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn carries_tunnels(&self) -> bool {
        self.uplink
    }

    fn is_local(&self) -> bool {
        self.local
    }

    fn set_mtu(&mut self, mtu: u32) {
        self.capabilities.mtu = mtu;
    }

    fn readiness(&self) -> Readiness<'_> {
        Readiness::Fd {
            fd: self.socket.as_fd(),
            cheap: true,
        }
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn refresh_counters(&mut self) {
        self.read_kernel_counters();
    }

    fn close(self: Box<Self>, pool: &mut FramePool) {
        let Self { socket, open, .. } = *self;
        if let Some(packet) = open {
            pool.drop_packet(packet);
        }
        let lost = socket.close(|frame| pool.free(frame));
        if lost > 0 {
            tracing::warn!(
                lost,
                "frames of a zero-copy queue stay with its driver and are not used again"
            );
        }
    }
}
