//! An OpenFlow client that changes one flow and waits until that is done, over one connection, so
//! that no program has to start for a change.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use vswitch_flow::FlowMod;
use vswitch_openflow::hello::Hello;
use vswitch_openflow::{Framer, Message, Version};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The version that is spoken.
const VERSION: Version = Version::V13;

/// A connection to a bridge.
#[derive(Debug)]
pub(crate) struct Client {
    stream: UnixStream,
    framer: Framer,
    xid: u32,
}

impl Client {
    /// Connects to the bridge that listens on `socket` and agrees on a version.
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("nobody listens on {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self {
            stream,
            framer: Framer::new(),
            xid: 0,
        };
        client.send(&[Message::Hello(Hello::new(&[VERSION]))])?;
        client.wait(|message| matches!(message, Message::Hello(_)))?;
        Ok(client)
    }

    fn send(&mut self, messages: &[Message]) -> Result<()> {
        let mut bytes = Vec::new();
        for message in messages {
            self.xid += 1;
            bytes.extend(message.encode(VERSION, self.xid)?);
        }
        Ok(self.stream.write_all(&bytes)?)
    }

    /// Reads up to a message; a refusal is an error.
    fn wait(&mut self, is: impl Fn(&Message) -> bool) -> Result<()> {
        let mut bytes = [0; 4096];
        loop {
            while let Some(message) = self.framer.next_message().map_err(refused)? {
                let decoded = Message::decode(message).map_err(refused)?;
                match decoded.message {
                    message if is(&message) => return Ok(()),
                    Message::Error(error) => bail!("refused: {error:?}"),
                    Message::EchoRequest(bytes) => {
                        let reply = Message::EchoReply(bytes).encode(VERSION, decoded.xid)?;
                        self.stream.write_all(&reply)?;
                    }
                    _ => {}
                }
            }
            match self.stream.read(&mut bytes).context("no answer")? {
                0 => bail!("the switch closed the connection"),
                size => self.framer.push(&bytes[..size]),
            }
        }
    }

    /// Asks nothing but an answer.
    pub(crate) fn barrier(&mut self) -> Result<()> {
        self.send(&[Message::BarrierRequest])?;
        self.wait(|message| *message == Message::BarrierReply)
    }

    /// Changes a flow, and waits until that is done.
    pub(crate) fn change(&mut self, change: FlowMod) -> Result<()> {
        let change = Message::FlowMod(Box::new(change.into()));
        self.send(&[change, Message::BarrierRequest])?;
        self.wait(|message| *message == Message::BarrierReply)
    }
}

fn refused(error: vswitch_openflow::OfError) -> anyhow::Error {
    anyhow::anyhow!("not OpenFlow: {error:?}")
}
