//! Nanoseconds per packet of the connection table, by how many connections it holds; new connections
//! per second; and octets of memory for each.
//!
//! `cargo bench --package vswitch-benches --bench conntrack [-- MAX]`: MAX connections at most, a
//! million without it. Packets of established connections are in random order, so that every one
//! of a large table finds a cold cache, as on a switch with that many users. Each figure is the
//! median of rounds of one thread. "forward" and "reply" are packets in batches that are looked ahead
//! for, as the switch does, "alone" packets without that; "both" is two threads on the same
//! connections, one for each direction, as packets of one connection arrive on two cores.
//!
//! Memory is what the resident size of a process of its own grows by.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark is where time is read"
)]

use std::hint::black_box;
use std::net::IpAddr;
use std::process::Command;
use std::time::Instant;

use vswitch_datapath::buffer::BATCH_LEN;
use vswitch_datapath::conntrack::Conntrack;
use vswitch_datapath::conntrack::request::{Meta, Request};
use vswitch_datapath::conntrack::seen::{Kind, Seen, TcpSeen, flag};
use vswitch_datapath::conntrack::step::{Ahead, Ask};
use vswitch_datapath::conntrack::tuple::{Family, Tuple, protocol};
use vswitch_datapath::tick::Tick;
use vswitch_flow::action::{Nat, NatKind, NatPorts, NatRange};

/// Packets in one timed round.
const ROUND_LEN: usize = 1 << 18;
/// Rounds of which the median is taken.
const ROUNDS: usize = 15;
/// Connections begun in one timed round.
const NEW_LEN: u32 = 1 << 17;

const NOW: Tick = Tick(1);

fn tuple(number: u32, protocol: u8) -> Tuple {
    Tuple {
        family: Family::V4,
        protocol,
        src: u128::from(0x0a00_0000 | number >> 8),
        dst: 0xc0a8_0001,
        src_port: 1024 + (number & 0xff) as u16,
        dst_port: 443,
    }
}

fn seen(number: u32, protocol: u8, flags: u16, reply: bool) -> Seen {
    let tuple = tuple(number, protocol);
    let tcp = TcpSeen {
        flags,
        seq: 1,
        ack: if flags & flag::ACK == 0 { 0 } else { 1 },
        window: 60_000,
        payload: 0,
        wscale: None,
    };
    Seen {
        tuple: if reply {
            tuple.reversed().unwrap_or(tuple)
        } else {
            tuple
        },
        len: 64,
        kind: if protocol == protocol::TCP {
            Kind::Tcp(tcp)
        } else {
            Kind::Udp
        },
    }
}

fn commit(nat: bool) -> Request {
    let address = IpAddr::from([172, 16, 0, 1]);
    let last = IpAddr::from([172, 16, 0, 254]);
    Request {
        commit: true,
        nat: nat.then_some(Nat {
            range: Some(NatRange {
                kind: NatKind::Source,
                addresses: Some((address, last)),
                ports: None,
            }),
            persistent: false,
            ports: NatPorts::Default,
        }),
        ..Request::default()
    }
}

/// What the answers ask: `ct(nat)`, which un-NATs where there is something to undo.
fn answer() -> Request {
    Request {
        nat: Some(Nat::default()),
        ..Request::default()
    }
}

/// Begins connections and has them answered; TCP opens with three packets.
fn fill(ct: &Conntrack, numbers: std::ops::Range<u32>, protocol: u8, request: &Request) {
    let before = Meta::default();
    for number in numbers {
        let first = seen(number, protocol, flag::SYN, false);
        let told = ct.track(&first, &before, request, NOW);
        assert_eq!(told.refused, None, "{first:?}");
        let to = told.rewrite.map_or(first.tuple, |rewrite| rewrite.to);
        let mut back = seen(number, protocol, flag::SYN | flag::ACK, true);
        back.tuple = to.reversed().unwrap_or(to);
        ct.track(&back, &before, &answer(), NOW);
        if protocol == protocol::TCP {
            let third = seen(number, protocol, flag::ACK, false);
            ct.track(&third, &before, request, NOW);
        }
    }
}

fn median(rounds: usize, mut round: impl FnMut() -> f64) -> f64 {
    let mut all: Vec<f64> = (0..rounds).map(|_| round()).collect();
    all.sort_by(f64::total_cmp);
    all[rounds / 2]
}

/// Numbers below `len` in an order that no prefetcher foresees.
fn order(len: u32, salt: u64) -> Vec<u32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(salt | 1);
    (0..ROUND_LEN)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 16) as u32 % len
        })
        .collect()
}

