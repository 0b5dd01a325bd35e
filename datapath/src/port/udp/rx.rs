//! From the sockets into the switch.
//!
//! Every message gets a chunk and a large frame to spill into; what is not used goes back to the
//! pool before the call ends, so that an idle port holds no memory. A message that is a run of
//! datagrams is split into packets, over several calls if a batch has not room for all of them.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::AsFd;

use vswitch_packet::{Protocol, ipv4, ipv6, udp};
use vswitch_sys::memory::Frame;
use vswitch_sys::udp_socket::{Received, RecvSlot};

use super::UdpQueue;
use crate::buffer::{Batch, FramePool, HEADROOM, Packet};
use crate::offload::Offload;
use crate::port::{ETHERNET_SIZE, PortIndex, RxStatus, spill};

/// Where payloads begin: before them is room for the headers that are made, and with these there
/// must still be the whole headroom.
const OFFSET: usize = HEADROOM + ETHERNET_SIZE + ipv6::HEADER_SIZE + udp::HEADER_SIZE;

/// A received message: one datagram, or several of one size.
#[derive(Debug)]
pub(super) struct Run {
    head: Frame,
    spill: Option<Frame>,
    /// Bytes of the message, all of which are in the frames.
    len: usize,
    /// Bytes of each datagram but the last.
    segment: usize,
    /// Bytes that have become packets.
    at: usize,
    meta: Meta,
}

/// What the headers of its datagrams say.
#[derive(Clone, Copy, Debug)]
struct Meta {
    from: SocketAddr,
    to: IpAddr,
    to_port: u16,
    tos: u8,
    ttl: u8,
}

impl UdpQueue {
    pub(super) fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch) -> RxStatus {
        let before = batch.len();
        self.split(pool, batch);
        // Each in turn, so that none waits for another that always has something.
        let len = self.receivers.len();
        let first = self.next;
        let mut drained = 0;
        for at in (first..len).chain(0..first.min(len)) {
            if batch.is_full() {
                break;
            }
            if self.take(at, pool, batch.remaining_capacity()) == RxStatus::Drained {
                drained += 1;
            }
            self.split(pool, batch);
            self.next = (at + 1) % len;
        }
        let status = if drained == len && self.runs.is_empty() {
            RxStatus::Drained
        } else {
            RxStatus::More
        };
        let received = &batch[before..];
        let size: usize = received.iter().map(Packet::len).sum();
        self.counters.rx_packets += received.len() as u64;
        self.counters.rx_bytes += size as u64;
        self.counters.rx_batches += u64::from(!received.is_empty());
        status
    }

    /// Receives up to `wanted` messages by one socket. There are none left of earlier calls.
    fn take(&mut self, at: usize, pool: &mut FramePool, wanted: usize) -> RxStatus {
        let Some(receiver) = self.receivers.get(at) else {
            return RxStatus::Drained;
        };
        while self.slots.len() < wanted {
            // Without a chunk, what waits in the socket stays there until frames come back.
            let Some(head) = pool.chunk() else { break };
            let spill = pool.large();
            self.slots.push(RecvSlot { head, spill });
        }
        if self.slots.is_empty() {
            return RxStatus::More;
        }
        let answer = self.recv.recv(receiver.fd.as_fd(), &mut self.slots, OFFSET);
        for (i, slot) in self.slots.drain(..).enumerate() {
            let RecvSlot { head, spill } = slot;
            let run = self.recv.received(i).and_then(|received| {
                let segment = received.segment.map_or(received.len, usize::from);
                let len = received.len.div_ceil(segment.max(1)).max(1) as u64;
                if received.truncated {
                    self.counters.rx_dropped += len;
                    return None;
                }
                let Some(meta) = meta(&received, receiver.port) else {
                    self.counters.rx_errors += len;
                    return None;
                };
                Some((received.len, segment, meta))
            });
            let run = run.map(|(len, segment, meta)| (len, segment.max(1), meta));
            match run {
                Some((len, segment, meta)) => {
                    let in_head = head.size() - OFFSET;
                    let (kept, unused) = match spill {
                        Some(frame) if len > in_head => (Some(frame), None),
                        spill => (None, spill),
                    };
                    if let Some(frame) = unused {
                        pool.free(frame);
                    }
                    self.runs.push(Run {
                        head,
                        spill: kept,
                        len,
                        segment,
                        at: 0,
                        meta,
                    });
                }
                None => {
                    pool.free(head);
                    if let Some(frame) = spill {
                        pool.free(frame);
                    }
                }
            }
        }
        match answer {
            Ok(_) => RxStatus::More,
            Err(error) => Self::read_rx_error(&error),
        }
    }

    /// Makes packets of what was received, as long as the batch has room.
    fn split(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        while !batch.is_full()
            && let Some(run) = self.runs.first_mut()
        {
            let packet = if run.is_single() {
                self.runs.remove(0).into_packet(self.port, pool)
            } else {
                let packet = run.next(self.port, pool);
                if run.at >= run.len {
                    self.runs.remove(0).free(pool);
                }
                packet
            };
            match packet {
                Some(packet) => batch.push(packet),
                None => self.counters.rx_dropped += 1,
            }
        }
    }
}

impl Run {
    /// It is one datagram.
    fn is_single(&self) -> bool {
        self.len <= self.segment
    }

