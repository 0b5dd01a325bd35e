//! A client of a bridge's OpenFlow socket that sends what it likes and reads when it likes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vswitch_flow::FlowSelect;
use vswitch_openflow::flow_stats::{FlowRequest, FlowStats};
use vswitch_openflow::hello::Hello;
use vswitch_openflow::multipart::{Reply, Request};
use vswitch_openflow::{Decoded, Framer, Layout, Message, Version};

use crate::process::Switch;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that has said hello, in OpenFlow 1.3.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    framer: Framer,
    xid: u32,
}

impl Client {
    /// Connects to a bridge of a switch.
    pub fn connect(switch: &Switch, bridge: &str) -> Result<Self> {
        let stream = connect(switch, bridge)?;
        let mut client = Self {
            stream,
            framer: Framer::new(),
            xid: 0,
        };
        client.send(&Message::Hello(Hello::new(&[Version::V13])))?;
        let hello = client.receive()?;
        ensure!(matches!(hello.message, Message::Hello(_)), "{hello:?}");
        Ok(client)
    }

    /// The bytes of a message, with a number of its own.
    pub fn encode(&mut self, message: &Message) -> Result<Vec<u8>> {
        self.xid += 1;
        Ok(message.encode(Version::V13, self.xid)?)
    }

    /// Sends a message; gives back its number.
    pub fn send(&mut self, message: &Message) -> Result<u32> {
        let bytes = self.encode(message)?;
        self.write(&bytes)?;
        Ok(self.xid)
    }

    /// Sends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("to send")
    }

    /// The next message.
    pub fn receive(&mut self) -> Result<Decoded> {
        let mut bytes = [0; 16 << 10];
        loop {
            if let Some(message) = self.framer.next_message()? {
                return Ok(Message::decode(message)?);
            }
            let size = self.stream.read(&mut bytes).context("an answer")?;
            ensure!(size > 0, "the switch closed the connection");
            self.framer.push(&bytes[..size]);
        }
    }

    /// Waits until everything that was sent is in force; an error if anything was refused.
    pub fn settle(&mut self) -> Result<()> {
        let xid = self.send(&Message::BarrierRequest)?;
        loop {
            let decoded = self.receive()?;
            match decoded.message {
                Message::BarrierReply if decoded.xid == xid => return Ok(()),
                Message::Error(error) => bail!("{} was refused: {error:?}", decoded.xid),
                _ => {}
            }
        }
    }

    /// Asks for all flows, and does not read the answer.
    pub fn ask_for_flows(&mut self) -> Result<u32> {
        let request = FlowRequest {
            layout: Layout::Standard,
            select: FlowSelect::default(),
        };
        self.send(&Message::MultipartRequest(Request::Flow(request), false))
    }

    /// All flows.
    pub fn flows(&mut self) -> Result<Vec<FlowStats>> {
        let xid = self.ask_for_flows()?;
        let mut flows = Vec::new();
        loop {
            let decoded = self.receive()?;
            let Message::MultipartReply(Reply::Flow(_, rows), more) = decoded.message else {
                continue;
            };
            ensure!(decoded.xid == xid, "an answer to another request");
            flows.extend(rows);
            if !more {
                return Ok(flows);
            }
        }
    }
}

/// Connects to a bridge of a switch, without a word.
pub fn connect(switch: &Switch, bridge: &str) -> Result<UnixStream> {
    let path = switch.rundir().join(format!("{bridge}.mgmt"));
    let stream = UnixStream::connect(path).context("the bridge's socket")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}
