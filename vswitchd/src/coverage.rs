//! How often things happened, and how often lately: the counters of `coverage/show`.
//!
//! What is counted comes from the packet process: why packets were dropped, which cache answered.
//! This room keeps what those counters were every [`INTERVAL`], and makes rates of it. It asks
//! nobody and knows no clock: whoever owns it takes a sample when one is due.
//!
//! Law: a rate is of what happened while we looked. What was counted before the first sample is in
//! the total only. A packet process that begins anew counts from 0, which is noticed.
//!
//! Cost: 72 numbers for each counter, one pass over the counters each [`INTERVAL`].
//!
//! Spec: `lib/coverage.c` of Open vSwitch.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// How long a sample stands for.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// Samples in a minute.
const MINUTE: usize = 12;

/// Minutes in an hour.
const HOUR: usize = 60;

/// What has been counted so far, by the counter's name.
pub type Totals = BTreeMap<String, u64>;

#[derive(Clone, Debug)]
struct Counter {
    last: u64,
    minute: [u64; MINUTE],
    hour: [u64; HOUR],
}

/// The last hour of all counters.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counters: BTreeMap<String, Counter>,
    /// Samples taken so far.
    samples: usize,
}

impl Coverage {
    /// Takes in what the counters are now. To be called every [`INTERVAL`]; when that was not
    /// possible for a while, `intervals` says how many this sample stands for, and what happened is
    /// spread over them.
    pub fn sample(&mut self, totals: &Totals, intervals: usize) {
        // After an hour without a sample nothing of the hour before is left.
        let intervals = intervals.clamp(1, MINUTE * HOUR);
        for (name, &total) in totals {
            let counter = self.counters.entry(name.clone()).or_insert(Counter {
                last: total,
                minute: [0; MINUTE],
                hour: [0; HOUR],
            });
            let count = total.checked_sub(counter.last).unwrap_or(total);
            counter.last = total;
            let (each, rest) = (count / intervals as u64, count % intervals as u64);
            for interval in 0..intervals {
                let is_last = interval == intervals - 1;
                let slot = self.samples + interval;
                let of_slot = each + if is_last { rest } else { 0 };
                counter.minute[slot % MINUTE] = of_slot;
                let of_minute = &mut counter.hour[slot / MINUTE % HOUR];
                if slot.is_multiple_of(MINUTE) {
                    *of_minute = 0;
                }
                *of_minute += of_slot;
            }
        }
        self.samples = (self.samples + intervals) % (MINUTE * HOUR);
    }

    /// `coverage/show`, where `totals` is what has been counted up to now.
    pub fn show(&self, totals: &Totals) -> String {
        let mut text = format!(
            "Event coverage, avg rate over last: {} seconds, last minute, last hour,  \
             hash={:08x}:\n",
            INTERVAL.as_secs(),
            hash(totals)
        );
        let mut never = 0;
        for (name, &total) in totals {
            if total == 0 {
                never += 1;
                continue;
            }
            let [interval, minute, hour] = self.rates(name);
            writeln!(
                text,
                "{name:<24} {interval:5.1}/sec {minute:9.3}/sec {hour:13.4}/sec   total: {total}"
            )
            .expect("a String takes everything");
        }
        text + &format!("{never} events never hit\n")
    }

    /// How often a second: in the last interval, in the last minute, in the last hour.
    fn rates(&self, name: &str) -> [f64; 3] {
        let Some(counter) = self.counters.get(name) else {
            return [0.0; 3];
        };
        let last = (self.samples + MINUTE - 1) % MINUTE;
        let sum = |slots: &[u64]| slots.iter().sum::<u64>() as f64;
        [
            counter.minute[last] as f64 / INTERVAL.as_secs_f64(),
            sum(&counter.minute) / 60.0,
            sum(&counter.hour) / 3600.0,
        ]
    }
}

/// A number for which counters counted most, so that two texts are soon known to tell of the same
/// (FNV-1a over the names, most counted first).
fn hash(totals: &Totals) -> u32 {
    let mut counted: Vec<_> = totals.iter().filter(|(_, total)| **total > 0).collect();
    counted.sort_by_key(|(name, total)| (std::cmp::Reverse(**total), *name));
    let bytes = counted.iter().flat_map(|(name, _)| name.bytes().chain([0]));
    bytes.fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(drops: u64) -> Totals {
        Totals::from([("drop_no_flow".into(), drops), ("cache_stale".into(), 0)])
    }

    #[test]
    fn what_came_before_the_first_sample_is_no_rate() {
        let mut coverage = Coverage::default();
        coverage.sample(&totals(1_000_000), 1);
        let text = coverage.show(&totals(1_000_000));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with(
            "Event coverage, avg rate over last: 5 seconds, last minute, last hour,  hash="
        ));
        assert_eq!(
            lines[1..],
            [
                "drop_no_flow               0.0/sec     0.000/sec        0.0000/sec   total: 1000000",
                "1 events never hit",
            ]
        );
    }

    #[test]
    fn rates_are_of_the_last_interval_minute_and_hour() {
        let mut coverage = Coverage::default();
        coverage.sample(&totals(0), 1);
        // A minute with 10 drops a second, then a minute with none but for 5 in the end.
        for sample in 1..=12 {
            coverage.sample(&totals(sample * 50), 1);
        }
        assert_eq!(coverage.rates("drop_no_flow"), [10.0, 10.0, 600.0 / 3600.0]);
        for _ in 0..11 {
            coverage.sample(&totals(600), 1);
        }
        coverage.sample(&totals(605), 1);
        let text = coverage.show(&totals(607));
        let line = text.lines().nth(1);
        assert_eq!(
            line,
            Some("drop_no_flow               1.0/sec     0.083/sec        0.1681/sec   total: 607")
        );
    }

    #[test]
    fn after_an_hour_nothing_of_it_is_left() {
        let mut coverage = Coverage::default();
        coverage.sample(&totals(0), 1);
        coverage.sample(&totals(500), 1);
        for _ in 0..MINUTE * HOUR {
            coverage.sample(&totals(500), 1);
        }
        assert_eq!(coverage.rates("drop_no_flow"), [0.0; 3]);
    }

    #[test]
    fn samples_that_were_missed_share_what_happened() {
        let mut coverage = Coverage::default();
        coverage.sample(&totals(0), 1);
        coverage.sample(&totals(121), 12);
        let [interval, minute, _] = coverage.rates("drop_no_flow");
        assert_eq!([interval, minute * 60.0], [2.2, 121.0]);
        coverage.sample(&totals(121), usize::MAX);
        assert_eq!(coverage.rates("drop_no_flow"), [0.0; 3]);
    }

    #[test]
    fn a_datapath_that_begins_anew_is_no_flood() {
        let mut coverage = Coverage::default();
        coverage.sample(&totals(1000), 1);
        coverage.sample(&totals(5), 1);
        assert_eq!(coverage.rates("drop_no_flow")[0], 1.0);
    }
}
