//! Cycles per packet of the whole way through the switch, without I/O.
//!
//! `cargo bench --package vswitch-benches --bench pipeline -- [--json] [--quick] [SCENE]`. A worker's rounds
//! run in this thread: frames are copied in from memory, looked up, and given to a port that loses
//! them. A figure is the median of repeats in which all scenes take turns, in cycles of the
//! time-stamp counter (which runs at the processor's nominal rate whatever its clock does).
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures in wall time, for a given time"
)]

use anyhow::Result;
use vswitch_benches::replay::{Kind, Replay};
use vswitch_benches::spread::Spread;
use vswitch_datapath::cache::CacheCounters;
use vswitch_datapath::worker::Stage;
use vswitch_sys::clock::cycles;

const FLOWS: [usize; 3] = [1, 4_096, 100_000];

/// Packets of one repeat: every frame of the longest scene comes several times.
const PACKETS: usize = 1 << 20;

/// Open vSwitch 3.1 with DPDK 22.11 on the same kind of traffic (AMD Zen 4), for the eye.
fn open_vswitch(kind: Kind) -> Option<[u32; 3]> {
    match kind {
        Kind::Exact => Some([120, 251, 522]),
        Kind::Masked | Kind::Routed | Kind::Masquerade | Kind::Begin | Kind::New => None,
        Kind::Normal => Some([126, 238, 306]),
        Kind::Wire => Some([102, 105, 113]),
    }
}

struct Scene {
    kind: Kind,
    flows: usize,
    replay: Replay,
    total: Vec<f64>,
    stages: [Vec<f64>; Stage::ALL.len()],
    hits: CacheCounters,
}

impl Scene {
    fn repeat(&mut self, packets: usize) {
        let packets = packets.min(self.replay.forget());
        let before = self.replay.worker().stats().stages;
        let cache = self.replay.worker().cache().counters();
        let begin = cycles();
        let moved = self.replay.run(packets) as f64;
        self.total.push((cycles() - begin) as f64 / moved);
        let after = self.replay.worker().stats().stages;
        for ((into, after), before) in self.stages.iter_mut().zip(&after).zip(&before) {
            into.push((after.cycles - before.cycles) as f64 / moved);
        }
        let now = self.replay.worker().cache().counters();
        self.hits.exact += now.exact - cache.exact;
        self.hits.masked += now.masked - cache.masked;
        self.hits.miss += now.miss - cache.miss;
    }

    /// Which cache answered, percent: exact, masked, neither.
    fn shares(&self) -> [f64; 3] {
        let CacheCounters {
            exact,
            masked,
            miss,
            ..
        } = self.hits;
        let all = (exact + masked + miss).max(1) as f64;
        [exact, masked, miss].map(|hits| hits as f64 * 100.0 / all)
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let wanted = arguments.iter().find(|a| !a.starts_with("--"));
    let (repeats, packets) = if has("--quick") {
        (5, PACKETS / 4)
    } else {
        (15, PACKETS)
    };
    let mut scenes = Vec::new();
    for kind in Kind::ALL {
        for flows in FLOWS {
            if matches!(kind, Kind::Begin | Kind::New) && flows != FLOWS[FLOWS.len() - 1] {
                continue;
            }
            let name = format!("{} {flows}", kind.name());
            if wanted.is_some_and(|wanted| !name.contains(wanted.as_str())) {
                continue;
            }
            let mut replay = Replay::new(kind, flows)?;
            replay.warm_up()?;
            scenes.push(Scene {
                kind,
                flows,
                replay,
                total: Vec::new(),
                stages: Default::default(),
                hits: CacheCounters::default(),
            });
        }
    }
    for _ in 0..repeats {
        for scene in &mut scenes {
            scene.repeat(packets);
        }
    }
    if has("--json") {
        print_json(&scenes)
    } else {
        print_table(&scenes, repeats);
        Ok(())
    }
}

fn print_table(scenes: &[Scene], repeats: usize) {
    println!(
        "cycles per packet, min / median / max of {repeats} repeats in turns; stages: medians"
    );
    print!(
        "{:<22}{:>8}{:>7}{:>8}{:>8}",
        "scene", "flows", "min", "median", "max"
    );
    for stage in Stage::ALL {
        print!("{:>10}", stage.name());
    }
    println!(
        "{:>9}{:>9}{:>7}{:>9}{:>7}{:>10}",
        "exact %", "masked %", "miss %", "entries", "masks", "OVS+DPDK"
    );
    for scene in scenes {
        let total = Spread::of(&scene.total);
        print!(
            "{:<22}{:>8}{:>7.0}{:>8.0}{:>8.0}",
            scene.kind.name(),
            scene.flows,
            total.least,
            total.median,
            total.most
        );
        for stage in &scene.stages {
            print!("{:>10.1}", Spread::of(stage).median);
        }
        let [exact, masked, miss] = scene.shares();
        let len = scene.replay.worker().cache().len();
        let at = FLOWS.iter().position(|&flows| flows == scene.flows);
        let theirs = open_vswitch(scene.kind).zip(at).map(|(row, at)| row[at]);
        println!(
            "{exact:>9.1}{masked:>9.1}{miss:>7.1}{:>9}{:>7}{:>10}",
            len.entries,
            len.masks,
            theirs.map_or_else(|| "-".to_owned(), |cycles| cycles.to_string())
        );
    }
}

fn print_json(scenes: &[Scene]) -> Result<()> {
    let rows: Vec<_> = scenes
        .iter()
        .map(|scene| {
            let [exact, masked, miss] = scene.shares();
            let stages = Stage::ALL.iter().zip(&scene.stages);
            let stages: serde_json::Map<_, _> = stages
                .map(|(stage, values)| {
                    let median = Spread::of(values).median;
                    (stage.name().to_owned(), median.into())
                })
                .collect();
            serde_json::json!({
                "scene": scene.kind.name(),
                "flows": scene.flows,
                "cycles_per_packet": &scene.total,
                "stages": stages,
                "exact_percent": exact,
                "masked_percent": masked,
                "miss_percent": miss,
            })
        })
        .collect();
    println!("{}", serde_json::to_string_pretty(&rows)?);
    Ok(())
}
