//! `vswitch-datapath`: the packet process. `vswitchd` starts it and speaks to it.
#![forbid(unsafe_code)]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use vswitch_datapath::control::{Config, Control, serve};
use vswitch_dpapi::message::PollMode;

/// Idle time after which a worker sleeps: longer than the pause between the packets of a
/// request-response exchange, shorter than anything a person would call busy.
const SLEEP_AFTER_US: u64 = 200;

/// The packet process of vswitch; started by vswitchd.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:\n  vswitch-datapath --socket /run/vswitch/datapath.sock --cores 1"
)]
struct Args {
    /// Unix socket on which vswitchd speaks
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Cores for the workers, one each: `1`, `1,3`, `2-5`; default: one worker on the last core
    #[arg(long, value_name = "LIST")]
    cores: Option<String>,
    /// Workers, when --cores is not given
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// How workers wait when no packet comes
    #[arg(long, value_enum, default_value_t = Poll::Adaptive)]
    poll: Poll,
    /// Idle microseconds after which an adaptive worker sleeps
    #[arg(long, default_value_t = SLEEP_AFTER_US)]
    sleep_after: u64,
    /// Chunks of packet memory, 4 KiB each
    #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1024..=4_194_304))]
    chunks: u32,
    /// Large frames for super-frames, 68 KiB each
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(64..=65_536))]
    larges: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Poll {
    /// Poll while busy, sleep when idle
    Adaptive,
    /// Never sleep
    Busy,
}

fn main() -> Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("VSWITCH_LOG")
                .unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    // All that needs a privilege, vswitchd has done; what it hands over works without one.
    vswitch_sys::privilege::drop_all().context("privileges could not be given up")?;
    let config = Config {
        cores: cores(args.cores.as_deref(), args.workers as usize)?,
        chunks: args.chunks,
        larges: args.larges,
        poll: match args.poll {
            Poll::Adaptive => PollMode::Adaptive,
            Poll::Busy => PollMode::Busy,
        },
        sleep_after: Duration::from_micros(args.sleep_after),
        seed: vswitch_sys::random::seed().context("no random numbers from the kernel")?,
    };
    let listener = listen(&args.socket)?;
    let control = Control::start(config).context("the datapath could not start")?;
    tracing::info!(socket = %args.socket.display(), "ready");
    let served = serve(control, &listener).context("the control socket failed");
    // Nobody can connect any more, so the name is of no use.
    if let Err(error) = std::fs::remove_file(&args.socket) {
        tracing::warn!(%error, "the socket could not be removed");
    }
    served
}

/// Listens on `path` for our own user only. A socket that a dead process left behind is replaced.
fn listen(path: &Path) -> Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        bail!(
            "another datapath serves {}; end it with `vsctl shutdown`",
            path.display()
        );
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("{} cannot be replaced", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| {
        format!(
            "cannot listen on {}; does its directory exist?",
            path.display()
        )
    })?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot restrict {}", path.display()))?;
    Ok(listener)
}

/// The cores of the workers. Without a list, the last ones: the first is where interrupts are
/// handled as a rule.
fn cores(list: Option<&str>, workers: usize) -> Result<Vec<Option<usize>>> {
    let all = vswitch_sys::affinity::cores();
    let Some(list) = list else {
        let mut cores: Vec<_> = all
            .iter()
            .rev()
            .take(workers)
            .map(|&core| Some(core))
            .collect();
        cores.resize(workers, None);
        return Ok(cores);
    };
    let mut cores = Vec::new();
    for part in list.split(',') {
        let parse = |text: &str| {
            let core = text
                .trim()
                .parse::<usize>()
                .ok()
                .filter(|core| all.contains(core));
            core.with_context(|| {
                format!(
                    "`{text}` in --cores is no core that this process may use; there are {all:?}"
                )
            })
        };
        match part.split_once('-') {
            Some((first, last)) => cores.extend((parse(first)?..=parse(last)?).map(Some)),
            None => cores.push(Some(parse(part)?)),
        }
    }
    if cores.is_empty() {
        bail!("--cores names no core; an example is `--cores 1,3`");
    }
    Ok(cores)
}
