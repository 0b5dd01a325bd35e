use std::net::Ipv4Addr;

use super::*;
use crate::bpf::programs::XDP_REDIRECT;
use crate::xsk::create_socket;

const OURS: [u8; 4] = [10, 0, 0, 1];
const OTHERS: [u8; 4] = [10, 0, 0, 2];

/// A program with an AF_XDP socket to redirect to.
struct Uplink {
    program: Program,
    table: SteerTable,
    _sockets: (XskMap, OwnedFd),
}

impl Uplink {
    fn new() -> Self {
        let sockets = XskMap::new(1).expect("run this test as root: it creates eBPF maps");
        let socket = create_socket().expect("run this test as root: it opens AF_XDP sockets");
        sockets.set(0, socket.as_fd()).expect("there is a queue 0");
        let table = SteerTable::new().expect("as root");
        let program = program(&sockets, &table).unwrap_or_else(|error| panic!("{error}"));
        Self {
            program,
            table,
            _sockets: (sockets, socket),
        }
    }

    fn add(&self, address: IpAddr, protocol: u8, ports: RangeInclusive<u16>) {
        self.add_in(0, address, protocol, ports);
    }

    fn add_in(&self, vlan: u16, address: IpAddr, protocol: u8, ports: RangeInclusive<u16>) {
        let target = Target {
            vlan,
            address,
            protocol,
        };
        let mut set = self
            .table
            .ports(&target)
            .expect("asked")
            .unwrap_or_default();
        set.add(ports);
        self.table.set(&target, &set).expect("there is room");
    }

    fn takes(&self, frame: &[u8]) -> bool {
        let run = self.program.test_run(frame, 1).expect("runs");
        assert_eq!(run.packet, frame, "a frame is never changed");
        match run.verdict {
            XDP_REDIRECT => true,
            XDP_PASS => false,
            other => panic!("verdict {other}"),
        }
    }
}

fn v4(address: [u8; 4]) -> IpAddr {
    Ipv4Addr::from(address).into()
}

fn v6(last: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into())
}

