//! Nanoseconds per packet of the flow key extraction, for each kind of packet that matters.
//!
//! `cargo bench --package vswitch-benches --bench extract`. Every figure is the median of rounds
//! over a ring of frames that fits the second-level cache, so that memory is not what is measured.
//! The first column of the table reads, the second reads and hashes as the exact-match cache does.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark is where time is read"
)]

use std::hint::black_box;
use std::time::Instant;

use vswitch_datapath::extract::extract;
use vswitch_flow::OfPort;
use vswitch_packet::build::Builder;
use vswitch_packet::{EtherType, Protocol, tcp};

/// Frames of one kind, apart from each other in addresses and ports.
const RING_LEN: usize = 64;
/// Packets in one timed round: long enough that reading the clock does not count.
const ROUND_LEN: usize = 64 * 1024;
/// Rounds of which the median is taken.
const ROUNDS: usize = 31;

fn ring(build: impl Fn(Builder, u8) -> Builder) -> Vec<Vec<u8>> {
    (0..RING_LEN as u8)
        .map(|i| build(Builder::eth([2, 0, 0, 0, 0, i], [2, 0, 0, 0, 1, i]), i).build())
        .collect()
}

fn median(frames: &[Vec<u8>], mut step: impl FnMut(&[u8])) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for frame in frames.iter().cycle().take(ROUND_LEN) {
                step(black_box(frame));
            }
            start.elapsed().as_nanos() as f64 / ROUND_LEN as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn main() {
    let v6 = |last: u8| std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last));
    let option = [0, 0, 1, 4, 0, 0, 0, 0];
    let kinds = [
        (
            "tcp/ipv4",
            ring(|b, i| b.ipv4([10, 0, 0, i], [10, 0, 1, i]).tcp(1000, 80, tcp::ACK)),
        ),
        (
            "udp/ipv4",
            ring(|b, i| b.ipv4([10, 0, 0, i], [10, 0, 1, i]).udp(1000, 53)),
        ),
        (
            "vlan tcp/ipv4",
            ring(|b, i| b.vlan(9).ipv4([10, 0, 0, i], [10, 0, 1, i]).tcp(1, 2, 0)),
        ),
        (
            "qinq tcp/ipv4",
            ring(|b, i| {
                let b = b.tag(EtherType::QINQ, 5).vlan(9);
                b.ipv4([10, 0, 0, i], [10, 0, 1, i]).tcp(1, 2, 0)
            }),
        ),
        (
            "tcp/ipv6",
            ring(|b, i| b.ipv6(v6(i), v6(i)).tcp(1000, 80, tcp::ACK)),
        ),
        (
            "udp/ext/ipv6",
            ring(|b, i| {
                let b = b.ipv6(v6(i), v6(i));
                b.extension(Protocol::DESTINATION, &option).udp(1, 2)
            }),
        ),
        (
            "neighbour",
            ring(|b, i| b.ipv6(v6(i), v6(i)).neighbour(135, v6(i), [2; 6])),
        ),
        (
            "arp",
            ring(|b, i| b.arp_request([10, 0, 0, i], [10, 0, 1, i])),
        ),
    ];
    println!(
        "{:<16}{:>12}{:>16}",
        "ns per packet", "extract", "extract+hash"
    );
    for (name, frames) in &kinds {
        let port = OfPort(1);
        let read = median(frames, |frame| {
            black_box(extract(frame, frame.len(), port)).ok();
        });
        let hashed = median(frames, |frame| {
            if let Ok(read) = extract(frame, frame.len(), port) {
                black_box(read.key.hash(1));
            }
        });
        println!("{name:<16}{read:>12.1}{hashed:>16.1}");
    }
}
