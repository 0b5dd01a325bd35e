//! `dpif-netdev/pmd-*`: the workers.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio::time::Instant;
use vswitch_rpc::datapath::WorkerStats;
use vswitch_rpc::text::{self, Measured};

use super::AppctlError;
use super::arguments::is_datapath;
use crate::control::Control;

/// Where counting begins for workers whose counters were cleared. The packet process goes on
/// counting, as others look at its counters too.
#[derive(Clone, Debug, Default)]
pub struct Cleared(BTreeMap<u32, (Instant, WorkerStats)>);

impl Cleared {
    /// What was counted since the clearing, and since when. A packet process that has begun anew
    /// since counts from 0 by itself.
    fn since(&self, now: WorkerStats) -> (Option<Instant>, WorkerStats) {
        let Some((at, base)) = self.0.get(&now.worker) else {
            return (None, now);
        };
        if now.busy_rounds < base.busy_rounds || now.idle_rounds < base.idle_rounds {
            return (None, now);
        }
        let mut now = now;
        let counters: [fn(&mut WorkerStats) -> &mut u64; 12] = [
            |worker| &mut worker.packets,
            |worker| &mut worker.batches,
            |worker| &mut worker.emc_hits,
            |worker| &mut worker.megaflow_hits,
            |worker| &mut worker.masks_tried,
            |worker| &mut worker.misses,
            |worker| &mut worker.stale,
            |worker| &mut worker.busy_rounds,
            |worker| &mut worker.idle_rounds,
            |worker| &mut worker.sleeps,
            |worker| &mut worker.idle_cycles,
            |worker| &mut worker.busy_cycles,
        ];
        let mut base = base.clone();
        for counter in counters {
            let before = *counter(&mut base);
            let counter = counter(&mut now);
            *counter = counter.saturating_sub(before);
        }
        for (stage, base) in now.stages.iter_mut().zip(&base.stages) {
            stage.cycles = stage.cycles.saturating_sub(base.cycles);
            stage.packets = stage.packets.saturating_sub(base.packets);
            stage.batches = stage.batches.saturating_sub(base.batches);
        }
        (Some(*at), now)
    }
}

/// What follows the commands: which worker. Open vSwitch overlooks words it does not know, and so
/// does this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Arguments {
    core: Option<u32>,
}

impl Arguments {
    fn read(args: &[String]) -> Self {
        let mut read = Self::default();
        let mut rest = args;
        loop {
            rest = match rest {
                [] => return read,
                [option, core, after @ ..] if option == "-pmd" => {
                    read.core = core.parse().ok().or(read.core);
                    after
                }
                [option, _, after @ ..] if ["-secs", "-it", "-ms"].contains(&option.as_str()) => {
                    after
                }
                [word, after @ ..] => {
                    if !is_datapath(word) {
                        tracing::debug!(word, "overlooked");
                    }
                    after
                }
            };
        }
    }

    fn takes(self, core: Option<u32>) -> bool {
        self.core.is_none() || self.core == core
    }
}

impl Control {
    async fn wanted(&mut self, args: &[String]) -> Result<Vec<WorkerStats>, AppctlError> {
        let arguments = Arguments::read(args);
        let mut workers = self.pmd_stats().await?;
        workers.retain(|worker| arguments.takes(worker.core));
        Ok(workers)
    }

    pub(super) async fn pmd_stats_show(&mut self, args: &[String]) -> Result<String, AppctlError> {
        let workers = self.wanted(args).await?.into_iter();
        let workers: Vec<_> = workers.map(|worker| self.cleared.since(worker).1).collect();
        Ok(text::pmd_stats_show(&workers))
    }

    pub(super) async fn pmd_stats_clear(&mut self, args: &[String]) -> Result<String, AppctlError> {
        let now = Instant::now();
        for worker in self.wanted(args).await? {
            self.cleared.0.insert(worker.worker, (now, worker));
        }
        Ok(String::new())
    }

