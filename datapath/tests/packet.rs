//! Traffic between namespaces over packet-socket ports. Needs root; skipped without.

mod namespace;

use std::os::fd::OwnedFd;

use namespace::{Forwarder, Namespace, now, privileged, tcp};
use rustix::event::{PollFd, PollFlags, poll};
use vswitch_datapath::buffer::{Batch, FramePool, HEADROOM, SharedFrames};
use vswitch_datapath::offload::fit::{Fit, fit};
use vswitch_datapath::offload::{Checksum, Offload};
use vswitch_datapath::port::packet::PacketQueue;
use vswitch_datapath::port::tap::TapQueue;
use vswitch_datapath::port::{PortIndex, PortQueue, Readiness, RxStatus};
use vswitch_sys::bpf::{Attach, Link, programs};
use vswitch_sys::packet_socket::{self, PacketSocketSpec, SendBatch};
use vswitch_sys::tap::{self, TapOffloads, TapSpec};

/// A veth whose one end, `eth0`, is in `container` with addresses, and whose other, `host0`, is in
/// `host` without any, so that the stack there has nothing to answer with.
fn cable(container: &Namespace, host: &Namespace, number: u8) {
    container.ip(&format!(
        "link add eth0 type veth peer name host0 netns {}",
        host.name
    ));
    container.ip(&format!("addr add 10.0.0.{number}/24 dev eth0"));
    container.ip(&format!("addr add fd00::{number}/64 dev eth0 nodad"));
    container.ip("link set eth0 up");
    host.ip("link set host0 addrgenmode none");
    host.ip("link set host0 up");
}

/// The number of `device` in the calling thread's namespace.
fn ifindex(device: &str) -> u32 {
    let any = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::DGRAM,
        None,
    )
    .expect("socket");
    rustix::net::netdevice::name_to_index(&any, device).expect("device")
}

/// A packet socket on `device` of `namespace`.
fn socket(namespace: &Namespace, device: &'static str) -> OwnedFd {
    namespace
        .enter(move || {
            packet_socket::open(&PacketSocketSpec {
                ifindex: ifindex(device),
                receive_size: 8 << 20,
                send_size: 8 << 20,
                qdisc_bypass: false,
                promiscuous: true,
            })
            .expect("packet socket")
        })
        .join()
        .expect("no panic")
}

fn queue(namespace: &Namespace, port: u32) -> Box<dyn PortQueue> {
    Box::new(PacketQueue::new(
        socket(namespace, "host0"),
        PortIndex(port),
        1500,
    ))
}

fn check_traffic(left: &Namespace, right: &Namespace, forwarder: Forwarder) {
    for size in [56, 1600, 3200] {
        left.exec(&format!("ping -q -c 3 -i 0.01 -W 2 -s {size} 10.0.0.2"));
        left.exec(&format!("ping -q -c 3 -i 0.01 -W 2 -s {size} fd00::2"));
    }
    for address in ["10.0.0.2:7000", "[fd00::2]:7000"] {
        tcp(left, right, address, 50_000_000);
    }
    for address in ["10.0.0.1:7000", "[fd00::1]:7000"] {
        tcp(right, left, address, 5_000_000);
    }
    let seen = forwarder.stop();
    assert!(seen.largest > 20_000, "largest packet {}", seen.largest);
    let [a, b] = seen.counters;
    assert_eq!((a.rx_errors, b.rx_errors), (0, 0));
    assert_eq!((a.tx_errors, b.tx_errors), (0, 0));
    for (tx, rx) in [(a, b), (b, a)] {
        assert_eq!(tx.tx_packets + tx.tx_no_room, rx.rx_packets);
    }
}

#[test]
fn two_containers_talk_over_packet_ports_with_super_frames() {
    if !privileged() {
        return;
    }
    let (left, right) = (Namespace::new("l"), Namespace::new("r"));
    let hosts = [Namespace::new("hl"), Namespace::new("hr")];
    cable(&left, &hosts[0], 1);
    cable(&right, &hosts[1], 2);
    let forwarder = Forwarder::start([queue(&hosts[0], 1), queue(&hosts[1], 2)]);
    check_traffic(&left, &right, forwarder);
}

