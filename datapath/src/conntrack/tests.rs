//! Connections from packet to packet, without bytes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};

use vswitch_flow::action::{CtHelper, Nat, NatKind, NatPorts, NatRange};

use super::expect::LIFETIME;
use super::proto::{OtherState, Standing};
use super::request::{Expected, Meta, Outcome, Refused, Request, Rewrite, state};
use super::seen::{Kind, Seen, TcpSeen, flag};
use super::tcp::TcpState;
use super::tuple::{Family, protocol};
use super::*;

const NEW: u8 = state::TRACKED | state::NEW;
const EST: u8 = state::TRACKED | state::ESTABLISHED;
const REL: u8 = state::TRACKED | state::RELATED;
const INV: u8 = state::TRACKED | state::INVALID;
const RPL: u8 = state::REPLY;

const NOW: Tick = Tick(1000);

fn tuple(protocol: u8, src: u8, dst: u8, src_port: u16, dst_port: u16) -> Tuple {
    let address = |last: u8| Ipv4Addr::new(10, 1, 1, last).to_bits().into();
    Tuple {
        family: Family::V4,
        protocol,
        src: address(src),
        dst: address(dst),
        src_port,
        dst_port,
    }
}

fn udp(src: u8, dst: u8, src_port: u16, dst_port: u16) -> Seen {
    Seen {
        tuple: tuple(protocol::UDP, src, dst, src_port, dst_port),
        len: 100,
        kind: Kind::Udp,
    }
}

fn tcp(flags: u16, reply: bool, seq: u32, ack: u32) -> Seen {
    let tuple = tuple(protocol::TCP, 1, 2, 1000, 80);
    Seen {
        tuple: if reply { back(&tuple) } else { tuple },
        len: 60,
        kind: Kind::Tcp(TcpSeen {
            flags,
            seq,
            ack,
            window: 1000,
            payload: 0,
            wscale: None,
        }),
    }
}

fn error(src: u8, dst: u8, inner: Tuple) -> Seen {
    Seen {
        tuple: tuple(protocol::ICMP, src, dst, 0, 0),
        len: 90,
        kind: Kind::IcmpError { inner },
    }
}

fn back(tuple: &Tuple) -> Tuple {
    tuple.reversed().expect("has an answer")
}

/// The packet that answers one.
fn answer(seen: &Seen) -> Seen {
    Seen {
        tuple: back(&seen.tuple),
        ..*seen
    }
}

/// The packet as it goes on.
fn rewritten(seen: &Seen, outcome: &Outcome) -> Seen {
    Seen {
        tuple: outcome.rewrite.map_or(seen.tuple, |rewrite| rewrite.to),
        ..*seen
    }
}

fn commit() -> Request {
    Request {
        commit: true,
        ..Request::default()
    }
}

fn nat(kind: NatKind, first: u8, last: u8, ports: Option<(u16, u16)>) -> Nat {
    let ip = |last| IpAddr::from([10, 1, 1, last]);
    Nat {
        range: Some(NatRange {
            kind,
            addresses: Some((ip(first), ip(last))),
            ports,
        }),
        persistent: false,
        ports: NatPorts::Default,
    }
}

fn with_nat(nat: Nat) -> Request {
    Request {
        nat: Some(nat),
        ..commit()
    }
}

/// `ct(nat)`.
fn un_nat() -> Request {
    Request {
        nat: Some(Nat::default()),
        ..Request::default()
    }
}

fn ct() -> Conntrack {
    Conntrack::new(0x1234_5678)
}

fn ask(ct: &Conntrack, seen: &Seen, request: &Request) -> Outcome {
    ct.track(seen, &Meta::default(), request, NOW)
}

fn all(ct: &Conntrack, now: Tick) -> Vec<Dumped> {
    let mut into = Vec::new();
    let mut from = Cursor::default();
    while let Some(next) = ct.dump(from, 10, &Filter::default(), now, &mut into) {
        assert!(next > from);
        from = next;
    }
    into
}

