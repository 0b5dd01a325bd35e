//! The port of the host's UDP sockets, as `vswitchd` hands it over. Needs no privilege.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use vswitch_datapath::control::{Config, Control, serve};
use vswitch_dpapi::message::PollMode;
use vswitch_dpapi::{
    Attachment, BridgeId, Connection, Desired, PortConfig, PortId, PortKind, PortSpec, Reply,
    Request, VERSION, VlanSpec,
};
use vswitch_flow::OfPort;
use vswitch_sys::udp_socket::{self, Family, UdpSocketSpec};

const PORT: PortId = PortId(1);

fn receiver() -> (OwnedFd, u16) {
    let socket = udp_socket::open(&UdpSocketSpec {
        family: Family::V4,
        port: 0,
        shared: false,
        receive_size: 1 << 20,
        send_size: 1 << 20,
    });
    let socket = socket.expect("a socket");
    let (_, port) = udp_socket::local(socket.as_fd()).expect("bound");
    (socket, port)
}

fn exchange(
    asks: &mut Connection,
    request: &Request,
    fds: &[BorrowedFd<'_>],
) -> (Reply, Vec<OwnedFd>) {
    asks.send(request, fds).expect("sent");
    asks.receive().expect("answered")
}

/// Waits until the port has counted so many packets.
#[expect(clippy::disallowed_methods, reason = "this test waits for a worker")]
fn await_packets(asks: &mut Connection, len: u64) {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let (Reply::Ports(ports), _) = exchange(asks, &Request::Ports, &[]) else {
            panic!("ports were asked for");
        };
        let rx = ports.first().map_or(0, |port| port.counters.rx_packets);
        if rx == len {
            return;
        }
        assert!(Instant::now() < end && rx < len, "{rx} packets of {len}");
        std::thread::yield_now();
    }
}

#[test]
fn sockets_are_handed_over_given_back_and_joined_by_others_without_a_loss() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("datapath.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let control = Control::start(Config {
        cores: vec![None],
        chunks: 512,
        larges: 64,
        poll: PollMode::Adaptive,
        sleep_after: Duration::from_micros(100),
        seed: 5,
    });
    let control = control.expect("memory and threads");
    let thread = std::thread::spawn(move || serve(control, &listener));
    let mut asks = Connection::new(UnixStream::connect(&path).expect("it listens"));
    exchange(&mut asks, &Request::Hello { version: VERSION }, &[]);
    let desired = Desired {
        bridges: Vec::new(),
        ports: vec![PortSpec {
            id: PORT,
            bridge: BridgeId::NONE,
            name: "udp".into(),
            of_port: OfPort(0),
            kind: PortKind::Socket,
            vlan: VlanSpec::default(),
            mtu: 65_535,
            up: true,
            config: PortConfig::default(),
        }],
        routers: Vec::new(),
    };
    let request = Request::SetDesired(Box::new(desired));
    let (reply, _) = exchange(&mut asks, &request, &[]);
    assert_eq!(
        reply,
        Reply::Applied {
            unattached: vec![PORT]
        }
    );

    let (first, first_port) = receiver();
    let sender = udp_socket::open_sender(Family::V4, 1 << 20).expect("a socket");
    let attach = |receivers| Request::Attach {
        port: PORT,
        attachment: Attachment::Socket {
            queues: 1,
            receivers,
            senders: 1,
        },
    };
    let wrong = exchange(&mut asks, &attach(1), &[first.as_fd()]).0;
    assert!(matches!(wrong, Reply::Refused { .. }), "{wrong:?}");
    let fds = [first.as_fd(), sender.as_fd()];
    assert_eq!(exchange(&mut asks, &attach(1), &fds).0, Reply::Done);

    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let send = |port: u16, len: u64| {
        for _ in 0..len {
            peer.send_to(b"whatever", (Ipv4Addr::LOCALHOST, port))
                .expect("sent");
        }
    };
    send(first_port, 100);
    await_packets(&mut asks, 100);

    // Another tunnel's port joins: a new attachment with the old sockets among the new ones.
    let (second, second_port) = receiver();
    let fds = [first.as_fd(), second.as_fd(), sender.as_fd()];
    assert_eq!(exchange(&mut asks, &attach(2), &fds).0, Reply::Done);
    send(second_port, 30);
    send(first_port, 20);
    await_packets(&mut asks, 50);

    let (reply, fds) = exchange(&mut asks, &Request::Export { port: PORT }, &[]);
    let expected = Attachment::Socket {
        queues: 1,
        receivers: 2,
        senders: 1,
    };
    assert_eq!(reply, Reply::Attachment(expected));
    let bound = fds
        .iter()
        .map(|fd| udp_socket::local(fd.as_fd()).expect("bound").1);
    assert_eq!(bound.take(2).collect::<Vec<_>>(), [first_port, second_port]);
    exchange(&mut asks, &Request::Shutdown, &[]);
    thread.join().expect("no panic").expect("the socket worked");
}
