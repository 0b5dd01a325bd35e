use std::net::UdpSocket;
use std::time::Duration;

use super::*;
use crate::memory::Region;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A socket on a free port.
fn socket(family: Family) -> (OwnedFd, u16) {
    let spec = UdpSocketSpec {
        family,
        port: 0,
        shared: false,
        receive_size: 1 << 20,
        send_size: 1 << 20,
    };
    let socket = open(&spec).expect("a socket");
    let (is, port) = local(socket.as_fd()).expect("it is bound");
    assert_eq!(is, family);
    (socket, port)
}

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => V4,
        Family::V6 => V6,
    }
}

/// Waits for one receive call to bring something; what came, each with its bytes.
fn receive(socket: &OwnedFd) -> Vec<(Received, Vec<u8>)> {
    let (_, mut frames) = Region::leak(2, 2).expect("memory");
    let (large, head) = (frames.pop(), frames.remove(0));
    let mut slots = [RecvSlot { head, spill: large }];
    let mut batch = RecvBatch::default();
    let mut waiting = [rustix::event::PollFd::new(
        socket,
        rustix::event::PollFlags::IN,
    )];
    let limit = rustix::event::Timespec::try_from(Duration::from_secs(5)).expect("a time");
    rustix::event::poll(&mut waiting, Some(&limit)).expect("polled");
    let count = batch
        .recv(socket.as_fd(), &mut slots, 100)
        .expect("something came");
    let [RecvSlot { head, spill }] = slots;
    let received = (0..count)
        .filter_map(|i| batch.received(i))
        .map(|received| {
            let mut bytes = head.bytes()[100..].to_vec();
            bytes.extend(spill.iter().flat_map(|frame| frame.bytes()));
            bytes.truncate(received.len);
            (received, bytes)
        });
    let received = received.collect();
    mem::forget((head, spill, frames));
    received
}

#[test]
fn a_datagram_says_where_it_came_from_and_where_it_went() {
    for family in [Family::V4, Family::V6] {
        let (a, a_port) = socket(family);
        let (b, b_port) = socket(family);
        let home = loopback(family);
        let message = Outgoing {
            to: SocketAddr::new(home, b_port),
            from: home,
            tos: 0x2b,
            ttl: 17,
            segment: None,
        };
        let parts: [&[u8]; 2] = [b"abc", b"defg"];
        let sent = SendBatch::default()
            .send(a.as_fd(), [(message, parts.into_iter())].into_iter())
            .expect("sent");
        assert_eq!(sent, 1);
        let received = receive(&b);
        let expected = Received {
            len: 7,
            truncated: false,
            segment: None,
            from: SocketAddr::new(home, a_port),
            to: Some(home),
            tos: 0x2b,
            ttl: 17,
        };
        assert_eq!(received, [(expected, b"abcdefg".to_vec())]);
    }
}

#[test]
fn a_run_is_sent_as_one_and_received_as_datagrams() {
    for family in [Family::V4, Family::V6] {
        let (a, _) = socket(family);
        let plain = UdpSocket::bind((loopback(family), 0)).expect("a socket");
        plain
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("set");
        let message = Outgoing {
            to: plain.local_addr().expect("bound"),
            from: loopback(family),
            tos: 0,
            ttl: 64,
            segment: Some(1000),
        };
        let bytes: Vec<u8> = (0..10_500_u32).map(|i| (i / 1000) as u8).collect();
        SendBatch::default()
            .send(a.as_fd(), [(message, bytes.chunks(1000))].into_iter())
            .expect("sent");
        let mut buffer = [0; 2000];
        for number in 0..11 {
            let size = plain.recv(&mut buffer).expect("a datagram");
            assert_eq!(size, if number == 10 { 500 } else { 1000 });
            assert!(buffer[..size].iter().all(|&byte| byte == number));
        }
    }
}

#[test]
fn a_run_that_comes_as_one_says_how_it_is_cut() {
    let (a, _) = socket(Family::V4);
    let (b, port) = socket(Family::V4);
    let message = Outgoing {
        to: SocketAddr::new(V4, port),
        from: V4,
        tos: 0,
        ttl: 64,
        segment: Some(1000),
    };
    let bytes = vec![7; 30_500];
    SendBatch::default()
        .send(a.as_fd(), [(message, bytes.chunks(1000))].into_iter())
        .expect("sent");
    let received = receive(&b);
    let (first, content) = received.first().expect("one came");
    assert_eq!((first.len, first.segment), (30_500, Some(1000)));
    assert_eq!(content, &bytes);
}

