//! The socket on which `vsctl` speaks.
//!
//! Each connection is a task that reads one call, hands it to the control loop, and writes the
//! answer before it reads the next. Calls of all connections are carried out one after another, in
//! the order in which they came.
//!
//! Law: a client can make us hold [`CONNECTIONS_MAX`] connections and a message each, no more. One
//! that does not speak for [`IDLE`], or does not take its answer for as long, is cut off. Nothing a
//! client sends ends anything but its own connection.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use vswitch_rpc::frame::{Decoder, encode};
use vswitch_rpc::{Call, Code, Refusal, Request, Response};

use crate::listen::Listener;

/// Connections at a time; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 64;

/// How long a client may keep us waiting.
pub const IDLE: Duration = Duration::from_secs(60);

/// Calls that wait for the control loop. As many as there can be.
const WAITING: usize = CONNECTIONS_MAX;

/// A call and where its answer goes.
#[derive(Debug)]
pub struct Job {
    /// What is asked.
    pub call: Call,
    /// The answer.
    pub answer: oneshot::Sender<Result<Value, Refusal>>,
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
        let (sender, jobs) = mpsc::channel(WAITING);
        let serve = move |stream| {
            let jobs = sender.clone();
            async move {
                if let Err(error) = converse(stream, &jobs).await {
                    tracing::debug!(%error, "a client was cut off");
                }
            }
        };
        Ok(Self {
            jobs,
            _listener: Listener::start(path, CONNECTIONS_MAX, serve)?,
        })
    }

    /// The next call.
    pub async fn next(&mut self) -> Option<Job> {
        self.jobs.recv().await
    }
}

/// Answers the calls of one client until it leaves.
async fn converse(mut stream: UnixStream, jobs: &mpsc::Sender<Job>) -> io::Result<()> {
    let mut decoder = Decoder::default();
    let mut bytes = vec![0; 1 << 16];
    loop {
        loop {
            let line = match decoder.next_message() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => {
                    let refusal = Refusal::new(Code::InvalidRequest, error.to_string());
                    let response = Response::refusal(Value::Null, refusal);
                    return write(&mut stream, &response).await;
                }
            };
            match Request::parse(line) {
                Ok((id, call)) => {
                    let (answer, answered) = oneshot::channel();
                    let (done, written) = oneshot::channel();
                    let job = Job {
                        call,
                        answer,
                        written,
                    };
                    let response = match jobs.send(job).await {
                        Ok(()) => match answered.await {
                            Ok(Ok(result)) => Response::result(id, result),
                            Ok(Err(refusal)) => Response::refusal(id, refusal),
                            Err(_) => Response::refusal(id, ending()),
                        },
                        Err(_) => Response::refusal(id, ending()),
                    };
                    write(&mut stream, &response).await?;
                    // Dropped on an early return too, which says that there is nothing to wait for.
                    let _ = done.send(());
                }
                Err(response) => write(&mut stream, &response).await?,
            }
        }
        match timeout(IDLE, stream.read(&mut bytes)).await {
            Ok(Ok(0)) => return Ok(()),
            Ok(Ok(size)) => decoder.push(bytes.get(..size).unwrap_or_default()),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

fn ending() -> Refusal {
    Refusal::new(Code::Unavailable, "vswitchd is ending")
}

async fn write(stream: &mut UnixStream, response: &Response) -> io::Result<()> {
    let line = match encode(response) {
        Ok(line) => line,
        Err(error) => {
            let text = format!("the answer cannot be sent: {error}");
            let refusal = Refusal::new(Code::Failed, text);
            encode(&Response::refusal(response.id.clone(), refusal))
                .map_err(|error| io::Error::other(error.to_string()))?
        }
    };
    match timeout(IDLE, stream.write_all(&line)).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    /// A server whose calls are answered with their own name.
    fn echo(dir: &Path) -> PathBuf {
        let path = dir.join("socket");
        let mut server = Server::start(&path).expect("started");
        tokio::spawn(async move {
            while let Some(job) = server.next().await {
                let _ = job.answer.send(Ok(job.call.name().into()));
            }
        });
        path
    }

    /// Sends these bytes, ends the stream, and reads all that comes back.
    async fn talk(path: &Path, bytes: &[u8]) -> Vec<Value> {
        let mut stream = UnixStream::connect(path).await.expect("connected");
        stream.write_all(bytes).await.expect("sent");
        stream.shutdown().await.expect("ended");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("received");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    #[tokio::test]
    async fn calls_are_answered_in_order_and_nonsense_with_its_code() {
        let dir = tempfile::tempdir().unwrap();
        let path = echo(dir.path());
        let answers = talk(
            &path,
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"show\"}\n\
              nonsense\n\
              {\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"sho\"}\n\
              {\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"list-br\",\"params\":{}}\n",
        )
        .await;
        assert_eq!(answers.len(), 4);
        assert_eq!(answers[0]["result"], "show");
        assert_eq!(answers[1]["error"]["code"], -32700);
        assert_eq!(answers[2]["error"]["code"], -32601);
        assert_eq!(answers[3]["id"], "x");
        assert_eq!(answers[3]["result"], "list-br");
    }

    #[tokio::test]
    async fn many_clients_are_served_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = echo(dir.path());
        // More than there are places: those without one are served when others leave.
        let clients: Vec<_> = (0..CONNECTIONS_MAX + 20)
            .map(|i| {
                let path = path.clone();
                tokio::spawn(async move {
                    let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{i},\"method\":\"show\"}}\n");
                    (i, talk(&path, line.as_bytes()).await)
                })
            })
            .collect();
        for client in clients {
            let (i, answers) = client.await.unwrap();
            assert_eq!(answers[0]["id"], i);
        }
    }

    #[tokio::test]
    async fn a_message_without_end_is_cut_off_with_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = echo(dir.path());
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let chunk = vec![b'x'; 1 << 20];
        let mut sent = 0;
        while stream.write_all(&chunk).await.is_ok() {
            sent += 1;
            assert!(sent < 64, "it reads without end");
        }
        let mut text = String::new();
        // The rest of what we sent may make the kernel reset the connection instead.
        if stream.read_to_string(&mut text).await.is_ok() {
            assert!(text.contains("longer than the 16 MiB allowed"), "{text}");
        }
    }

    #[tokio::test]
    async fn half_a_message_is_dropped_with_its_connection() {
        let dir = tempfile::tempdir().unwrap();
        let path = echo(dir.path());
        assert!(talk(&path, b"{\"jsonrpc\":\"2.0\"").await.is_empty());
        let line = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"show\"}\n";
        assert_eq!(talk(&path, line).await.len(), 1, "and it still serves");
    }

    #[tokio::test]
    async fn only_root_may_connect() {
        let dir = tempfile::tempdir().unwrap();
        let path = echo(dir.path());
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
