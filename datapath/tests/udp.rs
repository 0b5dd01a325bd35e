//! Outer packets over UDP sockets, on the loopback device. Needs no privilege.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vswitch_datapath::buffer::{Batch, FramePool, Packet, SharedFrames};
use vswitch_datapath::port::udp::UdpQueue;
use vswitch_datapath::port::{PortCounters, PortIndex, PortQueue, Readiness, RxStatus};
use vswitch_packet::build::Builder;
use vswitch_packet::{ipv4, ipv6, udp};
use vswitch_sys::udp_socket::{self, Family, UdpSocketSpec};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const PATIENCE: Duration = Duration::from_secs(5);

/// A queue on a free port, with frames.
struct Bench {
    queue: Box<UdpQueue>,
    pool: FramePool,
    frames: Arc<SharedFrames>,
    family: Family,
    port: u16,
}

impl Bench {
    fn new(family: Family) -> Self {
        let frames = SharedFrames::new(1024, 128).expect("memory");
        let receiver = receiver(family, 4 << 20);
        let (_, port) = udp_socket::local(receiver.as_fd()).expect("bound");
        let senders = (0..2).map(|_| udp_socket::open_sender(family, 4 << 20).expect("a socket"));
        let queue = UdpQueue::new(vec![receiver], senders.collect(), PortIndex(7), 65_535);
        let queue = Box::new(queue.expect("UDP sockets"));
        Self {
            queue,
            pool: FramePool::new(Arc::clone(&frames)),
            frames,
            family,
            port,
        }
    }

    fn send(&mut self, frames: &[Vec<u8>]) {
        let mut packets: Vec<Packet> = frames
            .iter()
            .map(|bytes| self.pool.packet(bytes, PortIndex(1)).expect("frames"))
            .collect();
        self.queue.tx(now(), &mut self.pool, &mut packets);
        assert!(packets.is_empty());
    }

    /// Receives `len` packets.
    fn receive(&mut self, len: usize) -> Vec<Vec<u8>> {
        let mut received = Vec::new();
        let end = now() + PATIENCE;
        while received.len() < len {
            assert!(now() < end, "{} of {len} came", received.len());
            let mut batch = Batch::new();
            let status = self.queue.rx(now(), &mut self.pool, &mut batch);
            for packet in batch.drain(..) {
                assert_eq!(packet.in_port, PortIndex(7));
                received.push(packet.to_vec());
                self.pool.drop_packet(packet);
            }
            if status == RxStatus::Drained && received.len() < len {
                let Readiness::Fd { fd, cheap: false } = self.queue.readiness() else {
                    panic!("a socket is waited for");
                };
                let limit = Timespec::try_from(PATIENCE).expect("a time");
                poll(
                    &mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)],
                    Some(&limit),
                )
                .expect("poll");
            }
        }
        received
    }

    fn counters(&self) -> PortCounters {
        *self.queue.counters()
    }

    /// Ends it; all frames must be free.
    fn end(mut self) {
        self.queue.close(&mut self.pool);
        self.pool.drain();
        assert_eq!(self.frames.free_len(), (1024, 128));
    }

    /// An outer frame from this socket's address to `port`.
    fn frame(&self, port: u16, payload: &[u8]) -> Vec<u8> {
        frame(self.family, port, payload)
    }
}

/// A socket on a free port.
fn receiver(family: Family, receive_size: u32) -> OwnedFd {
    udp_socket::open(&UdpSocketSpec {
        family,
        port: 0,
        shared: false,
        receive_size,
        send_size: 1 << 20,
    })
    .expect("a socket")
}

#[expect(clippy::disallowed_methods, reason = "this test waits for a kernel")]
fn now() -> Instant {
    Instant::now()
}

