//! The workers, which Open vSwitch calls PMD threads.
//!
//! What it counts and this switch has not (hardware offload, signature match cache, and so on) is 0
//! by nature: no packet was answered that way.

use std::fmt::Write as _;

use super::add;
use crate::datapath::{Stage, WorkerQueues, WorkerStats};

/// Over which time workers were measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The time of day at its end: `12:03:04.005`.
    pub time: String,
    /// How long, in seconds.
    pub seconds: f64,
}

fn heading(numa: Option<u32>, core: Option<u32>) -> String {
    let mut text = "pmd thread".to_owned();
    if let Some(numa) = numa {
        add!(text, " numa_id {numa}");
    }
    if let Some(core) = core {
        add!(text, " core_id {core}");
    }
    text + ":\n"
}

/// A share that is 0 where there is nothing to share.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * ratio(part as f64, whole as f64)
}

fn per(part: u64, whole: u64) -> f64 {
    ratio(part as f64, whole as f64)
}

fn stage(worker: &WorkerStats, name: &str) -> Stage {
    let stages = worker.stages.iter();
    let stage = stages.into_iter().find(|stage| stage.name == name);
    stage.cloned().unwrap_or_default()
}

/// `dpif-netdev/pmd-stats-show`.
pub fn pmd_stats_show(workers: &[WorkerStats]) -> String {
    let mut text = String::new();
    for worker in workers {
        let tx = stage(worker, "tx");
        text += &heading(worker.numa, worker.core);
        add!(
            text,
            "  packets received: {}\n  \
               packet recirculations: 0\n  \
               avg. datapath passes per packet: {:.2}\n  \
               phwol hits: 0\n  \
               mfex opt hits: 0\n  \
               simple match hits: 0\n  \
               emc hits: {}\n  \
               smc hits: 0\n  \
               megaflow hits: {}\n  \
               avg. subtable lookups per megaflow hit: {:.2}\n  \
               miss with success upcall: {}\n  \
               miss with failed upcall: 0\n  \
               avg. packets per output batch: {:.2}\n",
            worker.packets,
            per(worker.packets, worker.packets),
            worker.emc_hits,
            worker.megaflow_hits,
            per(worker.masks_tried, worker.megaflow_hits),
            worker.misses,
            per(tx.packets, tx.batches),
        );
        let (idle, busy) = (worker.idle_cycles, worker.busy_cycles);
        let all = idle.saturating_add(busy);
        if all == 0 {
            continue;
        }
        add!(
            text,
            "  idle cycles: {idle} ({:.2}%)\n  \
               processing cycles: {busy} ({:.2}%)\n",
            percent(idle, all),
            percent(busy, all),
        );
        let packets = worker.packets;
        if packets == 0 {
            continue;
        }
        add!(
            text,
            "  avg cycles per packet: {:.2} ({all}/{packets})\n  \
               avg processing cycles per packet: {:.2} ({busy}/{packets})\n",
            per(all, packets),
            per(busy, packets),
        );
    }
    text
}

/// `dpif-netdev/pmd-perf-show`. Sleep is the time that no round took.
pub fn pmd_perf_show(workers: &[WorkerStats], measured: &Measured) -> String {
    let mut text = String::new();
    for worker in workers {
        add!(
            text,
            "\nTime: {}\nMeasurement duration: {:.3} s\n\n{}\n",
            measured.time,
            measured.seconds,
            heading(worker.numa, worker.core)
        );
        if measured.seconds > 0.0 {
            overall(&mut text, worker, measured.seconds);
        }
    }
    text
}

