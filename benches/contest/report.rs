//! What the contest says: a table with the targets, every sample, and a plot for each measure.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use plotters::prelude::*;
use vswitch_benches::spread::Spread;

/// Share of one core that others may take before a turn counts as disturbed.
const DISTURBED: f64 = 0.08;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Frames of 64 bytes from the XDP source.
    Frames,
    /// Round trips of UDP datagrams, the middle one.
    P50,
    /// The one that 99 % do not exceed.
    P99,
    /// One TCP stream.
    Tcp,
    /// One TCP stream between TAP ports, without and with idle ports beside it.
    TcpBesideIdle,
    /// Use of the processor while nothing happens.
    IdleCpu,
}

impl Measure {
    const ALL: [Self; 6] = [
        Self::Frames,
        Self::P50,
        Self::P99,
        Self::Tcp,
        Self::TcpBesideIdle,
        Self::IdleCpu,
    ];

    /// Name in files, title, unit.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Frames => ("frames", "64 B frames (XDP-frame source)", "Mpps"),
            Self::P50 => ("ping-pong-p50", "UDP ping-pong p50", "µs"),
            Self::P99 => ("ping-pong-p99", "UDP ping-pong p99", "µs"),
            Self::Tcp => ("tcp", "TCP, one stream", "Gbit/s"),
            Self::TcpBesideIdle => ("tcp-beside-idle", "TCP between TAP ports", "Gbit/s"),
            Self::IdleCpu => ("idle-cpu", "use of a core while idle", "%"),
        }
    }
}

/// One figure of one turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) measure: Measure,
    pub(crate) contender: &'static str,
    pub(crate) repeat: usize,
    pub(crate) value: f64,
    /// How busy the machine was before the turn, cores.
    pub(crate) others: f64,
}

/// A ratio of two medians and what it should be.
struct Target {
    measure: Measure,
    ours: &'static str,
    theirs: &'static str,
    at_least: bool,
    limit: f64,
}

const TARGETS: [Target; 5] = [
    Target {
        measure: Measure::Frames,
        ours: "vswitch, AF_XDP",
        theirs: "bare AF_XDP forwarder",
        at_least: true,
        limit: 0.95,
    },
    Target {
        measure: Measure::P50,
        ours: "vswitch, AF_XDP",
        theirs: "bare AF_XDP forwarder",
        at_least: false,
        limit: 1.05,
    },
    Target {
        measure: Measure::Tcp,
        ours: "vswitch, TAP",
        theirs: "bare TAP forwarder",
        at_least: true,
        limit: 0.95,
    },
    Target {
        measure: Measure::Tcp,
        ours: "vswitch, TAP",
        theirs: "Linux bridge",
        at_least: true,
        limit: 0.9,
    },
    Target {
        measure: Measure::TcpBesideIdle,
        ours: "idle ports",
        theirs: "0 idle ports",
        at_least: true,
        limit: 0.95,
    },
];

/// Most of a core, in percent, that an idle switch may use.
const IDLE_LIMIT: f64 = 1.0;

/// All of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) samples: Vec<Sample>,
    pub(crate) idle_ports: usize,
    pub(crate) quiet_ports: usize,
    /// `/proc/loadavg` before and after.
    pub(crate) load: [String; 2],
    pub(crate) took: Duration,
}

impl Report {
    fn of(&self, measure: Measure, contender: &str) -> Vec<f64> {
        let samples = self.samples.iter();
        samples
            .filter(|sample| sample.measure == measure && sample.contender == contender)
            .map(|sample| sample.value)
            .collect()
    }

