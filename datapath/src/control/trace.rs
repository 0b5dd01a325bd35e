//! A packet followed through the tables, for people.
//!
//! Its way may be several: where headers have to be read again, another one begins, and each is told
//! like the first. Without a packet what is read again is what the actions have left of the key; with
//! one, a worker does the actions to it and the headers are read from what comes of it.
//!
//! Law: without a packet nothing changes. With one, addresses and flows are learned and controllers
//! are told, as of any packet, but it leaves by no port and no flow, group or meter counts it. All ways
//! are those of the tables in force when the trace began; flows that it learns come after its end.
//!
//! Spec: `ofproto_trace` in `ofproto/ofproto-dpif-trace.c` of Open vSwitch.

use std::collections::VecDeque;
use std::sync::Arc;

use vswitch_dpapi::message::{Reply, TraceFrame, TraceReport, TraceRequest};
use vswitch_flow::text::Names;
use vswitch_flow::{Field, FlowKey, META_WORD, OfPort, PACKET_WORDS, SparseKey};

use super::{Control, Refusal};
use crate::extract::{Extracted, compose, extract_into};
use crate::pipeline::{self, DpAction, Frozen, Start, Stretch, Tables};
use crate::port::PortIndex;
use crate::worker::{Command, Traced};

/// Ways of one packet that are told. Each may begin two others.
const WAYS_MAX: usize = 64;

/// Columns of the lines between two ways, as Open vSwitch draws them.
const RULE: usize = 79;

/// The port of packets that came in by none.
const NOWHERE: PortIndex = PortIndex(u32::MAX);

/// A way that is still to be told.
struct Way {
    /// Where it goes on; the first begins.
    frozen: Option<Arc<Frozen>>,
    /// What headers and pipeline say of the packet.
    key: FlowKey,
    /// The packet, if there is one.
    frame: Option<Vec<u8>>,
}

impl Control {
    /// Tells what would happen to a packet, or, if there is one, what happens.
    pub(super) fn trace(&mut self, request: TraceRequest) -> Result<Reply, Refusal> {
        let tables = Arc::clone(self.ledger.tables());
        let bridge = self.bridge(request.bridge)?;
        let number = OfPort(request.key.field(Field::InPort) as u32);
        let in_port = bridge.port(number).unwrap_or(NOWHERE);
        let names = request.names.then(|| {
            let mut names = Names::default();
            for port in bridge.ports().iter().filter_map(|at| tables.port(*at)) {
                names.add_port(&port.name, port.of_port);
            }
            Arc::new(names)
        });
        let mut key = request.key;
        let frame = match request.frame {
            TraceFrame::None => None,
            TraceFrame::Bytes(frame) => {
                // A packet that just comes has nothing in its registers.
                key.words[PACKET_WORDS..].fill(0);
                read(&frame, &mut key, number)?;
                Some(frame)
            }
            TraceFrame::Made(payload) => Some(compose(&key, &payload)),
        };
        let mut told = TraceReport::default();
        let mut effects = Vec::new();
        let mut ways = VecDeque::from([Way {
            frozen: None,
            key,
            frame,
        }]);
        for _ in 0..WAYS_MAX {
            let Some(way) = ways.pop_front() else { break };
            let start = match (&way.frozen, &request.actions) {
                (Some(frozen), _) => Start::Stop(frozen),
                (None, Some(actions)) => Start::PacketOut(request.bridge, number, actions),
                (None, None) => Start::Port(request.bridge, number),
            };
            let teaches = way.frame.is_some();
            let stretch = pipeline::trace(&tables, &way.key, start, names.clone(), teaches);
            let stretch = stretch.ok_or(Refusal::Bridge(request.bridge))?;
            if let Some(frozen) = &way.frozen {
                let actions = std::mem::take(&mut told.actions);
                told.lines.push(format!("Datapath actions: {actions}"));
                told.lines.extend(told.failure.take());
                let rule = "=".repeat(RULE);
                let title = format!("recirc({:#x})", frozen.id);
                let head = [String::new(), rule.clone(), title, rule, String::new()];
                told.lines.extend(head);
            }
            told.actions = actions_text(&tables, &stretch, &way.key, request.names);
            told.failure = stretch.failure.map(failure_line);
            ways.extend(self.further(&stretch, &way, in_port, number)?);
            told.lines.extend(stretch.lines);
            if way.frame.is_some() {
                effects.push(stretch.translation);
            }
        }
        if !effects.is_empty() {
            let now = self.now();
            let mut gone = Vec::new();
            for translation in effects {
                for learn in &translation.learn {
                    if let Some(bridge) = tables.bridge(learn.bridge) {
                        bridge.fdb.learn(learn.key, learn.port, now);
                    }
                }
                for effect in &translation.effects {
                    if let Some(event) = self.ledger.grant(effect, now, &mut gone) {
                        self.tell(event);
                    }
                }
            }
            self.publish(tables)?;
            self.tell_gone(&gone)?;
            self.look();
        }
        Ok(Reply::Trace(told))
    }

