//! From the switch out of the sockets.
//!
//! The headers of every packet say to whom it goes and how; they are read and left out. The source
//! port that they say chooses the socket, so that the packets of a flow stay in order. Packets in a
//! row by one socket that say the same and have one size go as one message.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use vswitch_packet::{Protocol, ipv4, ipv6, udp};
use vswitch_sys::udp_socket::{
    self, BATCH_LEN, Family, Fragmenting, MESSAGE_MAX, Outgoing, SEGMENTS_MAX,
};

use super::counters::Refused;
use super::{Sender, UdpQueue};
use crate::buffer::{FramePool, Packet, Segment};
use crate::port::ETHERNET_SIZE;

/// What the headers of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    route: Route,
    /// The source port in the header.
    src_port: u16,
    /// Where the payload begins.
    start: usize,
    /// Bytes of it.
    size: usize,
    /// It may go without a checksum.
    bare: bool,
}

/// What the datagrams of a run have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Route {
    to: SocketAddr,
    from: IpAddr,
    tos: u8,
    ttl: u8,
    fragmenting: Fragmenting,
}

/// How a socket has to be for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Modes {
    fragmenting: Fragmenting,
    checksums: bool,
}

/// The packets that one socket sends.
#[derive(Clone, Copy)]
struct Burst<'a> {
    packets: &'a [Packet],
    plans: &'a [Option<Plan>],
    /// Which of them.
    order: &'a [u32],
}

/// A message: some packets of a burst in a row.
#[derive(Clone, Copy, Debug)]
struct Message {
    first: usize,
    len: usize,
    plan: Plan,
}

impl UdpQueue {
    pub(super) fn transmit(&mut self, pool: &mut FramePool, packets: &mut Vec<Packet>) {
        self.counters.tx_batches += u64::from(!packets.is_empty());
        let mut plans = std::mem::take(&mut self.plans);
        let mut order = std::mem::take(&mut self.order);
        plans.clear();
        plans.extend(packets.iter().map(read));
        let mut planned = 0;
        for family in [Family::V4, Family::V6] {
            let len = self.senders.iter().filter(|s| s.family == family).count();
            let mut number = 0;
            for at in 0..self.senders.len() {
                if self.senders.get(at).is_none_or(|s| s.family != family) {
                    continue;
                }
                let turn = number;
                number += 1;
                let is_mine = |plan: &Plan| {
                    plan.route.to.is_ipv4() == (family == Family::V4)
                        && usize::from(plan.src_port) % len == turn
                };
                order.clear();
                let numbered = (0_u32..).zip(&plans);
                order.extend(numbered.filter_map(|(i, plan)| is_mine(plan.as_ref()?).then_some(i)));
                planned += order.len();
                let burst = Burst {
                    packets,
                    plans: &plans,
                    order: &order,
                };
                self.send_all(at, burst);
            }
        }
        self.counters.tx_errors += (packets.len() - planned) as u64;
        self.plans = plans;
        self.order = order;
        for packet in packets.drain(..) {
            pool.drop_packet(packet);
        }
    }

    /// Sends a burst by one socket.
    fn send_all(&mut self, at: usize, burst: Burst<'_>) {
        let mut done = 0;
        // Packets before this one go alone: as a run they were refused.
        let mut alone = 0;
        while let Some(first) = burst.message(done, alone) {
            let Some(sender) = self.senders.get_mut(at) else {
                debug_assert!(false, "a burst has a sender");
                return;
            };
            let modes = first.modes();
            sender.set(modes);
            // Each message is worked out from where the one before it ends, as long as the socket is
            // right for it.
            let mut sent = [0_usize; BATCH_LEN];
            let mut count = 0;
            let mut next = Some(first);
            let messages = std::iter::from_fn(|| {
                let one = next.take()?;
                if let Some(len) = sent.get_mut(count) {
                    *len = one.len;
                    count += 1;
                }
                let after = burst.message(one.first + one.len, alone);
                next = after.filter(|other| other.modes() == modes);
                Some((one.outgoing(), one.pieces(burst)))
            });
            match self.send.send(sender.fd.as_fd(), messages) {
                Ok(taken) => {
                    let len: usize = sent.iter().take(taken).sum();
                    for i in done..done + len {
                        let size = burst.get(i).map_or(0, |(packet, _)| packet.len());
                        self.counters.tx_packets += 1;
                        self.counters.tx_bytes += size as u64;
                    }
                    done += len;
                }
                Err(error) => {
                    let left = burst.order.len() - done;
                    match self.count_tx_error(&error, first.len, left) {
                        Refused::Again => {}
                        Refused::This => done += first.len,
                        Refused::All => done += left,
                        Refused::Alone => alone = done + first.len,
                    }
                }
            }
        }
    }
}

impl Sender {
    /// Makes the socket right for a message. What the kernel will not do shows when it is sent.
    fn set(&mut self, modes: Modes) {
        let fd = self.fd.as_fd();
        if modes.fragmenting != self.fragmenting
            && udp_socket::set_fragmenting(fd, self.family, modes.fragmenting).is_ok()
        {
            self.fragmenting = modes.fragmenting;
        }
        if modes.checksums != self.checksums
            && udp_socket::set_checksums(fd, self.family, modes.checksums).is_ok()
        {
            self.checksums = modes.checksums;
        }
    }
}

