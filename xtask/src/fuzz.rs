//! `cargo xtask fuzz`: every fuzz target for some seconds.
//!
//! cargo-fuzz wants flags that stable refuses; `RUSTC_BOOTSTRAP` lets the one installed toolchain
//! accept them, so that nobody needs a second.

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::steps::Steps;
use crate::tools;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask fuzz               every target for 30 s\n  cargo xtask fuzz 300 extract   one target for five minutes"
)]
pub(crate) struct Arguments {
    /// Seconds for each target
    #[arg(default_value_t = 30)]
    seconds: u32,

    /// Which targets; all when none is named
    targets: Vec<String>,
}

/// Runs the named targets, or all, and fails if one finds something.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let directory = tools::root().join("fuzz/fuzz_targets");
    let mut known: Vec<String> = std::fs::read_dir(&directory)
        .with_context(|| format!("no fuzz targets in {}", directory.display()))?
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            Some(name.to_str()?.strip_suffix(".rs")?.to_owned())
        })
        .collect();
    known.sort();
    for target in &arguments.targets {
        ensure!(
            known.contains(target),
            "no fuzz target is called {target}; there are: {}",
            known.join(", ")
        );
    }
    let cargo_fuzz = tools::cargo_tool("cargo-fuzz")?;
    let mut steps = Steps::new();
    for target in known {
        if !arguments.targets.is_empty() && !arguments.targets.contains(&target) {
            continue;
        }
        steps.run(&target, || {
            // What is found goes to the first folder; the second is committed and only read.
            let corpus = tools::root().join("fuzz/corpus").join(&target);
            let seeds = tools::root().join("fuzz/seeds").join(&target);
            std::fs::create_dir_all(&corpus)?;
            tools::run(
                std::process::Command::new(&cargo_fuzz)
                    .current_dir(tools::root())
                    .env("RUSTC_BOOTSTRAP", "1")
                    .args(["run", &target])
                    .arg(&corpus)
                    .args(seeds.is_dir().then_some(&seeds))
                    .arg("--")
                    .arg(format!("-max_total_time={}", arguments.seconds))
                    .args(["-timeout=10", "-print_final_stats=1"]),
            )
        });
    }
    steps.finish()
}
