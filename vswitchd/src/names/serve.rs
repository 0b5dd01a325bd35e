//! The sockets of a network's name server.
//!
//! Bounds: a socket works on one question after another; streams are at most [`STREAMS_MAX`] for a gateway and
//! each ends after [`IDLE`] without a question; [`super::upstream`] bounds what is asked elsewhere.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener, UdpSocket as StdSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::base::iana::Rcode;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::message::{self, Asker, Reply};
use super::upstream::Upstream;
use super::{Book, PORT};
use crate::model::containers::Id;

/// Streams that are open at a time.
const STREAMS_MAX: usize = 64;

/// How long a stream may be silent (RFC 7766 §6.2.3 leaves it to the server).
const IDLE: Duration = Duration::from_secs(10);

/// Pause after a failure of a socket that is not about one asker, such as no memory.
const PAUSE: Duration = Duration::from_millis(100);

/// The largest question. Those that people ask have one name, 255 bytes at most.
const QUESTION_MAX: usize = 4096;

/// What a gateway is asked by.
#[derive(Debug)]
pub(super) struct Sockets {
    datagrams: UdpSocket,
    streams: TcpListener,
}

impl Sockets {
    /// Takes the port of names at an address that this host has or will have.
    ///
    /// # Errors
    /// When somebody else has it.
    pub(super) fn bind(gateway: IpAddr) -> io::Result<Self> {
        let make = |kind: SocketType| -> io::Result<_> {
            let family = match gateway {
                IpAddr::V4(_) => AddressFamily::INET,
                IpAddr::V6(_) => AddressFamily::INET6,
            };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(family, kind, flags, None)?;
            // The device may be made anew, with the address, while we serve.
            match gateway {
                IpAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
                IpAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
            }
            if kind == SocketType::STREAM {
                // Streams of a process that has ended linger.
                sockopt::set_socket_reuseaddr(&socket, true)?;
            }
            bind(&socket, &SocketAddr::new(gateway, PORT))?;
            Ok(socket)
        };
        let datagrams = make(SocketType::DGRAM)?;
        let streams = make(SocketType::STREAM)?;
        listen(&streams, STREAMS_MAX as i32)?;
        Ok(Self {
            datagrams: UdpSocket::from_std(StdSocket::from(datagrams))?,
            streams: TcpListener::from_std(StdListener::from(streams))?,
        })
    }
}

/// What serves at one gateway.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// Of this network.
    pub(super) network: Id,
    /// The names that there are.
    pub(super) book: watch::Receiver<Arc<Book>>,
    /// Who is asked about others.
    pub(super) upstream: Arc<Upstream>,
}

impl Task {
    /// Serves until it is dropped.
    pub(super) async fn run(self, sockets: Sockets) {
        let Sockets { datagrams, streams } = sockets;
        let datagrams = Arc::new(datagrams);
        let open = Arc::new(Semaphore::new(STREAMS_MAX));
        let turns = Arc::new(AtomicUsize::new(0));
        let mut buffer = vec![0; QUESTION_MAX];
        loop {
            let heard = tokio::select! {
                heard = datagrams.recv_from(&mut buffer) => heard.map(|(size, from)| {
                    let question = buffer.get(..size).unwrap_or_default();
                    self.hear(&datagrams, from, question, &turns);
                }),
                heard = streams.accept() => heard.map(|(stream, from)| {
                    // One more than there may be is closed at once.
                    if self.may_ask(from.ip()) && let Ok(slot) = Arc::clone(&open).try_acquire_owned() {
                        let (task, turns) = (self.clone(), Arc::clone(&turns));
                        tokio::spawn(async move {
                            if let Err(error) = task.talk(stream, from, &turns).await {
                                tracing::debug!(%from, %error, "a stream of questions ended");
                            }
                            drop(slot);
                        });
                    }
                }),
            };
            if let Err(error) = heard {
                tracing::debug!(%error, "a name server's socket");
                sleep(PAUSE).await;
            }
        }
    }

    fn may_ask(&self, address: IpAddr) -> bool {
        self.book.borrow().serves(&self.network, address)
    }

    fn reply(
        &self,
        from: SocketAddr,
        datagram: bool,
        question: &[u8],
        turns: &AtomicUsize,
    ) -> Reply {
        let asker = Asker {
            network: self.network,
            address: from.ip(),
            datagram,
        };
        let turn = turns.fetch_add(1, Ordering::Relaxed);
        message::reply(&self.book.borrow(), asker, question, turn)
    }

    /// The answer to a question that somebody else is asked.
    async fn forward(&self, question: &[u8], datagram: bool) -> Vec<u8> {
        if let Some(answer) = self.upstream.ask(question, datagram).await {
            return answer;
        }
        match message::failure(question, Rcode::SERVFAIL) {
            Reply::Bytes(bytes) => bytes,
            Reply::Forward | Reply::Nothing => Vec::new(),
        }
    }

    fn hear(
        &self,
        socket: &Arc<UdpSocket>,
        from: SocketAddr,
        question: &[u8],
        turns: &AtomicUsize,
    ) {
        if !self.may_ask(from.ip()) {
            return;
        }
        match self.reply(from, true, question, turns) {
            Reply::Nothing => {}
            // What has no room in the socket's buffer is lost, as datagrams are, and asked again.
            Reply::Bytes(bytes) => drop(socket.try_send_to(&bytes, from)),
            Reply::Forward => {
                let (task, socket) = (self.clone(), Arc::clone(socket));
                let question = question.to_vec();
                tokio::spawn(async move {
                    let answer = task.forward(&question, true).await;
                    drop(socket.send_to(&answer, from).await);
                });
            }
        }
    }

    /// Answers the questions of a stream, one after another.
    async fn talk(
        &self,
        mut stream: TcpStream,
        from: SocketAddr,
        turns: &AtomicUsize,
    ) -> io::Result<()> {
        loop {
            let question = match timeout(IDLE, read(&mut stream)).await {
                Ok(Ok(question)) => question,
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Ok(Err(error)) => return Err(error),
                // It has been silent.
                Err(_) => return Ok(()),
            };
            let answer = match self.reply(from, false, &question, turns) {
                Reply::Bytes(bytes) => bytes,
                Reply::Forward => self.forward(&question, false).await,
                Reply::Nothing => return Ok(()),
            };
            let size = u16::try_from(answer.len()).map_err(io::Error::other)?;
            let mut bytes = size.to_be_bytes().to_vec();
            bytes.extend(answer);
            timeout(IDLE, stream.write_all(&bytes))
                .await
                .map_err(io::Error::other)??;
        }
    }
}

async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let size = stream.read_u16().await?;
    if usize::from(size) > QUESTION_MAX {
        return Err(io::Error::other("a question of more than 4096 bytes"));
    }
    let mut question = vec![0; usize::from(size)];
    stream.read_exact(&mut question).await?;
    Ok(question)
}
