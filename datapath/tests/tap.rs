//! Traffic between namespaces over TAP ports. Needs root; skipped without.

mod namespace;

use std::os::fd::AsFd;

use namespace::{Forwarder, Namespace, now, privileged, tcp};
use vswitch_datapath::buffer::{Batch, FramePool, SharedFrames};
use vswitch_datapath::offload::Capabilities;
use vswitch_datapath::offload::fit::{Fit, fit};
use vswitch_datapath::port::tap::TapQueue;
use vswitch_datapath::port::{PortIndex, PortQueue, RxStatus};
use vswitch_sys::tap::{self, Tap, TapOffloads, TapSpec};

/// A TAP device inside a namespace, up, with `10.0.0.HOST/24` and `fd00::HOST/64`.
fn device(namespace: &Namespace, host: u8, mtu: u32) -> Tap {
    let tap = namespace
        .enter(|| {
            tap::open(&TapSpec {
                name: "eth0",
                queues: 1,
                exclusive: true,
                offloads: TapOffloads::all(),
            })
            .expect("a TAP device")
        })
        .join()
        .expect("no panic");
    namespace.ip(&format!("addr add 10.0.0.{host}/24 dev eth0"));
    namespace.ip(&format!("addr add fd00::{host}/64 dev eth0 nodad"));
    namespace.ip(&format!("link set eth0 mtu {mtu} up"));
    tap
}

fn queue(tap: &mut Tap, port: u32, mtu: u32) -> Box<dyn PortQueue> {
    let fd = tap.queues.pop().expect("one queue");
    Box::new(TapQueue::new(fd, PortIndex(port), tap.offloads, mtu))
}

#[test]
fn two_containers_talk_over_tap_ports_with_super_frames() {
    if !privileged() {
        return;
    }
    let (left, right) = (Namespace::new("l"), Namespace::new("r"));
    let mut taps = [device(&left, 1, 1500), device(&right, 2, 1500)];
    let [a, b] = &mut taps;
    let forwarder = Forwarder::start([queue(a, 1, 1500), queue(b, 2, 1500)]);
    for size in [56, 1600, 3200] {
        left.exec(&format!("ping -q -c 3 -i 0.01 -W 2 -s {size} 10.0.0.2"));
        left.exec(&format!("ping -q -c 3 -i 0.01 -W 2 -s {size} fd00::2"));
    }
    for address in ["10.0.0.2:7000", "[fd00::2]:7000"] {
        tcp(&left, &right, address, 50_000_000);
    }
    let seen = forwarder.stop();
    assert!(seen.largest > 20_000, "largest packet {}", seen.largest);
    let [a, b] = seen.counters;
    assert_eq!((a.rx_errors, b.rx_errors), (0, 0));
    assert_eq!((a.rx_dropped, b.rx_dropped), (0, 0));
    assert_eq!((a.tx_packets, b.tx_packets), (b.rx_packets, a.rx_packets));
    assert_eq!((a.tx_bytes, b.tx_bytes), (b.rx_bytes, a.rx_bytes));
}

fn assert_no_checksum_errors(namespace: &Namespace) {
    let counts = namespace.exec("nstat -az TcpInCsumErrors UdpInCsumErrors Udp6InCsumErrors");
    let mut lines = 0;
    for line in counts.lines().filter(|line| line.contains("CsumErrors")) {
        assert_eq!(line.split_whitespace().nth(1), Some("0"), "{counts}");
        lines += 1;
    }
    assert_eq!(lines, 3, "{counts}");
}

/// A forwarder that treats both ports as if they took nothing unfinished.
fn software_forwarder(ports: [Box<dyn PortQueue>; 2]) -> Forwarder {
    let plain = Capabilities {
        mtu: 1500,
        max_segments: 18,
        ..Capabilities::default()
    };
    Forwarder::with_hook(
        ports,
        Box::new(
            move |packet, _, pool, out| match fit(packet, &plain, pool, out) {
                Fit::Ready => {}
                other => panic!("{other:?}"),
            },
        ),
    )
}

#[test]
fn a_kernel_takes_what_was_cut_and_summed_in_software() {
    if !privileged() {
        return;
    }
    let (left, right) = (Namespace::new("l"), Namespace::new("r"));
    let mut taps = [device(&left, 1, 1500), device(&right, 2, 1500)];
    let [a, b] = &mut taps;
    let forwarder = software_forwarder([queue(a, 1, 1500), queue(b, 2, 1500)]);
    for address in ["10.0.0.2:7000", "[fd00::2]:7000"] {
        tcp(&left, &right, address, 20_000_000);
    }
    let seen = forwarder.stop();
    assert!(seen.largest > 20_000, "largest packet {}", seen.largest);
    assert_no_checksum_errors(&right);
}