#[test]
fn new_stays_new_until_somebody_answers() {
    let ct = ct();
    let first = udp(1, 2, 5, 6);
    let told = ask(&ct, &first, &Request::default());
    assert_eq!(
        (told.meta.state, ct.len()),
        (NEW, 0),
        "nothing was committed"
    );
    assert_eq!(told.meta.original, Some(first.tuple));
    for _ in 0..3 {
        assert_eq!(ask(&ct, &first, &commit()).meta.state, NEW);
    }
    assert_eq!(ct.len(), 1);
    let told = ask(&ct, &answer(&first), &Request::default());
    assert_eq!(told.meta.state, EST | RPL);
    assert_eq!(told.meta.original, Some(first.tuple));
    assert_eq!(ask(&ct, &first, &Request::default()).meta.state, EST);
    // Another zone knows nothing of it.
    let other = Request {
        zone: 1,
        ..Request::default()
    };
    assert_eq!(ask(&ct, &first, &other).meta.state, NEW);

    let [one] = all(&ct, NOW).try_into().expect("one connection");
    assert_eq!(one.standing, Standing::Other(OtherState::Bidirectional));
    let counts = one.counters.map(|counter| (counter.packets, counter.bytes));
    assert_eq!(counts, [(4, 400), (1, 100)]);
    assert_eq!((one.timeout, one.age), (30_000, 0));
}

#[test]
fn force_begins_the_connection_the_other_way() {
    let ct = ct();
    let first = udp(1, 2, 1, 2);
    ask(&ct, &first, &commit());
    let forced = Request {
        force: true,
        ..commit()
    };
    assert_eq!(ask(&ct, &first, &forced).meta.state, NEW);
    assert_eq!(all(&ct, NOW)[0].original, first.tuple);
    let told = ask(&ct, &answer(&first), &forced);
    assert_eq!(told.meta.state, NEW);
    assert_eq!(told.meta.original, Some(back(&first.tuple)));
    let [one] = all(&ct, NOW).try_into().expect("one connection");
    assert_eq!(one.original, back(&first.tuple));
    assert_eq!(ct.happened().ended[End::Replaced as usize], 1);
}

#[test]
fn mark_and_label_are_the_connections() {
    let ct = ct();
    let request = Request {
        mark: (0xaa, 0xff),
        label: (1 << 100, u128::MAX),
        ..commit()
    };
    let first = udp(1, 2, 1, 2);
    let told = ask(&ct, &first, &request).meta;
    assert_eq!((told.mark, told.label), (0xaa, 1 << 100));
    let bits = Request {
        mark: (0x500, 0xf00),
        label: (3, 3),
        ..commit()
    };
    let told = ask(&ct, &answer(&first), &bits).meta;
    assert_eq!((told.mark, told.label), (0x5aa, 1 << 100 | 3));
    let told = ask(&ct, &first, &Request::default()).meta;
    assert_eq!((told.mark, told.label), (0x5aa, 1 << 100 | 3));

    let filter = |mark, label| Filter {
        mark,
        label,
        ..Filter::default()
    };
    assert_eq!(ct.flush(&filter((0, 0xf00), (0, 0)), NOW), 0);
    assert_eq!(ct.flush(&filter((0x5aa, u32::MAX), (0, 4)), NOW), 1);
    assert!(ct.is_empty());
}

#[test]
fn tcp_is_established_both_ways_only_and_its_tuple_is_used_again() {
    let ct = ct();
    let told =
        |flags, reply, seq, ack| ask(&ct, &tcp(flags, reply, seq, ack), &commit()).meta.state;
    use flag::{ACK, FIN, SYN};
    assert_eq!(told(SYN, false, 1000, 0), NEW);
    assert_eq!(told(SYN, false, 1000, 0), NEW);
    assert_eq!(told(ACK, false, 1001, 0), NEW, "one end alone");
    assert_eq!(told(SYN | ACK, true, 5000, 1001), EST | RPL);
    assert_eq!(told(ACK, false, 1001, 5001), EST);
    assert_eq!(
        all(&ct, NOW)[0].standing,
        Standing::Tcp([TcpState::Established; 2])
    );
    assert_eq!(told(ACK, false, 3_000_000_000, 3_000_000_000), INV);
    ct.set_tcp_seq_chk(false);
    assert_eq!(told(ACK, false, 1001, 5001), EST);
    ct.set_tcp_seq_chk(true);
    assert_eq!(told(ACK | FIN, false, 1001, 5001), EST);
    assert_eq!(told(ACK | FIN, true, 5001, 1002), EST | RPL);
    assert_eq!(told(ACK, false, 1002, 5002), EST);
    assert_eq!(told(SYN, false, 900_000, 0), NEW, "another connection");
    assert_eq!(told(SYN | ACK, true, 70_000, 900_001), EST | RPL);
    assert_eq!(ct.len(), 1);
    assert_eq!(ct.happened().refused[Refused::Window as usize], 1);
}

