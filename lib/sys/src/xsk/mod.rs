//! AF_XDP sockets: packet rings shared with the kernel, over one UMEM for all ports.
//!
//! Two halves, because two processes use it. [`prepare()`] needs privilege: it makes raw sockets in
//! the device's network namespace, the map and the program that fills them, and attaches it.
//! [`Socket::bind`] needs none: the datapath gives such a socket its own memory and its rings, and
//! binds it to a queue. Neither knows what a packet is.
//!
//! Law: a [`Frame`](crate::memory::Frame) that is given to the kernel ends, and one that comes
//! back is made anew; [`Socket`] keeps a bit for each chunk that the kernel holds, so that no chunk
//! ever has two handles and none is forgotten at the end. Rings have one owner each, the socket.
//!
//! One UMEM, many sockets (`XDP_SHARED_UMEM`): the first socket registers the memory, every later
//! one binds against any live socket of the same kind. Where none lives any more, or the kinds
//! differ (zero-copy or not, one buffer a packet or several: flags that the kernel inherits and
//! does not let a sharing socket change), the same memory is registered again. That is sound,
//! since a frame is with one socket at a time, and costs page pins only.
//!
//! Threads: a socket belongs to one thread; binding and closing take a lock in [`SharedUmem`].
//! Cost: rings are memory; the kernel is called once a transmit burst and never to receive in copy
//! mode. Each bound queue costs kernel memory of about 130 bytes for every chunk of the UMEM.
//!
//! Spec: `Documentation/networking/af_xdp.rst`, `xsk-tx-metadata.rst`, `net/xdp/xsk.c`.

mod device;
mod prepare;
mod ring;
mod socket;
mod stats;
mod umem;

pub use device::{Driver, XdpFeatures, driver, rx_queue_len, xdp_features};
pub use prepare::{Mode, PrepareError, Prepared, Share, create_socket, prepare};
pub use socket::{
    BindError, Binding, Kick, Received, RingSizes, Socket, SocketConfig, TransmitError,
};
pub use stats::Statistics;
pub use umem::{SharedUmem, TX_METADATA_SIZE};
