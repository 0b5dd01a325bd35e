//! The packet process seen from here: finding or starting it, speaking to it, noticing its end.
//!
//! Law: at most one request is on its way, and its answer is waited for. A connection that failed
//! once is never used again, so that no answer is ever taken for that of another request.
//!
//! The process is started so that it outlives us: a process group of its own, its output in a file.
//! It is found again by its socket. When it ends, [`Dataplane::ended`] says so at once.

mod events;
mod wire;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use vswitch_dpapi::FrameError;
use vswitch_dpapi::message::{PollMode, Reply, Request};
use vswitch_rpc::{Code, Refusal};

pub use events::Events;
pub use wire::Wire;

/// The name of the datapath's socket inside the run directory.
pub const SOCKET_NAME: &str = "datapath.sock";

/// The file for what the datapath has to say.
pub const LOG_NAME: &str = "datapath.log";

/// How long the process may take from its start to its first answer: it registers memory.
const START: Duration = Duration::from_secs(15);

/// How long the process may take to end after it was told to.
const END: Duration = Duration::from_secs(5);

/// Pause between looks for the socket of a process that is starting.
const LOOK: Duration = Duration::from_millis(2);

/// Why the datapath did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// The program is not where it should be, or cannot be run.
    #[error("the datapath {} cannot be started: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ended instead of answering.
    #[error("the datapath ended at its start: {0}")]
    Stillborn(String),
    /// It does not speak, or speaks of something else.
    #[error("the datapath does not answer: {0}")]
    Silent(String),
    /// It is not there.
    #[error("the datapath is not running")]
    Gone,
    /// It was built for other messages.
    #[error("the datapath that is running is of another version: {0}")]
    Version(String),
    /// It will not do it, and nothing has changed.
    #[error("{0}")]
    Refused(String),
}