#[test]
fn an_invalid_packet_shows_the_connection_and_changes_nothing() {
    let ct = ct();
    let marked = Request {
        mark: (7, u32::MAX),
        ..commit()
    };
    ask(&ct, &tcp(flag::SYN, false, 1000, 0), &marked);
    ask(
        &ct,
        &tcp(flag::SYN | flag::ACK, true, 5000, 1001),
        &commit(),
    );
    let before = all(&ct, NOW);
    let bad = tcp(flag::ACK, false, 3_000_000_000, 3_000_000_000);
    let other = Request {
        mark: (9, u32::MAX),
        ..commit()
    };
    let told = ct.track(&bad, &Meta::default(), &other, Tick(5000));
    assert_eq!((told.meta.state, told.meta.mark), (INV, 7));
    assert_eq!(told.refused, Some(Refused::Window));
    assert_eq!(all(&ct, NOW), before);
}

#[test]
fn only_with_loose_is_tcp_picked_up_in_its_middle() {
    let ct = ct();
    let middle = tcp(flag::ACK, false, 777_000, 5000);
    ct.set_loose(false);
    let told = ask(&ct, &middle, &commit());
    assert_eq!(
        (told.meta.state, told.refused),
        (INV, Some(Refused::NotNew))
    );
    ct.set_loose(true);
    assert_eq!(ask(&ct, &middle, &commit()).meta.state, NEW);
    let told = ask(&ct, &tcp(flag::ACK, true, 5000, 777_000), &commit());
    assert_eq!(told.meta.state, EST | RPL);
}

#[test]
fn a_query_is_known_by_its_identifier() {
    let ct = ct();
    let mut ping = udp(1, 2, 77, 8 << 8);
    ping.tuple.protocol = protocol::ICMP;
    ping.kind = Kind::IcmpQuery;
    let pong = answer(&ping);
    let told = ask(&ct, &pong, &commit());
    assert_eq!(
        (told.meta.state, told.refused),
        (INV, Some(Refused::NotNew))
    );
    assert_eq!(ask(&ct, &ping, &commit()).meta.state, NEW);
    assert_eq!(ask(&ct, &ping, &commit()).meta.state, NEW);
    assert_eq!(ask(&ct, &pong, &commit()).meta.state, EST | RPL);
    assert_eq!(ask(&ct, &ping, &commit()).meta.state, EST);
    let mut other = ping;
    other.tuple.src_port = 78;
    assert_eq!(ask(&ct, &answer(&other), &commit()).meta.state, INV);
}

#[test]
fn errors_are_related_in_both_directions_and_end_nothing() {
    let ct = ct();
    let first = udp(1, 2, 5, 6);
    let told = ask(&ct, &error(9, 1, first.tuple), &commit());
    assert_eq!(
        (told.meta.state, told.refused),
        (INV, Some(Refused::NotNew))
    );
    let marked = Request {
        mark: (3, u32::MAX),
        ..commit()
    };
    ask(&ct, &first, &marked);
    let before = all(&ct, Tick(2000));
    let later = |seen| ct.track(&seen, &Meta::default(), &commit(), Tick(2000));
    let told = later(error(9, 1, first.tuple));
    assert_eq!((told.meta.state, told.meta.mark), (REL | RPL, 3));
    assert_eq!(told.meta.original, Some(first.tuple));
    assert_eq!(later(error(9, 2, back(&first.tuple))).meta.state, REL);
    let forced = Request {
        force: true,
        ..commit()
    };
    let told = ask(&ct, &error(9, 1, first.tuple), &forced);
    assert_eq!(told.meta.state, REL | RPL);
    assert_eq!(all(&ct, Tick(2000)), before);
}

#[test]
fn source_translation_and_back() {
    let ct = ct();
    let request = with_nat(nat(NatKind::Source, 240, 240, None));
    let first = udp(1, 2, 5, 6);
    let told = ask(&ct, &first, &request);
    assert_eq!(told.meta.state, NEW | state::SNAT);
    let sent = rewritten(&first, &told);
    assert_eq!(
        sent.tuple,
        tuple(protocol::UDP, 240, 2, 5, 6),
        "the port is free"
    );

    let reply = answer(&sent);
    let told = ask(&ct, &reply, &Request::default());
    assert_eq!(
        (told.meta.state, told.rewrite),
        (EST | RPL, None),
        "nobody asked for nat"
    );
    let told = ask(&ct, &reply, &un_nat());
    assert_eq!(told.meta.state, EST | RPL | state::DNAT);
    assert_eq!(rewritten(&reply, &told).tuple, back(&first.tuple));
    assert_eq!(told.meta.original, Some(first.tuple));

    // Another packet through the whole of it, as it is translated already.
    let told = ask(&ct, &first, &un_nat());
    assert_eq!(told.meta.state, EST | state::SNAT);
    let again = ct.track(&rewritten(&first, &told), &told.meta, &request, NOW);
    assert_eq!((again.meta.state, again.rewrite), (told.meta.state, None));
    // In another zone it is another connection.
    let other = Request {
        zone: 9,
        ..Request::default()
    };
    let again = ct.track(&rewritten(&first, &told), &told.meta, &other, NOW);
    assert_eq!(again.meta.state, NEW);

    // A second client with the same port gets another one.
    let second = udp(3, 2, 5, 6);
    let told = ask(&ct, &second, &request);
    let sent = rewritten(&second, &told).tuple;
    assert_eq!(sent.src, tuple(0, 240, 0, 0, 0).src);
    assert_ne!(sent.src_port, 5);
    assert_eq!(ct.len(), 2);
}

