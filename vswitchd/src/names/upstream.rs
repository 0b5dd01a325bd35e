//! Asking the servers that the host uses.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use domain::base::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use vswitch_sys::random;

use super::PORT;

/// Questions that are on their way at a time, of all networks.
const ASKED_MAX: usize = 1024;

/// Servers that are tried one after another, as resolv.conf(5) has them, and how long each is given.
const SERVERS_MAX: usize = 3;
const PATIENCE: Duration = Duration::from_secs(4);

/// Where the host's servers are told.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The servers that the host uses.
#[derive(Debug)]
pub(super) struct Upstream {
    slots: Semaphore,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            slots: Semaphore::new(ASKED_MAX),
        }
    }
}

impl Upstream {
    /// Their answer, or nothing when none of them answers or too many questions are on their way.
    pub(super) async fn ask(&self, question: &[u8], datagram: bool) -> Option<Vec<u8>> {
        let _slot = self.slots.try_acquire().ok()?;
        for server in servers(Path::new(RESOLV_CONF)) {
            let server = SocketAddr::new(server, PORT);
            let answer = async {
                if datagram {
                    by_datagram(server, question).await
                } else {
                    by_stream(server, question).await
                }
            };
            if let Ok(Ok(answer)) = timeout(PATIENCE, answer).await {
                return Some(answer);
            }
        }
        None
    }
}

/// The servers of a resolv.conf(5), read anew each time: it may change.
fn servers(path: &Path) -> Vec<IpAddr> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then_some(())?;
        words.next()?.parse().ok()
    });
    lines.take(SERVERS_MAX).collect()
}

/// Asks under a number of our own: the asker's may be guessed by others.
async fn by_datagram(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let local: IpAddr = if server.is_ipv4() {
        IpAddr::from([0; 4])
    } else {
        IpAddr::from([0; 16])
    };
    let socket = UdpSocket::bind((local, 0)).await?;
    socket.connect(server).await?;
    let mut asked = question.to_vec();
    let [low, high, ..] = random::seed()?.to_ne_bytes();
    if let Some(number) = asked.first_chunk_mut::<2>() {
        *number = [low, high];
    }
    socket.send(&asked).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let size = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..size).unwrap_or_default();
        if is_answer(answer, &asked) {
            return Ok(renumbered(answer, question));
        }
    }
}

async fn by_stream(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let size = u16::try_from(question.len()).map_err(std::io::Error::other)?;
    stream.write_all(&size.to_be_bytes()).await?;
    stream.write_all(question).await?;
    let size = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(size)];
    stream.read_exact(&mut answer).await?;
    if is_answer(&answer, question) {
        Ok(answer)
    } else {
        Err(std::io::Error::other("it answered something else"))
    }
}

fn is_answer(answer: &[u8], question: &[u8]) -> bool {
    match (Message::from_slice(answer), Message::from_slice(question)) {
        (Ok(answer), Ok(question)) => answer.is_answer(question),
        _ => false,
    }
}

/// An answer under the number of a question.
fn renumbered(answer: &[u8], question: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    if let (Some(to), Some(from)) = (answer.first_chunk_mut::<2>(), question.first_chunk::<2>()) {
        *to = *from;
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_those_that_resolv_conf_names() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("resolv.conf");
        let text = "# a comment\nsearch example.org\nnameserver 192.0.2.1\n nameserver  2001:db8::1 \n\
                    nameserver nonsense\nnameserver\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n";
        std::fs::write(&path, text).expect("a file");
        let found: Vec<String> = servers(&path).iter().map(IpAddr::to_string).collect();
        assert_eq!(found, ["192.0.2.1", "2001:db8::1", "192.0.2.3"]);
        assert!(servers(&folder.path().join("nothing")).is_empty());
    }
}