#[test]
fn a_tap_container_and_a_veth_container_talk_with_super_frames() {
    if !privileged() {
        return;
    }
    let (left, right) = (Namespace::new("l"), Namespace::new("r"));
    let host = Namespace::new("h");
    let mut device = left
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
    left.ip("addr add 10.0.0.1/24 dev eth0");
    left.ip("addr add fd00::1/64 dev eth0 nodad");
    left.ip("link set eth0 up");
    cable(&right, &host, 2);
    let fd = device.queues.pop().expect("one queue");
    let tap_port = TapQueue::new(fd, PortIndex(1), device.offloads, 1500);
    let forwarder = Forwarder::start([Box::new(tap_port), queue(&host, 2)]);
    check_traffic(&left, &right, forwarder);
}

/// Receives until `count` packets of EtherType 0x88b5 (behind any tags) are there.
fn receive(
    port: &mut dyn PortQueue,
    pool: &mut FramePool,
    count: usize,
) -> Vec<(Vec<u8>, Offload)> {
    let mut packets = Vec::new();
    let mut batch = Batch::new();
    while packets.len() < count {
        if port.rx(now(), pool, &mut batch) == RxStatus::Drained
            && let Readiness::Fd { fd, .. } = port.readiness()
        {
            let timeout = rustix::time::Timespec {
                tv_sec: 5,
                tv_nsec: 0,
            };
            let ready = poll(
                &mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)],
                Some(&timeout),
            );
            assert_eq!(ready, Ok(1), "no packet within 5 s");
        }
        for packet in batch.drain(..) {
            assert!(packet.head_range().start >= HEADROOM);
            let bytes = packet.to_vec();
            if bytes.windows(2).any(|w| w == [0x88, 0xb5]) {
                packets.push((bytes, packet.offload));
            }
            pool.drop_packet(packet);
        }
    }
    packets
}

#[test]
fn vlan_tags_that_the_kernel_took_out_are_put_back() {
    if !privileged() {
        return;
    }
    let (container, host) = (Namespace::new("c"), Namespace::new("h"));
    cable(&container, &host, 1);
    let shared = SharedFrames::new(64, 64).expect("memory");
    let mut pool = FramePool::new(std::sync::Arc::clone(&shared));
    let mut port = queue(&host, 1);
    let sender = socket(&container, "eth0");

    let tags: [&[u8]; 4] = [
        &[],
        &[0x81, 0x00, 0x20, 0x64],
        &[0x88, 0xa8, 0x00, 0x07],
        &[0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x60, 0x64],
    ];
    let frames: Vec<Vec<u8>> = tags
        .iter()
        .map(|tags| {
            let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8];
            frame.extend_from_slice(tags);
            frame.extend_from_slice(&[0x88, 0xb5]);
            frame.extend(0..46);
            frame
        })
        .collect();
    let messages = frames.iter().map(|frame| {
        (
            [0; packet_socket::VNET_HDR_SIZE],
            std::iter::once(&frame[..]),
        )
    });
    let sent = SendBatch::default()
        .send(std::os::fd::AsFd::as_fd(&sender), messages)
        .expect("sent");
    assert_eq!(sent, frames.len());

    let received = receive(&mut *port, &mut pool, frames.len());
    for ((bytes, offload), frame) in received.iter().zip(&frames) {
        assert_eq!(bytes, frame);
        assert_eq!(offload.gso, None);
        assert!(!matches!(offload.csum, Checksum::Partial { .. }));
    }
    port.close(&mut pool);
    pool.drain();
    assert_eq!(shared.free_len(), (64, 64));
}