#[test]
fn destination_translation_and_its_errors() {
    let ct = ct();
    let request = with_nat(nat(NatKind::Destination, 2, 2, Some((8080, 8080))));
    let first = udp(1, 64, 1234, 80);
    let told = ask(&ct, &first, &request);
    assert_eq!(told.meta.state, NEW | state::DNAT);
    let sent = rewritten(&first, &told).tuple;
    assert_eq!(sent, tuple(protocol::UDP, 1, 2, 1234, 8080));

    // The server refuses: to the client the address it knows did.
    let refusal = error(2, 1, sent);
    let told = ask(&ct, &refusal, &un_nat());
    assert_eq!(told.meta.state, REL | RPL | state::SNAT);
    let want = Rewrite {
        to: tuple(protocol::ICMP, 64, 1, 0, 0),
        inner: Some(first.tuple),
    };
    assert_eq!(told.rewrite, Some(want));
    // A second look at what was translated already.
    let mut after = refusal;
    after.tuple = want.to;
    after.kind = Kind::IcmpError { inner: first.tuple };
    let again = ct.track(&after, &told.meta, &un_nat(), NOW);
    assert_eq!((again.meta.state, again.rewrite), (told.meta.state, None));

    // A router between complains about an answer.
    let told = ask(&ct, &error(9, 64, back(&first.tuple)), &un_nat());
    assert_eq!(told.meta.state, REL | state::DNAT);
    let want = Rewrite {
        to: tuple(protocol::ICMP, 9, 2, 0, 0),
        inner: Some(back(&sent)),
    };
    assert_eq!(told.rewrite, Some(want));
}

#[test]
fn an_exhausted_translation_refuses_the_new_and_keeps_the_old() {
    let ct = ct();
    let request = with_nat(nat(NatKind::Source, 240, 240, Some((34_567, 34_568))));
    let told: Vec<_> = (1..=3)
        .map(|port| ask(&ct, &udp(1, 2, port, 80), &request))
        .collect();
    let ports: Vec<_> = told
        .iter()
        .filter_map(|told| told.rewrite)
        .map(|rewrite| rewrite.to.src_port)
        .collect();
    assert_eq!(ports.len(), 2);
    assert!(ports.contains(&34_567) && ports.contains(&34_568));
    let refused = told[2].refused;
    assert_eq!(
        (told[2].meta.state, refused),
        (INV, Some(Refused::NatExhausted))
    );
    assert_eq!((ct.len(), ct.zone_limit(0).count), (2, 2));
    assert_eq!(
        ask(&ct, &udp(1, 2, 1, 80), &request).meta.state,
        NEW | state::SNAT
    );
    // Time passes, and both are free again.
    let later = Tick(NOW.0 + 60_000);
    let told = ct.track(&udp(1, 2, 3, 80), &Meta::default(), &request, later);
    assert_eq!(told.refused, None);
}

#[test]
fn all_zero_keeps_the_source_where_it_can() {
    let ct = ct();
    let mut zero = nat(NatKind::Source, 0, 0, None);
    if let Some(range) = &mut zero.range {
        let zero = IpAddr::from([0, 0, 0, 0]);
        range.addresses = Some((zero, zero));
    }
    let dnat = with_nat(nat(NatKind::Destination, 2, 2, None));
    ask(&ct, &udp(1, 64, 700, 53), &dnat);
    let told = ask(&ct, &udp(1, 2, 701, 53), &with_nat(zero.clone()));
    assert_eq!((told.meta.state, told.rewrite), (NEW | state::SNAT, None));
    let told = ask(&ct, &udp(1, 2, 700, 53), &with_nat(zero));
    let to = told.rewrite.expect("700 is taken").to;
    assert_eq!(to.src, tuple(0, 1, 0, 0, 0).src);
    assert_ne!(to.src_port, 700);
}

