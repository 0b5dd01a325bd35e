//! How round trips are spread, with and without changes: a plot, logarithmic in time.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use plotters::prelude::*;

/// Steps for each doubling of the time.
const STEPS: f64 = 8.0;

/// The times that are drawn, microseconds; what is longer counts to the last step.
const FROM: f64 = 8.0;
const TO: f64 = 4096.0;

/// Round trips of all repeats.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    contender: &'static str,
    when: &'static str,
    counts: Vec<u64>,
}

fn steps() -> usize {
    ((TO / FROM).log2() * STEPS) as usize + 1
}

impl Histogram {
    pub(crate) fn add(&mut self, contender: &'static str, when: &'static str, times: &[Duration]) {
        let is = |row: &Row| row.contender == contender && row.when == when;
        let at = self.rows.iter().position(is).unwrap_or_else(|| {
            self.rows.push(Row {
                contender,
                when,
                counts: vec![0; steps()],
            });
            self.rows.len() - 1
        });
        let counts = &mut self.rows[at].counts;
        for time in times {
            let step = (time.as_secs_f64() * 1e6 / FROM).log2() * STEPS;
            let step = (step.max(0.0) as usize).min(counts.len() - 1);
            counts[step] += 1;
        }
    }

    /// Draws it as `ping-pong-histogram.svg`.
    pub(crate) fn keep(&self, folder: &Path) -> Result<()> {
        let path = folder.join("ping-pong-histogram.svg");
        let area = SVGBackend::new(&path, (860, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let most = self
            .rows
            .iter()
            .flat_map(|row| row.counts.iter().copied())
            .max()
            .unwrap_or(1)
            .max(1) as f64;
        let mut chart = ChartBuilder::on(&area)
            .caption(
                "UDP round trips, how many took how long (µs); both axes logarithmic",
                ("sans-serif", 16),
            )
            .margin(10)
            .x_label_area_size(28)
            .y_label_area_size(60)
            .build_cartesian_2d((FROM..TO).log_scale(), (0.5..most * 2.0).log_scale())?;
        chart.configure_mesh().draw()?;
        for row in &self.rows {
            let ours = row.contender == crate::scene::OURS;
            let changed = row.when != "no changes";
            let color = match (ours, changed) {
                (true, false) => RGBColor(120, 160, 255),
                (true, true) => RGBColor(0, 0, 200),
                (false, false) => RGBColor(255, 180, 120),
                (false, true) => RGBColor(200, 60, 0),
            };
            let points = row.counts.iter().enumerate().map(|(at, &count)| {
                let time = FROM * 2_f64.powf(at as f64 / STEPS);
                (
                    time,
                    count.max(1) as f64 * if count == 0 { 0.5 } else { 1.0 },
                )
            });
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(2)))?
                .label(format!("{}, {}", row.contender, row.when))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .draw()?;
        area.present()?;
        Ok(())
    }
}
