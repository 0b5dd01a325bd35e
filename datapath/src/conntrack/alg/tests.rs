use proptest::prelude::*;
use vswitch_packet::build::Builder;
use vswitch_packet::tcp;

use super::*;
use crate::conntrack::desk::Desk;
use crate::conntrack::parse::parse;
use crate::conntrack::request::Handle;
use crate::conntrack::tuple::{Direction, Tuple, protocol};
use crate::offload::Offload;

const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const CLIENT: u128 = 0x0a01_0101;
const SERVER: u128 = 0x0a01_0102;
const PUBLIC: u128 = 0x0a01_01f0;
const SERVICE: u128 = 0x0a01_0140;

fn ip(text: &str) -> u128 {
    text.parse::<std::net::Ipv6Addr>()
        .expect("an address")
        .to_bits()
}

/// A control connection: who the client and the server are, and who they are to the other one.
fn follow(ends: [u128; 4], direction: Direction, helper: CtHelper) -> Follow {
    let [client, service, server, public] = ends;
    let (protocol, port) = match helper {
        CtHelper::Ftp => (protocol::TCP, 21),
        CtHelper::Tftp => (protocol::UDP, 69),
    };
    let family = if client >> 32 == 0 {
        Family::V4
    } else {
        Family::V6
    };
    let original = Tuple {
        family,
        protocol,
        src: client,
        dst: service,
        src_port: 40_000,
        dst_port: port,
    };
    let reply = Tuple {
        src: server,
        dst: public,
        src_port: port,
        dst_port: 40_000,
        ..original
    };
    Follow {
        connection: Handle {
            slot: 0,
            generation: 0,
        },
        direction,
        helper: Some(helper),
        original,
        reply,
        seq: Shift::default(),
        ack: Shift::default(),
    }
}

const PLAIN: [u128; 4] = [CLIENT, SERVER, SERVER, CLIENT];
const SNAT: [u128; 4] = [CLIENT, SERVER, SERVER, PUBLIC];
const DNAT: [u128; 4] = [CLIENT, SERVICE, SERVER, CLIENT];

fn ftp(ends: [u128; 4], direction: Direction) -> Follow {
    follow(ends, direction, CtHelper::Ftp)
}

/// What the payload makes of it.
fn heard(follow: &Follow, text: &str) -> Heard {
    ftp::read(follow, text.as_bytes())
}

/// Source, destination and port that are expected, what they become, and the text that is written.
type Short = (
    (u128, u128, u16),
    Option<u128>,
    Option<(u128, u16)>,
    Option<String>,
);

fn short(heard: Heard) -> Option<Short> {
    let Heard::Call(Call { expected, edit }) = heard else {
        return None;
    };
    assert_eq!(expected.tuple.src_port, 0, "any");
    let Tuple {
        src, dst, dst_port, ..
    } = expected.tuple;
    let text = edit.map(|edit| String::from_utf8(edit.text.to_vec()).expect("text"));
    Some((
        (src, dst, dst_port),
        expected.source,
        expected.destination,
        text,
    ))
}

#[test]
fn active_connections_come_from_the_server() {
    let port = 200 * 256 + 7;
    for line in [
        "PORT 10,1,1,1,200,7\r\n",
        "port 10,1,1,1,200,7\n",
        "EPRT |1|10.1.1.1|51207|\r\n",
        "eprt !1!10.1.1.1!51207!\r\n",
        "NOOP\r\nPORT 10,1,1,1,200,7\r\n",
    ] {
        let plain = short(heard(&ftp(PLAIN, Direction::Original), line));
        assert_eq!(
            plain,
            Some(((SERVER, CLIENT, port), None, None, None)),
            "{line}"
        );
        let (_, _, _, text) = short(heard(&ftp(SNAT, Direction::Original), line)).expect("a call");
        let text = text.expect("its address is written");
        assert_eq!(text.replace(',', "."), "10.1.1.240", "{line}");
    }
    // The client's address is another one to the server.
    let snat = short(heard(
        &ftp(SNAT, Direction::Original),
        "PORT 10,1,1,1,200,7\r\n",
    ));
    let to_client = Some((CLIENT, port));
    let written = Some("10,1,1,240".to_owned());
    assert_eq!(
        snat,
        Some(((SERVER, PUBLIC, port), None, to_client, written))
    );
    // The server is another one to the client.
    let dnat = short(heard(
        &ftp(DNAT, Direction::Original),
        "PORT 10,1,1,1,200,7\r\n",
    ));
    assert_eq!(
        dnat,
        Some(((SERVER, CLIENT, port), Some(SERVICE), None, None))
    );
    // Written by somebody before us.
    let again = short(heard(
        &ftp(SNAT, Direction::Original),
        "PORT 10,1,1,240,200,7\r\n",
    ));
    assert_eq!(again, Some(((SERVER, PUBLIC, port), None, to_client, None)));
}