fn home(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

fn frame(family: Family, port: u16, payload: &[u8]) -> Vec<u8> {
    let eth = Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = match family {
        Family::V4 => eth.ipv4([127, 0, 0, 1], [127, 0, 0, 1]),
        Family::V6 => eth.ipv6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
    };
    ip.udp(33_333, port).payload(payload).build()
}

/// Bytes before the payload.
fn header_size(family: Family) -> usize {
    match family {
        Family::V4 => 14 + 20 + 8,
        Family::V6 => 14 + 40 + 8,
    }
}

/// Takes the checksum out.
fn bare(family: Family, mut frame: Vec<u8>) -> Vec<u8> {
    let at = header_size(family) - 2;
    frame[at..at + 2].fill(0);
    frame
}

/// A socket of the test's own.
fn plain(family: Family) -> (UdpSocket, u16) {
    let socket = UdpSocket::bind((home(family), 0)).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    let port = socket.local_addr().expect("bound").port();
    (socket, port)
}

#[test]
fn headers_are_stripped_and_say_where_to() {
    for family in FAMILIES {
        let mut bench = Bench::new(family);
        let (socket, port) = plain(family);
        let large = vec![9; 9000];
        let mut peers = Vec::new();
        for payload in [&b"hello"[..], b"", &large] {
            bench.send(&[bench.frame(port, payload)]);
            // A plain socket takes zero checksums over IPv4 only.
            let again = match family {
                Family::V4 => bare(family, bench.frame(port, payload)),
                Family::V6 => bench.frame(port, payload),
            };
            bench.send(&[again]);
            for _ in 0..2 {
                let mut buffer = vec![0; 10_000];
                let (size, peer) = socket.recv_from(&mut buffer).expect("it came");
                assert_eq!(&buffer[..size], payload);
                assert_eq!(peer.ip(), home(family));
                peers.push(peer.port());
            }
        }
        let counters = bench.counters();
        assert_eq!((counters.tx_packets, counters.tx_errors), (6, 0));
        peers.dedup();
        assert_eq!(peers.len(), 1, "one flow has one source port");
        assert_ne!(peers[0], bench.port);
        bench.end();
    }
}

#[test]
fn headers_are_made_of_what_the_kernel_says() {
    let mut bench = Bench::new(Family::V4);
    let (socket, port) = plain(Family::V4);
    rustix::net::sockopt::set_ip_tos(&socket, 0x2a).expect("set");
    socket.set_ttl(33).expect("set");
    let to = (home(Family::V4), bench.port);
    socket.send_to(b"hello", to).expect("sent");
    let received = bench.receive(1).remove(0);
    let view = ipv4::Ipv4::new_unchecked(&received[14..]);
    assert_eq!(received[..14], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]);
    assert!(view.is_whole(), "its checksum is right");
    assert_eq!((view.tos(), view.ttl()), (0x2a, 33));
    assert_eq!(
        (view.src(), view.dst()),
        (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST)
    );
    assert_eq!(usize::from(view.total_size()), 20 + 8 + 5);
    let datagram = udp::Udp::new_unchecked(&received[34..]);
    let ports = (datagram.src_port(), datagram.dst_port());
    assert_eq!(ports, (port, bench.port));
    assert_eq!((datagram.size(), datagram.checksum()), (13, 0));
    assert_eq!(&received[42..], b"hello");
    bench.end();

    let mut bench = Bench::new(Family::V6);
    let (socket, port) = plain(Family::V6);
    let to = (home(Family::V6), bench.port);
    socket.send_to(b"", to).expect("sent");
    let received = bench.receive(1).remove(0);
    assert_eq!(received.len(), 14 + 40 + 8);
    let view = ipv6::Ipv6::new_unchecked(&received[14..]);
    assert_eq!(
        (view.src(), view.dst()),
        (Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
    );
    assert_eq!((view.payload_size(), view.hop_limit()), (8, 64));
    let datagram = udp::Udp::new_unchecked(&received[54..]);
    let ports = (datagram.src_port(), datagram.dst_port());
    assert_eq!(ports, (port, bench.port));
    bench.end();
}

#[test]
fn a_run_arrives_as_the_packets_that_it_was_made_of() {
    for family in FAMILIES {
        for size in [1, 500, 1400, 5000] {
            let (mut a, mut b) = (Bench::new(family), Bench::new(family));
            // The last one of a run is shorter; what follows is another run.
            let mut payloads: Vec<Vec<u8>> = (0..70_u8).map(|i| vec![i; size]).collect();
            payloads.push(vec![70; size.div_ceil(2)]);
            payloads.extend((71..75_u8).map(|i| vec![i; size]));
            // And one that fits no run and goes without a checksum.
            payloads.push(vec![75; size + 1]);
            let frames: Vec<_> = payloads
                .iter()
                .map(|payload| bare(family, a.frame(b.port, payload)))
                .collect();
            a.send(&frames);
            let received = b.receive(payloads.len());
            let header = header_size(family);
            for (received, payload) in received.iter().zip(&payloads) {
                assert_eq!(&received[header..], payload, "{size} bytes");
            }
            let (sent, came) = (a.counters(), b.counters());
            assert_eq!(sent.tx_packets, payloads.len() as u64);
            assert_eq!(came.rx_packets, payloads.len() as u64);
            let bytes: usize = received.iter().map(Vec::len).sum();
            assert_eq!(came.rx_bytes, bytes as u64);
            assert_eq!((came.rx_errors, came.rx_dropped), (0, 0));
            a.end();
            b.end();
        }
    }
}

#[test]
fn order_is_kept_for_each_receiver_whatever_is_sent_between() {
    for family in FAMILIES {
        let mut bench = Bench::new(family);
        let receivers = [plain(family), plain(family)];
        let mut frames = Vec::new();
        let mut expected = [Vec::new(), Vec::new()];
        for i in 0..120_u8 {
            let to = usize::from(i / 7 % 2);
            let payload = vec![i; 20 + usize::from(i % 5 / 4) * 30];
            let mut frame = bench.frame(receivers[to].1, &payload);
            if family == Family::V4 && i % 3 == 0 {
                frame = bare(family, frame);
            }
            if family == Family::V4 && i % 11 == 0 {
                // May be fragmented; the header's own sum is not looked at.
                frame[20] = 0;
            }
            frames.push(frame);
            expected[to].push(payload);
        }
        bench.send(&frames);
        for ((socket, _), expected) in receivers.iter().zip(expected) {
            for payload in expected {
                let mut buffer = [0; 100];
                let size = socket.recv(&mut buffer).expect("it came");
                assert_eq!(&buffer[..size], payload);
            }
        }
        assert_eq!(bench.counters().tx_packets, 120);
        bench.end();
    }
}

#[test]
fn what_is_no_datagram_of_the_sockets_family_is_counted_and_not_sent() {
    let (receiver, port) = plain(Family::V4);
    let mut bench = Bench::new(Family::V4);
    let good = bench.frame(port, b"good");
    let eth = || Builder::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let home = [127, 0, 0, 1];
    let mut fragment = good.clone();
    fragment[20] = 0x20;
    let mut lies = good.clone();
    lies[38..40].copy_from_slice(&200_u16.to_be_bytes());
    let mut short = good.clone();
    short[38..40].copy_from_slice(&7_u16.to_be_bytes());
    let bad = [
        eth().arp_request(home, home).build(),
        eth().ipv4(home, home).tcp(1, port, 0).build(),
        eth().vlan(5).ipv4(home, home).udp(1, port).build(),
        frame(Family::V6, port, b"other family"),
        good[..40].to_vec(),
        fragment,
        lies,
        short,
    ];
    let mut frames = bad.to_vec();
    frames.push(good);
    bench.send(&frames);
    let mut buffer = [0; 100];
    let size = receiver.recv(&mut buffer).expect("the good one came");
    assert_eq!(&buffer[..size], b"good");
    let counters = bench.counters();
    assert_eq!(counters.tx_errors, bad.len() as u64);
    assert_eq!(counters.tx_packets, 1);
    bench.end();
}

#[test]
fn padding_behind_a_datagram_is_left_out() {
    let (receiver, port) = plain(Family::V4);
    let mut bench = Bench::new(Family::V4);
    let mut frame = bench.frame(port, b"x");
    frame.resize(60, 0xee);
    bench.send(&[frame]);
    let mut buffer = [0; 100];
    assert_eq!(receiver.recv(&mut buffer).expect("it came"), 1);
    bench.end();
}

#[test]
fn every_packet_is_counted_once_whatever_its_headers_say() {
    let (receiver, port) = plain(Family::V4);
    let mut bench = Bench::new(Family::V4);
    let good = bench.frame(port, &[7; 30]);
    let mut offered = 0;
    // All but the destination's address and port, which would send it elsewhere.
    for at in (12..30).chain(34..36).chain(38..42) {
        for value in [0, 1, 0x45, 0x7f, 0x80, 0xff] {
            let mut frame = good.clone();
            frame[at] = value;
            bench.send(&[good.clone(), frame, good.clone()]);
            offered += 3;
        }
    }
    for len in 14..good.len() {
        bench.send(&[good[..len].to_vec()]);
        offered += 1;
    }
    let counters = bench.counters();
    assert_eq!(
        counters.tx_packets + counters.tx_errors + counters.tx_down + counters.tx_no_room,
        offered
    );
    drop(receiver);
    bench.end();
}

#[test]
fn a_queue_that_is_closed_in_the_middle_of_a_run_gives_its_frames_back() {
    let (mut a, mut b) = (Bench::new(Family::V4), Bench::new(Family::V4));
    let frames: Vec<_> = (0..60).map(|_| a.frame(b.port, &[1; 900])).collect();
    a.send(&frames);
    let mut batch = Batch::new();
    let end = now() + PATIENCE;
    while batch.is_empty() {
        assert!(now() < end);
        b.queue.rx(now(), &mut b.pool, &mut batch);
    }
    for packet in batch.drain(..) {
        b.pool.drop_packet(packet);
    }
    a.end();
    b.end();
}

#[test]
fn what_finds_no_room_in_the_socket_is_counted() {
    let fd = receiver(Family::V4, 4096);
    let (_, port) = udp_socket::local(fd.as_fd()).expect("bound");
    let queue = UdpQueue::new(vec![fd], Vec::new(), PortIndex(1), 1500);
    let mut queue = queue.expect("a UDP socket");
    let (sender, _) = plain(Family::V4);
    let sent = 100;
    for _ in 0..sent {
        sender
            .send_to(&[0; 1000], (home(Family::V4), port))
            .expect("sent");
    }
    let mut pool = FramePool::new(SharedFrames::new(256, 64).expect("memory"));
    let mut batch = Batch::new();
    let mut received = 0;
    while queue.rx(now(), &mut pool, &mut batch) != RxStatus::Drained {
        received += batch.len() as u64;
        for packet in batch.drain(..) {
            pool.drop_packet(packet);
        }
    }
    queue.refresh_counters();
    let counters = *queue.counters();
    assert!(counters.rx_dropped > 0);
    assert_eq!(counters.rx_packets, received);
    assert_eq!(counters.rx_packets + counters.rx_dropped, sent);
    Box::new(queue).close(&mut pool);
}

#[test]
fn several_sockets_are_one_queue() {
    let receivers = [
        receiver(Family::V4, 1 << 20),
        receiver(Family::V4, 1 << 20),
        receiver(Family::V6, 1 << 20),
    ];
    let bound = receivers
        .each_ref()
        .map(|fd| udp_socket::local(fd.as_fd()).expect("bound"));
    let senders = [Family::V4, Family::V4, Family::V4, Family::V6]
        .map(|family| udp_socket::open_sender(family, 1 << 20).expect("a socket"));
    let queue = UdpQueue::new(receivers.into(), senders.into(), PortIndex(7), 65_535);
    let frames = SharedFrames::new(1024, 128).expect("memory");
    let mut bench = Bench {
        queue: Box::new(queue.expect("UDP sockets")),
        pool: FramePool::new(Arc::clone(&frames)),
        frames,
        family: Family::V4,
        port: bound[0].1,
    };
    // Flows that take turns, to all three: every sender is used.
    let mut expected = Vec::new();
    for i in 0..90_u16 {
        let (family, port) = bound[usize::from(i % 3)];
        let mut frame = frame(family, port, &i.to_be_bytes());
        let at = header_size(family) - 8;
        frame[at..at + 2].copy_from_slice(&(50_000 + i / 3).to_be_bytes());
        expected.push((port, i));
        bench.send(&[frame]);
    }
    let received = bench.receive(expected.len());
    let mut seen: Vec<(u16, u16)> = Vec::new();
    let mut peers = std::collections::BTreeSet::new();
    for packet in received {
        let header = if packet[12..14] == [8, 0] { 42 } else { 62 };
        let datagram = udp::Udp::new_unchecked(&packet[header - 8..]);
        let number = u16::from_be_bytes([packet[header], packet[header + 1]]);
        peers.insert((header, datagram.src_port()));
        seen.push((datagram.dst_port(), number));
    }
    seen.sort_unstable_by_key(|(_, number)| *number);
    assert_eq!(seen, expected);
    assert_eq!(peers.len(), 4, "{peers:?}");
    bench.end();
}

#[test]
fn a_family_without_a_socket_is_counted() {
    let queue = UdpQueue::new(
        Vec::new(),
        vec![udp_socket::open_sender(Family::V4, 1 << 20).expect("a socket")],
        PortIndex(7),
        1500,
    );
    let mut queue = queue.expect("a UDP socket");
    assert!(matches!(queue.readiness(), Readiness::Never));
    let mut pool = FramePool::new(SharedFrames::new(64, 1).expect("memory"));
    let bytes = frame(Family::V6, 9, b"x");
    let mut packets = vec![pool.packet(&bytes, PortIndex(1)).expect("frames")];
    queue.tx(now(), &mut pool, &mut packets);
    assert_eq!(queue.counters().tx_errors, 1);
    let status = queue.rx(now(), &mut pool, &mut Batch::new());
    assert_eq!(status, RxStatus::Drained);
    Box::new(queue).close(&mut pool);
}
