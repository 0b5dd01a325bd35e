//! What a packet still needs before it can leave on a wire, and the code that does it.
//!
//! Decision 10: offloads are metadata. A packet from a TAP may be a 64 KiB super-frame whose
//! checksum is only begun; it crosses the switch as it is and is finished by the first piece that
//! must: the receiver's own stack, the kernel behind the transmitting port, or, where neither can,
//! the software in this folder.

pub(crate) mod checksum;
mod cut;
pub mod fit;
mod fragment;
mod layout;
pub mod merge;
pub mod partial;
mod segment;
pub mod too_big;
pub mod tunnel;

/// The checksum and segmentation state of a packet. Offsets count from its first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// What is known of the transport checksum.
    pub csum: Checksum,
    /// Set on a super-frame that stands for several packets.
    pub gso: Option<Gso>,
}

/// What is known of a packet's transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// The bytes are what they are; nobody has looked.
    #[default]
    Unknown,
    /// Verified by who handed us the packet.
    Valid,
    /// The field holds the sum of the pseudo header only. To finish: sum the bytes from `start`
    /// to the end of the packet and store the complement `offset` bytes after `start`.
    Partial {
        /// First byte that is summed.
        start: u16,
        /// Where the checksum field is, counted from `start`.
        offset: u16,
    },
}

/// A super-frame's segmentation (`struct virtio_net_hdr`, linux/virtio_net.h).
///
/// The length of the headers is not kept: the kernel's `hdr_len` is only a hint of how much lies in
/// the first buffer, and who cuts or sends a super-frame reads the headers anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// How it is cut.
    pub kind: GsoKind,
    /// Payload bytes of every segment but the last.
    pub size: u16,
    /// TCP: CWR is set on the first segment only (`VIRTIO_NET_HDR_GSO_ECN`).
    pub ecn: bool,
    /// Set when what is cut lies inside a UDP tunnel, whose headers each segment repeats.
    pub tunnel: Option<Tunnel>,
}

/// The UDP tunnel around a super-frame (`struct virtio_net_hdr_v1_hash_tunnel`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Where the outer UDP header begins.
    pub outer_transport: u16,
    /// Where the inner IP header begins.
    pub inner_network: u16,
    /// The outer IP header is IPv6.
    pub is_v6: bool,
    /// The outer UDP header carries a checksum, to be computed for each segment.
    pub csum: bool,
}

/// The protocols that segmentation knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP cut into datagrams (`VIRTIO_NET_HDR_GSO_UDP_L4`), either family.
    Udp,
}

impl Offload {
    /// Moves all offsets by `by` bytes, after bytes were put before the packet or taken from it.
    #[inline]
    pub fn shift(&mut self, by: i32) {
        if let Checksum::Partial { start, .. } = &mut self.csum {
            *start = start.saturating_add_signed(by as i16);
        }
        if let Some(Gso {
            tunnel: Some(tunnel),
            ..
        }) = &mut self.gso
        {
            for offset in [&mut tunnel.outer_transport, &mut tunnel.inner_network] {
                *offset = offset.saturating_add_signed(by as i16);
            }
        }
    }
}

/// What a port can send as it is. Everything else is done by us first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Finishes a partial checksum, or hands it on to a receiver that needs none.
    pub csum: bool,
    /// Takes TCP over IPv4 super-frames.
    pub tso4: bool,
    /// Takes TCP over IPv6 super-frames.
    pub tso6: bool,
    /// Takes UDP super-frames.
    pub uso: bool,
    /// Takes super-frames of the other kinds inside a UDP tunnel.
    pub tunnel: bool,
    /// Largest layer-3 packet, bytes (the device's MTU).
    pub mtu: u32,
    /// Most frames (head included) that one packet may have.
    pub max_segments: usize,
}