#[test]
fn passive_connections_come_from_the_client() {
    let port = 200 * 256 + 7;
    for line in [
        "227 Entering Passive Mode (10,1,1,2,200,7).\r\n",
        "227 =10,1,1,2,200,7\r\n",
        "150 wait\r\n227 Entering 1 Mode 10,1,1,2,200,7\r\n",
        "229 Entering Extended Passive Mode (|||51207|)\r\n",
    ] {
        let plain = short(heard(&ftp(PLAIN, Direction::Reply), line));
        assert_eq!(
            plain,
            Some(((CLIENT, SERVER, port), None, None, None)),
            "{line}"
        );
    }
    let line = "227 Entering Passive Mode (10,1,1,2,200,7).\r\n";
    let dnat = short(heard(&ftp(DNAT, Direction::Reply), line));
    let to_server = Some((SERVER, port));
    let written = Some("10,1,1,64".to_owned());
    assert_eq!(
        dnat,
        Some(((CLIENT, SERVICE, port), None, to_server, written))
    );
    let snat = short(heard(&ftp(SNAT, Direction::Reply), line));
    assert_eq!(
        snat,
        Some(((CLIENT, SERVER, port), Some(PUBLIC), None, None))
    );
    let extended = "229 Entering Extended Passive Mode (|||51207|)\r\n";
    let dnat = short(heard(&ftp(DNAT, Direction::Reply), extended));
    assert_eq!(dnat, Some(((CLIENT, SERVICE, port), None, to_server, None)));
}

#[test]
fn over_ipv6_the_extended_commands_are_read() {
    let (client, server, public) = (ip("fc00::1"), ip("fc00::2"), ip("fc00::240"));
    let ends = [client, server, server, public];
    let snat = short(heard(
        &ftp(ends, Direction::Original),
        "EPRT |2|fc00::1|51207|\r\n",
    ));
    let written = Some("fc00::240".to_owned());
    assert_eq!(
        snat,
        Some((
            (server, public, 51207),
            None,
            Some((client, 51207)),
            written
        ))
    );
    let passive = short(heard(
        &ftp(ends, Direction::Reply),
        "229 ok (|||51207|)\r\n",
    ));
    assert_eq!(
        passive,
        Some(((client, server, 51207), Some(public), None, None))
    );
    let other = heard(
        &ftp(ends, Direction::Original),
        "EPRT |1|10.1.1.1|51207|\r\n",
    );
    assert_eq!(other, Heard::Stranger, "another family");
}

#[test]
fn strangers_fools_and_halves() {
    use Direction::{Original, Reply};
    for (direction, line, expected) in [
        (Original, "PORT 10,1,1,9,200,7\r\n", Heard::Stranger),
        (Original, "EPRT |1|10.9.1.1|51207|\r\n", Heard::Stranger),
        (
            Reply,
            "227 Entering Passive Mode (10,1,1,9,200,7).\r\n",
            Heard::Stranger,
        ),
        (Original, "PORT 10,1,1,1,256,7\r\n", Heard::Malformed),
        (Original, "PORT 10,1,1,1,0,0\r\n", Heard::Malformed),
        (Original, "PORT 10,1,1,1,1\r\n", Heard::Malformed),
        (Original, "PORT \r\n", Heard::Malformed),
        (Original, "EPRT |1|10.1.1.1|99999|\r\n", Heard::Malformed),
        (Original, "EPRT |1|10.1.1.1|51207\r\n", Heard::Malformed),
        (Original, "EPRT |3|10.1.1.1|51207|\r\n", Heard::Malformed),
        (
            Reply,
            "229 Entering Extended Passive Mode |||51207|\r\n",
            Heard::Malformed,
        ),
        (Reply, "229 (||51207|)\r\n", Heard::Malformed),
        (Reply, "227 yes\r\n", Heard::Malformed),
        (Original, "PORT 10,1,1,1,200", Heard::Split),
        (Original, "PORT", Heard::Split),
        (Reply, "227 Entering Passive", Heard::Split),
        (Original, "RETR PORT 10,1,1,1,200,7\r\n", Heard::Nothing),
        (Original, "PORTS 10,1,1,1,200,7\r\n", Heard::Nothing),
        (Original, "227 (10,1,1,1,200,7)\r\n", Heard::Nothing),
        (Reply, "PORT 10,1,1,2,200,7\r\n", Heard::Nothing),
        (Reply, "2275 (10,1,1,2,200,7)\r\n", Heard::Nothing),
        (Original, "", Heard::Nothing),
    ] {
        assert_eq!(heard(&ftp(PLAIN, direction), line), expected, "{line:?}");
    }
}