    pub(super) async fn pmd_perf_show(&mut self, args: &[String]) -> Result<String, AppctlError> {
        let uptime = self.datapath_uptime().await?;
        let time = time_of_day();
        let mut text = String::new();
        for worker in self.wanted(args).await? {
            let (since, worker) = self.cleared.since(worker);
            let measured = Measured {
                time: time.clone(),
                seconds: since.map_or_else(
                    || lifetime(&worker, uptime),
                    |at| at.elapsed().as_secs_f64(),
                ),
            };
            text += &text::pmd_perf_show(&[worker], &measured);
        }
        Ok(text)
    }

    /// Use of queues is measured since the workers began, so that is what the heading says whatever
    /// `-secs` asks for.
    pub(super) async fn pmd_rxq_show(&mut self, args: &[String]) -> Result<String, AppctlError> {
        let arguments = Arguments::read(args);
        let uptime = self.datapath_uptime().await?;
        let mut workers = self.pmd_rxq().await?;
        workers.retain(|worker| arguments.takes(worker.core));
        Ok(text::pmd_rxq_show(&workers, uptime))
    }
}

/// How long a worker has been counting, seconds. `uptime` is the packet process's, in whole seconds,
/// and 0 throughout the first, in which the cycles spent tell more.
fn lifetime(worker: &WorkerStats, uptime: u64) -> f64 {
    let cycles = worker.idle_cycles.saturating_add(worker.busy_cycles);
    let awake = if worker.cycles_per_second > 0.0 {
        cycles as f64 / worker.cycles_per_second
    } else {
        0.0
    };
    awake.max(uptime as f64)
}

/// The time of day, UTC: `12:03:04.005`.
#[expect(
    clippy::disallowed_methods,
    reason = "printed for people; nothing is decided by it"
)]
fn time_of_day() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ms = since.unwrap_or_default().as_millis() % 86_400_000;
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}", ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vswitch_rpc::datapath::Stage;

    fn worker(packets: u64, idle_rounds: u64) -> WorkerStats {
        WorkerStats {
            worker: 3,
            packets,
            idle_rounds,
            emc_len: 7,
            stages: vec![Stage {
                name: "tx".into(),
                packets,
                ..Stage::default()
            }],
            ..WorkerStats::default()
        }
    }

    #[test]
    fn after_clearing_counters_begin_at_nothing_and_states_stay() {
        let mut cleared = Cleared::default();
        assert_eq!(cleared.since(worker(5, 1)), (None, worker(5, 1)));
        let at = Instant::now();
        cleared.0.insert(3, (at, worker(100, 10)));
        let (since, counted) = cleared.since(worker(130, 15));
        assert_eq!(since, Some(at));
        assert_eq!((counted.packets, counted.idle_rounds), (30, 5));
        assert_eq!((counted.stages[0].packets, counted.emc_len), (30, 7));
        // A new packet process.
        assert_eq!(cleared.since(worker(20, 3)), (None, worker(20, 3)));
    }

    #[test]
    fn the_first_second_is_measured_in_cycles() {
        let young = WorkerStats {
            idle_cycles: 100,
            busy_cycles: 150,
            cycles_per_second: 1000.0,
            ..WorkerStats::default()
        };
        assert_eq!(lifetime(&young, 0), 0.25);
        assert_eq!(lifetime(&young, 7), 7.0);
        assert_eq!(lifetime(&WorkerStats::default(), 0), 0.0);
    }

    #[test]
    fn one_worker_may_be_asked_for() {
        let read = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(Into::into).collect();
            Arguments::read(&words).core
        };
        assert_eq!(read(""), None);
        assert_eq!(read("-pmd 3 netdev@ovs-netdev"), Some(3));
        assert_eq!(read("-secs 10 -pmd 1"), Some(1));
        assert_eq!(read("-nh -it 5 -ms 5"), None);
        assert_eq!(read("-pmd"), None);
    }

    #[test]
    fn the_time_of_day_has_its_shape() {
        let time = time_of_day();
        let shape: String = time
            .chars()
            .map(|letter| if letter.is_ascii_digit() { '0' } else { letter })
            .collect();
        assert_eq!(shape, "00:00:00.000");
    }
}
