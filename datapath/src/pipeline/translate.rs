//! From a key to a [`Translation`]: the walk through tables, actions, patch ports and mirrors.
//!
//! A list of tasks stands for the call stack, so that a loop of patch ports costs memory that is
//! bounded and no stack: a task is taken from the end and may put others there, the first to be
//! done last. What is still to be done after a detour waits below the detour's tasks.
//!
//! Law: translation has no effect. It ends: bridges entered, patch ports on one way and actions
//! are bounded, and a packet beyond a bound is dropped whole.

use std::sync::Arc;

use vswitch_flow::{Action, Field, FlowKey, OfPort};

use super::mirror::{MirrorSet, Output};
use super::rule::Rule;
use super::state::{State, Working};
use super::tables::{Bridge, Link, Port, Tables};
use super::trace::Trace;
use super::{DpAction, Learn, Translation, vlan};
use crate::counters::DropReason;
use crate::fdb::Dep;
use crate::port::PortIndex;

/// Patch ports on one way of a packet, as `MAX_DEPTH` of Open vSwitch.
pub const MAX_DEPTH: usize = 64;

/// Bridges that one packet may enter, however it comes there, as `MAX_RESUBMITS` of Open vSwitch.
pub const MAX_ENTRIES: usize = 4096;

/// Actions of one answer: every port a bridge can have, each with a tag of its own.
pub const MAX_ACTIONS: usize = 3 * 65_536;

/// Something still to be done.
pub(super) enum Task {
    /// The packet has come in by a port.
    Enter(PortIndex),
    /// Look the packet up in the bridge's first table.
    Look,
    /// Go on with a flow's actions.
    Act {
        /// Whose.
        rule: Arc<Rule>,
        /// The next one.
        next: usize,
    },
    /// Send the packet by a port, with outer VLAN `vid` (0 for none) or as it is.
    Emit {
        /// Which.
        port: PortIndex,
        /// With which VLAN.
        vid: Option<u16>,
    },
    /// Copy the packet to these mirrors of a port.
    Mirror {
        /// By which port it comes or goes.
        port: PortIndex,
        /// Which mirrors.
        set: MirrorSet,
    },
    /// Put an earlier state back.
    Restore(Box<State>),
}

/// A translation at work.
pub(super) struct Walk<'a> {
    pub(super) tables: &'a Tables,
    pub(super) work: Working,
    pub(super) out: Translation,
    tasks: Vec<Task>,
    entries: usize,
    trace: Option<&'a mut Trace>,
}

/// What happens to a packet with `key` that came in by `in_port`. The key's own `in_port` is not
/// looked at: flows see the OpenFlow number of `in_port`, and the answer's mask always has all of
/// the field, so a cache key may hold there whatever tells ports apart.
#[must_use]
pub fn translate(
    tables: &Tables,
    key: &FlowKey,
    in_port: PortIndex,
    trace: Option<&mut Trace>,
) -> Translation {
    let mut walk = Walk {
        tables,
        work: Working::new(key),
        out: Translation {
            cacheable: true,
            ..Translation::default()
        },
        tasks: vec![Task::Enter(in_port)],
        entries: 0,
        trace,
    };
    walk.run();
    walk.finish()
}

impl<'a> Walk<'a> {
    fn run(&mut self) {
        while let Some(task) = self.tasks.pop() {
            match task {
                Task::Enter(port) => self.enter(port),
                Task::Look => self.look(),
                Task::Act { rule, next } => self.act(rule, next),
                Task::Emit { port, vid } => self.emit(port, vid),
                Task::Mirror { port, set } => self.mirror(port, set),
                Task::Restore(state) => {
                    // What a mirror has, it has; but another bridge's mirrors are others.
                    let mirrored = self.work.state.mirrored;
                    let same = state.depth == self.work.state.depth;
                    self.work.state = *state;
                    if same {
                        self.work.state.mirrored = mirrored;
                    }
                }
            }
            if self.work.actions.len() > MAX_ACTIONS {
                self.give_up(DropReason::TooMuchWork);
            }
        }
    }

    fn finish(mut self) -> Translation {
        self.out.actions = std::mem::take(&mut self.work.actions);
        self.out.mask = self.work.read;
        self.out.mask.set(Field::InPort, Field::InPort.info().max());
        let last = self
            .out
            .actions
            .iter()
            .rposition(|action| matches!(action, DpAction::Output(_)));
        self.out.actions.truncate(last.map_or(0, |last| last + 1));
        if last.is_some() {
            self.out.drop = None;
        } else {
            self.out.drop.get_or_insert(DropReason::RuleDrop);
        }
        self.out.cacheable &= self.out.learn.is_empty();
        self.out
    }

