//! What peers are told without asking: packets, ports, flows that have gone.

use std::time::Duration;

use vswitch_dpapi::message::Request;
use vswitch_dpapi::{Event, PacketIn as Missed, Removal};
use vswitch_flow::action::Reason;
use vswitch_flow::{Field, FlowFlags, FlowRule};
use vswitch_openflow::flow_removed::{FlowRemoved, RemovedReason};
use vswitch_openflow::packet_in::PacketIn;
use vswitch_openflow::{Message, Version};

use super::link::OWN_XID;
use super::ports::differences;
use super::session::{Kind, Session};
use crate::control::Control;

/// Bytes of a message beside its packet that are always enough: a header, metadata of every field.
const BESIDE: usize = 4096;

/// Largest message.
const MESSAGE_MAX: usize = 65_535;

impl Session {
    /// The bytes of a message for this peer; `None`, and a line in the log, when its version has no
    /// such message.
    pub(super) fn encode(&self, message: &Message, xid: u32) -> Option<Vec<u8>> {
        match message.encode(self.version, xid) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                tracing::debug!(%error, "a message could not be written");
                None
            }
        }
    }

    pub(super) fn tell(&self, message: &Message) {
        if let Some(bytes) = self.encode(message, OWN_XID) {
            self.pusher.message(bytes);
        }
    }
}

impl Control {
    /// After each thing that the event loop does: doors as the bridges are, peers told what has
    /// happened, the datapath told what peers want.
    pub async fn settle(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.agent.set_ssl(self.belief.switch.ssl.as_ref());
            self.agent.set_bridges(self.belief.switch.bridges.values());
            let ids: Vec<u32> = self.agent.bridges.keys().copied().collect();
            for id in ids {
                self.agent.watch(id);
                self.tell_ports(id);
            }
        }
        for event in std::mem::take(&mut self.agent.events) {
            match event {
                Event::PacketIn(packet) => self.tell_packet(*packet),
                Event::FlowRemoved {
                    bridge,
                    rule,
                    reason,
                    packets,
                    bytes,
                    age_ms,
                } => {
                    let counters = (packets, bytes, Duration::from_millis(age_ms));
                    self.tell_removed(bridge.0, &rule, reason, counters);
                }
                Event::Learned { .. } | Event::Timeouts { .. } | Event::Resolve { .. } => {}
            }
        }
        let changed = self.tables.iter();
        let changed = changed.filter(|(_, tables)| !tables.journal.is_empty());
        let changed: Vec<u32> = changed.map(|(bridge, _)| *bridge).collect();
        for bridge in changed {
            self.tell_monitors(bridge, None, false);
        }
        self.tell_vacancy();
        let misses = self.agent.miss_bridges();
        if misses != self.misses {
            self.misses = misses;
            let request = Request::SetDesired(Box::new(self.desired(&self.belief)));
            if let Err(error) = self.dataplane.tell(&request, &[]).await {
                tracing::debug!(%error, "the datapath was not told who wants missed packets");
            }
        }
    }

    pub(super) fn peers(&self, bridge: u32) -> impl Iterator<Item = &Session> {
        let sessions = self.agent.sessions.values();
        sessions.filter(move |session| session.bridge == bridge)
    }

    /// Tells what has become of a bridge's ports since they were told of last.
    fn tell_ports(&mut self, id: u32) {
        let Some(bridge) = self.bridge_by_id(id) else {
            return;
        };
        let now = self.port_descs(bridge);
        let Some(doors) = self.agent.bridges.get_mut(&id) else {
            return;
        };
        let changes = differences(&doors.ports, &now);
        doors.ports = now;
        for status in changes {
            let reason = u32::from(status.reason.number());
            let message = Message::PortStatus(Box::new(status));
            for peer in self
                .peers(id)
                .filter(|peer| peer.wants(Kind::PortStatus, reason))
            {
                peer.tell(&message);
            }
        }
    }

    fn tell_packet(&self, missed: Missed) {
        let total_len = missed.packet.len();
        let beside = missed.userdata.len() + missed.continuation.as_ref().map_or(0, Vec::len);
        let room = MESSAGE_MAX.saturating_sub(BESIDE + beside);
        let fields = missed.fields.with(Field::InPort, missed.in_port.0.into());
        let mut packet = missed.packet;
        packet.truncate(room);
        let mut message = None;
        let wants = |peer: &&Session| {
            peer.wants_packet(missed.controller, missed.reason, missed.implicit_miss)
        };
        for peer in self.peers(missed.bridge.0).filter(wants) {
            // 1.0 knows no flow for what nothing else matches: there it is a flow like any.
            let explicit = missed.reason == Reason::NoMatch && !missed.implicit_miss;
            let reason = if explicit && peer.version == Version::V10 {
                Reason::Action
            } else {
                missed.reason
            };
            let message = message.get_or_insert_with(|| PacketIn {
                format: peer.packet_in_format,
                buffer: None,
                total_len: u32::try_from(total_len).unwrap_or(u32::MAX),
                reason,
                table: missed.table,
                cookie: Some(missed.cookie).filter(|cookie| *cookie != u64::MAX),
                metadata: fields.clone(),
                packet: packet.clone(),
                userdata: missed.userdata.clone(),
                continuation: missed.continuation.clone(),
            });
            message.format = peer.packet_in_format;
            message.reason = reason;
            let message = Message::PacketIn(Box::new(message.clone()));
            if let Some(bytes) = peer.encode(&message, OWN_XID) {
                peer.pusher.packet(bytes);
            }
        }
    }

    fn tell_removed(
        &self,
        bridge: u32,
        rule: &FlowRule,
        reason: Removal,
        (packets, bytes, age): (u64, u64, Duration),
    ) {
        if !rule.flags.has(FlowFlags::SEND_FLOW_REM) {
            return;
        }
        let reason = match reason {
            Removal::Idle => RemovedReason::IdleTimeout,
            Removal::Hard => RemovedReason::HardTimeout,
            Removal::Delete => RemovedReason::Delete,
            Removal::GroupDelete => RemovedReason::GroupDelete,
            Removal::MeterDelete => RemovedReason::MeterDelete,
            Removal::Eviction => RemovedReason::Eviction,
        };
        let number = u32::from(reason.number());
        for peer in self
            .peers(bridge)
            .filter(|peer| peer.wants(Kind::FlowRemoved, number))
        {
            peer.tell(&Message::FlowRemoved(Box::new(FlowRemoved {
                layout: peer.layout,
                matches: rule.matches.clone(),
                cookie: rule.cookie,
                priority: rule.priority,
                reason,
                table: Some(rule.table),
                duration: age.into(),
                idle_timeout: rule.idle_timeout,
                hard_timeout: rule.hard_timeout,
                packets,
                bytes,
            })));
        }
    }
}
