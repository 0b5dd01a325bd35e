//! A connection that is told of events.
//!
//! Law: control never waits for who listens. What a listener's socket does not take now, waits here;
//! packets for controllers wait up to [`PACKETS_SIZE_MAX`] and are lost beyond it, and the next one
//! says how many. Of flows nothing is lost: a listener that lets [`SIZE_MAX`] of them pile up is
//! cut off, and learns what is when it connects again and asks.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;

use rustix::net::SendFlags;
use vswitch_dpapi::frame::encode;
use vswitch_dpapi::message::Reply;
use vswitch_dpapi::{Connection, Event, FrameError};

/// Bytes that may wait before packets are lost: some thousands of ordinary ones.
const PACKETS_SIZE_MAX: usize = 4 << 20;

/// Bytes that may wait: half a million flows that have gone.
const SIZE_MAX: usize = 128 << 20;

/// What waits for a listener.
#[derive(Debug, Default)]
pub(super) struct Listener {
    frames: VecDeque<Vec<u8>>,
    /// Bytes of them.
    size: usize,
    /// Bytes of the first that were sent.
    sent: usize,
    /// Packets lost since the last that waits.
    lost: u64,
}

impl Listener {
    /// Puts an event at the end. False when there is no more room for flows.
    pub(super) fn push(&mut self, event: &Event) -> Result<bool, FrameError> {
        let reply = match event {
            Event::PacketIn(_) if self.size > PACKETS_SIZE_MAX => {
                self.lost += 1;
                return Ok(true);
            }
            Event::PacketIn(packet) => {
                let mut packet = packet.clone();
                packet.lost += std::mem::take(&mut self.lost);
                Reply::Event(Box::new(Event::PacketIn(packet)))
            }
            other => Reply::Event(Box::new(other.clone())),
        };
        let frame = encode(&reply, 0)?;
        self.size += frame.len();
        self.frames.push_back(frame);
        Ok(self.size <= SIZE_MAX)
    }

    /// Sends what the socket takes now.
    pub(super) fn flush(&mut self, connection: &Connection) -> io::Result<()> {
        while let Some(frame) = self.frames.front() {
            let rest = frame.get(self.sent..).unwrap_or_default();
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(connection.stream().as_fd(), rest, flags) {
                Ok(len) => self.sent += len,
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            if self.sent >= frame.len() {
                self.size -= frame.len();
                self.sent = 0;
                self.frames.pop_front();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use vswitch_dpapi::{BridgeId, PacketIn, Removal};
    use vswitch_flow::action::Reason;
    use vswitch_flow::{FlowRule, Match, OfPort};

    use super::*;

    fn packet_in(size: usize) -> Event {
        Event::PacketIn(Box::new(PacketIn {
            bridge: BridgeId(1),
            reason: Reason::Action,
            implicit_miss: false,
            table: 0,
            cookie: 0,
            controller: 0,
            max_len: 65_535,
            in_port: OfPort(1),
            packet: vec![0; size],
            fields: Match::any(),
            userdata: Vec::new(),
            continuation: None,
            lost: 0,
        }))
    }

    fn removed(priority: u16) -> Event {
        Event::FlowRemoved {
            bridge: BridgeId(1),
            rule: Box::new(FlowRule {
                priority,
                ..FlowRule::default()
            }),
            reason: Removal::Idle,
            packets: 0,
            bytes: 0,
            age_ms: 0,
        }
    }

    #[test]
    fn a_slow_listener_loses_packets_is_told_how_many_and_loses_no_flow() {
        let (near, far) = UnixStream::pair().expect("socketpair");
        let (near, mut far) = (Connection::new(near), Connection::new(far));
        let mut listener = Listener::default();
        for priority in 0..200 {
            for _ in 0..10 {
                assert!(
                    listener
                        .push(&packet_in(60_000))
                        .expect("it can be encoded")
                );
            }
            assert!(
                listener
                    .push(&removed(priority))
                    .expect("it can be encoded")
            );
            listener.flush(&near).expect("the socket is open");
        }
        assert!(listener.size < PACKETS_SIZE_MAX + (1 << 20));
        let (mut packets, mut lost, mut flows) = (0, 0, 0);
        let mut see = |reply| match reply {
            Reply::Event(event) => match *event {
                Event::PacketIn(packet) => {
                    packets += 1;
                    lost += packet.lost;
                }
                Event::FlowRemoved { rule, .. } => {
                    assert_eq!(rule.priority, flows);
                    flows += 1;
                }
                other => panic!("unexpected: {other:?}"),
            },
            other => panic!("unexpected: {other:?}"),
        };
        while !listener.frames.is_empty() {
            listener.flush(&near).expect("the socket is open");
            while let Some((reply, _)) = far.try_receive::<Reply>().expect("whole frames") {
                see(reply);
            }
        }
        assert!(listener.push(&packet_in(60)).expect("it can be encoded"));
        listener.flush(&near).expect("the socket is open");
        while let Some((reply, _)) = far.try_receive::<Reply>().expect("whole frames") {
            see(reply);
        }
        assert_eq!(flows, 200);
        assert_eq!(packets + lost, 2001);
        assert!(lost > 1000, "{lost}");
    }
}
