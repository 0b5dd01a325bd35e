//! `cargo xtask test`: the proofs, rung by rung, cheapest first.

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::steps::Steps;
use crate::tools::{self, Python};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask test                       every rung\n  cargo xtask test unit prop             two of them\n  sudo -E cargo xtask test system -- matrix/1500/tap\n                                         the trials whose name contains a text"
)]
pub(crate) struct Arguments {
    /// Which rungs to climb; all when none is named
    #[arg(value_enum)]
    rungs: Vec<Rung>,

    /// Passed on to the test programs
    #[arg(last = true)]
    pass: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rung {
    /// Beside the code: real bytes, no privilege
    Unit,
    /// Random tables and packets against laws and oracles
    Prop,
    /// Whole switches in one thread under a test's clock
    Sim,
    /// What vsctl prints, line by line (root)
    Cli,
    /// Real processes, devices and traffic between namespaces (root)
    System,
    /// Controllers and tools of others drive the switch (root)
    Clients,
    /// The 991 OpenFlow 1.3 tests of os-ken; 40 minutes, so only when named (root)
    Ryu,
}

impl Rung {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Prop => "prop",
            Self::Sim => "sim",
            Self::Cli => "cli",
            Self::System => "system",
            Self::Clients => "clients",
            Self::Ryu => "ryu",
        }
    }

    fn needs_root(self) -> bool {
        matches!(self, Self::Cli | Self::System | Self::Clients | Self::Ryu)
    }

    /// Whether it is climbed only when it is named.
    fn is_long(self) -> bool {
        matches!(self, Self::Ryu)
    }

    /// The arguments of `cargo test` for each part of the rung.
    fn parts(self) -> Vec<Vec<&'static str>> {
        let package = ["-p", "vswitch-tests"];
        match self {
            Self::Unit => vec![
                vec!["--workspace", "--exclude", "vswitch-tests", "--tests"],
                [&package[..], &["--lib"]].concat(),
                vec!["--workspace", "--doc"],
            ],
            other => vec![[&package[..], &["--test", other.name()]].concat()],
        }
    }
}

/// Programs in Python: which rung uses one, the variable that tells it where it is, the environment.
const PYTHON: [(Rung, &str, Python); 3] = [
    (
        Rung::Clients,
        "VSWITCH_OSKEN",
        Python {
            name: "os-ken-3.1.1",
            interpreter: tools::CPYTHON,
            programs: &[],
            install: &["os-ken==3.1.1"],
        },
    ),
    (
        Rung::Clients,
        "VSWITCH_FAUCET",
        Python {
            name: "faucet-1.10.12",
            interpreter: tools::CPYTHON,
            // A table of prefixes in C.
            programs: &[("python3-config", "python3-dev")],
            install: &["faucet==1.10.12"],
        },
    ),
    // Its throughput tests need a sender that keeps its own pace: 2 Mb/s in small packets.
    (
        Rung::Ryu,
        "VSWITCH_OSKEN",
        Python {
            name: "os-ken-3.1.1-pypy",
            interpreter: tools::PYPY,
            programs: &[],
            install: &["--no-deps", "-r", "tests/ryu/requirements.txt"],
        },
    ),
];

/// How many cases each property has.
const CASES: &str = "PROPTEST_CASES";

/// Enough that caches are compared over millions of decisions and that more than 100,000 packets
/// are accounted for, within a minute on two cores.
const CASES_DEFAULT: &str = "2500";

/// Climbs the named rungs, or all, and fails if one fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let chosen: Vec<Rung> = Rung::value_variants()
        .iter()
        .copied()
        .filter(|rung| match arguments.rungs.is_empty() {
            true => !rung.is_long(),
            false => arguments.rungs.contains(rung),
        })
        .collect();
    let mut steps = Steps::new();
    if tools::is_root() && chosen.iter().any(|rung| rung.needs_root()) {
        tools::debian_programs(tools::SANDBOX_PROGRAMS)?;
    }
    let mut environments = Vec::new();
    if tools::is_root() {
        for (rung, variable, python) in PYTHON {
            if chosen.contains(&rung) {
                environments.push((rung, variable, python.environment()?));
            }
        }
    }
    for rung in chosen {
        if rung.needs_root() && !tools::is_root() {
            steps.skip(
                rung.name(),
                "makes network namespaces and devices, which needs root: run it with `sudo -E`",
            );
            continue;
        }
        steps.run(rung.name(), || {
            for part in rung.parts() {
                let mut cargo = tools::cargo();
                cargo.arg("test").args(part);
                if matches!(rung, Rung::Prop) && std::env::var_os(CASES).is_none() {
                    cargo.env(CASES, CASES_DEFAULT);
                }
                let own = environments.iter().filter(|(user, ..)| *user == rung);
                cargo.envs(own.map(|(_, name, path)| (name, path)));
                if !arguments.pass.is_empty() {
                    cargo.arg("--").args(&arguments.pass);
                }
                tools::run(&mut cargo)?;
            }
            Ok(())
        });
    }
    steps.finish()
}
