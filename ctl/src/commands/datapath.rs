//! The packet process from inside: ports, cached flows, workers, drops.

use vswitch_rpc::datapath::{
    DpctlDumpFlows, DpctlShow, DropRow, Drops, Latency, PmdRxq, PmdStats, WorkerQueues, WorkerStats,
};
use vswitch_rpc::text;

use super::Argument::{Flag, Optional};
use super::{Command, Run, example, prints};
use crate::output::Page;
use crate::output::Tone::{Faint, Strong};
use crate::output::number::{per, percent};
use crate::output::table::Align::{Left, Right};
use crate::output::table::Table;

pub(super) const DPCTL_SHOW: Command = Command {
    words: &["dpctl", "show"],
    aliases: &[],
    arguments: &[Flag(
        "statistics",
        Some('s'),
        "Also the counters of the ports",
    )],
    help: "Show the ports and cache counters of the packet process",
    long: "The format is that of ovs-appctl dpctl/show. The port numbers are those of cached \
           flows, unique over all bridges, and not OpenFlow's.",
    examples: &[
        example("vsctl dpctl show", "Ports and lookups"),
        example("vsctl dpctl show -s", "With the counters of the ports"),
    ],
    run: Run::Ask(
        |_| Ok(DpctlShow {}.into()),
        prints!(DpctlShow, |reply, typed, page| {
            page.text(&text::dpctl_show(reply, typed.flag("statistics")));
        }),
    ),
};

pub(super) const DPCTL_DUMP_FLOWS: Command = Command {
    words: &["dpctl", "dump-flows"],
    aliases: &[],
    arguments: &[
        Optional("MATCH", "Only answers for packets that this takes"),
        Flag("names", None, "Ports by name"),
        Flag("rules", None, "Also the flows that they came from"),
    ],
    help: "Show the cached flows",
    long: "A cached flow is an answer the switch has worked out and gives again without looking at \
           its tables. The format is that of ovs-appctl dpctl/dump-flows. --rules tells of each which \
           flows of which bridges led to it, in the order they were met.",
    examples: &[
        example(
            "vsctl dpctl dump-flows",
            "What the caches hold, worker by worker",
        ),
        example(
            "vsctl dpctl dump-flows --names tcp,tp_dst=80",
            "What they hold of web requests",
        ),
        example(
            "vsctl dpctl dump-flows --rules arp",
            "Which flows decided about ARP",
        ),
    ],
    run: Run::Ask(
        |typed| {
            Ok(DpctlDumpFlows {
                names: typed.flag("names"),
                filter: typed.optional("MATCH"),
                rules: typed.flag("rules"),
                core: None,
            }
            .into())
        },
        prints!(DpctlDumpFlows, |reply, _, page| {
            page.text(&text::dpctl_dump_flows(reply, true));
        }),
    ),
};

pub(super) const PMD_STATS: Command = Command {
    words: &["pmd", "stats"],
    aliases: &[],
    arguments: &[],
    help: "Show what the workers did and what it cost",
    long: "For each worker: packets, which cache answered, cycles for each step of a round, and \
           the time packets spent in the switch. All since the worker started.",
    examples: &[
        example("vsctl pmd stats", "Cycles, hits and latency of each worker"),
        example("vsctl pmd stats --json", "The same for a program"),
    ],
    run: Run::Ask(
        |_| Ok(PmdStats {}.into()),
        prints!(PmdStats, |reply, _, page| print_workers(reply, page)),
    ),
};

pub(super) const PMD_RXQ: Command = Command {
    words: &["pmd", "rxq"],
    aliases: &[],
    arguments: &[],
    help: "Show which worker reads which queue",
    long: "USAGE is the share of the worker's time that the packets of the queue took.",
    examples: &[example("vsctl pmd rxq", "Queues by worker")],
    run: Run::Ask(
        |_| Ok(PmdRxq {}.into()),
        prints!(PmdRxq, |reply, _, page| print_queues(reply, page)),
    ),
};

