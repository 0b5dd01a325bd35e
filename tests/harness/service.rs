//! A service that says who it is and whom it sees, so that a client learns where its packets went
//! and what became of its address.
//!
//! A line over TCP, or a datagram over UDP, is answered with a line of the service's name and the
//! sender's address and port as the service sees them.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::net::Shutdown;

use crate::netns::Namespace;

/// How long an answer may take that is to come.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection is tried that is not to come about: the first segment, and no repetition
/// (RFC 6298 §2.1 has it after a second). What is let through takes a few milliseconds.
const DENIAL: Duration = Duration::from_millis(250);

/// A running service, over TCP and UDP; dropping it ends it, and the connections with it.
#[derive(Debug)]
pub struct Service {
    target: SocketAddr,
    listener: Arc<TcpListener>,
    datagrams: Arc<UdpSocket>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Service {
    /// Listens on an address of `host`; port 0 takes any that is free.
    pub fn start(host: &Namespace, name: &str, address: IpAddr, port: u16) -> Result<Self> {
        let (listener, datagrams) = host.run(|| {
            let listener = TcpListener::bind((address, port))
                .with_context(|| format!("{name}: could not listen on {address} port {port}"))?;
            let port = listener.local_addr()?.port();
            Ok((listener, UdpSocket::bind((address, port))?))
        })?;
        let (listener, datagrams) = (Arc::new(listener), Arc::new(datagrams));
        let target = listener.local_addr()?;
        let (accepting, named) = (Arc::clone(&listener), name.to_owned());
        let streams = host.spawn(move || {
            let mut open = Vec::new();
            // Shut down, the listener accepts no more: the service is over.
            while let Ok((stream, peer)) = accepting.accept() {
                let name = named.clone();
                open.push(stream.try_clone()?);
                std::thread::spawn(move || tell(&stream, &name, peer));
            }
            for stream in open {
                // It may have been closed by its client.
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
            Ok(())
        })?;
        let (receiving, name) = (Arc::clone(&datagrams), name.to_owned());
        let answers = host.spawn(move || {
            let mut buffer = vec![0; 65536];
            loop {
                match receiving.recv_from(&mut buffer) {
                    // Shut down, the socket has nothing more from nobody.
                    Ok((0, _)) => return Ok(()),
                    Ok((_, peer)) => {
                        receiving.send_to(line(&name, peer).as_bytes(), peer)?;
                    }
                    // About an earlier answer, whose reader is gone.
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                    Err(_) => return Ok(()),
                }
            }
        })?;
        Ok(Self {
            target,
            listener,
            datagrams,
            threads: vec![streams, answers],
        })
    }

    /// Where it listens.
    pub fn target(&self) -> SocketAddr {
        self.target
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(self.listener.as_fd(), Shutdown::Both);
        // Wakes its reader, although a datagram socket without a peer cannot be shut down.
        let _ = rustix::net::shutdown(self.datagrams.as_fd(), Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn line(name: &str, peer: SocketAddr) -> String {
    format!("{name} {peer}\n")
}

/// Answers the lines of one connection until it ends.
fn tell(stream: &TcpStream, name: &str, peer: SocketAddr) -> Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut asked = String::new();
    let mut stream = stream;
    while lines.read_line(&mut asked)? > 0 {
        stream.write_all(line(name, peer).as_bytes())?;
        asked.clear();
    }
    // Others hold the socket as well, so that it does not close by itself.
    stream.shutdown(std::net::Shutdown::Write)?;
    Ok(())
}

/// What a service said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who answered.
    pub name: String,
    /// Whom it saw.
    pub seen: SocketAddr,
}

impl Told {
    fn read(text: &str) -> Result<Self> {
        let (name, seen) = text
            .trim_end()
            .split_once(' ')
            .with_context(|| format!("{text:?} is no answer"))?;
        Ok(Self {
            name: name.to_owned(),
            seen: seen.parse()?,
        })
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} saw {}", self.name, self.seen)
    }
}

/// A TCP connection to a service that stays open.
#[derive(Debug)]
pub struct Talk {
    lines: BufReader<TcpStream>,
}

impl Talk {
    /// Connects.
    pub fn open(from: &Namespace, target: SocketAddr) -> Result<Self> {
        Self::open_within(from, target, PATIENCE)
    }

    fn open_within(from: &Namespace, target: SocketAddr, limit: Duration) -> Result<Self> {
        let stream = from.run(|| {
            TcpStream::connect_timeout(&target, limit)
                .with_context(|| format!("no connection to {target}"))
        })?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            lines: BufReader::new(stream),
        })
    }