    /// Notes why an output did not happen. The first reason is the one that is counted when there
    /// is no output at all.
    pub(super) fn note(&mut self, reason: DropReason) {
        self.out.drop.get_or_insert(reason);
        self.say(|| format!("dropped: {}", reason.sentence()));
    }

    /// Drops the packet whatever else was decided.
    fn give_up(&mut self, reason: DropReason) {
        self.tasks.clear();
        self.work.actions.clear();
        self.out.learn.clear();
        self.out.drop = Some(reason);
        self.say(|| format!("dropped: {}", reason.sentence()));
    }

    /// A line of the trace, when there is one.
    pub(super) fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.line(self.work.state.depth, &line());
        }
    }

    /// To be done after what is put there later.
    pub(super) fn later(&mut self, task: Task) {
        self.tasks.push(task);
    }

    pub(super) fn bridge(&self) -> Option<&'a Arc<Bridge>> {
        self.tables.bridges().get(self.work.state.bridge)
    }

    /// The port the packet came in by.
    pub(super) fn in_port(&self) -> Option<&'a Arc<Port>> {
        self.tables.port(self.work.state.in_port?)
    }

    fn enter(&mut self, index: PortIndex) {
        let Some(port) = self.tables.port(index) else {
            return self.note(DropReason::PortUnknown);
        };
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return self.give_up(DropReason::TooMuchWork);
        }
        let state = &mut self.work.state;
        state.bridge = port.bridge_at;
        state.in_port = Some(index);
        state.mirrored = 0;
        self.work.assign(Field::InPort, port.of_port.0.into());
        if self.work.state.depth > 0 {
            self.work.assign(Field::Metadata, 0);
        }
        if let (Some(bridge), Some(trace)) = (self.bridge(), &mut self.trace) {
            trace.bridge(self.work.state.depth, &bridge.name);
        }
        if port.mirror_output {
            return self.note(DropReason::MirrorPort);
        }
        self.later(Task::Look);
        if port.mirror_src != 0 {
            self.later(Task::Mirror {
                port: index,
                set: port.mirror_src,
            });
        }
    }

    fn look(&mut self) {
        let Some(bridge) = self.bridge() else { return };
        let mut mask = vswitch_flow::FlowMask::default();
        let found = bridge
            .table(0)
            .and_then(|table| table.lookup(self.work.key(), &mut mask));
        self.work.read_all(&mask);
        let Some(rule) = found else {
            self.say(|| " 0. No match.".to_owned());
            return self.note(DropReason::NoFlow);
        };
        if let Some(trace) = &mut self.trace {
            trace.rule(self.work.state.depth, rule);
        }
        self.out.rules.push(Arc::clone(rule));
        if rule.flow().instructions.is_drop() {
            self.note(DropReason::RuleDrop);
        }
        self.later(Task::Act {
            rule: Arc::clone(rule),
            next: 0,
        });
    }

    fn act(&mut self, rule: Arc<Rule>, next: usize) {
        let Some(action) = rule.flow().instructions.apply.get(next).cloned() else {
            return;
        };
        if let Some(trace) = &mut self.trace {
            trace.action(self.work.state.depth, &action);
        }
        self.later(Task::Act {
            rule,
            next: next + 1,
        });
        let kept = match action {
            Action::Output(port) => {
                self.output(port);
                return;
            }
            Action::SetField { field, value, mask } => {
                let kept = self.work.set_field(field, value, mask);
                if field == Field::InPort {
                    let number = OfPort(self.work.key().field(field) as u32);
                    self.work.state.in_port = self.bridge().and_then(|b| b.port(number));
                }
                kept
            }
            Action::PushVlan(tpid) => self.work.push_vlan(tpid),
            Action::PopVlan => self.work.pop_vlan(),
            _ => true,
        };
        // A changed packet is news to the mirrors.
        self.work.state.mirrored = 0;
        if !kept {
            self.give_up(DropReason::VlanDepth);
        }
    }

    fn output(&mut self, number: OfPort) {
        let Some(bridge) = self.bridge() else { return };
        let in_port = self.work.state.in_port;
        match number {
            OfPort::NORMAL => self.normal(),
            OfPort::IN_PORT => match in_port {
                Some(port) => self.later(Task::Emit { port, vid: None }),
                None => self.note(DropReason::OutputUnknown),
            },
            OfPort::FLOOD | OfPort::ALL => {
                let mut any = false;
                for &port in bridge.ports().iter().rev() {
                    let usable = self.tables.port(port).is_some_and(|p| !p.mirror_output);
                    if Some(port) != in_port && usable {
                        self.later(Task::Emit { port, vid: None });
                        any = true;
                    }
                }
                if !any {
                    self.note(DropReason::FloodNowhere);
                }
            }
            OfPort::CONTROLLER => self.note(DropReason::NoController),
            _ => match bridge.port(number) {
                None => self.note(DropReason::OutputUnknown),
                Some(port) if Some(port) == in_port => self.note(DropReason::OutputIngress),
                Some(port) => self.later(Task::Emit { port, vid: None }),
            },
        }
    }

    fn emit(&mut self, index: PortIndex, vid: Option<u16>) {
        let Some(port) = self.tables.port(index) else {
            return self.note(DropReason::PortUnknown);
        };
        let before = self.work.state;
        if let Some(vid) = vid
            && !self.work.retag(vid)
        {
            return self.give_up(DropReason::VlanDepth);
        }
        // Done last: forget the tag that only this port wanted.
        self.later(Task::Restore(Box::new(before)));
        if port.mirror_dst != 0 {
            self.later(Task::Mirror {
                port: index,
                set: port.mirror_dst,
            });
        }
        match port.link {
            Link::Device => self.work.output(index),
            Link::Patch(peer) => self.cross(index, peer),
        }
    }

    /// Goes on at the other end of a patch.
    fn cross(&mut self, from: PortIndex, peer: Option<PortIndex>) {
        let connected = peer.filter(|peer| {
            self.tables
                .port(*peer)
                .is_some_and(|port| port.link == Link::Patch(Some(from)))
        });
        let Some(peer) = connected else {
            return self.note(DropReason::PatchUnconnected);
        };
        if self.work.state.depth >= MAX_DEPTH {
            return self.give_up(DropReason::TooDeep);
        }
        self.later(Task::Restore(Box::new(self.work.state)));
        self.work.state.depth += 1;
        self.later(Task::Enter(peer));
    }

    fn mirror(&mut self, index: PortIndex, set: MirrorSet) {
        let mut left = set & !self.work.state.mirrored;
        let (Some(bridge), Some(port)) = (self.bridge(), self.tables.port(index)) else {
            return;
        };
        if left == 0 {
            return;
        }
        let vid = self.outer_vid();
        let Some(vlan) = port.vlan.vlan_of(vid) else {
            return;
        };
        let mut emits = Vec::new();
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left - 1;
            let Some(mirror) = bridge.mirrors().get(at) else {
                continue;
            };
            if !mirror.selects(vlan) {
                continue;
            }
            self.work.state.mirrored |= mirror.same;
            left &= !mirror.same;
            match mirror.output {
                Output::Port(to) => {
                    if let Some(port) = self.tables.port(to) {
                        emits.push((to, port.vlan.vid_of(vlan)));
                    }
                }
                Output::Vlan(to) if to != vlan && !self.is_reserved() => {
                    for &index in bridge.ports() {
                        if let Some(port) = self.tables.port(index)
                            && port.vlan.carries(to)
                            && !port.mirror_output
                        {
                            emits.push((index, port.vlan.vid_of(to)));
                        }
                    }
                }
                Output::Vlan(_) => {}
            }
        }
        for (port, vid) in emits.into_iter().rev() {
            self.later(Task::Emit {
                port,
                vid: Some(vid),
            });
        }
    }

    /// The outer VLAN identifier; 0 without a tag.
    pub(super) fn outer_vid(&mut self) -> u16 {
        let bits = vlan::PRESENT | vlan::VID;
        let tci = self.work.bits(Field::VlanTci, bits.into()) as u16;
        if tci & vlan::PRESENT == 0 {
            0
        } else {
            tci & vlan::VID
        }
    }

    /// Records what the answer rests on.
    pub(super) fn depend(&mut self, dep: Dep) {
        if !self.out.deps.add(dep) {
            self.out.cacheable = false;
        }
    }

    /// Records what the packet teaches, once.
    pub(super) fn learn(&mut self, learn: Learn) {
        if !self.out.learn.contains(&learn) {
            self.out.learn.push(learn);
        }
    }
}