pub(super) const DROPS: Command = Command {
    words: &["drops"],
    aliases: &[],
    arguments: &[Flag(
        "all",
        Some('a'),
        "Also the reasons that never occurred",
    )],
    help: "Show how many packets were dropped, and why",
    long: "Every packet that comes in goes out or is counted here.",
    examples: &[
        example("vsctl drops", "What was dropped"),
        example("vsctl drops --all", "Every reason there is"),
    ],
    run: Run::Ask(
        |typed| {
            Ok(Drops {
                all: typed.flag("all"),
            }
            .into())
        },
        prints!(Drops, |reply, _, page| print_drops(reply, page)),
    ),
};

fn heading(worker: u32, core: Option<u32>) -> String {
    let place = core.map_or_else(|| "not pinned".into(), |core| format!("core {core}"));
    format!("worker {worker}, {place}")
}

fn print_workers(workers: &[WorkerStats], page: &mut Page) {
    for worker in workers {
        page.line(page.paint(heading(worker.worker, worker.core), Strong));
        let cycles = worker.busy_cycles.saturating_add(worker.idle_cycles);
        let mut table = Table::new(2, &[("", Left), ("", Right), ("", Right)]);
        let mut row = |name: &str, number: u64, aside: String| {
            table.row([name.into(), number.into(), aside.into()]);
        };
        row("packets", worker.packets, String::new());
        row(
            "batches",
            worker.batches,
            format!("{:.1} packets each", worker.avg_batch),
        );
        row(
            "emc hits",
            worker.emc_hits,
            percent(worker.emc_hits, worker.packets),
        );
        row(
            "megaflow hits",
            worker.megaflow_hits,
            percent(worker.megaflow_hits, worker.packets),
        );
        row(
            "misses",
            worker.misses,
            percent(worker.misses, worker.packets),
        );
        row("stale", worker.stale, percent(worker.stale, worker.packets));
        row("emc entries", worker.emc_len, String::new());
        row(
            "megaflows",
            worker.megaflow_len,
            format!("{} masks", worker.masks),
        );
        row("sleeps", worker.sleeps, String::new());
        row(
            "busy cycles",
            worker.busy_cycles,
            percent(worker.busy_cycles, cycles),
        );
        row(
            "idle cycles",
            worker.idle_cycles,
            percent(worker.idle_cycles, cycles),
        );
        table.print_rows(page);
        let each = per(worker.busy_cycles, worker.packets);
        page.line(format_args!("  busy cycles for each packet: {each}"));
        print_stages(worker, page);
        if let Some(latency) = &worker.latency {
            print_latency(latency, page);
        }
    }
}

fn print_stages(worker: &WorkerStats, page: &mut Page) {
    let columns = [
        ("STAGE", Left),
        ("CYCLES", Right),
        ("PACKETS", Right),
        ("BATCHES", Right),
        ("CYCLES/PACKET", Right),
        ("PACKETS/BATCH", Right),
    ];
    let mut table = Table::new(2, &columns);
    for stage in &worker.stages {
        table.row([
            stage.name.as_str().into(),
            stage.cycles.into(),
            stage.packets.into(),
            stage.batches.into(),
            per(stage.cycles, stage.packets).into(),
            per(stage.packets, stage.batches).into(),
        ]);
    }
    table.print(page);
}

fn print_latency(latency: &Latency, page: &mut Page) {
    page.line(format_args!(
        "  time in the switch, µs: p50 {:.1}, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1}",
        latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us
    ));
}

fn print_queues(workers: &[WorkerQueues], page: &mut Page) {
    for worker in workers {
        page.line(page.paint(heading(worker.worker, worker.core), Strong));
        if worker.queues.is_empty() {
            page.line(page.paint("  no queues", Faint));
        }
        let mut table = Table::new(2, &[("PORT", Left), ("QUEUE", Right), ("USAGE", Right)]);
        for queue in &worker.queues {
            let usage = queue
                .usage_percent
                .map_or_else(|| "-".into(), |p| format!("{p:.0} %"));
            table.row([queue.port.as_str().into(), queue.queue.into(), usage.into()]);
        }
        table.print(page);
    }
}

