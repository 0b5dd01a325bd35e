//! TLS over a socket that does not block: what [`Stream`] does where its peer speaks TLS.
//!
//! Law: bytes count as written when the kernel has taken all that became of them, so that whoever waits for
//! room waits for the right thing. Until then the same bytes are offered again, as for any socket that took
//! none, and are encrypted once.
//!
//! [`Stream`]: super::stream::Stream

use std::io::{self, Read, Write};

use vswitch_tls::rustls::Connection;
use vswitch_tls::{explain, rustls};

/// Records that one read takes from the socket at most before others get their turn.
const TURN: usize = 16;

/// A connection of TLS and what is on its way through it.
#[derive(Debug)]
pub(super) struct Tls {
    connection: Connection,
    /// Bytes that were taken from the writer and are not all with the kernel yet.
    taken: usize,
    /// There may be bytes for the reader without anything new from the socket.
    more: bool,
}

impl Tls {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            taken: 0,
            more: false,
        }
    }

    /// Both sides have not yet proved who they are.
    pub(super) fn is_greeting(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// There may be something to read although the socket has nothing.
    pub(super) fn has_more(&self) -> bool {
        self.more
    }

    /// Hands the kernel what is to be sent.
    pub(super) fn flush(&mut self, mut socket: impl Write) -> io::Result<()> {
        while self.connection.wants_write() {
            if self.connection.write_tls(&mut socket)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Takes what has come; 0 is the end. What TLS makes of it is told by [`Tls::digest`].
    pub(super) fn take(&mut self, mut socket: impl Read) -> io::Result<usize> {
        self.connection.read_tls(&mut socket)
    }

    /// Looks at what was taken. A peer that is refused is told why, as far as it listens.
    pub(super) fn digest(&mut self, socket: impl Write) -> Result<(), rustls::Error> {
        let result = self.connection.process_new_packets();
        let told = self.flush(socket);
        match (result, told) {
            (Ok(_), _) => Ok(()),
            (Err(error), _) => Err(error),
        }
    }

    /// Reads what is here; 0 is the end, `WouldBlock` is nothing yet.
    pub(super) fn read(
        &mut self,
        bytes: &mut [u8],
        mut take: impl FnMut(&mut Self) -> io::Result<usize>,
        mut socket: impl Write,
    ) -> io::Result<usize> {
        for _ in 0..TURN {
            match self.connection.reader().read(bytes) {
                Ok(size) => {
                    self.more = size == bytes.len();
                    return Ok(size);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.more = false,
                // It did not say that it would end. Messages have a length, so nothing is lost.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) => return Err(error),
            }
            take(self)?;
            self.digest(&mut socket)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, explain(&error)))?;
        }
        self.more = true;
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Writes what fits; see the module's law.
    pub(super) fn write(&mut self, bytes: &[u8], mut socket: impl Write) -> io::Result<usize> {
        if self.taken == 0 {
            // What is on its way already may leave no room.
            self.flush(&mut socket)?;
            self.taken = self.connection.writer().write(bytes)?;
        }
        self.flush(socket)?;
        Ok(std::mem::take(&mut self.taken))
    }

    /// Says that nothing more will come, as far as the socket takes it.
    pub(super) fn end(&mut self, socket: impl Write) {
        self.connection.send_close_notify();
        // Who does not take it learns of the end from the socket's.
        let _ = self.flush(socket);
    }
}
