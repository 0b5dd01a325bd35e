//! The OpenFlow agent as controllers and clients meet it: real sockets, a datapath's double.

#![allow(
    clippy::disallowed_methods,
    reason = "real processes take real time, and a peer can only wait"
)]

mod peer;
mod place;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::json;
use vswitch_flow::action::Action;
use vswitch_flow::{Field, FlowCommand, FlowMod, FlowRule, Match, OfPort};
use vswitch_openflow::bundle::{BundleAdd, BundleCommand, BundleControl, BundleFlags};
use vswitch_openflow::config::{ConfigFlags, SwitchConfig};
use vswitch_openflow::hello::Hello;
use vswitch_openflow::packet_out::PacketOut;
use vswitch_openflow::port::PortReason;
use vswitch_openflow::role::{Role, RoleRequest};
use vswitch_openflow::{ErrorCode, Layout, Message, Version};

use peer::{Peer, add, errors, rule, start};
use place::{LONG, REFUSED, until};

/// Not a test: the datapath's double, when a script says so.
#[test]
fn double() {
    place::double();
}

#[test]
fn refusals_come_in_order_before_the_barrier_and_the_rest_is_done() {
    let Some((place, _daemon)) = start("order") else {
        return;
    };
    for version in Version::ALL {
        let mut peer = Peer::mgmt(&place, version);
        let mut want = Vec::new();
        for xid in 100..400 {
            // Refused by the datapath, by the agent, or not at all.
            let bad = match xid % 50 {
                7 | 8 | 31 => Some((REFUSED, 0, ErrorCode::FmfcOverlap)),
                20 if version > Version::V10 => Some((1, 254, ErrorCode::BrcEperm)),
                _ => None,
            };
            let (priority, table, code) = bad.unwrap_or((1, 0, ErrorCode::FmfcUnknown));
            let rule = FlowRule {
                table,
                ..rule(priority, xid)
            };
            peer.send(xid, &add(rule));
            want.extend(bad.map(|_| (xid, code)));
            if xid == 250 {
                peer.send(9, &Message::EchoRequest(b"between".to_vec()));
            }
        }
        let before = peer.barrier();
        let at = before.iter().position(|decoded| decoded.xid == 9);
        let at = at.expect("the echo's answer");
        assert_eq!(before[at].message, Message::EchoReply(b"between".to_vec()));
        let (first, second) = (errors(&before[..at]), errors(&before[at + 1..]));
        assert!(first.iter().all(|(xid, _)| *xid <= 250), "{first:?}");
        assert_eq!([first, second].concat(), want);
        if let Message::Error(error) = &before[0].message {
            let size = usize::from(u16::from_be_bytes([error.data[2], error.data[3]]));
            assert_eq!(error.data.len(), size, "the whole request");
            assert_eq!(error.data[4..8], before[0].xid.to_be_bytes());
        }
        assert_eq!(peer.flows().len(), 300 - want.len());
        let all = FlowMod {
            all_tables: true,
            ..FlowMod::new(FlowCommand::Delete, FlowRule::default())
        };
        peer.send(2, &Message::FlowMod(Box::new(all.into())));
        assert!(peer.barrier().is_empty());
        assert!(peer.flows().is_empty());
    }
}

#[test]
fn a_bundle_is_made_or_not() {
    let Some((place, _daemon)) = start("bundle") else {
        return;
    };
    for version in [Version::V13, Version::V14] {
        let mut peer = Peer::mgmt(&place, version);
        let flags = BundleFlags::ATOMIC.with(BundleFlags::ORDERED);
        let control = |command| {
            Message::BundleControl(BundleControl {
                bundle: 3,
                command,
                flags,
            })
        };
        for (last, len) in [(REFUSED, 0), (5, 3)] {
            peer.send(10, &control(BundleCommand::OpenRequest));
            assert_eq!(peer.next().message, control(BundleCommand::OpenReply));
            for (xid, rule) in (11..).zip([rule(1, 1), rule(2, 2), rule(last, 3)]) {
                let inner = BundleAdd::new(3, flags, &add(rule), version, xid).expect("a message");
                peer.send(xid, &Message::BundleAdd(inner));
            }
            peer.send(20, &control(BundleCommand::CommitRequest));
            let before = peer.barrier();
            if len == 0 {
                let failed = [(13, ErrorCode::FmfcOverlap), (20, ErrorCode::BfcMsgFailed)];
                assert_eq!(errors(&before), failed);
            } else {
                assert_eq!(before.len(), 1, "{before:?}");
                assert_eq!(before[0].message, control(BundleCommand::CommitReply));
            }
            assert_eq!(peer.flows().len(), len);
        }
        let all = FlowMod::new(FlowCommand::Delete, FlowRule::default());
        peer.send(2, &Message::FlowMod(Box::new(all.into())));
    }
}