#[test]
fn a_zone_takes_no_more_than_its_limit() {
    let ct = ct();
    ct.set_default_zone_limit(10);
    ct.set_zone_limit(1, Some(5));
    let request = Request {
        zone: 1,
        ..commit()
    };
    let refused = |port| ask(&ct, &udp(1, 2, 1, port), &request).refused;
    assert!((0..5).all(|port| refused(port).is_none()));
    assert_eq!(refused(5), Some(Refused::ZoneLimit));
    assert_eq!(ct.zone_limits()[0].count, 5);
    let filter = Filter {
        zone: Some(1),
        ..Filter::default()
    };
    assert_eq!(ct.flush(&filter, NOW), 5);
    assert_eq!((ct.zone_limit(1).count, refused(5)), (0, None));
}

#[test]
fn a_full_table_gives_up_who_was_never_answered() {
    let ct = ct();
    ct.set_limit(1000);
    for port in 0..500 {
        let first = udp(1, 2, port, 53);
        ask(&ct, &first, &commit());
        ask(&ct, &answer(&first), &commit());
    }
    // A flood from everywhere: it only ever displaces itself.
    let flood = (0..20_000_u32).map(|i| udp((i >> 12) as u8, 9, i as u16, 7));
    let begun = flood
        .filter(|seen| ask(&ct, seen, &commit()).refused.is_none())
        .count();
    assert_eq!(ct.len(), 1000);
    assert!(begun > 10_000, "{begun} found a place");
    let answered = all(&ct, NOW)
        .into_iter()
        .filter(|one| !one.standing.is_spare());
    assert_eq!(answered.count(), 500);
    let happened = ct.happened();
    let evicted = happened.ended[End::Evicted as usize];
    assert_eq!(evicted as usize, begun - 500);
    assert_eq!(
        happened.refused[Refused::TableFull as usize] as usize,
        20_000 - begun
    );
    ct.set_limit(usize::MAX);
    assert_eq!(ct.limit(), 33_554_432);
}

#[test]
fn a_flood_that_may_wait_for_long_leaves_the_hasty_time_to_be_answered() {
    let ct = ct();
    ct.set_limit(2000);
    let flood = |first: u16, at: u64| {
        for port in first..first + 2000 {
            ct.track(&udp(3, 9, port, 7), &Meta::default(), &commit(), Tick(at));
        }
    };
    flood(0, NOW.0);
    flood(2000, NOW.0 + 1);
    // A SYN may wait for half as long as the datagrams.
    let syn = tcp(flag::SYN, false, 100, 0);
    let at = |seen: &Seen, ms| {
        let request = Request::default();
        ct.track(seen, &Meta::default(), &request, Tick(NOW.0 + ms))
    };
    let begun = ct.track(&syn, &Meta::default(), &commit(), Tick(NOW.0 + 2));
    assert_eq!(begun.refused, None);
    for port in 4000..4500 {
        let seen = udp(3, 9, port, 7);
        ct.track(&seen, &Meta::default(), &commit(), Tick(NOW.0 + 3));
    }
    let answer = tcp(flag::SYN | flag::ACK, true, 500, 101);
    assert_eq!(at(&answer, 4).meta.state, EST | RPL);
    assert!(ct.len() <= 2000);
}

#[test]
fn what_expired_is_not_found_and_is_swept_out() {
    let ct = ct();
    for port in 0..100 {
        ask(&ct, &udp(1, 2, port, 53), &commit());
    }
    let at = |ms, seen: &Seen, request: &Request| {
        ct.track(seen, &Meta::default(), request, Tick(NOW.0 + ms))
    };
    let first = udp(1, 2, 0, 53);
    assert_eq!(at(59_999, &answer(&first), &commit()).meta.state, EST | RPL);
    assert_eq!(at(60_000, &first, &commit()).meta.state, EST);
    assert_eq!(
        at(60_000, &answer(&udp(1, 2, 1, 53)), &Request::default())
            .meta
            .state,
        NEW
    );
    assert_eq!(at(60_000, &udp(1, 2, 1, 53), &commit()).meta.state, NEW);
    assert_eq!(ct.len(), 100, "one took its own place");
    assert_eq!(all(&ct, Tick(NOW.0 + 60_000)).len(), 2);
    assert_eq!(ct.live(None, Tick(NOW.0 + 60_000)).total, 2);
    let swept: Vec<_> = (0..12)
        .map(|_| ct.sweep(Tick(NOW.0 + 60_000), 10))
        .collect();
    assert!(swept.iter().all(|swept| *swept <= 10), "{swept:?}");
    assert_eq!((swept.iter().sum::<usize>(), ct.len()), (98, 2));
    ct.sweep(Tick(NOW.0 + 120_000), 1000);
    assert_eq!((ct.len(), ct.zone_limit(0).count), (0, 0));
}