#[test]
fn the_hosts_own_stack_is_kept_off_packets_that_the_socket_still_gets() {
    if !privileged() {
        return;
    }
    let (container, host) = (Namespace::new("c"), Namespace::new("h"));
    cable(&container, &host, 1);
    host.ip("addr add 10.0.0.9/24 dev host0");
    let ping = "ping -q -c 1 -W 1 10.0.0.9";
    container.exec(ping);
    let mute = host
        .enter(|| {
            let program = programs::tcx_ingress_drop().expect("loaded");
            Link::attach(&program, ifindex("host0"), Attach::TcxIngress).expect("attached")
        })
        .join()
        .expect("no panic");

    let shared = SharedFrames::new(64, 64).expect("memory");
    let mut pool = FramePool::new(std::sync::Arc::clone(&shared));
    let mut port = queue(&host, 1);
    assert!(!container.succeeds(ping), "the host answered");
    let mut batch = Batch::new();
    let mut requests = 0;
    while port.rx(now(), &mut pool, &mut batch) == RxStatus::More {
        for packet in batch.drain(..) {
            // ICMP echo requests behind IPv4 headers without options.
            let head = packet.head();
            requests += usize::from(head[12..14] == [8, 0] && head[23] == 1 && head[34] == 8);
            pool.drop_packet(packet);
        }
    }
    assert_eq!(requests, 1);

    drop(mute);
    container.exec(ping);
    port.close(&mut pool);
    pool.drain();
    assert_eq!(shared.free_len(), (64, 64));
}

#[test]
fn packets_that_found_no_room_in_the_socket_are_counted_when_asked() {
    if !privileged() {
        return;
    }
    let (container, host) = (Namespace::new("c"), Namespace::new("h"));
    cable(&container, &host, 1);
    let shared = SharedFrames::new(64, 64).expect("memory");
    let mut pool = FramePool::new(shared);
    let mut port = queue(&host, 1);
    let sender = socket(&container, "eth0");
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5];
    frame.resize(1400, 0);
    let mut batch = SendBatch::default();
    let mut sent = 0u64;
    while sent < 20_000 {
        let messages = std::iter::repeat_n(&frame, 32).map(|frame| {
            (
                [0; packet_socket::VNET_HDR_SIZE],
                std::iter::once(&frame[..]),
            )
        });
        sent += batch
            .send(std::os::fd::AsFd::as_fd(&sender), messages)
            .expect("room: nobody holds them") as u64;
    }
    let mut received = 0;
    let mut arrived = Batch::new();
    while port.rx(now(), &mut pool, &mut arrived) == RxStatus::More {
        for packet in arrived.drain(..) {
            received += u64::from(packet.head()[12..14] == [0x88, 0xb5]);
            pool.drop_packet(packet);
        }
    }
    assert_eq!(port.counters().rx_dropped, 0);
    port.refresh_counters();
    let dropped = port.counters().rx_dropped;
    assert!(dropped > 0, "an 8 MiB socket held 28 MB");
    // The stack's own chatter (neighbour discovery) may be among the dropped.
    assert!(
        (sent..sent + 20).contains(&(received + dropped)),
        "{sent} sent, {received} received, {dropped} dropped"
    );
    port.close(&mut pool);
}

#[test]
fn super_frames_inside_a_tunnel_are_recognised_and_cut() {
    if !privileged() {
        return;
    }
    for checksum in ["noudpcsum", "udpcsum"] {
        let (left, right) = (Namespace::new("l"), Namespace::new("r"));
        let hosts = [Namespace::new("hl"), Namespace::new("hr")];
        cable(&left, &hosts[0], 1);
        cable(&right, &hosts[1], 2);
        for (namespace, remote, host) in [(&left, "10.0.0.2", 1), (&right, "10.0.0.1", 2)] {
            namespace.ip(&format!(
                "link add vx0 type vxlan id 7 remote {remote} dstport 4789 dev eth0 {checksum}"
            ));
            namespace.ip(&format!("addr add 10.9.0.{host}/24 dev vx0"));
            namespace.ip(&format!("addr add fd09::{host}/64 dev vx0 nodad"));
            namespace.ip("link set vx0 up");
        }
        let forwarder = Forwarder::with_hook(
            [queue(&hosts[0], 1), queue(&hosts[1], 2)],
            Box::new(|packet, port, pool, out| {
                match fit(packet, &port.capabilities(), pool, out) {
                    Fit::Ready => {}
                    other => panic!("{other:?}"),
                }
            }),
        );
        for address in ["10.9.0.2:7000", "[fd09::2]:7000"] {
            tcp(&left, &right, address, 5_000_000);
        }
        let seen = forwarder.stop();
        assert!(seen.largest > 4000, "largest packet {}", seen.largest);
        let [a, b] = seen.counters;
        assert_eq!((a.rx_errors, b.rx_errors), (0, 0));
        assert_eq!((a.tx_errors, b.tx_errors), (0, 0));
    }
}