#[test]
fn peers_hear_of_ports_and_packets_as_they_asked() {
    let Some((place, daemon)) = start("news") else {
        return;
    };
    let mut listener = Peer::mgmt(&place, Version::V13);
    let mut silent = Peer::mgmt(&place, Version::V14);
    let config = SwitchConfig {
        flags: ConfigFlags::default(),
        miss_send_len: 65_535,
    };
    listener.send(1, &Message::SetConfig(config));
    listener.barrier();
    let port = json!({"bridge": "br0", "name": "n1", "options": {"type": "null"}});
    daemon.ok("add-port", port);
    let Message::PortStatus(status) = listener.next().message else {
        panic!("no news of the port");
    };
    assert_eq!(
        (status.reason, status.desc.port),
        (PortReason::Add, OfPort(1))
    );
    silent.send(
        5,
        &Message::PacketOut(Box::new(PacketOut {
            buffer: None,
            in_port: OfPort::CONTROLLER,
            metadata: Match::any(),
            actions: vec![Action::Output(OfPort(1))],
            packet: vec![0xab; 60],
        })),
    );
    let Message::PacketIn(packet) = listener.next().message else {
        panic!("no packet");
    };
    assert_eq!(packet.packet, [0xab; 60]);
    daemon.ok("del-port", json!({"bridge": "br0", "name": "n1"}));
    let Message::PortStatus(status) = listener.next().message else {
        panic!("no news of the port");
    };
    assert_eq!(status.reason, PortReason::Delete);
    assert!(
        silent.barrier().is_empty(),
        "a client that did not ask hears nothing"
    );
}

#[test]
fn a_secondary_may_look_and_a_new_primary_takes_over() {
    let Some((place, _daemon)) = start("role") else {
        return;
    };
    let mut one = Peer::mgmt(&place, Version::V13);
    let mut other = Peer::mgmt(&place, Version::V13);
    let role = |role, generation| {
        Message::RoleRequest(RoleRequest {
            layout: Layout::Standard,
            role,
            generation,
        })
    };
    let is = |message: Message, want: Role| matches!(message, Message::RoleReply(reply) if reply.role == want);
    one.send(1, &role(Role::Primary, 5));
    assert!(is(one.next().message, Role::Primary));
    other.send(1, &role(Role::Primary, 6));
    assert!(is(other.next().message, Role::Primary));
    one.send(2, &role(Role::NoChange, 0));
    assert!(is(one.next().message, Role::Secondary));
    one.send(3, &add(rule(1, 1)));
    assert_eq!(errors(&one.barrier()), [(3, ErrorCode::BrcIsSecondary)]);
    one.send(4, &role(Role::Primary, 5));
    assert_eq!(errors(&one.barrier()), [(4, ErrorCode::RrfcStale)]);
    assert!(one.flows().is_empty());
    other.send(3, &add(rule(1, 1)));
    assert!(other.barrier().is_empty());
    assert_eq!(one.flows().len(), 1);
}

