//! Traffic between namespaces over AF_XDP ports. Needs root, to make namespaces and attach XDP
//! programs.

mod namespace;

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use namespace::{Forwarder, Namespace, now, privileged, tcp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vswitch_datapath::buffer::{Batch, FramePool, HEADROOM, Packet, Segment, SharedFrames};
use vswitch_datapath::offload::{Checksum, Offload};
use vswitch_datapath::port::afxdp::{AfxdpConfig, AfxdpQueue, OpenError};
use vswitch_datapath::port::{PortIndex, PortQueue, Readiness, RxStatus};
use vswitch_packet::build::Builder;
use vswitch_sys::xsk::{
    Mode, PrepareError, Prepared, RingSizes, Share, SharedUmem, create_socket, prepare,
};

const CHUNKS: u32 = 4096;
const LARGES: u32 = 16;

fn require_root() {
    assert!(
        privileged(),
        "run this test as root: it makes namespaces and attaches XDP programs"
    );
}

/// A switch's namespace, and a container's behind each of two veths.
struct Bench {
    switch: Namespace,
    left: Namespace,
    right: Namespace,
    frames: Arc<SharedFrames>,
    umem: Arc<SharedUmem>,
}

impl Bench {
    fn new(mtu: u32, queues: u32) -> Self {
        require_root();
        let (switch, left, right) = (
            Namespace::new("s"),
            Namespace::new("l"),
            Namespace::new("r"),
        );
        for (peer, device, host) in [(&left, "v0", 1), (&right, "v1", 2)] {
            switch.ip(&format!(
                "link add {device} mtu {mtu} numrxqueues {queues} numtxqueues {queues} type veth \
                 peer name eth0 netns {} mtu {mtu} numrxqueues {queues} numtxqueues {queues}",
                peer.name
            ));
            switch.ip(&format!("link set {device} up"));
            peer.ip(&format!("addr add 10.0.0.{host}/24 dev eth0"));
            peer.ip(&format!("addr add fd00::{host}/64 dev eth0 nodad"));
            peer.ip("link set eth0 up");
        }
        let frames = SharedFrames::new(CHUNKS, LARGES).expect("memory");
        let umem = Arc::new(SharedUmem::new(frames.region()));
        Self {
            switch,
            left,
            right,
            frames,
            umem,
        }
    }

    fn prepare(&self, device: &'static str, mode: Option<Mode>) -> Result<Prepared, PrepareError> {
        let ifindex = self.ifindex(device);
        self.switch
            .enter(move || prepare(ifindex, None, mode, Share::All))
            .join()
            .expect("no panic")
    }

    fn ifindex(&self, device: &str) -> u32 {
        let line = self.switch.ip(&format!("-o link show {device}"));
        let (index, _) = line.split_once(':').expect("an index");
        index.parse().expect("a number")
    }

    /// Opens all queues of a device. The link keeps the program attached.
    fn open(&self, device: &'static str, mtu: u32) -> (Vec<AfxdpQueue>, Prepared) {
        let mut prepared = self.prepare(device, None).expect("AF_XDP on a veth");
        let mut pool = FramePool::new(Arc::clone(&self.frames));
        let queues = prepared.sockets.drain(..).zip(0..).map(|(socket, queue)| {
            AfxdpQueue::open(
                socket,
                PortIndex(queue),
                &AfxdpConfig {
                    mtu,
                    ..self.config(device, queue, prepared.mode)
                },
                &prepared.map,
                &self.umem,
                &mut pool,
            )
            .expect("a queue")
        });
        (queues.collect(), prepared)
    }

    fn config(&self, device: &str, queue: u32, mode: Mode) -> AfxdpConfig {
        AfxdpConfig {
            ifindex: self.ifindex(device),
            queue,
            rings: RingSizes {
                fill: 512,
                rx: 512,
                tx: 512,
                completion: 512,
            },
            mode,
            multi_buffer: false,
            local: true,
            uplink: false,
            mtu: 1500,
        }
    }

    fn forward(&self, mtu: u32) -> (Forwarder, [Prepared; 2]) {
        let (mut left, left_kept) = self.open("v0", mtu);
        let (mut right, right_kept) = self.open("v1", mtu);
        let ports: [Box<dyn PortQueue>; 2] = [
            Box::new(left.pop().expect("one queue")),
            Box::new(right.pop().expect("one queue")),
        ];
        let forwarder = Forwarder::with_frames(
            Arc::clone(&self.frames),
            ports,
            Box::new(|packet, _, _, out| out.push(packet)),
        );
        (forwarder, [left_kept, right_kept])
    }

    fn assert_all_frames_are_free(&self) {
        let all = (CHUNKS as usize, LARGES as usize);
        assert_eq!(self.frames.free_len(), all);
    }
}

/// One UDP datagram of each size from left to right, compared on arrival.
fn datagrams(bench: &Bench, sizes: &'static [usize]) {
    for (bind, to) in [
        ("10.0.0.2:7001", "10.0.0.1:0"),
        ("[fd00::2]:7001", "[fd00::1]:0"),
    ] {
        let receiver = bench
            .right
            .enter(move || UdpSocket::bind(bind).expect("bind"))
            .join()
            .expect("no panic");
        receiver
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("timeout");
        let sender = bench
            .left
            .enter(move || UdpSocket::bind(to).expect("bind"))
            .join()
            .expect("no panic");
        let mut buffer = vec![0; 65536];
        for &size in sizes {
            let sent: Vec<u8> = (0..size).map(|i| (i * 7 + size) as u8).collect();
            sender.send_to(&sent, bind).expect("sent");
            let len = receiver
                .recv(&mut buffer)
                .unwrap_or_else(|e| panic!("{size} bytes to {bind}: {e}"));
            assert!(buffer[..len] == sent, "{size} bytes to {bind} changed");
        }
    }
}

#[test]
fn two_containers_talk_at_mtu_1500_with_their_offloads_on() {
    let bench = Bench::new(1500, 1);
    let (forwarder, kept) = bench.forward(1500);
    assert_eq!(kept[0].mode, Mode::Native);
    assert!(kept[0].reason.contains("veth"), "{}", kept[0].reason);
    for size in [56, 1600, 3200] {
        let ping = format!("ping -q -c 3 -i 0.01 -W 2 -s {size}");
        bench.left.exec(&format!("{ping} 10.0.0.2"));
        bench.left.exec(&format!("{ping} fd00::2"));
    }
    datagrams(&bench, &[1, 18, 64, 1000, 1472, 1473, 3000, 9000]);
    for address in ["10.0.0.2:7000", "[fd00::2]:7000"] {
        tcp(&bench.left, &bench.right, address, 50_000_000);
    }
    let seen = forwarder.stop();
    let [a, b] = seen.counters;
    // TCP fills any ring before it slows down, so `rx_dropped` is its matter.
    assert_eq!((a.rx_errors, b.rx_errors), (0, 0));
    assert_eq!((a.tx_packets, b.tx_packets), (b.rx_packets, a.rx_packets));
    assert_eq!((a.tx_bytes, b.tx_bytes), (b.rx_bytes, a.rx_bytes));
    bench.assert_all_frames_are_free();
}

#[test]
fn jumbo_frames_cross_in_several_chunks() {
    for mtu in [9000, 65_000] {
        let bench = Bench::new(mtu, 1);
        let (forwarder, _kept) = bench.forward(mtu);
        for size in [3798, 3799, 8000, mtu - 28] {
            let ping = "ping -q -c 3 -i 0.01 -W 2 -M do";
            bench.left.exec(&format!("{ping} -s {size} 10.0.0.2"));
        }
        datagrams(&bench, &[1, 3798, 3799, 3900, 8900, 9000]);
        tcp(&bench.left, &bench.right, "10.0.0.2:7000", 50_000_000);
        let seen = forwarder.stop();
        assert!(seen.largest > mtu as usize, "largest {}", seen.largest);
        let [a, b] = seen.counters;
        assert_eq!((a.rx_errors, b.rx_errors), (0, 0));
        bench.assert_all_frames_are_free();
    }
}

/// Waits until one of the queues is readable, and says which.
fn await_any(queues: &[AfxdpQueue]) -> usize {
    let limit = Timespec {
        tv_sec: 5,
        tv_nsec: 0,
    };
    let mut fds: Vec<PollFd<'_>> = queues
        .iter()
        .map(|queue| {
            let Readiness::Fd { fd, cheap: true } = queue.readiness() else {
                panic!("a queue is waited for by its descriptor and looked at for nothing");
            };
            PollFd::from_borrowed_fd(fd, PollFlags::IN)
        })
        .collect();
    poll(&mut fds, Some(&limit)).expect("poll");
    fds.iter()
        .position(|fd| fd.revents().contains(PollFlags::IN))
        .expect("a packet within 5 s")
}

/// Waits until the queue is readable and takes what there is, up to a batch.
fn receive(queue: &mut AfxdpQueue, pool: &mut FramePool, batch: &mut Batch) {
    await_any(std::slice::from_ref(queue));
    while queue.rx(now(), pool, batch) == RxStatus::More && !batch.is_full() {}
}

/// The next IPv4 UDP packet; the container's kernel also says other things.
fn next_datagram(queue: &mut AfxdpQueue, pool: &mut FramePool) -> Packet {
    let mut batch = Batch::new();
    let mut found = None;
    while found.is_none() {
        receive(queue, pool, &mut batch);
        for packet in batch.drain(..) {
            let head = packet.head();
            if found.is_none() && head[12..14] == [8, 0] && head[23] == 17 {
                found = Some(packet);
            } else {
                pool.drop_packet(packet);
            }
        }
    }
    found.expect("the loop ends with it")
}

/// Takes all that waits and says how many IPv4 UDP packets were among it.
fn datagram_len(queue: &mut AfxdpQueue, pool: &mut FramePool) -> usize {
    let mut batch = Batch::new();
    let mut len = 0;
    loop {
        queue.rx(now(), pool, &mut batch);
        if batch.is_empty() {
            return len;
        }
        for packet in batch.drain(..) {
            let head = packet.head();
            len += usize::from(head[12..14] == [8, 0] && head[23] == 17);
            pool.drop_packet(packet);
        }
    }
}

fn mac(namespace: &Namespace) -> [u8; 6] {
    let text = namespace.exec("cat /sys/class/net/eth0/address");
    let mut bytes = [0; 6];
    for (byte, digits) in bytes.iter_mut().zip(text.trim().split(':')) {
        *byte = u8::from_str_radix(digits, 16).expect("a hexadecimal byte");
    }
    bytes
}

fn udp_receiver(namespace: &Namespace) -> UdpSocket {
    let socket = namespace
        .enter(|| UdpSocket::bind("10.0.0.2:7001").expect("bind"))
        .join()
        .expect("no panic");
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("timeout");
    socket
}

fn udp_checksum_errors(namespace: &Namespace) -> u64 {
    let text = namespace.exec("cat /proc/net/snmp");
    let mut rows = text.lines().filter(|line| line.starts_with("Udp:"));
    let (names, values) = (rows.next().expect("names"), rows.next().expect("values"));
    let mut columns = names.split(' ').zip(values.split(' '));
    let (_, value) = columns
        .find(|(name, _)| *name == "InCsumErrors")
        .expect("a column");
    value.parse().expect("a number")
}

#[test]
fn a_checksum_that_is_only_begun_is_recognised_and_told_to_the_receiver() {
    let bench = Bench::new(1500, 1);
    let (mut left, _left) = bench.open("v0", 1500);
    let (mut right, _right) = bench.open("v1", 1500);
    let mut pool = FramePool::new(Arc::clone(&bench.frames));
    let [a, b, c, d, e, f] = mac(&bench.right);
    bench.left.ip(&format!(
        "neigh replace 10.0.0.2 dev eth0 lladdr {a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{f:x}"
    ));
    let receiver = udp_receiver(&bench.right);
    let sender = bench
        .left
        .enter(|| UdpSocket::bind("10.0.0.1:0").expect("bind"))
        .join()
        .expect("no panic");
    sender
        .send_to(b"half a sum", "10.0.0.2:7001")
        .expect("sent");
    let packet = next_datagram(&mut left[0], &mut pool);
    let begun = Checksum::Partial {
        start: 34,
        offset: 6,
    };
    assert_eq!(packet.offload.csum, begun);

    // Taken for whole, it is a damaged packet.
    let mut copy = pool.copy(&packet).expect("frames");
    copy.offload.csum = Checksum::Unknown;
    right[0].tx(now(), &mut pool, &mut vec![copy, packet]);
    let mut buffer = [0; 64];
    let len = receiver.recv(&mut buffer).expect("the datagram");
    assert_eq!(&buffer[..len], b"half a sum");
    assert_eq!(udp_checksum_errors(&bench.right), 1);
    assert_eq!(right[0].counters().tx_packets, 2);

    for queue in left.drain(..).chain(right.drain(..)) {
        Box::new(queue).close(&mut pool);
    }
    pool.drain();
    bench.assert_all_frames_are_free();
}

#[test]
fn a_tail_in_a_large_frame_or_at_the_start_of_a_chunk_is_sent_whole() {
    let bench = Bench::new(9000, 1);
    let (mut right, _right) = bench.open("v1", 9000);
    let mut pool = FramePool::new(Arc::clone(&bench.frames));
    let receiver = udp_receiver(&bench.right);
    let payload: Vec<u8> = (0..8900).map(|i| (i * 31 % 251) as u8).collect();
    let bytes = Builder::eth([2, 0, 0, 0, 0, 1], mac(&bench.right))
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
        .udp(9, 7001)
        .payload(&payload)
        .build();

    let start = |pool: &mut FramePool, size: usize| {
        let mut head = pool.chunk().expect("free");
        head.bytes_mut()[HEADROOM..HEADROOM + size].copy_from_slice(&bytes[..size]);
        let range = HEADROOM..HEADROOM + size;
        Packet::new(head, range, PortIndex(9), Offload::default())
    };
    let mut large = start(&mut pool, 100);
    let mut frame = pool.large().expect("free");
    frame.bytes_mut()[..bytes.len() - 100].copy_from_slice(&bytes[100..]);
    let segment = Segment::new(frame, 0..bytes.len() - 100);
    large.push_tail(segment, &mut pool).expect("room");

    let mut chunks = start(&mut pool, 1000);
    for piece in bytes[1000..].chunks(4000) {
        let mut frame = pool.chunk().expect("free");
        frame.bytes_mut()[..piece.len()].copy_from_slice(piece);
        let segment = Segment::new(frame, 0..piece.len());
        chunks.push_tail(segment, &mut pool).expect("room");
    }
    right[0].tx(now(), &mut pool, &mut vec![large, chunks]);
    let mut buffer = vec![0; 10_000];
    for _ in 0..2 {
        let len = receiver.recv(&mut buffer).expect("the datagram");
        assert!(buffer[..len] == payload, "the datagram changed");
    }
    Box::new(right.remove(0)).close(&mut pool);
    pool.drain();
    bench.assert_all_frames_are_free();
}

#[test]
fn packets_the_kernel_would_refuse_are_counted_and_do_not_block_the_ring() {
    let bench = Bench::new(1500, 1);
    let (mut right, _right) = bench.open("v1", 1500);
    let queue = &mut right[0];
    let mut pool = FramePool::new(Arc::clone(&bench.frames));
    let packet = |pool: &mut FramePool, size: usize, offload: Offload| {
        let mut head = pool.chunk().expect("free");
        head.bytes_mut()[HEADROOM..HEADROOM + size].fill(0xff);
        Packet::new(head, HEADROOM..HEADROOM + size, PortIndex(9), offload)
    };
    let outside = Offload {
        csum: Checksum::Partial {
            start: 50,
            offset: 16,
        },
        gso: None,
    };
    let mut packets = vec![
        packet(&mut pool, 13, Offload::default()),
        packet(&mut pool, 60, outside),
        packet(&mut pool, 60, Offload::default()),
    ];
    queue.tx(now(), &mut pool, &mut packets);
    assert!(packets.is_empty());
    assert_eq!(queue.counters().tx_errors, 2);
    assert_eq!(queue.counters().tx_packets, 1);
    Box::new(right.remove(0)).close(&mut pool);
    pool.drain();
    bench.assert_all_frames_are_free();
}

#[test]
fn a_queue_without_a_socket_leaves_its_packets_to_the_host() {
    let bench = Bench::new(1500, 1);
    bench.switch.ip("addr add 10.0.0.9/24 dev v0");
    let ping = "ping -q -c 1 -W 2 10.0.0.9";
    let (mut queues, kept) = bench.open("v0", 1500);
    let mut pool = FramePool::new(Arc::clone(&bench.frames));
    // Closing takes the socket out of the map; the program stays.
    Box::new(queues.remove(0)).close(&mut pool);
    bench.left.exec(ping);
    drop(kept);
    bench.left.exec(ping);
    let shown = bench.switch.ip("link show v0");
    assert!(!shown.contains("xdp"), "{shown}");
}

#[test]
fn closing_gives_back_frames_that_nobody_has_read() {
    let bench = Bench::new(1500, 1);
    let (mut left, _left) = bench.open("v0", 1500);
    bench
        .left
        .ip("neigh replace 10.0.0.2 dev eth0 lladdr 2:0:0:0:0:2");
    bench
        .left
        .enter(|| {
            let socket = UdpSocket::bind("10.0.0.1:0").expect("bind");
            for _ in 0..2000 {
                socket.send_to(&[0; 18], "10.0.0.2:9").expect("sent");
            }
        })
        .join()
        .expect("no panic");
    let queue = &mut left[0];
    let mut pool = FramePool::new(Arc::clone(&bench.frames));
    let mut batch = Batch::new();
    receive(queue, &mut pool, &mut batch);
    queue.refresh_counters();
    // 512 chunks were waiting, each for one packet.
    assert!(queue.counters().rx_dropped > 0, "{:?}", queue.counters());
    Box::new(left.remove(0)).close(&mut pool);
    for packet in batch {
        pool.drop_packet(packet);
    }
    pool.drain();
    bench.assert_all_frames_are_free();
}

#[test]
fn a_device_that_is_down_or_gone_is_counted_and_loses_no_frame() {
    let bench = Bench::new(1500, 1);
    let (mut right, _right) = bench.open("v1", 1500);
    let mut queue = right.remove(0);
    let mut pool = FramePool::new(Arc::clone(&bench.frames));
    let send = |queue: &mut AfxdpQueue, pool: &mut FramePool| {
        let mut head = pool.chunk().expect("free");
        head.bytes_mut()[HEADROOM..HEADROOM + 60].fill(0xff);
        let range = HEADROOM..HEADROOM + 60;
        let packet = Packet::new(head, range, PortIndex(9), Offload::default());
        queue.tx(now(), pool, &mut vec![packet]);
        *queue.counters()
    };
    bench.switch.ip("link set v1 down");
    // The first burst learns it; what it left in the ring goes out when the device is up.
    send(&mut queue, &mut pool);
    assert_eq!(send(&mut queue, &mut pool).tx_down, 1);
    bench.switch.ip("link set v1 up");
    let counters = send(&mut queue, &mut pool);
    assert_eq!((counters.tx_packets, counters.tx_down), (2, 1));

    bench.switch.ip("link del v1");
    send(&mut queue, &mut pool);
    let counters = send(&mut queue, &mut pool);
    assert_eq!(counters.tx_packets + counters.tx_down, 5);
    let mut batch = Batch::new();
    let mut status = queue.rx(now(), &mut pool, &mut batch);
    while !batch.is_empty() {
        // What the container's kernel had said before, such as a router solicitation.
        for packet in batch.drain(..) {
            pool.drop_packet(packet);
        }
        status = queue.rx(now(), &mut pool, &mut batch);
    }
    assert_eq!(status, RxStatus::Down);
    Box::new(queue).close(&mut pool);
    pool.drain();
    bench.assert_all_frames_are_free();
}

#[test]
fn memory_is_shared_again_after_the_device_of_the_first_socket_has_gone() {
    let bench = Bench::new(1500, 1);
    let (mut left, _left) = bench.open("v0", 1500);
    bench.switch.ip("link del v0");
    let (mut right, _right) = bench.open("v1", 1500);
    let mut pool = FramePool::new(Arc::clone(&bench.frames));
    for queue in left.drain(..).chain(right.drain(..)) {
        Box::new(queue).close(&mut pool);
    }
    pool.drain();
    bench.assert_all_frames_are_free();
}

#[test]
fn every_queue_of_a_device_has_a_socket() {
    let bench = Bench::new(1500, 2);
    bench.switch.exec("ethtool -L v0 rx 2 tx 2");
    bench.left.exec("ethtool -L eth0 rx 2 tx 2");
    let ifindex = bench.ifindex("v0");
    let refused = bench
        .switch
        .enter(move || prepare(ifindex, Some(1), None, Share::All).map(drop))
        .join()
        .expect("no panic");
    assert!(matches!(
        refused,
        Err(PrepareError::Queues { asked: 1, has: 2 })
    ));
    let (mut queues, _kept) = bench.open("v0", 1500);
    assert_eq!(queues.len(), 2);
    bench
        .left
        .ip("neigh replace 10.0.0.2 dev eth0 lladdr 2:0:0:0:0:2");
    const FLOWS: usize = 64;
    bench
        .left
        .enter(|| {
            for _ in 0..FLOWS {
                let socket = UdpSocket::bind("10.0.0.1:0").expect("bind");
                socket.send_to(&[0; 18], "10.0.0.2:9").expect("sent");
            }
        })
        .join()
        .expect("no panic");
    let mut pool = FramePool::new(Arc::clone(&bench.frames));
    let mut seen = [0, 0];
    while seen[0] + seen[1] < FLOWS {
        let ready = await_any(&queues);
        seen[ready] += datagram_len(&mut queues[ready], &mut pool);
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    for queue in queues.drain(..) {
        Box::new(queue).close(&mut pool);
    }
    pool.drain();
    bench.assert_all_frames_are_free();
}

#[test]
fn what_cannot_work_is_refused_in_a_sentence() {
    let bench = Bench::new(1500, 1);
    let generic = bench.prepare("v0", Some(Mode::Generic)).expect_err("lossy");
    assert!(generic.to_string().contains("super-frames"), "{generic}");
    let zero_copy = bench.prepare("v0", Some(Mode::ZeroCopy)).expect_err("no");
    assert!(zero_copy.to_string().contains("zerocopy"), "{zero_copy}");

    let (mut queues, kept) = bench.open("v0", 1500);
    let second = bench.prepare("v0", None).expect_err("attached already");
    assert!(
        second.to_string().contains("another XDP program"),
        "{second}"
    );

    let mut pool = FramePool::new(Arc::clone(&bench.frames));
    let mut open = |config: &AfxdpConfig| {
        let socket = bench
            .switch
            .enter(|| create_socket().expect("a socket"))
            .join()
            .expect("no panic");
        let port = PortIndex(5);
        AfxdpQueue::open(socket, port, config, &kept.map, &bench.umem, &mut pool)
            .expect_err("refused")
    };
    let config = bench.config("v0", 0, Mode::Native);
    let busy = open(&config);
    assert!(busy.to_string().contains("has the queue"), "{busy}");
    let mut odd = bench.config("v1", 0, Mode::Native);
    odd.rings.tx = 1000;
    assert!(open(&odd).to_string().contains("powers of two"));
    let mut hungry = bench.config("v1", 0, Mode::Native);
    hungry.rings.fill = 8192;
    let hungry = open(&hungry);
    assert!(
        matches!(hungry, OpenError::Frames { needed: 8192, .. }),
        "{hungry}"
    );

    Box::new(queues.remove(0)).close(&mut pool);
    pool.drain();
    bench.assert_all_frames_are_free();
}