fn print_drops(rows: &[DropRow], page: &mut Page) {
    if rows.is_empty() {
        page.line("no packet was dropped");
    }
    let columns = [("PACKETS", Right), ("REASON", Left), ("MEANING", Left)];
    let mut table = Table::new(0, &columns);
    for row in rows {
        table.row([
            row.packets.into(),
            row.reason.as_str().into(),
            row.sentence.as_str().into(),
        ]);
    }
    table.print(page);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::page_of;
    use vswitch_rpc::datapath::{Queue, Stage};

    #[test]
    fn a_workers_account_lines_up() {
        let worker = WorkerStats {
            worker: 0,
            core: Some(1),
            packets: 1000,
            batches: 50,
            avg_batch: 20.0,
            emc_hits: 900,
            megaflow_hits: 90,
            misses: 10,
            stale: 5,
            emc_len: 64,
            megaflow_len: 8,
            masks: 2,
            sleeps: 7,
            idle_cycles: 100_000,
            busy_cycles: 300_000,
            stages: vec![
                Stage {
                    name: "rx".into(),
                    cycles: 90_000,
                    packets: 1000,
                    batches: 50,
                },
                Stage {
                    name: "translate".into(),
                    cycles: 0,
                    packets: 0,
                    batches: 0,
                },
            ],
            latency: Some(Latency {
                p50_us: 1.25,
                p90_us: 2.0,
                p99_us: 3.0,
                p999_us: 40.0,
                max_us: 41.0,
            }),
            ..WorkerStats::default()
        };
        assert_eq!(
            page_of(|page| print_workers(&[worker], page)),
            "\
worker 0, core 1
  packets          1000
  batches            50  20.0 packets each
  emc hits          900             90.0 %
  megaflow hits      90              9.0 %
  misses             10              1.0 %
  stale               5              0.5 %
  emc entries        64
  megaflows           8            2 masks
  sleeps              7
  busy cycles    300000             75.0 %
  idle cycles    100000             25.0 %
  busy cycles for each packet: 300.0
  STAGE      CYCLES  PACKETS  BATCHES  CYCLES/PACKET  PACKETS/BATCH
  rx          90000     1000       50           90.0           20.0
  translate       0        0        0              -              -
  time in the switch, µs: p50 1.2, p90 2.0, p99 3.0, p99.9 40.0, max 41.0
"
        );
    }

    #[test]
    fn queues_are_listed_by_worker() {
        let queue = Queue {
            port: "sw1".into(),
            queue: 0,
            usage_percent: Some(12.4),
        };
        let workers = [
            WorkerQueues {
                worker: 0,
                core: Some(1),
                numa: Some(0),
                busy_percent: 50.0,
                queues: vec![queue],
            },
            WorkerQueues {
                worker: 1,
                core: None,
                numa: None,
                busy_percent: 0.0,
                queues: vec![],
            },
        ];
        assert_eq!(
            page_of(|page| print_queues(&workers, page)),
            "\
worker 0, core 1
  PORT  QUEUE  USAGE
  sw1       0   12 %
worker 1, not pinned
  no queues
"
        );
    }

    #[test]
    fn drops_say_what_they_mean() {
        let row = |packets| DropRow {
            reason: "no_flow".into(),
            sentence: "no flow matched".into(),
            packets,
        };
        let print = |rows: &[DropRow]| page_of(|page| print_drops(rows, page));
        assert_eq!(print(&[]), "no packet was dropped\n");
        assert_eq!(
            print(&[row(12)]),
            "PACKETS  REASON   MEANING\n     12  no_flow  no flow matched\n"
        );
    }
}
