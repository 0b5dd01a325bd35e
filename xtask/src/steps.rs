//! What a person sees while a command with several steps runs.
//!
//! Colours appear only on a terminal (and never with `NO_COLOR`), so that a log reads as plain
//! text. A step that fails does not stop the next: the closing line names all that failed.

use std::fmt::Display;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use owo_colors::{AnsiColors, OwoColorize, Style};

/// A heading before a step's own output.
pub(crate) fn heading(text: impl Display) {
    println!(
        "{} {}",
        paint("==>", AnsiColors::Green),
        text.style(if coloured() {
            Style::new().bold()
        } else {
            Style::new()
        })
    );
}

/// A remark below a heading: what was skipped, what to do.
pub(crate) fn note(text: impl Display) {
    println!("    {}", paint(text, AnsiColors::Yellow));
}

/// Whether someone watches: progress bars are drawn only then.
pub(crate) fn watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether the output may carry colours.
fn coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// The text in a colour where colours may be.
pub(crate) fn paint(text: impl Display, colour: AnsiColors) -> String {
    if coloured() {
        text.color(colour).to_string()
    } else {
        text.to_string()
    }
}

#[derive(Debug)]
enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
}

/// The steps of one command and what came of each.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration, Outcome)>,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Runs one step under its heading and remembers the outcome.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        heading(name);
        let begin = Instant::now();
        let outcome = match step() {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                eprintln!("{name}: {error:#}");
                Outcome::Failed(format!("{error:#}"))
            }
        };
        self.done.push((name.to_owned(), begin.elapsed(), outcome));
    }

    /// Says that a step was left out, and why.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        heading(name);
        note(format_args!("skipped: {why}"));
        self.done.push((
            name.to_owned(),
            Duration::ZERO,
            Outcome::Skipped(why.to_owned()),
        ));
    }

    /// Prints the table of outcomes; an error when a step failed.
    pub(crate) fn finish(self) -> Result<()> {
        println!();
        let width = self.done.iter().map(|s| s.0.len()).max().unwrap_or(0);
        let mut failed = 0;
        for (name, took, outcome) in &self.done {
            let seconds = took.as_secs_f64();
            match outcome {
                Outcome::Passed => println!(
                    "{} {name:width$} {seconds:7.1} s",
                    paint("pass", AnsiColors::Green)
                ),
                Outcome::Skipped(why) => println!(
                    "{} {name:width$}           {why}",
                    paint("skip", AnsiColors::Yellow)
                ),
                Outcome::Failed(why) => {
                    failed += 1;
                    println!(
                        "{} {name:width$} {seconds:7.1} s {}",
                        paint("FAIL", AnsiColors::Red),
                        why.lines().next().unwrap_or_default()
                    );
                }
            }
        }
        if failed > 0 {
            bail!("{failed} of {} steps failed", self.done.len());
        }
        Ok(())
    }
}