#[test]
fn tftp_answers_from_any_port() {
    let request = b"\x00\x01file\0octet\0";
    let plain = follow(PLAIN, Direction::Original, CtHelper::Tftp);
    let expected = Some(((SERVER, CLIENT, 40_000), None, None, None));
    assert_eq!(short(tftp::read(&plain, request)), expected);
    let mut nat = follow(SNAT, Direction::Original, CtHelper::Tftp);
    nat.reply.dst_port = 1024;
    let expected = ((SERVER, PUBLIC, 1024), None, Some((CLIENT, 40_000)), None);
    assert_eq!(short(tftp::read(&nat, request)), Some(expected));
    assert_eq!(tftp::read(&plain, b"\x00\x02file"), Heard::Malformed);
    assert_eq!(tftp::read(&plain, b"\x00\x03\x00\x01data"), Heard::Nothing);
    let back = follow(PLAIN, Direction::Reply, CtHelper::Tftp);
    assert_eq!(tftp::read(&back, request), Heard::Nothing);
}

fn segment(follow: &Follow, seq: u32, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let Tuple {
        src, dst, family, ..
    } = follow.original;
    let outside = match family {
        Family::V4 => Builder::eth(MACS[0], MACS[1])
            .ipv4((src as u32).to_be_bytes(), (dst as u32).to_be_bytes()),
        Family::V6 => Builder::eth(MACS[0], MACS[1]).ipv6(src.into(), dst.into()),
    };
    let header = tcp::Repr {
        src_port: 40_000,
        dst_port: 21,
        seq,
        ack: 5000,
        flags: flag::ACK | flag::PSH,
        window: 1000,
    };
    outside.tcp_with(header, options).payload(payload).build()
}

/// Reads a packet's command and writes what it must become.
fn carry_out(follow: &Follow, bytes: &[u8], offload: Offload) -> Vec<u8> {
    let mut desk = Desk::new();
    let ((), after) = desk.with(bytes, offload, |packet, layout| {
        let seen = parse(packet, layout).expect("good");
        let Heard::Call(call) = read(follow, packet, layout, &seen) else {
            panic!("a call");
        };
        let edit = call.edit.expect("an edit");
        assert!(write(packet, layout, &seen, &edit));
        assert_eq!(packet.offload, offload);
        parse(packet, layout).expect("lengths and sums are right");
    });
    desk.close();
    after
}

#[test]
fn a_command_is_written_anew_with_its_lengths_and_sums() {
    let [short, long] = [0x0101_0101, 0xfefe_fefe];
    for public in [short, long] {
        let follow = ftp([CLIENT, SERVER, SERVER, public], Direction::Original);
        let bytes = segment(&follow, 7, &[], b"NOOP\r\nPORT 10,1,1,1,200,7\r\nNOOP\r\n");
        let ip = std::net::Ipv4Addr::from_bits(public as u32).to_string();
        let text = format!("NOOP\r\nPORT {},200,7\r\nNOOP\r\n", ip.replace('.', ","));
        let after = carry_out(&follow, &bytes, Offload::default());
        assert_eq!(after, segment(&follow, 7, &[], text.as_bytes()));
    }
    let v6 = [ip("fc00::1"), SERVER << 96, SERVER << 96, ip("fc00::1:240")];
    let follow = ftp(v6, Direction::Original);
    let bytes = segment(&follow, 7, &[], b"EPRT |2|fc00::1|51207|\r\n");
    let after = carry_out(&follow, &bytes, Offload::default());
    assert_eq!(
        after,
        segment(&follow, 7, &[], b"EPRT |2|fc00::1:240|51207|\r\n")
    );
}

#[test]
fn padding_is_no_payload() {
    let follow = ftp([CLIENT, SERVER, SERVER, 0xfefe_fefe], Direction::Original);
    let mut bytes = segment(&follow, 7, &[], b"PORT 10,1,1,1,1,1\r\n");
    let end = bytes.len();
    bytes.extend([0xee; 20]);
    let after = carry_out(&follow, &bytes, Offload::default());
    assert_eq!(
        after,
        segment(&follow, 7, &[], b"PORT 254,254,254,254,1,1\r\n")
    );
    assert!(after.len() > end);
}