/// An Ethernet header with tags, and what is behind it.
fn ethernet(tags: &[(u16, u16)], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    for (tpid, tci) in tags {
        frame.extend(tpid.to_be_bytes());
        frame.extend(tci.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet; `options` are words behind the header.
fn ipv4(
    src: [u8; 4],
    dst: [u8; 4],
    protocol: u8,
    fragment: u16,
    options: u8,
    payload: &[u8],
) -> Vec<u8> {
    let size = 20 + 4 * usize::from(options) + payload.len();
    let mut packet = vec![0x45 + options, 0];
    packet.extend((size as u16).to_be_bytes());
    packet.extend([0, 7]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(src);
    packet.extend(dst);
    packet.extend(vec![1; 4 * usize::from(options)]);
    packet.extend(payload);
    packet
}

fn ipv6(src: Ipv6Addr, dst: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend(payload);
    packet
}

/// The ports that UDP, TCP and SCTP begin with, and some bytes.
fn ports(src: u16, dst: u16) -> Vec<u8> {
    let mut bytes = src.to_be_bytes().to_vec();
    bytes.extend(dst.to_be_bytes());
    bytes.extend([0; 16]);
    bytes
}

/// A datagram to us.
fn udp4(dst: [u8; 4], port: u16) -> Vec<u8> {
    ethernet(&[], 0x0800, &ipv4(OTHERS, dst, UDP, 0, 0, &ports(1, port)))
}

#[test]
fn what_the_table_names_is_taken_and_nothing_else() {
    let uplink = Uplink::new();
    assert!(!uplink.takes(&udp4(OURS, 4789)), "the table is empty");
    uplink.add(v4(OURS), UDP, 4789..=4789);
    assert!(uplink.takes(&udp4(OURS, 4789)));
    assert!(!uplink.takes(&udp4(OURS, 4788)));
    assert!(!uplink.takes(&udp4(OURS, 4790)));
    assert!(!uplink.takes(&udp4(OTHERS, 4789)), "another address");
    for protocol in [TCP, SCTP] {
        let packet = ipv4(OTHERS, OURS, protocol, 0, 0, &ports(1, 4789));
        assert!(!uplink.takes(&ethernet(&[], 0x0800, &packet)));
        uplink.add(v4(OURS), protocol, 4000..=5000);
        assert!(uplink.takes(&ethernet(&[], 0x0800, &packet)));
    }
    let arp = ethernet(&[], 0x0806, &[0; 46]);
    assert!(!uplink.takes(&arp));
}

#[test]
fn a_range_ends_where_it_ends() {
    let uplink = Uplink::new();
    uplink.add(v4(OURS), UDP, 32_768..=60_999);
    uplink.add(v4(OURS), UDP, 65_535..=65_535);
    for (port, taken) in [
        (0, false),
        (32_767, false),
        (32_768, true),
        (45_000, true),
        (60_999, true),
        (61_000, false),
        (65_534, false),
        (65_535, true),
    ] {
        assert_eq!(uplink.takes(&udp4(OURS, port)), taken, "port {port}");
    }
}

#[test]
fn a_table_is_brought_to_what_is_wanted() {
    let uplink = Uplink::new();
    uplink.add(v4(OURS), UDP, 1..=9);
    uplink.add(v4(OTHERS), UDP, 1..=9);
    uplink.add(v6(1).into(), TCP, 1..=9);
    let target = Target {
        vlan: 0,
        address: v4(OURS),
        protocol: UDP,
    };
    let mut set = PortSet::default();
    set.add(5..=5);
    uplink
        .table
        .sync(&BTreeMap::from([(target, set.clone())]))
        .expect("there is room");
    assert_eq!(uplink.table.targets().expect("asked"), [target]);
    assert_eq!(uplink.table.ports(&target).expect("asked"), Some(set));
    assert!(uplink.takes(&udp4(OURS, 5)));
    assert!(!uplink.takes(&udp4(OURS, 6)));
    assert!(!uplink.takes(&udp4(OTHERS, 5)));
    uplink.table.sync(&BTreeMap::new()).expect("it shrinks");
    assert!(uplink.table.targets().expect("asked").is_empty());
}

#[test]
fn a_table_that_comes_back_is_known_again() {
    let table = SteerTable::new().expect("run this test as root: it creates eBPF maps");
    let copy = table.as_fd().try_clone_to_owned().expect("a descriptor");
    assert!(SteerTable::from_fd(copy).is_ok());
    let other = XskMap::new(1).expect("as root").into_fd();
    let error = SteerTable::from_fd(other).expect_err("it is another map");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let file = std::fs::File::open("/dev/null").expect("open").into();
    assert!(SteerTable::from_fd(file).is_err());
}

#[test]
fn a_queue_without_a_socket_leaves_everything_to_the_host() {
    let mut uplink = Uplink::new();
    uplink.add(v4(OURS), UDP, 4789..=4789);
    let (map, _) = &uplink._sockets;
    map.remove(0).expect("it was set");
    assert!(!uplink.takes(&udp4(OURS, 4789)));
    let socket = create_socket().expect("as root");
    uplink._sockets.0.set(0, socket.as_fd()).expect("queue 0");
    uplink._sockets.1 = socket;
    assert!(uplink.takes(&udp4(OURS, 4789)));
}

#[test]
fn options_are_stepped_over_and_pieces_are_the_hosts() {
    let uplink = Uplink::new();
    uplink.add(v4(OURS), UDP, 4789..=4789);
    for options in 0..=10 {
        let packet = ipv4(OTHERS, OURS, UDP, 0, options, &ports(1, 4789));
        assert!(uplink.takes(&ethernet(&[], 0x0800, &packet)), "{options}");
    }
    // Do not fragment; more fragments; the second piece.
    for (fragment, taken) in [(0x4000, true), (0x2000, false), (0x0001, false)] {
        let packet = ipv4(OTHERS, OURS, UDP, fragment, 0, &ports(1, 4789));
        let frame = ethernet(&[], 0x0800, &packet);
        assert_eq!(uplink.takes(&frame), taken, "{fragment:#x}");
    }
}

#[test]
fn a_vlan_is_part_of_what_is_ours() {
    let uplink = Uplink::new();
    uplink.add_in(100, v4(OURS), UDP, 4789..=4789);
    let packet = ipv4(OTHERS, OURS, UDP, 0, 0, &ports(1, 4789));
    let tagged = |tags: &[(u16, u16)]| ethernet(tags, 0x0800, &packet);
    assert!(!uplink.takes(&tagged(&[])));
    assert!(uplink.takes(&tagged(&[(0x8100, 100)])));
    assert!(uplink.takes(&tagged(&[(0x88a8, 0xe000 | 100)])));
    assert!(!uplink.takes(&tagged(&[(0x8100, 101)])));
    assert!(!uplink.takes(&tagged(&[(0x8100, 100), (0x8100, 100)])));
    uplink.add(v4(OURS), UDP, 4789..=4789);
    assert!(uplink.takes(&tagged(&[])));
    // A tag that says only how urgent the frame is.
    assert!(uplink.takes(&tagged(&[(0x8100, 0xa000)])));
}

#[test]
fn ipv6_is_taken_where_ports_follow_the_header() {
    let uplink = Uplink::new();
    uplink.add(v6(1).into(), UDP, 6081..=6081);
    let frame = |dst, next, payload: &[u8]| ethernet(&[], 0x86dd, &ipv6(v6(2), dst, next, payload));
    assert!(uplink.takes(&frame(v6(1), UDP, &ports(9, 6081))));
    assert!(!uplink.takes(&frame(v6(1), UDP, &ports(6081, 9))));
    assert!(!uplink.takes(&frame(v6(3), UDP, &ports(9, 6081))));
    // A fragment header; hop-by-hop options.
    assert!(!uplink.takes(&frame(v6(1), 44, &[17; 40])));
    assert!(!uplink.takes(&frame(v6(1), 0, &[17; 40])));
}

/// An error about a packet of ours, which begins with these bytes behind its IP header.
fn error4(kind: u8, quoted: Vec<u8>) -> Vec<u8> {
    let mut icmp = vec![kind, 4, 0, 0, 0, 0, 0, 0];
    icmp.extend(quoted);
    ethernet(&[], 0x0800, &ipv4([10, 9, 9, 9], OURS, ICMP, 0, 0, &icmp))
}

#[test]
fn errors_about_our_flows_are_ours() {
    let uplink = Uplink::new();
    uplink.add(v4(OURS), TCP, 40_000..=40_100);
    let quoted = |src, protocol, from, to| ipv4(src, OTHERS, protocol, 0x4000, 0, &ports(from, to));
    for kind in [3, 11, 12] {
        assert!(
            uplink.takes(&error4(kind, quoted(OURS, TCP, 40_050, 80))),
            "{kind}"
        );
    }
    for kind in [5, 8, 13] {
        assert!(
            !uplink.takes(&error4(kind, quoted(OURS, TCP, 40_050, 80))),
            "{kind}"
        );
    }
    assert!(
        !uplink.takes(&error4(3, quoted(OURS, TCP, 22, 80))),
        "the host's"
    );
    assert!(!uplink.takes(&error4(3, quoted(OURS, UDP, 40_050, 80))));
    assert!(!uplink.takes(&error4(3, quoted(OTHERS, TCP, 40_050, 80))));
    // Tunnels send from any port; theirs are known by where they went.
    let target = Target {
        vlan: 0,
        address: v4(OURS),
        protocol: UDP,
    };
    let mut set = PortSet::default();
    set.add(4789..=4789);
    set.add_remote(4789..=4789);
    uplink.table.set(&target, &set).expect("there is room");
    assert!(uplink.takes(&error4(3, quoted(OURS, UDP, 50_123, 4789))));
    assert!(!uplink.takes(&error4(3, quoted(OURS, UDP, 50_123, 4790))));
    assert!(!uplink.takes(&udp4(OURS, 50_123)));
}

#[test]
fn pings_have_their_identifier_for_a_port() {
    let uplink = Uplink::new();
    uplink.add(v4(OURS), ICMP, 40_000..=40_100);
    uplink.add(v6(1).into(), ICMPV6, 40_000..=40_100);
    let echo4 = |kind: u8, id: u16| {
        let mut icmp = vec![kind, 0, 0, 0];
        icmp.extend(id.to_be_bytes());
        icmp.extend([0; 20]);
        icmp
    };
    let frame4 = |icmp: &[u8]| ethernet(&[], 0x0800, &ipv4(OTHERS, OURS, ICMP, 0, 0, icmp));
    let frame6 = |icmp: &[u8]| ethernet(&[], 0x86dd, &ipv6(v6(2), v6(1), ICMPV6, icmp));
    assert!(uplink.takes(&frame4(&echo4(0, 40_007))));
    assert!(!uplink.takes(&frame4(&echo4(0, 39_999))));
    assert!(
        !uplink.takes(&frame4(&echo4(8, 40_007))),
        "the host answers pings"
    );
    assert!(uplink.takes(&frame6(&echo4(129, 40_007))));
    assert!(!uplink.takes(&frame6(&echo4(128, 40_007))));
    // Neighbour discovery is the host's.
    assert!(!uplink.takes(&frame6(&echo4(135, 40_007))));

    let quoted = ipv4(OURS, OTHERS, ICMP, 0, 0, &echo4(8, 40_007));
    assert!(uplink.takes(&error4(11, quoted)));
    let quoted = ipv4(OURS, OTHERS, ICMP, 0, 0, &echo4(0, 40_007));
    assert!(!uplink.takes(&error4(11, quoted)), "the host's answer");
}

#[test]
fn errors_of_ipv6_are_read_alike() {
    let uplink = Uplink::new();
    uplink.add(v6(1).into(), UDP, 40_000..=40_100);
    let error = |kind: u8, src, from| {
        let mut icmp = vec![kind, 0, 0, 0, 0, 0, 5, 0];
        icmp.extend(ipv6(src, v6(2), UDP, &ports(from, 53)));
        ethernet(&[], 0x86dd, &ipv6(v6(9), v6(1), ICMPV6, &icmp))
    };
    for kind in 1..=4 {
        assert!(uplink.takes(&error(kind, v6(1), 40_000)), "{kind}");
    }
    for kind in [0, 5, 128, 134] {
        assert!(!uplink.takes(&error(kind, v6(1), 40_000)), "{kind}");
    }
    assert!(!uplink.takes(&error(2, v6(1), 53)));
    assert!(!uplink.takes(&error(2, v6(3), 40_000)));
}

#[test]
fn cut_frames_are_the_hosts() {
    let uplink = Uplink::new();
    uplink.add(v4(OURS), UDP, 0..=65_535);
    uplink.add(v4(OURS), ICMP, 0..=65_535);
    uplink.add(v6(1).into(), UDP, 0..=65_535);
    let mut icmp = vec![3, 4, 0, 0, 0, 0, 0, 0];
    icmp.extend(ipv4(OURS, OTHERS, UDP, 0, 3, &ports(1, 2)));
    let frames = [
        (udp4(OURS, 7), 14 + 20 + 4),
        (
            ethernet(&[], 0x0800, &ipv4(OTHERS, OURS, ICMP, 0, 2, &icmp)),
            14 + 28 + 8 + 32 + 4,
        ),
        (
            ethernet(
                &[(0x8100, 0)],
                0x86dd,
                &ipv6(v6(2), v6(1), UDP, &ports(1, 2)),
            ),
            18 + 40 + 4,
        ),
    ];
    for (frame, needed) in frames {
        for len in 14..frame.len() {
            assert_eq!(uplink.takes(&frame[..len]), len >= needed, "{len} bytes");
        }
    }
}

#[test]
fn headers_that_lie_are_the_hosts() {
    let uplink = Uplink::new();
    uplink.add(v4(OURS), UDP, 0..=65_535);
    let mut frame = udp4(OURS, 7);
    for first in 0..=255_u8 {
        frame[14] = first;
        let size = usize::from(first & 15) * 4;
        let legal = first >> 4 == 4 && size >= 20 && 14 + size + 4 <= frame.len();
        assert_eq!(uplink.takes(&frame), legal, "{first:#x}");
    }
}
