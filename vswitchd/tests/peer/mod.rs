//! The other end of an OpenFlow connection to a `vswitchd` under test.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a part of each test program, none of which needs all of it"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::json;
use vswitch_flow::action::Action;
use vswitch_flow::{
    Field, FlowCommand, FlowMod, FlowRule, FlowSelect, Instructions, Match, OfPort,
};
use vswitch_openflow::error::ErrorKind as Refused;
use vswitch_openflow::flow_stats::FlowRequest;
use vswitch_openflow::hello::Hello;
use vswitch_openflow::multipart::{Reply, Request};
use vswitch_openflow::{Decoded, ErrorCode, Framer, Layout, Message, Version};

use crate::place::{Daemon, LONG, Place};

/// The other end of a connection.
pub struct Peer<S> {
    pub stream: S,
    framer: Framer,
    version: Version,
}

impl Peer<UnixStream> {
    pub fn mgmt(place: &Place, version: Version) -> Self {
        let stream = UnixStream::connect(place.rundir().join("br0.mgmt")).expect("it listens");
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        Self::greet(stream, version)
    }
}

impl<S: Read + Write> Peer<S> {
    pub fn greet(stream: S, version: Version) -> Self {
        let mut peer = Self {
            stream,
            framer: Framer::new(),
            version,
        };
        peer.send(1, &Message::Hello(Hello::new(&[version])));
        assert!(matches!(peer.next().message, Message::Hello(_)));
        peer
    }

    pub fn send(&mut self, xid: u32, message: &Message) {
        let bytes = message.encode(self.version, xid).expect("it can be said");
        self.stream.write_all(&bytes).expect("sent");
    }

    pub fn next(&mut self) -> Decoded {
        let mut bytes = [0; 4096];
        loop {
            if let Some(message) = self.framer.next_message().expect("OpenFlow") {
                return Message::decode(message).expect("OpenFlow");
            }
            let size = self.stream.read(&mut bytes).expect("an answer");
            assert!(size > 0, "the switch closed the connection");
            self.framer.push(&bytes[..size]);
        }
    }

    /// What comes until the answer to a barrier.
    pub fn barrier(&mut self) -> Vec<Decoded> {
        self.send(0xbbbb, &Message::BarrierRequest);
        let mut before = Vec::new();
        loop {
            let decoded = self.next();
            if decoded.message == Message::BarrierReply && decoded.xid == 0xbbbb {
                return before;
            }
            before.push(decoded);
        }
    }

    pub fn flows(&mut self) -> Vec<FlowRule> {
        let request = FlowRequest {
            layout: Layout::Standard,
            select: FlowSelect::default(),
        };
        self.send(7, &Message::MultipartRequest(Request::Flow(request), false));
        let mut flows = Vec::new();
        loop {
            let decoded = self.next();
            let Message::MultipartReply(Reply::Flow(_, rows), more) = decoded.message else {
                panic!("not a list of flows: {decoded:?}");
            };
            assert_eq!(decoded.xid, 7);
            flows.extend(rows.into_iter().map(|row| row.rule));
            if !more {
                return flows;
            }
        }
    }
}

pub fn rule(priority: u16, port: u32) -> FlowRule {
    FlowRule {
        priority,
        matches: Match::any().with(Field::InPort, port.into()),
        instructions: Instructions::apply(vec![Action::Output(OfPort(1))]),
        ..FlowRule::default()
    }
}

pub fn add(rule: FlowRule) -> Message {
    Message::FlowMod(Box::new(FlowMod::new(FlowCommand::Add, rule).into()))
}

/// The codes of errors with their xids.
pub fn errors(messages: &[Decoded]) -> Vec<(u32, ErrorCode)> {
    let error = |decoded: &Decoded| match &decoded.message {
        Message::Error(error) => match error.kind {
            Refused::Known(code) => (decoded.xid, code),
            Refused::Other { .. } => panic!("an unknown error: {error:?}"),
        },
        other => panic!("no error: {other:?}"),
    };
    messages.iter().map(error).collect()
}

pub fn start(name: &str) -> Option<(Place, Daemon)> {
    let place = Place::new(name)?;
    let daemon = place.start();
    let options = json!({"fail_mode": "secure"});
    daemon.ok("add-br", json!({"name": "br0", "options": options}));
    Some((place, daemon))
}