#[test]
fn a_sum_that_is_begun_covers_the_new_length() {
    let follow = ftp([CLIENT, SERVER, SERVER, 0xfefe_fefe], Direction::Original);
    let begin = |text: &[u8]| {
        let mut bytes = segment(&follow, 7, &[], text);
        let [src, dst] = [CLIENT, SERVER].map(|ip| (ip as u32).to_be_bytes());
        let pseudo = Sum::pseudo_v4(src, dst, 6, (bytes.len() - 34) as u32).folded();
        bytes[50..52].copy_from_slice(&pseudo.to_be_bytes());
        bytes
    };
    let offload = Offload {
        csum: Checksum::Partial {
            start: 34,
            offset: 16,
        },
        gso: None,
    };
    let after = carry_out(&follow, &begin(b"PORT 10,1,1,1,1,1\r\n"), offload);
    assert_eq!(after, begin(b"PORT 254,254,254,254,1,1\r\n"));
}

#[test]
fn without_room_nothing_is_written() {
    let follow = ftp([CLIENT, SERVER, SERVER, 0xfefe_fefe], Direction::Original);
    let bytes = segment(&follow, 7, &[], b"PORT 10,1,1,1,1,1\r\nmore");
    let mut desk = Desk::new();
    let (mut packet, layout) = desk.split(&bytes, bytes.len() - 4, Offload::default());
    let seen = parse(&packet, layout).expect("good");
    let Heard::Call(call) = read(&follow, &packet, layout, &seen) else {
        panic!("a call");
    };
    assert!(!write(
        &mut packet,
        layout,
        &seen,
        &call.edit.expect("an edit")
    ));
    assert_eq!(packet.to_vec(), bytes);
    desk.pool.drop_packet(packet);
    desk.close();
}

#[test]
fn numbers_move_behind_what_was_written() {
    let shift = Shift {
        from: 100,
        before: 3,
        after: -2,
    };
    assert_eq!(forward(100, shift), 103);
    assert_eq!(forward(101, shift), 99);
    assert_eq!(back(103, shift), 100);
    assert_eq!(
        back(118, shift),
        120,
        "an acknowledgement of what came after"
    );

    let mut follow = ftp(SNAT, Direction::Original);
    follow.seq = shift;
    follow.ack = Shift {
        from: 4000,
        before: 0,
        after: 7,
    };
    // Two blocks behind padding, one of them across the border.
    let mut options = vec![1, 1, 5, 18];
    for number in [4500_u32, 4600, 3000, 4007] {
        options.extend(number.to_be_bytes());
    }
    let bytes = segment(&follow, 200, &options, b"x");
    let mut desk = Desk::new();
    let (seen, after) = desk.with(&bytes, Offload::default(), |packet, layout| {
        let seen = parse(packet, layout).expect("good");
        shift_numbers(packet, layout, &seen, &follow);
        parse(packet, layout).expect("its sum is right")
    });
    desk.close();
    let Kind::Tcp(tcp) = seen.kind else {
        panic!("TCP");
    };
    assert_eq!((tcp.seq, tcp.ack), (198, 4993));
    let blocks: Vec<_> = after[34 + 24..34 + 40]
        .chunks(4)
        .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    assert_eq!(blocks, [4493, 4593, 3000, 4000]);
}

#[test]
fn a_segment_that_is_sent_again_moves_nothing_more() {
    let follow = ftp([CLIENT, SERVER, SERVER, 0xfefe_fefe], Direction::Original);
    let Heard::Call(call) = heard(&follow, "PORT 10,1,1,1,1,1\r\n") else {
        panic!("a call");
    };
    let edit = call.edit.expect("an edit");
    assert_eq!(edit.growth(), 7);
    assert!(edit.moves(1000, &follow));
    let mut follow = follow;
    follow.seq = Shift {
        from: 1000,
        before: 0,
        after: 7,
    };
    assert!(!edit.moves(1000, &follow), "sent again");
    assert!(edit.moves(1019, &follow), "the next command");
}

proptest! {
    /// What one end gets acknowledged is what it sent.
    #[test]
    fn back_undoes_forward(from in any::<u32>(), before in -20..20, by in -20..20, ahead in 40..1_000_000_u32) {
        let shift = Shift { from, before, after: before + by };
        let later = from.wrapping_add(ahead);
        prop_assert_eq!(back(forward(later, shift), shift), later);
        let earlier = from.wrapping_sub(ahead);
        prop_assert_eq!(back(forward(earlier, shift), shift), earlier);
    }

    #[test]
    fn no_text_makes_it_panic(text in "(PORT|EPRT|227|229)?[ -~]{0,60}(\r\n)?", reply in any::<bool>()) {
        let direction = if reply { Direction::Reply } else { Direction::Original };
        let _ = heard(&ftp(SNAT, direction), &text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), reply in any::<bool>()) {
        let direction = if reply { Direction::Reply } else { Direction::Original };
        let _ = ftp::read(&ftp(DNAT, direction), &bytes);
        let _ = tftp::read(&follow(DNAT, direction, CtHelper::Tftp), &bytes);
    }
}