#[test]
fn datagrams_without_a_checksum_are_sent_and_accepted() {
    for family in [Family::V4, Family::V6] {
        let (a, _) = socket(family);
        let (b, port) = socket(family);
        set_checksums(a.as_fd(), family, false).expect("set");
        let mut message = Outgoing {
            to: SocketAddr::new(loopback(family), port),
            from: loopback(family),
            tos: 0,
            ttl: 64,
            segment: None,
        };
        let mut send = SendBatch::default();
        let mut one = |message, size| {
            let bytes = vec![1; size];
            send.send(a.as_fd(), [(message, bytes.chunks(100))].into_iter())
        };
        assert_eq!(one(message, 100).expect("sent"), 1);
        assert_eq!(receive(&b).len(), 1);
        // Runs need one, which is what the owner of the socket must know.
        message.segment = Some(100);
        let error = one(message, 300).expect_err("refused");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        set_checksums(a.as_fd(), family, true).expect("set");
        assert_eq!(one(message, 300).expect("sent"), 1);
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let (first, port) = socket(Family::V4);
    let spec = UdpSocketSpec {
        family: Family::V4,
        port,
        shared: true,
        receive_size: 1 << 16,
        send_size: 1 << 16,
    };
    let error = open(&spec).expect_err("it is taken");
    assert_eq!(error.to_string(), format!("IPv4 UDP port {port} is in use"));
    drop(first);
    let group = [open(&spec).expect("free"), open(&spec).expect("shared")];
    assert!(group.iter().all(|fd| dropped(fd.as_fd()).is_ok()));
    // The other family is another matter.
    let v6 = UdpSocketSpec {
        family: Family::V6,
        ..spec
    };
    open(&v6).expect("not taken");
}

#[test]
fn a_sender_hears_nothing() {
    let (receiver, port) = socket(Family::V4);
    let sender = open_sender(Family::V4, 1 << 20).expect("a socket");
    let message = Outgoing {
        to: SocketAddr::new(V4, port),
        from: V4,
        tos: 0,
        ttl: 64,
        segment: None,
    };
    let bytes = [&b"hello"[..]];
    SendBatch::default()
        .send(sender.as_fd(), [(message, bytes.into_iter())].into_iter())
        .expect("sent");
    let (from, _) = receive(&receiver).remove(0);
    let answer = UdpSocket::bind((V4, 0)).expect("a socket");
    answer.send_to(b"hello", from.from).expect("sent");
    let (_, mut frames) = Region::leak(1, 0).expect("memory");
    let mut slots = [RecvSlot {
        head: frames.remove(0),
        spill: None,
    }];
    let error = RecvBatch::default()
        .recv(sender.as_fd(), &mut slots, 0)
        .expect_err("nothing");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    mem::forget(slots);
}

#[test]
fn all_control_fits() {
    let mut control = Control([0; CONTROL_SIZE]);
    for home in [V4, V6] {
        let message = Outgoing {
            to: SocketAddr::new(home, 1),
            from: home,
            tos: 255,
            ttl: 255,
            segment: Some(1),
        };
        assert!(write_control(&message, &mut control) <= CONTROL_SIZE);
    }
}

#[test]
fn cut_control_messages_say_nothing() {
    let message = Outgoing {
        to: SocketAddr::new(V4, 1),
        from: V4,
        tos: 255,
        ttl: 255,
        segment: None,
    };
    let mut control = Control([0; CONTROL_SIZE]);
    let size = write_control(&message, &mut control);
    let nothing = Received {
        len: 0,
        truncated: false,
        segment: None,
        from: SocketAddr::new(V4, 1),
        to: None,
        tos: 0,
        ttl: 0,
    };
    for end in 0..size {
        let mut received = nothing;
        read_control(&control.0[..end], &mut received);
        assert!(end >= HEADER_SIZE || received == nothing);
    }
    // A size of nothing must not be read for ever.
    let mut received = nothing;
    read_control(&[0; CONTROL_SIZE], &mut received);
    assert_eq!(received, nothing);
}