fn overall(text: &mut String, worker: &WorkerStats, seconds: f64) {
    let us_per_cycle = ratio(1e6, worker.cycles_per_second);
    let (idle, busy) = (worker.idle_cycles, worker.busy_cycles);
    let used = idle.saturating_add(busy);
    let rounds = worker.idle_rounds.saturating_add(worker.busy_rounds);
    let used_us = used as f64 * us_per_cycle;
    let sleep_us = (seconds * 1e6 - used_us).max(0.0);
    add!(
        text,
        "  Iterations:         {rounds:12}  ({:.2} us/it)\n  \
           - Used TSC cycles:  {used:12}  ({:5.1} % of total cycles)\n  \
           - idle iterations:  {:12}  ({:5.1} % of used cycles)\n  \
           - busy iterations:  {:12}  ({:5.1} % of used cycles)\n  \
           - sleep iterations: {:12}  ({:5.1} % of iterations)\n  \
           Sleep time (us):    {sleep_us:12.0}  ({:3.0} us/iteration avg.)\n",
        ratio(used_us + sleep_us, rounds as f64),
        ratio(used_us, seconds * 1e4),
        worker.idle_rounds,
        percent(idle, used),
        worker.busy_rounds,
        percent(busy, used),
        worker.sleeps,
        percent(worker.sleeps, rounds),
        ratio(sleep_us, worker.sleeps as f64),
    );
    let packets = worker.packets;
    if packets == 0 {
        add!(text, "  Rx packets:         {:12}\n", 0);
    } else {
        let share = |part| percent(part, packets);
        let translate = stage(worker, "translate").cycles;
        add!(
            text,
            "  Rx packets:         {packets:12}  ({:.0} Kpps, {:.0} cycles/pkt)\n  \
               Datapath passes:    {packets:12}  ({:.2} passes/pkt)\n  \
               - PHWOL hits:       {:12}  ({:5.1} %)\n  \
               - MFEX Opt hits:    {:12}  ({:5.1} %)\n  \
               - Simple Match hits:{:12}  ({:5.1} %)\n  \
               - EMC hits:         {:12}  ({:5.1} %)\n  \
               - SMC hits:         {:12}  ({:5.1} %)\n  \
               - Megaflow hits:    {:12}  ({:5.1} %, {:.2} subtbl lookups/hit)\n  \
               - Upcalls:          {:12}  ({:5.1} %, {:.1} us/upcall)\n  \
               - Lost upcalls:     {:12}  ({:5.1} %)\n",
            packets as f64 / seconds / 1000.0,
            per(busy, packets),
            per(packets, packets),
            0,
            0.0,
            0,
            0.0,
            0,
            0.0,
            worker.emc_hits,
            share(worker.emc_hits),
            0,
            0.0,
            worker.megaflow_hits,
            share(worker.megaflow_hits),
            per(worker.masks_tried, worker.megaflow_hits),
            worker.misses,
            share(worker.misses),
            ratio(translate as f64 * us_per_cycle, worker.misses as f64),
            0,
            0.0,
        );
    }
    let tx = stage(worker, "tx");
    if tx.packets == 0 {
        add!(text, "  Tx packets:         {:12}\n\n", 0);
    } else {
        add!(
            text,
            "  Tx packets:         {:12}  ({:.0} Kpps)\n  \
               Tx batches:         {:12}  ({:.2} pkts/batch)\n",
            tx.packets,
            tx.packets as f64 / seconds / 1000.0,
            tx.batches,
            per(tx.packets, tx.batches),
        );
    }
}