/// Nanoseconds for a packet, in batches of `len`.
fn packets(ct: &Conntrack, numbers: &[u32], protocol: u8, reply: bool, len: usize) -> f64 {
    let request = answer();
    let before = Meta::default();
    let ask = Ask {
        request: &request,
        before: &before,
        may_wait: false,
        now: NOW,
    };
    let mut ahead = Vec::with_capacity(len);
    let start = Instant::now();
    for numbers in numbers.chunks(len) {
        ahead.clear();
        ahead.extend(numbers.iter().map(|number| {
            let seen = seen(*number, protocol, flag::ACK, reply);
            Ahead::of(ct, Ok(seen), request.zone)
        }));
        if len > 1 {
            ahead.iter().for_each(|ahead| ahead.expect_entry(ct));
        }
        for ahead in &ahead {
            black_box(ahead.track(ct, &ask));
        }
    }
    start.elapsed().as_nanos() as f64 / numbers.len() as f64
}

/// Resident memory in octets.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_usize) * 4096
}

/// What is begun: a name, the protocol, and whether it is translated.
const KINDS: [(&str, u8, bool); 4] = [
    ("udp", protocol::UDP, false),
    ("udp snat", protocol::UDP, true),
    ("tcp", protocol::TCP, false),
    ("tcp snat", protocol::TCP, true),
];

/// Has this program measure memory, as its first argument.
const MEMORY: &str = "memory";

/// Octets that each of `len` connections takes, of a process that has done nothing else.
fn memory(kind: usize, len: u32) -> String {
    let told = std::env::current_exe().and_then(|program| {
        let mut command = Command::new(program);
        command.args([MEMORY, &kind.to_string(), &len.to_string()]);
        command.output()
    });
    told.map_or_else(
        |error| error.to_string(),
        |told| String::from_utf8_lossy(&told.stdout).trim().to_owned(),
    )
}

/// Measures memory where this is the process for it.
fn measured_memory() -> Option<()> {
    let mut arguments = std::env::args().skip(1);
    (arguments.next()? == MEMORY).then_some(())?;
    let (_, protocol, nat) = KINDS.get(arguments.next()?.parse::<usize>().ok()?)?;
    let len = arguments.next()?.parse::<u32>().ok()?;
    let before = resident();
    let ct = Conntrack::new(7);
    fill(&ct, 0..len, *protocol, &commit(*nat));
    println!("{}", resident().saturating_sub(before) / len as usize);
    Some(())
}

fn main() {
    if measured_memory().is_some() {
        return;
    }
    let max = std::env::args()
        .skip(1)
        .find_map(|arg| arg.parse().ok())
        .unwrap_or(1_000_000_u32);
    println!("ns per packet of an established connection");
    println!(
        "{:<10} {:>9} {:>8} {:>8} {:>8} {:>8} {:>14}",
        "", "holds", "forward", "reply", "alone", "both", "octets each"
    );
    for (kind, (name, protocol, nat)) in KINDS.into_iter().enumerate() {
        for len in [1000, 10_000, 100_000, 1_000_000] {
            if len > max {
                continue;
            }
            let each = memory(kind, len);
            let ct = Conntrack::new(7);
            fill(&ct, 0..len, protocol, &commit(nat));
            let numbers = order(len, 1);
            let batched =
                |numbers: &[u32], reply| packets(&ct, numbers, protocol, reply, BATCH_LEN);
            let forward = median(ROUNDS, || batched(&numbers, false));
            // Translated answers show another tuple each; the plain ones measure the direction.
            let reply = if nat {
                f64::NAN
            } else {
                median(ROUNDS, || batched(&numbers, true))
            };
            let alone = median(ROUNDS, || packets(&ct, &numbers, protocol, false, 1));
            let others = order(len, 2);
            let both = median(ROUNDS, || {
                std::thread::scope(|scope| {
                    let other = scope.spawn(|| batched(&others, !nat));
                    let own = batched(&numbers, false);
                    own.max(other.join().unwrap_or(f64::NAN))
                })
            });
            println!(
                "{name:<10} {len:>9} {forward:>8.1} {reply:>8.1} {alone:>8.1} {both:>8.1} {each:>14}"
            );
        }
    }
    println!("\nnew connections per second of one thread");
    for (name, protocol, nat) in KINDS {
        let request = commit(nat);
        let rate = median(ROUNDS, || {
            let ct = Conntrack::new(7);
            let start = Instant::now();
            for number in 0..NEW_LEN {
                let first = seen(number, protocol, flag::SYN, false);
                black_box(ct.track(&first, &Meta::default(), &request, NOW));
            }
            f64::from(NEW_LEN) / start.elapsed().as_secs_f64()
        });
        println!("{name:<10} {rate:>12.0}");
    }
    let ct = Conntrack::new(7);
    fill(&ct, 0..max, protocol::UDP, &commit(false));
    let rate = median(3, || {
        let start = Instant::now();
        let looked = 1 << 20;
        black_box(ct.sweep(NOW, looked));
        start.elapsed().as_nanos() as f64 / f64::from((looked as u32).min(max))
    });
    println!("\nsweeping: {rate:.1} ns per entry that lives");
}