#[test]
fn the_way_of_a_sweep_is_as_long_after_a_flood_as_in_it() {
    let ct = ct();
    for port in 0..1000 {
        ask(&ct, &udp(1, 2, port, 53), &commit());
    }
    let late = Tick(NOW.0 + 60_000);
    ct.sweep(late, 500);
    assert_eq!((ct.len(), ct.places()), (500, 1000));
    // A share of the connections that are left would not get as far.
    ct.sweep(late, ct.places() / 2);
    assert_eq!(ct.len(), 0);
}

#[test]
fn a_zone_has_its_own_timeouts() {
    let ct = ct();
    let short = Timeouts::default().with(Timeout::OtherFirst, 3);
    ct.set_timeouts(5, Some(&short));
    let request = Request {
        zone: 5,
        ..commit()
    };
    ask(&ct, &udp(1, 2, 1, 2), &request);
    ask(&ct, &udp(1, 2, 1, 2), &commit());
    let left: Vec<_> = all(&ct, NOW)
        .iter()
        .map(|one| (one.zone, one.timeout))
        .collect();
    assert_eq!(left, [(5, 3000), (0, 60_000)]);
}

#[test]
fn dumps_come_in_parts_and_filters_mean_what_they_say() {
    let ct = ct();
    for port in 0..1000 {
        let request = Request {
            zone: port % 3,
            ..commit()
        };
        ask(&ct, &udp(1, 2, port, 53), &request);
    }
    let mut ping = udp(1, 2, 77, 8 << 8);
    ping.tuple.protocol = protocol::ICMP;
    ping.kind = Kind::IcmpQuery;
    ask(&ct, &ping, &commit());
    assert_eq!(all(&ct, NOW).len(), 1001);
    let meant = |filter: &Filter| {
        let mut into = Vec::new();
        let mut from = Some(Cursor::default());
        while let Some(at) = from {
            let before = into.len();
            from = ct.dump(at, 7, filter, NOW, &mut into);
            assert!(into.len() <= before + 7);
        }
        into.len()
    };
    let original = |original| Filter {
        original,
        ..Filter::default()
    };
    let any = TupleFilter::default();
    let zone = Filter {
        zone: Some(2),
        ..Filter::default()
    };
    assert_eq!(meant(&zone), 333);
    let port = TupleFilter {
        src_port: Some(77),
        ..any
    };
    assert_eq!(meant(&original(port)), 1, "an identifier is no port");
    let id = TupleFilter {
        icmp_id: Some(77),
        icmp_type: Some(8),
        icmp_code: Some(0),
        ..any
    };
    assert_eq!(meant(&original(id)), 1);
    let src = TupleFilter {
        src: Some(IpAddr::from([10, 1, 1, 2])),
        protocol: Some(protocol::UDP),
        ..any
    };
    assert_eq!(meant(&original(src)), 0);
    let reply = Filter {
        reply: src,
        ..Filter::default()
    };
    assert_eq!(meant(&reply), 1000);
    assert_eq!(ct.flush(&reply, NOW), 1000);
    assert_eq!(ct.len(), 1);
    let live = ct.live(None, NOW);
    assert_eq!((live.total, live.icmp), (1, [1, 0]));
}

#[test]
fn events_tell_and_count_what_was_lost() {
    let ct = ct();
    let events = ct.subscribe(3);
    let first = udp(1, 2, 1, 2);
    ask(&ct, &first, &commit());
    ct.flush(&Filter::default(), NOW);
    let Some(Event::New(new)) = events.next_event() else {
        panic!("the first event is the beginning");
    };
    assert_eq!(new.original, first.tuple);
    let Some(Event::Destroyed(gone, End::Flushed)) = events.next_event() else {
        panic!("the second event is the end");
    };
    assert_eq!(gone, new);
    for port in 0..5 {
        ask(&ct, &udp(1, 2, 1, port), &commit());
    }
    assert_eq!(events.lost(), 2);
    let left = std::iter::from_fn(|| events.next_event());
    let ports: Vec<_> = left
        .map(|event| match event {
            Event::New(new) => new.original.dst_port,
            Event::Destroyed(..) => 0,
        })
        .collect();
    assert_eq!(ports, [2, 3, 4]);
    drop(events);
    ask(&ct, &udp(1, 2, 1, 9), &commit());
    assert_eq!(ct.len(), 6);
}

