//! A packet followed through the tables, for people.
//!
//! Its way may be several: where headers have to be read again, another one begins, and each is told
//! like the first. Without a packet what is read again is what the actions have left of the key; with
//! one, a worker does the actions to it and the headers are read from what comes of it.
//!
//! Nobody asks connection tracking: what it answers is chosen by the asker, or is a new connection.
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
use vswitch_flow::{CT_WORD, Field, FlowKey, META_WORD, OfPort, PACKET_WORDS, SparseKey};

use super::{Control, Refusal};
use crate::extract::{Extracted, compose, extract_into};
use crate::pipeline::{self, CtAction, DpAction, Frozen, Start, Stretch, Tables};
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
    /// It begins with what tracking answers to this.
    after: Option<Arc<CtAction>>,
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
            after: None,
        }]);
        let mut ct_next = request.ct_next.iter().copied();
        for _ in 0..WAYS_MAX {
            let Some(mut way) = ways.pop_front() else {
                break;
            };
            let tracked = way.after.take().map(|ct| {
                let translates = way.frame.is_none();
                pipeline::resume_tracked(&ct, &mut way.key, ct_next.next(), translates)
            });
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
                let mut title = format!("recirc({:#x})", frozen.id);
                let mut about = Vec::new();
                if let Some((how, lines)) = tracked {
                    title.push_str(" - resume conntrack with ");
                    title.push_str(&how);
                    about = lines;
                }
                told.lines.extend([String::new(), rule.clone(), title]);
                told.lines.extend(about);
                told.lines.extend([rule, String::new()]);
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
                DpAction::Recirculate(frozen) => stops.push((frozen, None)),
                DpAction::CheckLarger { larger, other, .. } => {
                    stops.extend([(larger, None), (other, None)]);
                }
                DpAction::Ct(ct) => {
                    stops.extend(ct.table.iter().map(|frozen| (frozen, Some(ct))));
                    stops.extend(ct.rest.iter().map(|frozen| (frozen, None)));
                }
                _ => {}
            }
        }
        let Some(frame) = &way.frame else {
            let ways = stops.into_iter().filter_map(|(frozen, after)| {
                Some(Way {
                    frozen: Some(Arc::clone(frozen)),
                    key: *stretch.stops.get(&frozen.id)?,
                    frame: None,
                    after: after.cloned(),
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
            let Some((frozen, after)) = stops.iter().find(|(frozen, _)| frozen.id == id) else {
                continue;
            };
            let mut key = way.key;
            read(&frame, &mut key, number)?;
            key.set(Field::RecircId, id.into());
            if let Some(stop) = after.and(stretch.stops.get(&id)) {
                key.words[CT_WORD..PACKET_WORDS]
                    .copy_from_slice(&stop.words[CT_WORD..PACKET_WORDS]);
            }
            ways.push(Way {
                frozen: Some(Arc::clone(frozen)),
                key,
                frame: Some(frame),
                after: after.cloned(),
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