    /// The ways that begin where one ends, in order.
    fn further(
        &self,
        stretch: &Stretch,
        way: &Way,
        in_port: PortIndex,
        number: OfPort,
    ) -> Result<Vec<Way>, Refusal> {
        let actions = &stretch.translation.actions;
        let mut stops = Vec::new();
        for action in actions {
            match action {
                DpAction::Recirculate(frozen) => stops.push(frozen),
                DpAction::CheckLarger { larger, other, .. } => stops.extend([larger, other]),
                _ => {}
            }
        }
        let Some(frame) = &way.frame else {
            let ways = stops.into_iter().filter_map(|frozen| {
                Some(Way {
                    frozen: Some(Arc::clone(frozen)),
                    key: *stretch.stops.get(&frozen.id)?,
                    frame: None,
                })
            });
            return Ok(ways.collect());
        };
        let job = Traced {
            in_port,
            frame: frame.clone(),
            key: SparseKey::from(&way.key),
            actions: actions.clone(),
        };
        let serves = self.held.get(&vswitch_dpapi::PortId(in_port.0));
        let worker = serves.and_then(|held| held.workers.first()).copied();
        let worker = worker.unwrap_or_default() as usize;
        let Some(worker) = self.workers.get(worker).or(self.workers.first()) else {
            return Ok(Vec::new());
        };
        let frames = self.ask(worker, |done| Command::Walk(Box::new(job), done))?;
        let mut ways = Vec::new();
        for (id, frame) in frames {
            let Some(frozen) = stops.iter().find(|frozen| frozen.id == id) else {
                continue;
            };
            let mut key = way.key;
            read(&frame, &mut key, number)?;
            key.set(Field::RecircId, id.into());
            ways.push(Way {
                frozen: Some(Arc::clone(frozen)),
                key,
                frame: Some(frame),
            });
        }
        Ok(ways)
    }
}

/// Takes what a frame's headers say into a key.
fn read(frame: &[u8], key: &mut FlowKey, in_port: OfPort) -> Result<(), Refusal> {
    let mut extracted = Extracted::default();
    extract_into(frame, frame.len(), in_port, &mut extracted)
        .map_err(|reason| Refusal::Frame(reason.sentence()))?;
    let headers = extracted.key.to_dense();
    key.words[..META_WORD].copy_from_slice(&headers.words[..META_WORD]);
    Ok(())
}

fn actions_text(tables: &Tables, stretch: &Stretch, key: &FlowKey, names: bool) -> String {
    let ethertype = key.field(Field::EthType) as u16;
    let actions = &stretch.translation.actions;
    pipeline::actions_text(actions, ethertype, |index| {
        let port = tables.port(index).filter(|_| names);
        port.map_or_else(|| index.0.to_string(), |port| port.name.clone())
    })
}

/// What stands behind the actions of a way that was too long.
fn failure_line(why: &str) -> String {
    format!("Translation failed ({why}), packet is dropped.")
}
