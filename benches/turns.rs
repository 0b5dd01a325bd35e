//! Contenders that take turns, and what is noted of each turn.
//!
//! A machine that changes its mind does so for all of them: each has its turn in every repeat.
//! Before each turn, with everything of ours asleep, the run notes how busy the machine is anyway.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use vswitch_tests::sandbox;

use crate::report::{self, DISTURBED, Measure, Report, Sample};

/// How long the machine is watched before each turn.
const WATCH: Duration = Duration::from_millis(300);

/// The `main` of a benchmark that makes devices: does `measure` inside a sandbox.
pub fn in_sandbox(measure: impl FnOnce() -> Result<()>) -> ExitCode {
    match sandbox::enter() {
        Ok(Some(sandbox::Left::Ended(code))) => return code,
        Ok(None) => {}
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the command line asks for a short run.
#[must_use]
pub fn is_quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}

/// Figures so far, and the turn that is being taken.
#[derive(Debug)]
pub struct Run {
    samples: Vec<Sample>,
    begin: Instant,
    load_before: String,
    repeat: usize,
    others: f64,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            samples: Vec::new(),
            begin: Instant::now(),
            load_before: load(),
            repeat: 0,
            others: 0.0,
        }
    }
}

impl Run {
    /// Takes all turns of `repeats` repeats, and says after each how far it is.
    ///
    /// # Errors
    /// What `turns` says.
    pub fn repeat(
        &mut self,
        repeats: usize,
        mut turns: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        for repeat in 0..repeats {
            self.repeat = repeat;
            turns(self)?;
            let took = self.begin.elapsed().as_secs_f64();
            eprintln!("repeat {} of {repeats}: {took:.0} s", repeat + 1);
        }
        Ok(())
    }

    /// Which repeat it is, from 0.
    #[must_use]
    pub fn number(&self) -> usize {
        self.repeat
    }

    /// Watches the machine before a turn.
    ///
    /// # Errors
    /// When the kernel does not say how busy it is.
    pub fn watch(&mut self) -> Result<()> {
        self.others = report::others(WATCH)?;
        Ok(())
    }

    /// Notes a figure of the turn.
    pub fn note(&mut self, measure: &'static Measure, contender: &'static str, value: f64) {
        self.samples.push(Sample {
            measure,
            contender,
            repeat: self.repeat,
            value,
            others: self.others,
        });
    }

    /// Fills `report` with the figures, prints it, and keeps it in `folder` of where the run is kept.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn tell(self, mut report: Report, folder: &str) -> Result<()> {
        report.notes += &format!(
            " A turn is disturbed when the machine was more than {:.0} % of a core busy before it, \
             with everything of ours asleep. Load average before `{}`, after `{}`. Took {:.0} s.",
            DISTURBED * 100.0,
            self.load_before.trim(),
            load().trim(),
            self.begin.elapsed().as_secs_f64()
        );
        report.samples = self.samples;
        println!("{}", report.summary());
        if let Some(kept) = kept(folder)? {
            report.keep(&kept)?;
        }
        Ok(())
    }
}

/// A folder of where the run is kept, if it is: each benchmark has a summary.
///
/// # Errors
/// When it cannot be made.
pub fn kept(folder: &str) -> Result<Option<PathBuf>> {
    let Some(run) = std::env::var_os("VSWITCH_BENCH_RUN") else {
        return Ok(None);
    };
    let folder = PathBuf::from(run).join(folder);
    std::fs::create_dir_all(&folder)?;
    Ok(Some(folder))
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default()
}