    /// Who was measured, in the order of the turns.
    fn contenders(&self, measure: Measure) -> Vec<&'static str> {
        let mut names = Vec::new();
        for sample in self.samples.iter().filter(|s| s.measure == measure) {
            if !names.contains(&sample.contender) {
                names.push(sample.contender);
            }
        }
        names
    }

    fn disturbed(&self, measure: Measure, contender: &str) -> usize {
        self.samples
            .iter()
            .filter(|s| s.measure == measure && s.contender == contender)
            .filter(|s| s.others > DISTURBED)
            .count()
    }

    /// The tables, as Markdown.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::from("# The switch beside its alternatives\n\n");
        self.write_targets(&mut text)
            .and_then(|()| self.write_measures(&mut text))
            .and_then(|()| self.write_notes(&mut text))
            .expect("a string takes any text");
        text
    }

    fn write_targets(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "| target | ratio | limit | |\n|---|---|---|---|")?;
        for target in TARGETS {
            let ours = Spread::of(&self.of(target.measure, target.ours)).median;
            let theirs = Spread::of(&self.of(target.measure, target.theirs)).median;
            let ratio = ours / theirs;
            let (sign, met) = if target.at_least {
                ("≥", ratio >= target.limit)
            } else {
                ("≤", ratio <= target.limit)
            };
            writeln!(
                text,
                "| {}: {} to {} | {ratio:.2} | {sign} {:.2} | {} |",
                target.measure.words().1,
                target.ours,
                target.theirs,
                target.limit,
                verdict(met)
            )?;
        }
        let idle: f64 = self
            .contenders(Measure::IdleCpu)
            .iter()
            .map(|name| Spread::of(&self.of(Measure::IdleCpu, name)).median)
            .sum();
        writeln!(
            text,
            "| both processes with {} idle TAP ports, % of a core | {idle:.2} | < {IDLE_LIMIT:.2} | {} |\n",
            self.quiet_ports,
            verdict(idle < IDLE_LIMIT)
        )
    }

    fn write_measures(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "| measure | contender | min | median | max | unit | repeats (disturbed) |\n\
             |---|---|--:|--:|--:|---|---|"
        )?;
        for measure in Measure::ALL {
            let (_, title, unit) = measure.words();
            for name in self.contenders(measure) {
                let values = self.of(measure, name);
                let spread = Spread::of(&values);
                writeln!(
                    text,
                    "| {title} | {name} | {:.2} | {:.2} | {:.2} | {unit} | {} ({}) |",
                    spread.least,
                    spread.median,
                    spread.most,
                    values.len(),
                    self.disturbed(measure, name)
                )?;
            }
        }
        writeln!(text)
    }

    fn write_notes(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "Contenders took turns in every repeat; figures are counted at the receiver. Worker and \
             bare forwarders on core 1, XDP source and TCP sender on core 0, receivers and ping-pong \
             unpinned; cubic. XDP frames \
             flatter AF_XDP: there is no socket on the sender's side. Hosts behind the bare AF_XDP \
             forwarder have checksum offload off, which it cannot carry; all others have every offload \
             on. \"idle ports\" are {} TAP ports, up, on the same switch. A repeat is disturbed when the \
             machine was more than {:.0} % of a core busy before it, with everything of ours asleep. \
             Load average before `{}`, after `{}`. Took {:.0} s.",
            self.idle_ports,
            DISTURBED * 100.0,
            self.load[0].trim(),
            self.load[1].trim(),
            self.took.as_secs_f64()
        )
    }

    /// Writes `summary.md`, `raw.csv` and the plots into `folder`.
    pub(crate) fn keep(&self, folder: &Path) -> Result<()> {
        fs::write(folder.join("summary.md"), self.summary())?;
        let mut csv = String::from("measure,unit,contender,repeat,value,others_cores\n");
        for sample in &self.samples {
            let (name, _, unit) = sample.measure.words();
            writeln!(
                csv,
                "{name},{unit},\"{}\",{},{:.4},{:.3}",
                sample.contender, sample.repeat, sample.value, sample.others
            )?;
        }
        fs::write(folder.join("raw.csv"), csv)?;
        for measure in Measure::ALL {
            self.plot(measure, folder)
                .with_context(|| format!("the plot of {}", measure.words().0))?;
        }
        Ok(())
    }

    /// A row for each contender: a bar to the median and a dot for each repeat.
    fn plot(&self, measure: Measure, folder: &Path) -> Result<()> {
        let (file, title, unit) = measure.words();
        let names = self.contenders(measure);
        let rows: Vec<Vec<f64>> = names.iter().map(|name| self.of(measure, name)).collect();
        let most = rows.iter().flatten().copied().fold(f64::EPSILON, f64::max) * 1.05;
        let path = folder.join(format!("{file}.svg"));
        let height = 90 + 45 * names.len() as u32;
        let area = SVGBackend::new(&path, (760, height)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("{title}, {unit}"), ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(28)
            .y_label_area_size(170)
            .build_cartesian_2d(0.0..most, -0.5..names.len() as f64 - 0.5)?;
        let label = |y: &f64| {
            let row = y.round();
            let on_row = (y - row).abs() < 1e-6 && row >= 0.0;
            let name = names.get(names.len().wrapping_sub(1 + row as usize));
            name.filter(|_| on_row)
                .copied()
                .unwrap_or_default()
                .to_owned()
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(2 * names.len() + 1)
            .y_label_formatter(&label)
            .draw()?;
        for (number, values) in rows.iter().enumerate() {
            let y = (names.len() - 1 - number) as f64;
            let median = Spread::of(values).median;
            chart.draw_series(std::iter::once(Rectangle::new(
                [(0.0, y - 0.3), (median, y + 0.3)],
                BLUE.mix(0.3).filled(),
            )))?;
            let dots = values
                .iter()
                .map(|&value| Circle::new((value, y), 3, BLACK.filled()));
            chart.draw_series(dots)?;
        }
        area.present()?;
        Ok(())
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}