impl From<DataplaneError> for Refusal {
    fn from(error: DataplaneError) -> Self {
        let code = match error {
            DataplaneError::Refused(_) => Code::Kernel,
            _ => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

impl DataplaneError {
    /// Whether another process might do what this one did not.
    pub fn is_loss(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

/// How the process is to be started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// How many workers.
    pub workers: Option<u32>,
    /// Which cores they are pinned to.
    pub cores: Option<String>,
    /// How they wait.
    pub poll: PollMode,
}

/// The datapath, or its absence.
#[derive(Debug)]
pub struct Dataplane {
    rundir: PathBuf,
    launch: Launch,
    wire: Option<Wire>,
    /// The process, when it was we who started it; kept to collect its status.
    child: Option<Child>,
    started: Option<Instant>,
}

impl Dataplane {
    /// Nothing is done yet.
    pub fn new(rundir: &Path, launch: Launch) -> Self {
        Self {
            rundir: rundir.into(),
            launch,
            wire: None,
            child: None,
            started: None,
        }
    }

    /// The process, while we speak to it.
    pub fn pid(&self) -> Option<u32> {
        self.wire.as_ref().map(Wire::pid)
    }

    /// How its workers were told to wait.
    pub fn poll_mode(&self) -> PollMode {
        self.launch.poll
    }

    /// When we last started one; `None` while the one found at our start runs.
    pub fn started(&self) -> Option<Instant> {
        self.started
    }

    /// Connects to the datapath that runs, or starts one. True when it was found running.
    pub async fn connect(&mut self) -> Result<bool, DataplaneError> {
        self.wire = None;
        let socket = self.rundir.join(SOCKET_NAME);
        // A process that is being killed still takes a connection and then resets it; asked again,
        // nobody is there.
        for last in [false, true] {
            let Ok(stream) = UnixStream::connect(&socket) else {
                break;
            };
            match self.greet(stream).await {
                Ok(()) => return Ok(true),
                Err(error) if last || !error.is_loss() => return Err(error),
                Err(_) => sleep(LOOK).await,
            }
        }
        self.wire = None;
        self.reap().await;
        let log_path = self.rundir.join(LOG_NAME);
        let said_before = std::fs::metadata(&log_path).map_or(0, |meta| meta.len());
        let mut child = self.spawn(&socket, &log_path)?;
        self.started = Some(Instant::now());
        let until = Instant::now() + START;
        let stream = loop {
            if let Ok(stream) = UnixStream::connect(&socket) {
                break stream;
            }
            if let Ok(Some(status)) = child.try_wait() {
                let words =
                    last_words(&log_path, said_before).unwrap_or_else(|| status.to_string());
                return Err(DataplaneError::Stillborn(words));
            }
            if Instant::now() > until {
                let _ = child.start_kill();
                let text = format!("no socket after {} s", START.as_secs());
                return Err(DataplaneError::Silent(text));
            }
            sleep(LOOK).await;
        };
        self.child = Some(child);
        self.greet(stream).await.map(|()| false)
    }

    fn spawn(&self, socket: &Path, log_path: &Path) -> Result<Child, DataplaneError> {
        let failed = |source| DataplaneError::Start {
            program: self.launch.program.clone(),
            source,
        };
        let log = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(log_path)
            .map_err(failed)?;
        let mut command = Command::new(&self.launch.program);
        command.arg("--socket").arg(socket);
        if let Some(workers) = self.launch.workers {
            command.arg("--workers").arg(workers.to_string());
        }
        if let Some(cores) = &self.launch.cores {
            command.arg("--cores").arg(cores);
        }
        let poll = match self.launch.poll {
            PollMode::Adaptive => "adaptive",
            PollMode::Busy => "busy",
        };
        command.arg("--poll").arg(poll);
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(false);
        command.spawn().map_err(failed)
    }

    async fn greet(&mut self, stream: UnixStream) -> Result<(), DataplaneError> {
        self.wire = Some(Wire::greet(stream).await?);
        Ok(())
    }

    /// Where the process listens.
    pub fn socket(&self) -> PathBuf {
        self.rundir.join(SOCKET_NAME)
    }

    /// A connection that tells what happens; it needs a datapath that was connected to.
    pub async fn events(&self) -> Result<Events, DataplaneError> {
        Events::start(&self.socket()).await
    }

    /// One request and its answer.
    pub async fn ask(&mut self, request: &Request) -> Result<Reply, DataplaneError> {
        self.exchange(request, &[]).await.map(|(reply, _)| reply)
    }

    /// One request that has no other answer than that it is done.
    pub async fn tell(
        &mut self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), DataplaneError> {
        match self.exchange(request, fds).await?.0 {
            Reply::Done | Reply::Applied { .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// One request and its answer, with descriptors both ways.
    pub async fn exchange(
        &mut self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Reply, Vec<OwnedFd>), DataplaneError> {
        let Some(wire) = &mut self.wire else {
            return Err(DataplaneError::Gone);
        };
        let result = wire.exchange(request, fds).await;
        if result.as_ref().is_err_and(DataplaneError::is_loss) {
            self.wire = None;
        }
        result
    }

    /// Waits until the datapath is gone. At once when it is already.
    pub async fn ended(&mut self) {
        let Some(wire) = &mut self.wire else {
            return;
        };
        match wire.ended().await {
            FrameError::Closed => tracing::warn!(pid = wire.pid(), "the datapath has ended"),
            error => tracing::warn!(%error, "the connection to the datapath has failed"),
        }
        self.wire = None;
        self.reap().await;
    }

    /// Ends the process.
    pub async fn shutdown(&mut self) -> Result<(), DataplaneError> {
        self.tell(&Request::Shutdown, &[]).await?;
        if let Some(wire) = &mut self.wire {
            // The end of the stream is the end of the process, or nearly.
            let _ = timeout(END, wire.receive()).await;
        }
        self.wire = None;
        self.reap().await;
        Ok(())
    }

    /// Collects the status of a child that has ended or is about to.
    async fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            match timeout(END, child.wait()).await {
                Ok(Ok(status)) => tracing::info!(%status, "the datapath's process is gone"),
                Ok(Err(error)) => tracing::warn!(%error, "no status of the datapath"),
                Err(_) => {
                    tracing::warn!("the datapath hangs at its end and is killed");
                    let _ = child.kill().await;
                }
            }
        }
    }
}

/// An answer that belongs to another request.
pub fn unexpected(reply: &Reply) -> DataplaneError {
    let text = format!("{reply:?}");
    let start: String = text.chars().take(60).collect();
    DataplaneError::Silent(format!("an answer that was not asked for: {start}"))
}

/// The last line that was written to the log since it had this size.
fn last_words(path: &Path, since: u64) -> Option<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path).ok()?;
    file.seek(SeekFrom::Start(since)).ok()?;
    let mut bytes = Vec::new();
    file.take(1 << 16).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.trim().into())
}