/// An FTP connection of 10.1.1.1 to 10.1.1.2, and its handle.
fn control(ct: &Conntrack, request: &Request) -> Handle {
    let helped = Request {
        helper: Some(CtHelper::Ftp),
        mark: (5, u32::MAX),
        label: (6, u128::MAX),
        ..request.clone()
    };
    let told = ask(ct, &tcp(flag::SYN, false, 1000, 0), &helped);
    let follow = told.follow.expect("it has a helper");
    assert_eq!(follow.helper, Some(CtHelper::Ftp));
    assert_eq!(follow.direction, Direction::Original);
    assert_eq!(follow.original, tuple(protocol::TCP, 1, 2, 1000, 80));
    follow.connection
}

fn data(src: u8, dst: u8, dst_port: u16) -> Seen {
    let mut seen = tcp(flag::SYN, false, 7, 0);
    seen.tuple = tuple(protocol::TCP, src, dst, 33_333, dst_port);
    seen
}

#[test]
fn what_a_helper_expects_is_related_and_inherits() {
    let ct = ct();
    let parent = control(&ct, &commit());
    let first = data(1, 2, 5555);
    let mut expected = Expected {
        tuple: first.tuple,
        source: None,
        destination: None,
    };
    expected.tuple.src_port = 0;
    assert_eq!(ask(&ct, &first, &Request::default()).meta.state, NEW);
    assert!(!ct.is_taken(0, &first.tuple, NOW));
    assert!(ct.expect(parent, &expected, NOW));
    assert!(ct.is_taken(0, &first.tuple, NOW));
    assert_eq!(ct.expectations(NOW).len(), 1);
    for request in [Request::default(), commit()] {
        let told = ask(&ct, &first, &request).meta;
        assert_eq!(told.state, NEW | state::RELATED);
        assert_eq!((told.mark, told.label), (5, 6));
        assert_eq!(told.original, Some(tuple(protocol::TCP, 1, 2, 1000, 80)));
    }
    assert!(ct.expectations(NOW).is_empty(), "it came");
    let mut reply = tcp(flag::SYN | flag::ACK, true, 9, 8);
    reply.tuple = back(&first.tuple);
    let marked = Request {
        mark: (99, u32::MAX),
        ..commit()
    };
    let told = ask(&ct, &reply, &marked).meta;
    assert_eq!(told.state, EST | RPL | state::RELATED);
    assert_eq!(told.mark, 5, "the parent's mark stays");
    assert_eq!(told.original, Some(tuple(protocol::TCP, 1, 2, 1000, 80)));
    let child = all(&ct, NOW)
        .into_iter()
        .find(|one| one.original == first.tuple);
    let parent_tuple = child.expect("it was committed").parent;
    assert_eq!(parent_tuple, Some(tuple(protocol::TCP, 1, 2, 1000, 80)));

    // Without its parent nothing is expected, nor after a while.
    assert!(ct.expect(parent, &expected, NOW));
    assert!(ct.expectations(Tick(NOW.0 + LIFETIME)).is_empty());
    ct.flush(&Filter::default(), NOW);
    assert!(ct.expectations(NOW).is_empty());
    assert!(!ct.expect(parent, &expected, NOW), "the parent is gone");
    assert_eq!(ask(&ct, &first, &commit()).meta.state, NEW);
}

#[test]
fn an_expected_connection_is_translated_as_the_helper_said() {
    let ct = ct();
    let parent = control(&ct, &with_nat(nat(NatKind::Source, 240, 240, None)));
    // Active: the server comes to the translated address.
    let first = data(2, 240, 5555);
    let mut expected = Expected {
        tuple: first.tuple,
        source: None,
        destination: Some((tuple(0, 1, 0, 0, 0).src, 4444)),
    };
    expected.tuple.src_port = 0;
    assert!(ct.expect(parent, &expected, NOW));
    let told = ask(
        &ct,
        &first,
        &Request {
            commit: true,
            ..un_nat()
        },
    );
    assert_eq!(told.meta.state, NEW | state::RELATED | state::DNAT);
    let to = told.rewrite.expect("translated").to;
    assert_eq!(to, tuple(protocol::TCP, 2, 1, 33_333, 4444));

    // Passive: the client's data connections are hidden too, each behind a port of its own.
    let mut ports = Vec::new();
    for client_port in [2000, 2000] {
        let mut first = data(1, 2, 6666);
        first.tuple.src_port = client_port;
        first.tuple.src += ports.len() as u128;
        let expected = Expected {
            tuple: Tuple {
                src_port: 0,
                ..first.tuple
            },
            source: Some(tuple(0, 240, 0, 0, 0).src),
            destination: None,
        };
        assert!(ct.expect(parent, &expected, NOW));
        let told = ask(
            &ct,
            &first,
            &Request {
                commit: true,
                ..un_nat()
            },
        );
        assert_eq!(told.meta.state, NEW | state::RELATED | state::SNAT);
        ports.push(told.rewrite.expect("translated").to.src_port);
    }
    assert_eq!(ports[0], 2000);
    assert_ne!(ports[1], 2000);
}

