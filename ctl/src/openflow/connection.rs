//! One OpenFlow connection: agree on a version, ask, and collect what comes back.
//!
//! Blocking, with a deadline over each question. Errors that the switch sends belong to the message
//! with their xid; a change is over when the barrier behind it is answered (OpenFlow 1.3.5 §6.1.3:
//! what was sent before a barrier is done, or refused, before its answer).

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vswitch_openflow::EncodeError;
use vswitch_openflow::header::{Framer, Version};
use vswitch_openflow::hello::Hello;
use vswitch_openflow::message::{Decoded, Message};
use vswitch_openflow::multipart::{Reply, Request};

use vswitch_tls::explain;
use vswitch_tls::rustls::{ClientConnection, StreamOwned};

use super::Trouble;
use super::papers::Papers;
use super::target::Target;

/// Bytes read at a time.
const READ_SIZE: usize = 1 << 16;

/// Messages that are written before the switch's errors are looked for, so that neither side's
/// socket buffers fill up with nobody reading.
const WRITE_SIZE: usize = 1 << 16;

/// A message of ours that the switch refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Which of the messages, from 0.
    pub at: usize,
    /// The error as it came.
    pub error: Decoded,
}

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn set_timeouts(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => {
                stream.set_read_timeout(timeout)?;
                stream.set_write_timeout(timeout)
            }
            Self::Tcp(stream) => set_tcp_timeouts(stream, timeout),
            // It may have to write to read, and to read to write.
            Self::Tls(stream) => set_tcp_timeouts(&stream.sock, timeout),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.write_all(bytes),
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Tls(stream) => {
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(bytes),
            Self::Tcp(stream) => stream.read(bytes),
            Self::Tls(stream) => match stream.read(bytes) {
                // It did not say that it would end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                result => result,
            },
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
            // Who does not take it learns of the end from the socket's.
            let _ = stream.flush();
        }
    }
}

fn set_tcp_timeouts(stream: &TcpStream, timeout: Option<Duration>) -> io::Result<()> {
    stream.set_read_timeout(timeout)?;
    stream.set_write_timeout(timeout)
}

/// Has both sides prove who they are before `deadline`.
fn secure(
    mut connection: ClientConnection,
    mut socket: TcpStream,
    deadline: Instant,
) -> io::Result<Stream> {
    while connection.is_handshaking() {
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        set_tcp_timeouts(&socket, Some(left))?;
        if connection.wants_write() {
            connection.write_tls(&mut socket)?;
            continue;
        }
        if connection.read_tls(&mut socket)? == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if let Err(error) = connection.process_new_packets() {
            // It is told why, if it listens.
            let _ = connection.write_tls(&mut socket);
            return Err(io::Error::other(error));
        }
    }
    Ok(Stream::Tls(Box::new(StreamOwned::new(connection, socket))))
}

/// What TLS says of a connection that failed.
fn tls_error(error: &io::Error) -> Option<String> {
    let inner = error
        .get_ref()?
        .downcast_ref::<vswitch_tls::rustls::Error>()?;
    Some(explain(inner))
}

/// A connection that speaks one version.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    target: Target,
    version: Version,
    framer: Framer,
    /// Came while something else was awaited.
    waiting: VecDeque<Decoded>,
    xid: u32,
    timeout: Duration,
}