/// A VXLAN device between the two hosts, inside their own namespaces.
fn tunnel(namespace: &Namespace, remote: &str, host: u8, checksum: &str) {
    namespace.ip(&format!(
        "link add vx0 type vxlan id 7 remote {remote} dstport 4789 dev eth0 {checksum}"
    ));
    namespace.ip(&format!("addr add 10.9.0.{host}/24 dev vx0"));
    namespace.ip(&format!("addr add fd09::{host}/64 dev vx0 nodad"));
    namespace.ip("link set vx0 up");
}

#[test]
fn super_frames_inside_a_tunnel_cross_whole_or_cut() {
    if !privileged() {
        return;
    }
    for (remotes, checksum) in [
        (["10.0.0.2", "10.0.0.1"], "noudpcsum"),
        (["10.0.0.2", "10.0.0.1"], "udpcsum"),
        (["fd00::2", "fd00::1"], "noudp6zerocsumtx"),
    ] {
        for cut in [false, true] {
            let (left, right) = (Namespace::new("l"), Namespace::new("r"));
            let mut taps = [device(&left, 1, 1500), device(&right, 2, 1500)];
            tunnel(&left, remotes[0], 1, checksum);
            tunnel(&right, remotes[1], 2, checksum);
            let [a, b] = &mut taps;
            if !a.offloads.has(TapOffloads::UDP_TUNNEL_CSUM) {
                eprintln!("skipped: the kernel has no tunnel offloads for TAP devices");
                return;
            }
            let ports = [queue(a, 1, 1500), queue(b, 2, 1500)];
            let forwarder = if cut {
                software_forwarder(ports)
            } else {
                Forwarder::start(ports)
            };
            for address in ["10.9.0.2:7000", "[fd09::2]:7000"] {
                tcp(&left, &right, address, 5_000_000);
            }
            let seen = forwarder.stop();
            assert!(seen.largest > 20_000, "largest packet {}", seen.largest);
            let [a, b] = seen.counters;
            assert_eq!((a.rx_errors, b.rx_errors), (0, 0));
            assert_eq!((a.tx_errors, b.tx_errors), (0, 0));
            assert_no_checksum_errors(&right);
        }
    }
}

#[test]
fn a_device_that_was_moved_and_renamed_is_found_by_its_descriptor() {
    if !privileged() {
        return;
    }
    let (first, second) = (Namespace::new("a"), Namespace::new("b"));
    let tap = device(&first, 1, 1500);
    first.ip(&format!("link set eth0 netns {} name moved0", second.name));
    let fd = tap.queues[0].as_fd();
    assert_eq!(tap::device_name(fd).expect("alive"), "moved0");
    let found = rustix::fs::fstat(tap::device_namespace(fd).expect("alive")).expect("stat");
    let there = rustix::fs::stat(format!("/run/netns/{}", second.name)).expect("stat");
    assert_eq!((found.st_dev, found.st_ino), (there.st_dev, there.st_ino));
}

#[test]
fn a_device_that_is_down_or_gone_is_told_apart_and_loses_no_frame() {
    if !privileged() {
        return;
    }
    let namespace = Namespace::new("d");
    let mut tap = device(&namespace, 1, 1500);
    let mut port = queue(&mut tap, 1, 1500);
    let shared = SharedFrames::new(64, 4).expect("memory");
    let mut pool = FramePool::new(std::sync::Arc::clone(&shared));
    let mut batch = Batch::new();

    namespace.ip("link set eth0 down");
    while port.rx(now(), &mut pool, &mut batch) == RxStatus::More {}
    for packet in batch.drain(..) {
        pool.drop_packet(packet);
    }
    let frame = || {
        let mut bytes = vec![0xff; 60];
        bytes[12..14].copy_from_slice(&[0x08, 0x06]);
        bytes
    };
    let send = |port: &mut Box<dyn PortQueue>, pool: &mut FramePool| {
        let mut head = pool.chunk().expect("free");
        head.bytes_mut()[256..316].copy_from_slice(&frame());
        let packet =
            vswitch_datapath::buffer::Packet::new(head, 256..316, PortIndex(9), Default::default());
        port.tx(now(), pool, &mut vec![packet]);
    };
    send(&mut port, &mut pool);
    assert_eq!(port.counters().tx_down, 1);

    namespace.ip("link set eth0 up");
    send(&mut port, &mut pool);
    assert_eq!(port.counters().tx_packets, 1);

    namespace.ip("link del eth0");
    let answer = port.rx(now(), &mut pool, &mut batch);
    assert_eq!(answer, RxStatus::Down);
    send(&mut port, &mut pool);
    assert_eq!(port.counters().tx_down, 2);

    port.close(&mut pool);
    pool.drain();
    assert_eq!(shared.free_len(), (64, 4));
}