impl<'a> Burst<'a> {
    /// Its packet number `at`.
    fn get(&self, at: usize) -> Option<(&'a Packet, &'a Plan)> {
        let index = *self.order.get(at)? as usize;
        let plan = self.plans.get(index)?.as_ref()?;
        Some((self.packets.get(index)?, plan))
    }

    /// The message that begins with packet `first`, if there is one; before `alone` there are no
    /// runs.
    fn message(&self, first: usize, alone: usize) -> Option<Message> {
        let (_, plan) = self.get(first)?;
        let mut len = 1;
        if first >= alone && plan.size > 0 {
            let mut total = plan.size;
            while len < SEGMENTS_MAX
                && let Some((_, next)) = self.get(first + len)
                && next.route == plan.route
                && (1..=plan.size).contains(&next.size)
                && total + next.size <= MESSAGE_MAX
            {
                total += next.size;
                len += 1;
                if next.size < plan.size {
                    // A short one can only be the last.
                    break;
                }
            }
        }
        Some(Message {
            first,
            len,
            plan: *plan,
        })
    }
}

impl Message {
    fn modes(&self) -> Modes {
        Modes {
            fragmenting: self.plan.route.fragmenting,
            // The kernel cuts only what has one.
            checksums: self.len > 1 || !self.plan.bare,
        }
    }

    fn outgoing(&self) -> Outgoing {
        let route = self.plan.route;
        Outgoing {
            to: route.to,
            from: route.from,
            tos: route.tos,
            ttl: route.ttl,
            segment: (self.len > 1).then_some(self.plan.size as u16),
        }
    }

    /// The payloads of its packets.
    fn pieces(self, burst: Burst<'_>) -> impl Iterator<Item = &[u8]> {
        let packets = (self.first..self.first + self.len).filter_map(move |at| burst.get(at));
        packets.flat_map(|(packet, plan)| payload(packet, plan))
    }
}

/// The pieces of a packet's payload, without what may pad the frame behind it.
fn payload<'p>(packet: &'p Packet, plan: &Plan) -> impl Iterator<Item = &'p [u8]> + use<'p> {
    let head = packet.head().get(plan.start..).unwrap_or_default();
    let tail = packet.tail_segments().iter().map(Segment::bytes);
    std::iter::once(head)
        .chain(tail)
        .scan(plan.size, |left, bytes| {
            let piece = &bytes[..bytes.len().min(*left)];
            *left -= piece.len();
            Some(piece)
        })
        .filter(|piece| !piece.is_empty())
}

/// Reads the headers of a packet. `None` when it is no whole UDP datagram over IP.
fn read(packet: &Packet) -> Option<Plan> {
    let head = packet.head();
    let (ethernet, rest) = head.split_at_checked(ETHERNET_SIZE)?;
    let (route, header_size) = match ethernet.get(ETHERNET_SIZE - 2..)? {
        [0x08, 0x00] => {
            let view = ipv4::Ipv4::new_unchecked(rest.get(..ipv4::HEADER_SIZE)?);
            let size = view.header_size();
            let is_whole = view.version_ihl() >> 4 == 4
                && size >= ipv4::HEADER_SIZE
                && !view.is_fragment()
                && view.protocol() == Protocol::UDP;
            let fragmenting = if view.fragment() & ipv4::DONT_FRAGMENT != 0 {
                Fragmenting::Never
            } else {
                Fragmenting::Allowed
            };
            let route = Route {
                to: SocketAddr::new(view.dst().into(), 0),
                from: view.src().into(),
                tos: view.tos(),
                ttl: view.ttl(),
                fragmenting,
            };
            is_whole.then_some((route, size))?
        }
        [0x86, 0xdd] => {
            let view = ipv6::Ipv6::new_unchecked(rest.get(..ipv6::HEADER_SIZE)?);
            let is_whole = view.first_word() >> 28 == 6 && view.next() == Protocol::UDP;
            let route = Route {
                to: SocketAddr::new(view.dst().into(), 0),
                from: view.src().into(),
                tos: view.traffic_class(),
                ttl: view.hop_limit(),
                // Routers never cut, and the sender's own stack need not.
                fragmenting: Fragmenting::Never,
            };
            is_whole.then_some((route, ipv6::HEADER_SIZE))?
        }
        _ => return None,
    };
    let view = udp::Udp::new_unchecked(rest.get(header_size..)?.get(..udp::HEADER_SIZE)?);
    let size = usize::from(view.size()).checked_sub(udp::HEADER_SIZE)?;
    let start = ETHERNET_SIZE + header_size + udp::HEADER_SIZE;
    (start + size <= packet.len()).then_some(Plan {
        route: Route {
            to: SocketAddr::new(route.to.ip(), view.dst_port()),
            ..route
        },
        src_port: view.src_port(),
        start,
        size,
        bare: view.checksum() == 0,
    })
}