#[test]
fn shifted_numbers_are_told_and_understood() {
    let ct = ct();
    let connection = control(&ct, &commit());
    ask(
        &ct,
        &tcp(flag::SYN | flag::ACK, true, 5000, 1001),
        &commit(),
    );
    // The helper made a command 200,000 octets longer: no window would stand that unnoticed.
    ct.shift(connection, Direction::Original, 1001, 200_000);
    let mut command = tcp(flag::ACK, false, 1001, 5001);
    if let Kind::Tcp(segment) = &mut command.kind {
        segment.payload = 10;
    }
    let told = ask(&ct, &command, &commit());
    let follow = told.follow.expect("its numbers are shifted");
    assert_eq!((follow.seq.before, follow.seq.after), (0, 200_000));
    let told = ask(&ct, &tcp(flag::ACK, true, 5001, 201_011), &commit());
    assert_eq!(told.meta.state, EST | RPL);
    let follow = told.follow.expect("its numbers are shifted");
    assert_eq!((follow.ack.after, follow.seq.after), (200_000, 0));
    ct.flush(&Filter::default(), NOW);
    ct.shift(connection, Direction::Original, 1, 1);
    let gone = [request::Shift::default(); 2];
    assert_eq!(ct.beside.shifts(connection), gone);
}

#[test]
fn threads_lose_and_tear_nothing() {
    const THREADS: u16 = 4;
    const ROUNDS: u32 = 300;
    const CONNECTIONS: u16 = 64;
    let ct = ct();
    let over = AtomicBool::new(false);
    let shared = |i: u16| udp(1, 2, 10_000 + i, 53);
    for i in 0..CONNECTIONS {
        let label = u128::from(i) << 64 | u128::from(i);
        let request = Request {
            mark: (i.into(), u32::MAX),
            label: (label, u128::MAX),
            ..with_nat(nat(NatKind::Source, 240, 240, None))
        };
        assert_eq!(ask(&ct, &shared(i), &request).refused, None);
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let ct = &ct;
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        for i in 0..CONNECTIONS {
                            // Half of the threads send, half answer.
                            let first = shared(i);
                            let translated = tuple(protocol::UDP, 240, 2, 10_000 + i, 53);
                            let (seen, want) = if thread % 2 == 0 {
                                (first, translated)
                            } else {
                                let tuple = back(&translated);
                                (Seen { tuple, ..first }, back(&first.tuple))
                            };
                            let told = ask(ct, &seen, &un_nat());
                            assert_eq!(told.rewrite.map(|rewrite| rewrite.to), Some(want));
                            assert_eq!(told.meta.original, Some(first.tuple));
                            assert_eq!(told.meta.mark, u32::from(i));
                            let label = u128::from(i) << 64 | u128::from(i);
                            assert_eq!(told.meta.label, label);
                        }
                        // Besides, connections that come and go in the same shards: every thread
                        // begins the same ones, and one of them shall do so.
                        for port in 0..32 {
                            let passing = udp(3, 4, port, (round % 50) as u16);
                            let told = ask(ct, &passing, &commit());
                            assert_eq!(told.refused, None);
                            assert_eq!(told.meta.original, Some(passing.tuple));
                        }
                    }
                })
            })
            .collect();
        let (ct, over) = (&ct, &over);
        scope.spawn(move || {
            let passing = Filter {
                original: TupleFilter {
                    src: Some(IpAddr::from([10, 1, 1, 3])),
                    ..TupleFilter::default()
                },
                ..Filter::default()
            };
            while !over.load(Ordering::Relaxed) {
                ct.flush(&passing, NOW);
                for one in all(ct, NOW) {
                    assert_eq!((one.label >> 64) as u64, one.label as u64);
                }
            }
            ct.flush(&passing, NOW);
        });
        for worker in workers {
            worker.join().expect("no assertion failed");
        }
        over.store(true, Ordering::Relaxed);
    });
    let left = all(&ct, NOW);
    assert_eq!(
        (left.len(), ct.len()),
        (CONNECTIONS.into(), CONNECTIONS.into())
    );
    let each = u64::from(ROUNDS) * u64::from(THREADS / 2);
    for one in left {
        let packets = one.counters.map(|counter| counter.packets);
        assert_eq!(packets, [each + 1, each], "no packet went uncounted");
    }
    ct.sweep(Tick(u64::MAX), 1 << 20);
    assert_eq!((ct.len(), ct.zone_limit(0).count), (0, 0));
}