    /// Asks once more on this connection.
    pub fn ask(&mut self) -> Result<Told> {
        let stream = self.lines.get_mut();
        stream.write_all(b"who?\n")?;
        let mut answer = String::new();
        let size = self.lines.read_line(&mut answer).context("no answer")?;
        ensure!(size > 0, "the connection was closed");
        Told::read(&answer)
    }

    /// The client's own address and port.
    pub fn local(&self) -> Result<SocketAddr> {
        Ok(self.lines.get_ref().local_addr()?)
    }

    /// Closes the own direction, and waits until the service has closed the other.
    pub fn close(mut self) -> Result<()> {
        self.lines.get_ref().shutdown(std::net::Shutdown::Write)?;
        let mut rest = Vec::new();
        self.lines.read_to_end(&mut rest)?;
        ensure!(rest.is_empty(), "{rest:?} came after the last answer");
        Ok(())
    }
}

/// Connects, asks once and closes.
pub fn ask(from: &Namespace, target: SocketAddr) -> Result<Told> {
    let mut talk = Talk::open(from, target)?;
    let told = talk.ask()?;
    talk.close()?;
    Ok(told)
}

/// Asks by a datagram, from `port` if it is not 0.
pub fn ask_by_datagram(from: &Namespace, target: SocketAddr, port: u16) -> Result<Told> {
    datagram(from, target, port, PATIENCE)
}

fn datagram(from: &Namespace, target: SocketAddr, port: u16, limit: Duration) -> Result<Told> {
    let socket = from.run(|| {
        let socket = UdpSocket::bind((crate::traffic::unspecified(target.ip()), port))?;
        socket.connect(target)?;
        Ok(socket)
    })?;
    socket.set_read_timeout(Some(limit))?;
    socket.send(b"who?")?;
    let mut buffer = [0; 256];
    let size = socket
        .recv(&mut buffer)
        .with_context(|| format!("no answer from {target}"))?;
    Told::read(std::str::from_utf8(&buffer[..size])?)
}

/// Makes sure that `from` cannot connect to a service.
pub fn ensure_no_connection(from: &Namespace, target: SocketAddr) -> Result<()> {
    if let Ok(mut talk) = Talk::open_within(from, target, DENIAL) {
        bail!("{target} was reached over TCP: {:?}", talk.ask());
    }
    Ok(())
}

/// Makes sure that nothing of `from` reaches a service, over TCP and UDP.
pub fn ensure_no_way(from: &Namespace, target: SocketAddr) -> Result<()> {
    ensure_no_connection(from, target)?;
    if let Ok(told) = datagram(from, target, 0, DENIAL) {
        bail!("{target} was reached over UDP: {told}");
    }
    Ok(())
}

/// Sends a datagram to a port where nobody is, and waits for the ICMP error that tells so.
pub fn ensure_told_of_nobody(from: &Namespace, target: SocketAddr) -> Result<()> {
    match datagram(from, target, 0, PATIENCE) {
        Ok(told) => bail!("somebody is there: {told}"),
        Err(error) => {
            let refused = error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|e| e.kind() == ErrorKind::ConnectionRefused);
            ensure!(refused, "no ICMP error came back from {target}: {error:#}");
            Ok(())
        }
    }
}
