//! `vswitchd`: starts, waits for calls, news and ends, and hands each to [`Control`].
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use rustix::fs::FlockOperation;
use rustix::process::{Resource, Rlimit};
use rustix::thread::CapabilitySet;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, sleep_until};
use vswitch_dpapi::message::PollMode;
use vswitch_rpc::{DEFAULT_RUNDIR, RUNDIR_VARIABLE, SOCKET_NAME};
use vswitchd::control::Control;
use vswitchd::dataplane::{Dataplane, Launch};
use vswitchd::host::{Follow, Watch};
use vswitchd::log::Log;
use vswitchd::openflow::Agent;
use vswitchd::rpc::{Job, Server};
use vswitchd::store::{self, Store};
use vswitchd::unixctl::pidfile::PidFile;
use vswitchd::unixctl::{self, socket_path};

/// The file that says who holds the run directory.
const PID_NAME: &str = "vswitchd.pid";

/// The packet process's program, beside ours.
const DATAPATH_PROGRAM: &str = "vswitch-datapath";

/// Descriptors that a switch with thousands of ports needs, each held here and in the datapath.
const FILES: u64 = 1 << 20;

/// The control process of vswitch. It starts the packet process, or takes over one that runs.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  \
        vswitchd --rundir /run/vswitch\n  \
        vswitchd --cores 2,3 --poll busy\n\n\
        SIGTERM ends this process only, packets flow on. `vsctl shutdown` ends the switch."
)]
struct Args {
    /// Directory for sockets, logs and the store
    #[arg(long, value_name = "DIR", env = RUNDIR_VARIABLE, default_value = DEFAULT_RUNDIR)]
    rundir: PathBuf,
    /// Threads that move packets, when --cores is not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: Option<u32>,
    /// Cores for these threads, one each: `1`, `1,3`, `2-5`
    #[arg(long, value_name = "LIST")]
    cores: Option<String>,
    /// What these threads do when no packet comes
    #[arg(long, value_enum, default_value_t = Poll::Adaptive)]
    poll: Poll,
    /// What to log: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: tracing_subscriber::filter::LevelFilter,
    /// File to log to besides standard error; `vlog/reopen` goes on in a new one
    #[arg(long, value_name = "PATH")]
    log_file: Option<PathBuf>,
    /// The packet process's program, when it is not beside this one
    #[arg(long, value_name = "PATH")]
    datapath: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Poll {
    /// Poll while busy, sleep when idle
    Adaptive,
    /// Never sleep
    Busy,
}

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    match start_log(&args).and_then(|log| run(&args, log)) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vswitchd: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn start_log(args: &Args) -> Result<Log> {
    let (log, subscriber) = Log::new(args.log, args.log_file.clone())?;
    tracing::subscriber::set_global_default(subscriber).context("another log is there already")?;
    Ok(log)
}

fn run(args: &Args, log: Log) -> Result<()> {
    check_privilege()?;
    make_rundir(&args.rundir)?;
    let rundir = std::path::absolute(&args.rundir).with_context(|| {
        format!(
            "the run directory {} has no full path",
            args.rundir.display()
        )
    })?;
    let _holder = hold(&rundir.join(PID_NAME), &rundir)?;
    let _found_by_tools = hold_for_tools(&rundir)?;
    raise_limits();
    let launch = Launch {
        program: match &args.datapath {
            Some(program) => program.clone(),
            None => beside_us()?,
        },
        workers: args.workers,
        cores: args.cores.clone(),
        poll: match args.poll {
            Poll::Adaptive => PollMode::Adaptive,
            Poll::Busy => PollMode::Busy,
        },
    };
    let (store, belief) = Store::open(&rundir.join(store::FILE_NAME))?;
    let dataplane = Dataplane::new(&rundir, launch);
    let agent = Agent::new(&rundir, &dataplane.socket());
    let mut control = Control::new(store, belief, dataplane, agent, log);
    control.load_routes()?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no event loop could be made")?
        // As a task it is woken by others without a call of the kernel.
        .block_on(async { tokio::spawn(serve(control, rundir)).await })
        .context("the event loop broke off")?
}

/// The event loop: one thing after another, each to its end.
async fn serve(mut control: Control, rundir: PathBuf) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be awaited")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be awaited")?;
    // Before devices are looked at for the first time, so that no change is missed.
    let mut watch = Watch::start().context("no news of devices from the kernel")?;
    let mut follow = Follow::start().context("no news of routes from the kernel")?;
    control.recover().await?;
    if let Err(refusal) = control.bury().await {
        tracing::warn!(%refusal, "sandboxes that are gone could not be forgotten");
    }
    let mut server = Server::start(&rundir.join(SOCKET_NAME))
        .with_context(|| format!("cannot listen in {}", rundir.display()))?;
    let mut tools = unixctl::Server::start(&socket_path(&rundir, std::process::id()))
        .with_context(|| format!("cannot listen for ovs-appctl in {}", rundir.display()))?;
    control.settle().await;
    tracing::info!(rundir = %rundir.display(), "ready");
    while !control.is_over() {
        control.settle().await;
        let sample_due = control.sample_due();
        let look_due = control.look_due();
        let underlay_due = control.underlay_due();
        let agent_due = control.agent_due();
        let pause = control.pause();
        tokio::select! {
            Some(job) = server.next() => {
                answer(&mut control, job).await;
            }
            event = control.events.next() => control.happened(event),
            word = control.agent.next() => control.hear_link(word).await,
            () = async { sleep_until(agent_due.unwrap_or_else(tokio::time::Instant::now)).await },
                if agent_due.is_some() => control.agent_time().await,
            Some(job) = tools.next() => answer_tool(&mut control, job).await,
            () = sleep_until(sample_due) => control.sample().await,
            news = watch.next() => control.hear(news),
            heard = follow.next() => control.hear_network(heard),
            () = async { sleep_until(underlay_due.unwrap_or_else(tokio::time::Instant::now)).await },
                if underlay_due.is_some() =>
            {
                if let Err(error) = control.tell_underlay().await {
                    tracing::warn!(%error, "the datapath was not told of routes");
                }
            }
            () = async { sleep_until(look_due.unwrap_or_else(tokio::time::Instant::now)).await },
                if look_due.is_some() =>
            {
                if let Err(error) = control.look().await {
                    tracing::warn!(%error, "the datapath was not told what became of a device");
                }
            }
            () = async { control.dataplane.ended().await; sleep(pause).await } => {
                if let Err(error) = control.recover().await {
                    tracing::error!(%error, "the datapath could not be brought back; trying again");
                }
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    match control.dataplane.pid() {
        Some(_) => tracing::info!("ending; the datapath goes on"),
        None => tracing::info!("the switch has been shut down"),
    }
    Ok(())
}

/// Carries out one call.
async fn answer(control: &mut Control, job: Job) {
    let method = job.call.name();
    let answer = control.call(job.call).await;
    if let Err(refusal) = &answer {
        tracing::debug!(method, %refusal, "refused");
    }
    // A caller that has left does not undo what it asked for.
    let _ = job.answer.send(answer);
    if control.is_over() {
        let _ = job.written.await;
    }
}

/// Carries out one command of `ovs-appctl`.
async fn answer_tool(control: &mut Control, job: unixctl::Job) {
    let answer = control.appctl(&job.command, &job.args).await;
    if let Err(refusal) = &answer {
        tracing::debug!(command = job.command, %refusal, "refused");
    }
    let _ = job
        .answer
        .send(answer.map_err(|refusal| refusal.to_string()));
    if control.is_over() {
        let _ = job.written.await;
    }
}

/// Says what is missing before anything fails for the lack of it.
fn check_privilege() -> Result<()> {
    let have = rustix::thread::capabilities(None)
        .context("the kernel does not tell this process's capabilities")?
        .effective;
    let needed = [
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
        (CapabilitySet::NET_RAW, "CAP_NET_RAW"),
        (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    ];
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(bit, _)| !have.contains(*bit))
        .map(|(_, name)| *name)
        .collect();
    if !missing.is_empty() {
        bail!(
            "it makes devices and enters network namespaces, for which this process lacks {}; \
             run it as root",
            missing.join(", ")
        );
    }
    Ok(())
}

fn make_rundir(rundir: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(rundir)
        .with_context(|| format!("the run directory {} cannot be made", rundir.display()))
}

/// Takes the run directory for as long as the file is open, so also until `kill -9`.
fn hold(path: &Path, rundir: &Path) -> Result<File> {
    let cannot = || format!("{} cannot be used", path.display());
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(path)
        .with_context(cannot)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).with_context(cannot)?;
            bail!(
                "another vswitchd holds {}: process {}; end it or take another --rundir",
                rundir.display(),
                pid.trim()
            );
        }
        Err(error) => return Err(error).with_context(cannot),
    }
    file.set_len(0).with_context(cannot)?;
    file.rewind().with_context(cannot)?;
    writeln!(file, "{}", std::process::id()).with_context(cannot)?;
    Ok(file)
}

