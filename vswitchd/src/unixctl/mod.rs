//! The socket on which `ovs-appctl` speaks, so that Open vSwitch's own tool works on this switch:
//!
//! ```text
//! OVS_RUNDIR=/run/vswitch ovs-appctl fdb/show br0
//! ovs-appctl -t /run/vswitch/ovs-vswitchd.4711.ctl version
//! ```
//!
//! It finds us as it finds `ovs-vswitchd`: by the [`pidfile`], or by the socket's path. What it may
//! ask is in [`table`]; what is answered is made by [`crate::command`], which is also what `vsctl
//! appctl` asks. This module carries words only.
//!
//! Law, that of [`crate::rpc`]: a client can make us hold [`CONNECTIONS_MAX`] connections and one
//! message each, no more. One that does not speak for [`IDLE`], or does not take its answer within
//! [`SLOW`], is cut off. Nothing a client sends ends anything but its own connection. What is not a
//! request ends that, with a line in the log.
//!
//! Spec: `lib/unixctl.c` of Open vSwitch.

pub mod message;
pub mod pidfile;
pub mod split;
pub mod table;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::listen::Listener;
use message::{BadRequest, Request, reply};
use split::{Splitter, Unsplittable};
use table::BadCall;

/// The program whose name the tools ask for when they are given none.
pub const PROGRAM: &str = "ovs-vswitchd";

/// Connections at a time; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 32;

/// How long a client may be silent.
pub const IDLE: Duration = Duration::from_secs(60);

/// How long a client may take over reading its answer.
pub const SLOW: Duration = Duration::from_secs(10);

/// The path of the socket of this process.
pub fn socket_path(rundir: &Path, pid: u32) -> PathBuf {
    rundir.join(format!("{PROGRAM}.{pid}.ctl"))
}

/// A command and where its answer goes.
#[derive(Debug)]
pub struct Job {
    /// `fdb/show`.
    pub command: String,
    /// What follows it.
    pub args: Vec<String>,
    /// The text, or the text of the error.
    pub answer: oneshot::Sender<Result<String, String>>,
    /// Ends when the answer has been written or cannot be.
    pub written: oneshot::Receiver<()>,
}

/// The listening socket; its name goes with it.
#[derive(Debug)]
pub struct Server {
    jobs: mpsc::Receiver<Job>,
    _listener: Listener,
}

impl Server {
    /// Listens on `path`, see [`Listener::start`].
    pub fn start(path: &Path) -> io::Result<Self> {
        Self::start_with(path, IDLE, SLOW)
    }

    fn start_with(path: &Path, idle: Duration, slow: Duration) -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel(CONNECTIONS_MAX);
        let serve = move |stream| {
            let jobs = sender.clone();
            async move {
                if let Err(error) = converse(stream, &jobs, idle, slow).await {
                    tracing::warn!(%error, "an ovs-appctl was cut off");
                }
            }
        };
        Ok(Self {
            jobs,
            _listener: Listener::start(path, CONNECTIONS_MAX, serve)?,
        })
    }

    /// The next command.
    pub async fn next(&mut self) -> Option<Job> {
        self.jobs.recv().await
    }
}

