//! Counters with a past: `coverage/*`, `memory/show`, `upcall/show`.
//!
//! A sample is taken when one is due ([`Control::sample_due`]), by the event loop. It costs the
//! questions that `vsctl drops` and `vsctl pmd stats` ask, for each of which an idle worker wakes up,
//! and one on connections, for which none does.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;
use vswitch_dpapi::message::WorkerStats;

use super::conntrack::happened;
use super::{AppctlError, DATAPATH};
use crate::control::Control;
use crate::coverage::{self, Coverage, Totals};

/// What samples have shown.
#[derive(Clone, Debug, Default)]
pub struct Sampled {
    /// How often things happened.
    pub coverage: Coverage,
    /// Cached flows: half of the last sample and half of those before it.
    flows_avg: u64,
    /// The most that a sample has shown.
    flows_max: u64,
    /// How long the packet process took to tell.
    took: Duration,
    /// When the last one was taken, or failed to be.
    at: Option<Instant>,
}

impl Control {
    /// When the next sample is due: at once in the beginning.
    pub fn sample_due(&self) -> Instant {
        let at = self.sampled.at;
        at.map_or_else(Instant::now, |at| at + coverage::INTERVAL)
    }

    /// Takes a sample. Without a packet process there is none; the next one stands for the time
    /// between.
    pub async fn sample(&mut self) {
        let begun = Instant::now();
        let before = self.sampled.at.replace(begun);
        let (totals, workers) = match self.totals_and_workers().await {
            Ok(counted) => counted,
            Err(error) => {
                tracing::debug!(%error, "no sample of the counters");
                self.sampled.at = before.map(|at| at.max(begun - coverage::INTERVAL));
                self.sampled.at.get_or_insert(begun);
                return;
            }
        };
        let sampled = &mut self.sampled;
        let since = before.map_or(coverage::INTERVAL, |at| begun - at);
        let intervals = since.as_millis() / coverage::INTERVAL.as_millis();
        sampled.coverage.sample(&totals, intervals as usize);
        let flows = workers.iter().map(|worker| worker.megaflow_len).sum();
        sampled.flows_avg = (sampled.flows_avg + flows) / 2;
        sampled.flows_max = sampled.flows_max.max(flows);
        sampled.took = begun.elapsed();
    }

    /// All counters.
    pub(super) async fn totals(&mut self) -> Result<Totals, AppctlError> {
        Ok(self.totals_and_workers().await?.0)
    }

    async fn totals_and_workers(&mut self) -> Result<(Totals, Vec<WorkerStats>), AppctlError> {
        let drops = self.drop_rows().await?;
        let workers = self.workers().await?;
        let connections = self.happened_to_connections().await?;
        let mut totals = Totals::new();
        for row in drops {
            totals.insert(format!("drop_{}", row.reason), row.packets);
        }
        let mut sum = |name: &str, of: fn(&WorkerStats) -> u64| {
            totals.insert(name.into(), workers.iter().map(of).sum());
        };
        sum("cache_emc_hit", |worker| worker.emc_hits);
        sum("cache_megaflow_hit", |worker| worker.megaflow_hits);
        sum("cache_miss", |worker| worker.misses);
        sum("cache_stale", |worker| worker.stale);
        sum("worker_sleep", |worker| worker.sleeps);
        for (name, count) in happened(&connections) {
            totals.insert(format!("conntrack_{name}"), count);
        }
        Ok((totals, workers))
    }

    pub(super) async fn memory_show(&mut self) -> Result<String, AppctlError> {
        let workers = self.workers().await?;
        let connections = self.happened_to_connections().await?.len;
        let sum = |of: fn(&WorkerStats) -> u64| workers.iter().map(of).sum::<u64>();
        let switch = &self.belief.switch;
        let rules = self
            .tables
            .values()
            .map(|tables| tables.len())
            .sum::<usize>();
        let usage = [
            ("bridges", switch.bridges.len() as u64),
            ("connections", connections),
            ("emc entries", sum(|worker| worker.emc_len)),
            ("megaflows", sum(|worker| worker.megaflow_len)),
            ("ports", switch.ports().count() as u64),
            ("rules", rules as u64),
            ("workers", workers.len() as u64),
        ];
        let words = usage.map(|(name, count)| format!("{name}:{count}"));
        Ok(words.join(" ") + "\n")
    }

    pub(super) async fn upcall_show(&mut self) -> Result<String, AppctlError> {
        let workers = self.workers().await?;
        let sum = |of: fn(&WorkerStats) -> u64| workers.iter().map(of).sum::<u64>();
        let sampled = &self.sampled;
        let flows = sum(|worker| worker.megaflow_len);
        let mut text = format!(
            "{DATAPATH}:\n  \
               flows         : (current {flows}) (avg {}) (max {}) (limit {})\n  \
               dump duration : {}ms\n  \
               ufid enabled : false\n\n",
            sampled.flows_avg,
            sampled.flows_max.max(flows),
            sum(|worker| worker.megaflow_limit),
            sampled.took.as_millis(),
        );
        for worker in &workers {
            let (id, keys) = (worker.worker, worker.megaflow_len);
            writeln!(text, "  {id}: (keys {keys})").expect("a String takes everything");
        }
        Ok(text)
    }
}
