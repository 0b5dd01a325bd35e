//! What a benchmark with contenders says: a table with the targets, every sample, a plot for each
//! measure. Contenders take turns within every repeat and figures are medians, because only ratios
//! within one run mean anything.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use plotters::prelude::*;

use crate::spread::Spread;

/// Share of one core that others may take before a turn counts as disturbed.
pub const DISTURBED: f64 = 0.08;

/// What is measured.
#[derive(Debug, PartialEq, Eq)]
pub struct Measure {
    /// Its name in files.
    pub file: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Of its figures.
    pub unit: &'static str,
}

/// One figure of one turn.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// What was measured.
    pub measure: &'static Measure,
    /// Of whom.
    pub contender: &'static str,
    /// In which repeat, from 0.
    pub repeat: usize,
    /// The figure.
    pub value: f64,
    /// How busy the machine was before the turn, cores.
    pub others: f64,
}

/// A ratio of two medians and what it should be.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Whose median, of what.
    pub of: (&'static Measure, &'static str),
    /// Divided by whose, of what.
    pub by: (&'static Measure, &'static str),
    /// The ratio should not be below the limit; else, not above it.
    pub at_least: bool,
    /// The limit.
    pub limit: f64,
}

/// A sum of all contenders' medians that should stay below a limit.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Of what.
    pub of: &'static Measure,
    /// What it is called in the table.
    pub title: &'static str,
    /// The limit.
    pub limit: f64,
}

/// All of a run.
#[derive(Debug)]
pub struct Report {
    /// The first line of the summary.
    pub title: &'static str,
    /// What should be; those whose contenders took no turn are left out.
    pub targets: &'static [Target],
    /// What else should be.
    pub bounds: &'static [Bound],
    /// Every figure, in the order of the turns.
    pub samples: Vec<Sample>,
    /// What a reader has to know besides.
    pub notes: String,
}

impl Report {
    fn of(&self, measure: &Measure, contender: &str) -> Vec<f64> {
        let samples = self.samples.iter();
        samples
            .filter(|sample| sample.measure == measure && sample.contender == contender)
            .map(|sample| sample.value)
            .collect()
    }

    fn measures(&self) -> Vec<&'static Measure> {
        let mut measures = Vec::new();
        for sample in &self.samples {
            if !measures.contains(&sample.measure) {
                measures.push(sample.measure);
            }
        }
        measures
    }

    fn contenders(&self, measure: &Measure) -> Vec<&'static str> {
        let mut names = Vec::new();
        for sample in self.samples.iter().filter(|s| s.measure == measure) {
            if !names.contains(&sample.contender) {
                names.push(sample.contender);
            }
        }
        names
    }

    fn disturbed(&self, measure: &Measure, contender: &str) -> usize {
        self.samples
            .iter()
            .filter(|s| s.measure == measure && s.contender == contender)
            .filter(|s| s.others > DISTURBED)
            .count()
    }

    /// The tables, as Markdown.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = format!("# {}\n\n", self.title);
        self.write_targets(&mut text)
            .and_then(|()| self.write_measures(&mut text))
            .expect("a string takes any text");
        text + &self.notes + "\n"
    }

    fn write_targets(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "| target | ratio | limit | |\n|---|---|---|---|")?;
        for target in self.targets {
            let [of, by] = [target.of, target.by].map(|(measure, name)| self.of(measure, name));
            if of.is_empty() || by.is_empty() {
                continue;
            }
            let ratio = Spread::of(&of).median / Spread::of(&by).median;
            let (sign, met) = if target.at_least {
                ("≥", ratio >= target.limit)
            } else {
                ("≤", ratio <= target.limit)
            };
            let by = match target.of.0 == target.by.0 {
                true => target.by.1.to_owned(),
                false => target.by.0.title.to_owned(),
            };
            writeln!(
                text,
                "| {}: {} to {by} | {ratio:.2} | {sign} {:.2} | {} |",
                target.of.0.title,
                target.of.1,
                target.limit,
                verdict(met)
            )?;
        }
        for bound in self.bounds {
            let names = self.contenders(bound.of);
            let medians = names
                .iter()
                .map(|n| Spread::of(&self.of(bound.of, n)).median);
            let sum: f64 = medians.sum();
            writeln!(
                text,
                "| {} | {sum:.2} {} | < {:.2} | {} |",
                bound.title,
                bound.of.unit,
                bound.limit,
                verdict(sum < bound.limit)
            )?;
        }
        writeln!(text)
    }

    fn write_measures(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "| measure | contender | min | median | max | unit | repeats (disturbed) |\n\
             |---|---|--:|--:|--:|---|---|"
        )?;
        for measure in self.measures() {
            for name in self.contenders(measure) {
                let values = self.of(measure, name);
                let spread = Spread::of(&values);
                writeln!(
                    text,
                    "| {} | {name} | {:.2} | {:.2} | {:.2} | {} | {} ({}) |",
                    measure.title,
                    spread.least,
                    spread.median,
                    spread.most,
                    measure.unit,
                    values.len(),
                    self.disturbed(measure, name)
                )?;
            }
        }
        writeln!(text)
    }

    /// Writes `summary.md`, `raw.csv` and the plots into `folder`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn keep(&self, folder: &Path) -> Result<()> {
        fs::write(folder.join("summary.md"), self.summary())?;
        let mut csv = String::from("measure,unit,contender,repeat,value,others_cores\n");
        for sample in &self.samples {
            writeln!(
                csv,
                "{},{},\"{}\",{},{:.4},{:.3}",
                sample.measure.file,
                sample.measure.unit,
                sample.contender,
                sample.repeat,
                sample.value,
                sample.others
            )?;
        }
        fs::write(folder.join("raw.csv"), csv)?;
        for measure in self.measures() {
            self.plot(measure, folder)
                .with_context(|| format!("the plot of {}", measure.file))?;
        }
        Ok(())
    }

    /// A row for each contender: a bar to the median and a dot for each repeat.
    fn plot(&self, measure: &Measure, folder: &Path) -> Result<()> {
        let names = self.contenders(measure);
        let rows: Vec<Vec<f64>> = names.iter().map(|name| self.of(measure, name)).collect();
        let most = rows.iter().flatten().copied().fold(f64::EPSILON, f64::max) * 1.05;
        let path = folder.join(format!("{}.svg", measure.file));
        let height = 90 + 45 * names.len() as u32;
        let area = SVGBackend::new(&path, (760, height)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(
                format!("{}, {}", measure.title, measure.unit),
                ("sans-serif", 18),
            )
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

/// How many cores are busy during `time`, with everything of ours asleep.
///
/// # Errors
/// When `/proc/stat` cannot be read.
pub fn others(time: Duration) -> Result<f64> {
    let (begin, before) = (Instant::now(), busy_ticks()?);
    std::thread::sleep(time);
    // The kernel counts in hundredths of a second towards user space.
    let busy = (busy_ticks()? - before) as f64 / 100.0;
    Ok(busy / begin.elapsed().as_secs_f64())
}

/// Time that all cores together were not idle since the start, in ticks.
fn busy_ticks() -> Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    // user nice system idle iowait irq softirq steal; guests are in user already.
    Ok([0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|&at| ticks.get(at))
        .sum())
}
