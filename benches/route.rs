//! Nanoseconds per look at a table of routes, by how many routes it holds; what a change costs; and
//! octets of memory for each route.
//!
//! `cargo bench --package vswitch-benches --bench route [-- MAX]`: MAX routes at most, a million
//! without it. Addresses are looked up in random order, so that each finds a cold cache where the table
//! is larger than one. "dense" are prefixes of 24 (48) bits that follow one another, as
//! of one provider; "internet" are prefixes of the lengths that the Internet's tables have, anywhere.
//! "change" is a route that is put into a table of which somebody else holds a copy, as when packets are
//! being decided meanwhile. Each figure is the median of rounds.
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

use vswitch_datapath::route::Lpm;
use vswitch_flow::Prefix;

/// Lookups in one timed round.
const ROUND_LEN: usize = 1 << 18;
/// Rounds of which the median is taken.
const ROUNDS: usize = 11;
/// Routes changed in one timed round.
const CHANGES_LEN: usize = 1 << 10;
/// Has this program measure memory, as its first argument.
const MEMORY: &str = "memory";

/// xorshift: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

/// Prefix lengths and their parts of a thousand, roughly as in the default-free zone.
const V4_LENGTHS: [(u8, u64); 6] = [
    (24, 600),
    (22, 120),
    (23, 110),
    (20, 80),
    (19, 50),
    (16, 40),
];
const V6_LENGTHS: [(u8, u64); 5] = [(48, 480), (44, 140), (40, 130), (36, 100), (32, 150)];

#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    v4: bool,
    dense: bool,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "v4 dense",
        v4: true,
        dense: true,
    },
    Kind {
        name: "v4 internet",
        v4: true,
        dense: false,
    },
    Kind {
        name: "v6 dense",
        v4: false,
        dense: true,
    },
    Kind {
        name: "v6 internet",
        v4: false,
        dense: false,
    },
];

impl Kind {
    fn address(self, bits: u128) -> IpAddr {
        if self.v4 {
            IpAddr::from(((bits >> 96) as u32).to_be_bytes())
        } else {
            IpAddr::from(bits.to_be_bytes())
        }
    }

    fn prefix(self, number: u32, random: &mut Numbers) -> Prefix {
        let prefix = if self.dense {
            let (bits, len) = if self.v4 {
                (u128::from(number) << 104, 24)
            } else {
                (0x2001_u128 << 112 | u128::from(number) << 80, 48)
            };
            Prefix {
                address: self.address(bits),
                len,
            }
        } else {
            let mut point = random.next() % 1000;
            let lengths: &[_] = if self.v4 { &V4_LENGTHS } else { &V6_LENGTHS };
            let found = lengths.iter().find(|(_, part)| {
                let here = point < *part;
                point = point.saturating_sub(*part);
                here
            });
            let bits = random.wide();
            let bits = if self.v4 { bits } else { bits >> 3 | 1 << 125 };
            Prefix {
                address: self.address(bits),
                len: found.map_or(24, |(len, _)| *len),
            }
        };
        prefix.network()
    }

    /// A table, and addresses that it has routes for.
    fn fill(self, len: u32) -> (Lpm<u32>, Vec<IpAddr>) {
        let mut random = Numbers(0x9e37_79b9_7f4a_7c15);
        let mut lpm = Lpm::default();
        let mut all = Vec::new();
        let mut number = 0;
        while lpm.len() < len as usize {
            let prefix = self.prefix(number, &mut random);
            lpm.insert(&prefix, number);
            all.push(prefix);
            number += 1;
        }
        let addresses = (0..ROUND_LEN)
            .map(|_| {
                let at = random.next() as usize % all.len();
                let prefix = all[at];
                self.address(prefix.bits() | random.wide() >> prefix.len)
            })
            .collect();
        (lpm, addresses)
    }
}

fn median(rounds: usize, mut round: impl FnMut() -> f64) -> f64 {
    let mut all: Vec<f64> = (0..rounds).map(|_| round()).collect();
    all.sort_by(f64::total_cmp);
    all[rounds / 2]
}

/// Resident memory in octets.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_usize) * 4096
}

/// Octets that each of `len` routes takes, of a process that has done nothing else.
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
    let kind = KINDS.get(arguments.next()?.parse::<usize>().ok()?)?;
    let len = arguments.next()?.parse::<u32>().ok()?;
    let mut random = Numbers(0x9e37_79b9_7f4a_7c15);
    let before = resident();
    let mut lpm = Lpm::default();
    let mut number = 0;
    while lpm.len() < len as usize {
        lpm.insert(&kind.prefix(number, &mut random), number);
        number += 1;
    }
    println!("{}", resident().saturating_sub(before) / len as usize);
    drop(lpm);
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
    println!(
        "{:<12} {:>9} {:>10} {:>10} {:>13}",
        "", "routes", "lookup ns", "change ns", "octets each"
    );
    for (at, kind) in KINDS.into_iter().enumerate() {
        for len in [1000, 10_000, 100_000, 1_000_000] {
            if len > max {
                continue;
            }
            let each = memory(at, len);
            let (lpm, addresses) = kind.fill(len);
            let lookup = median(ROUNDS, || {
                let start = Instant::now();
                for address in &addresses {
                    black_box(lpm.lookup(*address));
                }
                start.elapsed().as_nanos() as f64 / addresses.len() as f64
            });
            let change = median(ROUNDS, || {
                let mut changed = lpm.clone();
                let start = Instant::now();
                for address in addresses.iter().take(CHANGES_LEN) {
                    let published = changed.clone();
                    changed.insert(&Prefix::host(*address), 1);
                    black_box(published);
                }
                start.elapsed().as_nanos() as f64 / CHANGES_LEN as f64
            });
            println!(
                "{:<12} {len:>9} {lookup:>10.1} {change:>10.0} {each:>13}",
                kind.name
            );
        }
    }
}