impl Connection {
    /// Connects and agrees on one of `versions`.
    pub fn open(
        target: Target,
        papers: &Papers,
        versions: &[Version],
        timeout: Duration,
    ) -> Result<Self, Trouble> {
        let failed = |error| match tls_error(&error) {
            Some(why) => Trouble::Tls {
                target: target.to_string(),
                why,
            },
            None => Trouble::Connect {
                target: target.to_string(),
                error,
            },
        };
        let stream = match &target {
            Target::Unix(path) => Stream::Unix(UnixStream::connect(path).map_err(failed)?),
            Target::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, timeout).map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                Stream::Tcp(stream)
            }
            Target::Ssl(address) => {
                // Who we are is known before anybody is troubled.
                let connection = papers.connect(*address)?;
                let deadline = now() + timeout;
                let stream = TcpStream::connect_timeout(address, timeout).map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                secure(connection, stream, deadline).map_err(|error| match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        Trouble::Timeout(timeout)
                    }
                    io::ErrorKind::ConnectionReset => Trouble::Closed(target.to_string()),
                    _ => failed(error),
                })?
            }
        };
        let highest = versions.iter().copied().max().unwrap_or(Version::V13);
        let mut connection = Self {
            stream,
            target,
            version: highest,
            framer: Framer::new(),
            waiting: VecDeque::new(),
            xid: 0,
            timeout,
        };
        connection.greet(versions)?;
        Ok(connection)
    }

    fn greet(&mut self, versions: &[Version]) -> Result<(), Trouble> {
        self.send(&Message::Hello(Hello::new(versions)))?;
        let deadline = self.deadline();
        let first = self.next(deadline)?;
        match first.message {
            Message::Hello(theirs) => {
                self.version = theirs.agree(versions).map_err(|_| Trouble::NoVersion {
                    target: self.target.to_string(),
                    ours: versions.iter().map(Version::to_string).collect(),
                    theirs: Version::ALL
                        .iter()
                        .filter(|version| theirs.speaks(**version))
                        .map(Version::to_string)
                        .collect(),
                })?;
                Ok(())
            }
            _ => Err(Trouble::Unexpected("something before its hello")),
        }
    }

    /// The version that both sides speak.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where the switch is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Sends a message and answers with its xid.
    pub fn send(&mut self, message: &Message) -> Result<u32, Trouble> {
        let xid = self.next_xid();
        let bytes = message.encode(self.version, xid)?;
        self.write(&bytes)?;
        Ok(xid)
    }

    fn next_xid(&mut self) -> u32 {
        self.xid = following(self.xid);
        self.xid
    }

    fn deadline(&self) -> Instant {
        now() + self.timeout
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let result = self
            .stream
            .set_timeouts(Some(self.timeout))
            .and_then(|()| self.stream.write_all(bytes));
        result.map_err(|error| self.broken(error))
    }

    /// The next message, waiting for it until `deadline`; `None` for a deadline waits for ever.
    /// Echo requests are answered and not handed out.
    pub fn next_until(&mut self, deadline: Option<Instant>) -> Result<Decoded, Trouble> {
        if let Some(waiting) = self.waiting.pop_front() {
            return Ok(waiting);
        }
        self.receive(deadline)
    }

    fn next(&mut self, deadline: Instant) -> Result<Decoded, Trouble> {
        self.next_until(Some(deadline))
    }

    fn receive(&mut self, deadline: Option<Instant>) -> Result<Decoded, Trouble> {
        loop {
            if let Some(bytes) = self.framer.next_message()? {
                let decoded = Message::decode(bytes)?;
                if let Message::EchoRequest(payload) = decoded.message {
                    let reply = Message::EchoReply(payload).encode(decoded.version, decoded.xid)?;
                    self.write(&reply)?;
                    continue;
                }
                return Ok(decoded);
            }
            let bytes = self.read(deadline)?;
            self.framer.push(&bytes);
        }
    }

    fn read(&mut self, deadline: Option<Instant>) -> Result<Vec<u8>, Trouble> {
        let mut bytes = vec![0; READ_SIZE];
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(Trouble::Timeout(self.timeout));
            }
            let result = self
                .stream
                .set_timeouts(left)
                .and_then(|()| self.stream.read(&mut bytes));
            match result {
                Ok(0) => return Err(Trouble::Closed(self.target.to_string())),
                Ok(size) => {
                    bytes.truncate(size);
                    return Ok(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    fn broken(&self, error: io::Error) -> Trouble {
        if let Some(why) = tls_error(&error) {
            return Trouble::Tls {
                target: self.target.to_string(),
                why,
            };
        }
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Trouble::Timeout(self.timeout),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                Trouble::Closed(self.target.to_string())
            }
            _ => Trouble::Connect {
                target: self.target.to_string(),
                error,
            },
        }
    }

    /// Sends a request and waits for the message with its xid; others wait in line.
    pub fn ask(&mut self, request: &Message) -> Result<Decoded, Trouble> {
        let xid = self.send(request)?;
        let deadline = self.deadline();
        loop {
            let decoded = self.receive(Some(deadline))?;
            if decoded.xid != xid {
                self.waiting.push_back(decoded);
                continue;
            }
            if let Message::Error(_) = decoded.message {
                return Err(Trouble::Refused {
                    error: Box::new(decoded),
                });
            }
            return Ok(decoded);
        }
    }

    /// Asks for statistics and hands each part of the answer to `part`, with the answer's xid.
    pub fn ask_parts(
        &mut self,
        request: Request,
        mut part: impl FnMut(Reply),
    ) -> Result<u32, Trouble> {
        let request = Message::MultipartRequest(request, false);
        let first = self.ask(&request)?;
        let xid = first.xid;
        let deadline = self.deadline();
        let mut decoded = first;
        loop {
            match decoded.message {
                Message::MultipartReply(reply, more) if decoded.xid == xid => {
                    part(reply);
                    if !more {
                        return Ok(xid);
                    }
                }
                Message::Error(_) if decoded.xid == xid => {
                    return Err(Trouble::Refused {
                        error: Box::new(decoded),
                    });
                }
                _ if decoded.xid == xid => {
                    return Err(Trouble::Unexpected("another kind of message"));
                }
                _ => self.waiting.push_back(decoded),
            }
            decoded = self.receive(Some(deadline))?;
        }
    }

    /// What [`Connection::change`] is to send, made with the xid that each will have.
    pub fn numbered(
        &self,
        messages: &[Message],
        make: impl Fn(&Message, Version, u32) -> Result<Message, EncodeError>,
    ) -> Result<Vec<Message>, Trouble> {
        let mut xid = self.xid;
        let mut made = Vec::with_capacity(messages.len());
        for message in messages {
            xid = following(xid);
            made.push(make(message, self.version, xid)?);
        }
        Ok(made)
    }

    /// Errors that came while something else was awaited.
    pub fn errors(&mut self) -> Vec<Decoded> {
        let waiting = std::mem::take(&mut self.waiting);
        let (errors, others): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|decoded| matches!(decoded.message, Message::Error(_)));
        self.waiting = others.into();
        errors
    }

    /// Sends changes and a barrier, and waits until all are done or refused; the refusals, in
    /// order.
    pub fn change(&mut self, messages: &[Message]) -> Result<Vec<Refused>, Trouble> {
        let first = following(self.xid);
        let mut bytes = Vec::with_capacity(WRITE_SIZE);
        for message in messages {
            let xid = self.next_xid();
            bytes.extend(message.encode(self.version, xid)?);
            if bytes.len() >= WRITE_SIZE {
                self.write(&bytes)?;
                bytes.clear();
            }
        }
        let barrier = self.next_xid();
        bytes.extend(Message::BarrierRequest.encode(self.version, barrier)?);
        self.write(&bytes)?;
        let mut refused = Vec::new();
        // As long as answers come it goes on: a load of many flows takes its time.
        loop {
            let deadline = self.deadline();
            let decoded = self.receive(Some(deadline))?;
            match decoded.message {
                Message::BarrierReply if decoded.xid == barrier => return Ok(refused),
                Message::Error(_) => refused.push(Refused {
                    at: decoded.xid.wrapping_sub(first) as usize,
                    error: decoded,
                }),
                _ => self.waiting.push_back(decoded),
            }
        }
    }
}

/// Zero stands for what nobody asked for.
const fn following(xid: u32) -> u32 {
    match xid.wrapping_add(1) {
        0 => 1,
        xid => xid,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the deadline of a blocking socket call; no output depends on it"
)]
fn now() -> Instant {
    Instant::now()
}