/// Why a connection was ended from our side.
#[derive(Debug, thiserror::Error)]
enum CutOff {
    #[error("it sent what is not JSON-RPC: {0}")]
    Unsplittable(#[from] Unsplittable),
    #[error("it sent what is not a request: {0}")]
    BadRequest(#[from] BadRequest),
    #[error("it said nothing for {0:?}")]
    Idle(Duration),
    #[error("it did not take its answer for {0:?}")]
    Slow(Duration),
    #[error("it left in the middle of a request")]
    Half,
    #[error("its connection failed: {0}")]
    Io(#[from] io::Error),
}

/// Answers the commands of one client until it leaves.
async fn converse(
    mut stream: UnixStream,
    jobs: &mpsc::Sender<Job>,
    idle: Duration,
    slow: Duration,
) -> Result<(), CutOff> {
    let mut splitter = Splitter::default();
    let mut bytes = vec![0; 1 << 16];
    loop {
        while let Some(object) = splitter.next_object()? {
            let request = Request::parse(object)?;
            let (done, written) = oneshot::channel();
            let answer = carry_out(&request, jobs, written).await;
            match timeout(slow, stream.write_all(&reply(&request.id, answer))).await {
                Ok(result) => result?,
                Err(_) => return Err(CutOff::Slow(slow)),
            }
            // Dropped on an early return too, which says that there is nothing to wait for.
            let _ = done.send(());
        }
        match timeout(idle, stream.read(&mut bytes)).await {
            Ok(Ok(0)) if splitter.is_at_border() => return Ok(()),
            Ok(Ok(0)) => return Err(CutOff::Half),
            Ok(Ok(size)) => splitter.push(bytes.get(..size).unwrap_or_default()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(CutOff::Idle(idle)),
        }
    }
}

async fn carry_out(
    request: &Request,
    jobs: &mpsc::Sender<Job>,
    written: oneshot::Receiver<()>,
) -> Result<String, String> {
    let refuse = |refusal: BadCall| refusal.to_string();
    table::find(&request.method, request.params.len()).map_err(refuse)?;
    let words = request.params.iter().map(Value::as_str);
    let args: Option<Vec<String>> = words.map(|word| Some(word?.to_owned())).collect();
    let Some(args) = args else {
        return Err(BadCall::NotText(request.method.clone()).to_string());
    };
    let (answer, answered) = oneshot::channel();
    let job = Job {
        command: request.method.clone(),
        args,
        answer,
        written,
    };
    let ending = || "vswitchd is ending".to_owned();
    jobs.send(job).await.map_err(|_| ending())?;
    answered.await.map_err(|_| ending())?
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A server whose commands are answered with their own words, but `fdb/flush` with an error.
    fn echo(dir: &Path) -> PathBuf {
        let path = socket_path(dir, 7);
        let mut server = Server::start(&path).expect("started");
        tokio::spawn(async move {
            while let Some(job) = server.next().await {
                let text = format!("{} {}", job.command, job.args.join(" "));
                let answer = if job.command == "fdb/flush" {
                    Err("no such bridge".to_owned())
                } else {
                    Ok(text)
                };
                let _ = job.answer.send(answer);
            }
        });
        path
    }

    /// Sends these pieces, ends the stream, and reads all that comes back.
    async fn talk(path: &Path, pieces: &[&[u8]]) -> String {
        let mut stream = UnixStream::connect(path).await.expect("connected");
        for piece in pieces {
            stream.write_all(piece).await.expect("sent");
            stream.flush().await.expect("flushed");
            tokio::task::yield_now().await;
        }
        stream.shutdown().await.expect("ended");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("received");
        text
    }

    #[tokio::test]
    async fn objects_that_come_glued_or_in_pieces_are_answered_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = echo(dir.path());
        let first = br#"{"id":0,"method":"fdb/show","params":["br0"]}"#;
        let second = br#"{"params":[],"method":"fdb/flush","id":"x"}"#;
        let expected = "{\"id\":0,\"result\":\"fdb/show br0\\n\",\"error\":null}\
                        {\"id\":\"x\",\"result\":null,\"error\":\"no such bridge\\n\"}";
        let glued = [&first[..], &second[..]].concat();
        assert_eq!(talk(&path, &[&glued]).await, expected);
        for cut in [1, 10, first.len(), first.len() + 1, glued.len() - 1] {
            let pieces = [&glued[..cut], &glued[cut..]];
            assert_eq!(talk(&path, &pieces).await, expected, "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn a_command_with_wrong_arguments_is_answered_in_the_words_of_open_vswitch() {
        let dir = tempfile::tempdir().unwrap();
        let path = echo(dir.path());
        let cases = [
            (
                r#"{"id":0,"method":"nope","params":[]}"#,
                r#"\"nope\" is not a valid command (use \"list-commands\" to see a list of valid commands)\n"#,
            ),
            (
                r#"{"id":0,"method":"fdb/show","params":[]}"#,
                r#"\"fdb/show\" command requires at least 1 arguments\n"#,
            ),
            (
                r#"{"id":0,"method":"fdb/show","params":["a","b"]}"#,
                r#"\"fdb/show\" command takes at most 1 arguments\n"#,
            ),
            (
                r#"{"id":0,"method":"fdb/show","params":[1]}"#,
                r#"\"fdb/show\" command has non-string argument\n"#,
            ),
        ];
        for (sent, error) in cases {
            let expected = format!("{{\"id\":0,\"result\":null,\"error\":\"{error}\"}}");
            assert_eq!(talk(&path, &[sent.as_bytes()]).await, expected);
        }
    }

    #[tokio::test]
    async fn what_is_no_request_ends_its_connection_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = echo(dir.path());
        let good = br#"{"id":0,"method":"version","params":[]}"#;
        for bad in [
            &b"nonsense"[..],
            b"{\"id\":0",
            b"{\"id\":0,}",
            br#"{"id":null,"method":"version","params":[]}"#,
            br#"{"id":0,"result":"","error":null}"#,
            br#"{"id":0,"method":"version"}"#,
        ] {
            let shown = String::from_utf8_lossy(bad);
            assert_eq!(talk(&path, &[bad]).await, "", "{shown}");
            let answers = talk(&path, &[good, bad]).await;
            assert_eq!(answers.matches("version").count(), 1, "{shown}");
        }
    }

    #[tokio::test]
    async fn a_message_without_end_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = echo(dir.path());
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"{\"id\":\"").await.unwrap();
        let chunk = vec![b'x'; 1 << 16];
        let mut sent = 0;
        while stream.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
            assert!(sent < 4 * split::MAX_OBJECT_SIZE, "it reads without end");
        }
    }

    #[tokio::test]
    async fn who_is_silent_or_does_not_read_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = socket_path(dir.path(), 7);
        let patience = Duration::from_millis(50);
        let mut server = Server::start_with(&path, patience, patience).expect("started");
        let (cut_off, mut was_cut_off) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(job) = server.next().await {
                // More than any socket buffer takes.
                let _ = job.answer.send(Ok("x".repeat(16 << 20)));
                // Dropped without a word: it was not written.
                let _ = cut_off.send(job.written.await).await;
            }
        });
        let mut silent = UnixStream::connect(&path).await.unwrap();
        let mut text = String::new();
        silent.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "", "the end of the stream and nothing else");

        let mut lazy = UnixStream::connect(&path).await.unwrap();
        let call = br#"{"id":0,"method":"version","params":[]}"#;
        lazy.write_all(call).await.unwrap();
        assert!(was_cut_off.recv().await.expect("asked").is_err());
        let mut bytes = Vec::new();
        let _ = lazy.read_to_end(&mut bytes).await;
        assert!(bytes.len() < 16 << 20, "{} bytes came", bytes.len());
    }

    #[tokio::test]
    async fn the_socket_is_named_after_the_process_and_only_root_may_connect() {
        let dir = tempfile::tempdir().unwrap();
        let path = echo(dir.path());
        assert_eq!(path.file_name().unwrap(), "ovs-vswitchd.7.ctl");
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