/// `dpif-netdev/pmd-rxq-show`, measured over the last `seconds`.
pub fn pmd_rxq_show(workers: &[WorkerQueues], seconds: u64) -> String {
    let mut text = format!("Displaying last {seconds} seconds pmd usage %\n");
    for worker in workers {
        text += &heading(worker.numa, worker.core);
        add!(text, "  isolated : false\n");
        let mut sum = 0.0;
        for queue in &worker.queues {
            add!(
                text,
                "  port: {:<16}  queue-id: {:2} (enabled)   pmd usage: ",
                queue.port,
                queue.queue
            );
            match queue.usage_percent {
                Some(usage) => {
                    sum += usage;
                    add!(text, "{:2} %\n", usage.trunc());
                }
                None => add!(text, "NOT AVAIL\n"),
            }
        }
        if !worker.queues.is_empty() {
            let overhead = (worker.busy_percent - sum).max(0.0);
            add!(text, "  overhead: {:2} %\n", overhead.trunc());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::Queue;

    fn worker() -> WorkerStats {
        WorkerStats {
            worker: 0,
            core: Some(1),
            numa: Some(0),
            packets: 1000,
            emc_hits: 700,
            megaflow_hits: 200,
            masks_tried: 300,
            misses: 100,
            busy_rounds: 100,
            idle_rounds: 300,
            sleeps: 4,
            idle_cycles: 250_000,
            busy_cycles: 750_000,
            cycles_per_second: 1e6,
            stages: vec![
                Stage {
                    name: "translate".into(),
                    cycles: 5_000,
                    packets: 100,
                    batches: 50,
                },
                Stage {
                    name: "tx".into(),
                    cycles: 9,
                    packets: 900,
                    batches: 300,
                },
            ],
            ..WorkerStats::default()
        }
    }

    #[test]
    fn a_workers_counters_read_like_those_of_a_pmd_thread() {
        let text = pmd_stats_show(&[worker()]);
        let expected = [
            "pmd thread numa_id 0 core_id 1:",
            "  packets received: 1000",
            "  packet recirculations: 0",
            "  avg. datapath passes per packet: 1.00",
            "  phwol hits: 0",
            "  mfex opt hits: 0",
            "  simple match hits: 0",
            "  emc hits: 700",
            "  smc hits: 0",
            "  megaflow hits: 200",
            "  avg. subtable lookups per megaflow hit: 1.50",
            "  miss with success upcall: 100",
            "  miss with failed upcall: 0",
            "  avg. packets per output batch: 3.00",
            "  idle cycles: 250000 (25.00%)",
            "  processing cycles: 750000 (75.00%)",
            "  avg cycles per packet: 1000.00 (1000000/1000)",
            "  avg processing cycles per packet: 750.00 (750000/1000)",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_worker_that_did_nothing_divides_by_nothing() {
        let text = pmd_stats_show(&[WorkerStats::default()]);
        assert!(text.starts_with("pmd thread:\n"), "{text}");
        assert!(
            text.ends_with("  avg. packets per output batch: 0.00\n"),
            "{text}"
        );
        let measured = Measured {
            time: "00:00:00.000".into(),
            seconds: 1.0,
        };
        let text = pmd_perf_show(&[WorkerStats::default()], &measured);
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        assert!(text.contains("  Rx packets:                    0\n"));
    }

    #[test]
    fn performance_is_told_in_its_columns() {
        let measured = Measured {
            time: "12:03:04.005".into(),
            seconds: 2.0,
        };
        let text = pmd_perf_show(&[worker()], &measured);
        let expected = [
            "",
            "Time: 12:03:04.005",
            "Measurement duration: 2.000 s",
            "",
            "pmd thread numa_id 0 core_id 1:",
            "",
            "  Iterations:                  400  (5000.00 us/it)",
            "  - Used TSC cycles:       1000000  ( 50.0 % of total cycles)",
            "  - idle iterations:           300  ( 25.0 % of used cycles)",
            "  - busy iterations:           100  ( 75.0 % of used cycles)",
            "  - sleep iterations:            4  (  1.0 % of iterations)",
            "  Sleep time (us):         1000000  (250000 us/iteration avg.)",
            "  Rx packets:                 1000  (0 Kpps, 750 cycles/pkt)",
            "  Datapath passes:            1000  (1.00 passes/pkt)",
            "  - PHWOL hits:                  0  (  0.0 %)",
            "  - MFEX Opt hits:               0  (  0.0 %)",
            "  - Simple Match hits:           0  (  0.0 %)",
            "  - EMC hits:                  700  ( 70.0 %)",
            "  - SMC hits:                    0  (  0.0 %)",
            "  - Megaflow hits:             200  ( 20.0 %, 1.50 subtbl lookups/hit)",
            "  - Upcalls:                   100  ( 10.0 %, 50.0 us/upcall)",
            "  - Lost upcalls:                0  (  0.0 %)",
            "  Tx packets:                  900  (0 Kpps)",
            "  Tx batches:                  300  (3.00 pkts/batch)",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn queues_stand_below_their_worker() {
        let workers = [WorkerQueues {
            worker: 0,
            core: Some(1),
            numa: Some(0),
            busy_percent: 14.0,
            queues: vec![Queue {
                port: "p0".into(),
                queue: 0,
                usage_percent: Some(12.7),
            }],
        }];
        let expected = [
            "Displaying last 60 seconds pmd usage %",
            "pmd thread numa_id 0 core_id 1:",
            "  isolated : false",
            "  port: p0                queue-id:  0 (enabled)   pmd usage: 12 %",
            "  overhead:  1 %",
        ];
        let text = pmd_rxq_show(&workers, 60);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