#[test]
fn a_controller_is_connected_to_and_again_after_it_left() {
    let Some((place, daemon)) = start("controller") else {
        return;
    };
    let listener = place.inside(|| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let target = format!("tcp:{}", listener.local_addr().expect("its address"));
    let set = |controller: &str| {
        let options = json!({"controller": controller});
        daemon.ok("set-br", json!({"name": "br0", "options": options}));
    };
    let mut client = Peer::mgmt(&place, Version::V13);
    client.send(3, &add(rule(1, 1)));
    client.barrier();
    set(&target);
    let accept = || -> Peer<TcpStream> {
        let (stream, _) = listener.accept().expect("the switch connects");
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        Peer::greet(stream, Version::V14)
    };
    let mut controller = accept();
    assert!(
        client.flows().is_empty(),
        "a controller begins with empty tables"
    );
    let state = || daemon.ok("show", json!({}))["bridges"][0]["controllers"][0].clone();
    until("it is active", || {
        (state()["state"] == "active").then_some(())
    });
    assert_eq!(
        (&state()["version"], &state()["role"]),
        (&json!("1.4"), &json!("equal"))
    );
    controller.send(2, &Message::FeaturesRequest);
    assert!(matches!(
        controller.next().message,
        Message::FeaturesReply(_)
    ));
    drop(controller);
    let mut controller = accept();
    controller.send(2, &add(rule(1, 1)));
    assert!(controller.barrier().is_empty());
    // Taken away, it is closed, and nobody decides any more.
    set("");
    let mut bytes = [0; 16];
    until("it is closed", || {
        matches!(controller.stream.read(&mut bytes), Ok(0)).then_some(())
    });
    assert!(client.flows().is_empty());
    assert!(state().is_null());
}

/// Deterministic nonsense.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

#[test]
fn nonsense_ends_nothing_but_its_own_connection() {
    let Some((place, _daemon)) = start("noise") else {
        return;
    };
    let mut witness = Peer::mgmt(&place, Version::V13);
    let mut noise = Noise(1);
    let good: Vec<Vec<u8>> = [
        add(rule(1, 2)),
        Message::BarrierRequest,
        Message::FeaturesRequest,
    ]
    .iter()
    .map(|message| message.encode(Version::V13, 77).expect("a message"))
    .collect();
    for round in 0..300 {
        let mut peer = Peer::mgmt(&place, Version::V13);
        let mut bytes = Vec::new();
        for _ in 0..20 {
            let mut message = good[noise.next() as usize % good.len()].clone();
            for _ in 0..noise.next() % 4 {
                let at = noise.next() as usize % message.len();
                message[at] = noise.next() as u8;
            }
            bytes.extend(message);
        }
        // The switch may have closed the connection already.
        let _ = peer.stream.write_all(&bytes);
        if round % 50 == 0 {
            witness.barrier();
        }
    }
    let pure: Vec<u8> = (0..100_000).map(|_| noise.next() as u8).collect();
    let mut stream = UnixStream::connect(place.rundir().join("br0.mgmt")).expect("it listens");
    let _ = stream.write_all(&pure);
    witness.barrier();
    Peer::mgmt(&place, Version::V10).barrier();
}

#[test]
fn a_thousand_connections_leave_others_theirs() {
    let Some((place, daemon)) = start("crowd") else {
        return;
    };
    let mut witness = Peer::mgmt(&place, Version::V13);
    let path = place.rundir().join("br0.mgmt");
    let crowd: Vec<UnixStream> = (0..1000)
        .map(|_| UnixStream::connect(&path).expect("it listens"))
        .collect();
    // Half messages are no reason to wait for anybody.
    for mut stream in &crowd {
        let _ = stream.write_all(&[4, 0, 0]);
    }
    let closed = |mut stream: &UnixStream| {
        stream.set_nonblocking(true).expect("possible");
        let mut bytes = [0; 64];
        loop {
            match stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    };
    until("those beyond the limit are closed", || {
        (crowd.iter().filter(|stream| closed(stream)).count() == 1000 - 511).then_some(())
    });
    witness.barrier();
    assert!(
        daemon.log().contains("there are 512 connections"),
        "{}",
        daemon.log()
    );
    drop(crowd);
    until("there is room again", || {
        let mut stream = UnixStream::connect(&path).ok()?;
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        let hello = Message::Hello(Hello::new(&[Version::V13]));
        stream
            .write_all(&hello.encode(Version::V13, 1).ok()?)
            .ok()?;
        let mut bytes = [0; 8];
        stream.read_exact(&mut bytes).ok()
    });
}

#[test]
fn a_peer_that_does_not_read_is_not_read_from() {
    let Some((place, _daemon)) = start("slow") else {
        return;
    };
    let mut slow = Peer::mgmt(&place, Version::V13);
    slow.stream.set_nonblocking(true).expect("possible");
    let echo = Message::EchoRequest(vec![7; 1000]);
    let echo = echo.encode(Version::V13, 5).expect("a message");
    let mut sent = 0;
    let mut blocked = None;
    let end = Instant::now() + LONG;
    // Blocked for a while, not just for a moment in which the switch was busy.
    while blocked.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(300)) {
        assert!(
            Instant::now() < end && sent < 64 << 20,
            "it takes {sent} bytes and more"
        );
        match slow.stream.write(&echo) {
            Ok(size) => {
                sent += size;
                blocked = None;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                blocked.get_or_insert_with(Instant::now);
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    }
    let mut other = Peer::mgmt(&place, Version::V13);
    assert!(other.barrier().is_empty());
}

#[test]
fn a_kill_amid_a_load_loses_nothing_that_was_confirmed() {
    let Some((place, daemon)) = start("load") else {
        return;
    };
    let mut peer = Peer::mgmt(&place, Version::V13);
    let mut confirmed = 0;
    for group in 0..20_u32 {
        for i in 0..500 {
            peer.send(i, &add(rule(1, group * 500 + i + 1)));
        }
        if group < 12 {
            assert!(peer.barrier().is_empty());
            confirmed = (group + 1) * 500;
        }
    }
    daemon.kill();
    let _daemon = place.start();
    let mut peer = Peer::mgmt(&place, Version::V13);
    let ports: BTreeSet<u128> = peer
        .flows()
        .iter()
        .map(|flow| flow.matches.field(Field::InPort).0)
        .collect();
    assert!(
        ports.len() >= confirmed as usize,
        "{} of {confirmed}",
        ports.len()
    );
    assert_eq!(
        ports.last(),
        Some(&(ports.len() as u128)),
        "a prefix of what was sent"
    );
    for i in ports.len() as u32..10_000 {
        peer.send(i, &add(rule(1, i + 1)));
    }
    assert!(peer.barrier().is_empty());
    assert_eq!(peer.flows().len(), 10_000);
}