    /// Bytes of the next datagram.
    fn next_len(&self) -> usize {
        (self.len - self.at).min(self.segment)
    }

    /// Gives its frames back.
    pub(super) fn free(self, pool: &mut FramePool) {
        pool.free(self.head);
        if let Some(frame) = self.spill {
            pool.free(frame);
        }
    }

    /// The packet of its only datagram, in the frames that it came in.
    fn into_packet(self, port: PortIndex, pool: &mut FramePool) -> Option<Packet> {
        self.meta.build(port, self.head, self.spill, self.len, pool)
    }

    /// The packet of the next datagram, in frames of its own. `None` when there are none.
    fn next(&mut self, port: PortIndex, pool: &mut FramePool) -> Option<Packet> {
        let range = self.at..self.at + self.next_len();
        self.at = range.end;
        let len = range.len();
        let mut head = pool.chunk()?;
        let room = head.size() - OFFSET;
        let middle = range.start + len.min(room);
        self.copy(
            range.start..middle,
            &mut head.bytes_mut()[OFFSET..OFFSET + (middle - range.start)],
        );
        let mut spill = None;
        if middle < range.end {
            let Some(mut frame) = pool.large() else {
                pool.free(head);
                return None;
            };
            self.copy(
                middle..range.end,
                &mut frame.bytes_mut()[..range.end - middle],
            );
            spill = Some(frame);
        }
        self.meta.build(port, head, spill, len, pool)
    }

    /// Copies bytes of the message.
    fn copy(&self, range: Range<usize>, to: &mut [u8]) {
        let front = &self.head.bytes()[OFFSET..];
        let rest = self.spill.as_ref().map_or(&[][..], Frame::bytes);
        let middle = front.len().clamp(range.start, range.end);
        let (in_front, in_rest) = to.split_at_mut(middle - range.start);
        if let Some(bytes) = front.get(range.start..middle) {
            in_front.copy_from_slice(bytes);
        }
        let at = middle.saturating_sub(front.len());
        if let Some(bytes) = rest.get(at..at + in_rest.len()) {
            in_rest.copy_from_slice(bytes);
        }
    }
}

/// What is known of a message that came to port `to_port`. `None` when its ends are of two families.
fn meta(received: &Received, to_port: u16) -> Option<Meta> {
    let to = received.to?;
    (received.from.is_ipv4() == to.is_ipv4()).then_some(Meta {
        from: received.from,
        to,
        to_port,
        tos: received.tos,
        ttl: received.ttl,
    })
}

impl Meta {
    /// The packet of a datagram of `len` bytes that begins in `head` and goes on in `spill`. `None` when
    /// the two do not hold it.
    fn build(
        &self,
        port: PortIndex,
        head: Frame,
        mut spill: Option<Frame>,
        len: usize,
        pool: &mut FramePool,
    ) -> Option<Packet> {
        let nothing = Offload::default();
        let packet = spill::join(port, head, OFFSET, &mut spill, len, nothing, pool);
        if let Some(frame) = spill {
            pool.free(frame);
        }
        self.finish(packet?, len, pool)
    }

    /// Puts headers before a packet that is a payload of `len` bytes.
    fn finish(&self, mut packet: Packet, len: usize, pool: &mut FramePool) -> Option<Packet> {
        if self.write(&mut packet, len).is_none() {
            debug_assert!(false, "there is room for headers before every payload");
            pool.drop_packet(packet);
            return None;
        }
        Some(packet)
    }

    fn write(&self, packet: &mut Packet, len: usize) -> Option<()> {
        let ip_size = match self.from {
            SocketAddr::V4(_) => ipv4::HEADER_SIZE,
            SocketAddr::V6(_) => ipv6::HEADER_SIZE,
        };
        let size = u16::try_from(udp::HEADER_SIZE + len).ok()?;
        let headers = ETHERNET_SIZE + ip_size + udp::HEADER_SIZE;
        if !packet.prepend(headers) {
            return None;
        }
        let head = packet.head_mut().get_mut(..headers)?;
        let (ethernet, rest) = head.split_at_mut(ETHERNET_SIZE);
        let (ip, datagram) = rest.split_at_mut(ip_size);
        ethernet.fill(0);
        let ethertype: u16 = match (self.from.ip(), self.to) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let repr = ipv4::Repr {
                    src,
                    dst,
                    protocol: Protocol::UDP,
                    ttl: self.ttl,
                    tos: self.tos,
                    ident: 0,
                    fragment: ipv4::DONT_FRAGMENT,
                    payload_size: size,
                };
                repr.emit(ip);
                0x0800
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let repr = ipv6::Repr {
                    src,
                    dst,
                    next: Protocol::UDP,
                    hop_limit: self.ttl,
                    traffic_class: self.tos,
                    flow_label: 0,
                    payload_size: size,
                };
                repr.emit(ip);
                0x86dd
            }
            _ => return None,
        };
        ethernet[ETHERNET_SIZE - 2..].copy_from_slice(&ethertype.to_be_bytes());
        let mut header = udp::Udp::new_unchecked(datagram);
        header.set_src_port(self.from.port());
        header.set_dst_port(self.to_port);
        header.set_size(size);
        header.set_checksum(0);
        Some(())
    }
}