/// Has the tools of Open vSwitch find this process, and takes away the socket of one that was killed.
fn hold_for_tools(rundir: &Path) -> Result<PidFile> {
    let path = rundir.join(format!("{}.pid", unixctl::PROGRAM));
    let (file, before) = PidFile::hold(&path, std::process::id())?;
    if let Some(pid) = before {
        let socket = socket_path(rundir, pid);
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, socket = %socket.display(), "a dead process's socket stays");
            }
            _ => {}
        }
    }
    Ok(file)
}

/// Locked memory and descriptors for the datapath, which inherits our limits.
fn raise_limits() {
    raise(Resource::Memlock, None);
    raise(Resource::Nofile, Some(FILES));
}

/// Raises a limit to what is wanted, `None` being no limit, or else as far as it goes.
fn raise(resource: Resource, wanted: Option<u64>) {
    let set = |limit| {
        let limit = Rlimit {
            current: limit,
            maximum: limit,
        };
        rustix::process::setrlimit(resource, limit)
    };
    let now = rustix::process::getrlimit(resource);
    if set(wanted).is_err() {
        // Only CAP_SYS_RESOURCE may raise the upper limit. CAP_IPC_LOCK does without, and most
        // switches need fewer descriptors.
        if let Err(error) = set(now.maximum) {
            tracing::warn!(?resource, %error, "a limit stays");
        }
        tracing::debug!(?resource, maximum = ?now.maximum, "a limit is lower than wished");
    }
}

fn beside_us() -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program's own path is not known")?;
    let program = own.with_file_name(DATAPATH_PROGRAM);
    match std::fs::metadata(&program) {
        Ok(_) => Ok(program),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "there is no {DATAPATH_PROGRAM} beside {}; give its place with --datapath",
            own.display()
        ),
        Err(error) => Err(error).with_context(|| format!("{} cannot be used", program.display())),
    }
}
