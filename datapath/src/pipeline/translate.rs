//! From a key to a [`Translation`]: the walk through tables, actions, groups, patch ports and
//! mirrors.
//!
//! A list of tasks stands for the call stack, so that a loop of lookups or patch ports costs memory
//! that is bounded and no stack: a task is taken from the end and may put others there, the first
//! to be done last. What is still to be done after a detour waits below the detour's tasks, and so
//! the list can also be put aside and taken up again ([`super::freeze`]).
//!
//! A *pipeline* is one packet's way through one bridge's tables; its action set is carried out at
//! its end. A *detour* (clone, bucket, patch port) works on a copy: afterwards the packet is what it
//! was. Where the detour did something that no action undoes, it is put between
//! [`DpAction::Save`] and [`DpAction::Restore`].
//!
//! Law: translation has no effect. It ends: lookups, bridges entered, actions, and detours within
//! one another are bounded, and a packet beyond a bound is dropped whole.

use std::sync::Arc;

use vswitch_dpapi::Fragments;
use vswitch_flow::action::{Reason, ToController};
use vswitch_flow::{Action, BandKind, Field, FlowKey, FlowMask, META_WORD, OfPort};

use super::freeze::{Frozen, Rest};
use super::mirror::{MirrorSet, Output};
use super::recent::Sight;
use super::router::Stage;
use super::rule::Rule;
use super::state::{Emitted, State, Unknown, Working};
use super::tables::{Bridge, Link, Port, Tables};
use super::trace::{Node, Trace};
use super::traffic::Crossing;
use super::{DpAction, Effect, Learn, Lookup, Punt, Same, Translation, vlan};
use crate::counters::DropReason;
use crate::fdb::Dep;
use crate::port::PortIndex;

/// Detours and lookups in the same or an earlier table within one another, as `MAX_DEPTH` of Open
/// vSwitch.
pub const MAX_DEPTH: usize = 64;

/// Lookups and bridges entered of one packet, as `MAX_RESUBMITS` of Open vSwitch.
pub const MAX_ENTRIES: usize = 4096;

/// Actions of one answer: every port a bridge can have, each with a tag of its own.
pub const MAX_ACTIONS: usize = 3 * 65_536;

/// Values that `push` may put aside, 64 KB as in Open vSwitch.
pub(super) const MAX_VALUES: usize = 4096;

/// Lookups of one packet for which room is made at once.
const TABLES_LIKELY: usize = 16;

/// The address of STP messages, which have an OpenFlow port flag of their own.
const STP_MAC: u128 = 0x0180_c200_0000;

/// A list of actions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum List {
    /// Those that a flow applies.
    Of(Same<Rule>),
    /// These.
    Own(Arc<[Action]>),
}

impl List {
    fn get(&self, at: usize) -> Option<&Action> {
        match self {
            Self::Of(rule) => rule.flow().instructions.apply.get(at),
            Self::Own(actions) => actions.get(at),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Of(rule) => rule.flow().instructions.apply.len(),
            Self::Own(actions) => actions.len(),
        }
    }
}

/// What a list of actions is, as controllers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A flow's.
    Apply,
    /// The action set.
    Set,
    /// A bucket's.
    Bucket,
    /// A packet-out's.
    PacketOut,
}

/// Where actions stand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// The flow.
    pub(super) rule: Option<Same<Rule>>,
    /// Its table.
    pub(super) table: u8,
    pub(super) kind: Kind,
    /// Under which line a trace puts what happens there.
    pub(super) node: Node,
}

/// Why a table is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Visit {
    /// The packet enters the pipeline, or an instruction leads on: without a flow it is dropped.
    Goto,
    /// An action asks: without a flow nothing happens.
    Resubmit {
        /// As if the packet had come by this port.
        port: u32,
        /// As if it were the first of its connection.
        ct_tuple: bool,
    },
}

/// Something still to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Task {
    /// The packet has come in by a port.
    Enter(PortIndex),
    /// Look the packet up in a table.
    Look {
        /// Which.
        table: u8,
        /// Why.
        visit: Visit,
    },
    /// Go on with a list of actions.
    Act {
        /// The list.
        list: List,
        /// The next one.
        next: usize,
        /// Where it stands.
        place: Place,
    },
    /// A flow's instructions after those that are applied.
    After(Place),
    /// A lookup that deepened the way is over.
    Rise,
    /// Carry the action set out: the pipeline ends. A trace says so under this line.
    ActionSet(Node),
    /// Carry a bucket out on a copy.
    Bucket {
        /// Of which group.
        group: Same<super::group::GroupEntry>,
        /// Which of its buckets.
        at: usize,
        /// Where the action stands that named the group.
        place: Place,
    },
    /// Send the packet by a port.
    Emit {
        /// Which.
        port: PortIndex,
        /// With outer VLAN `vid` (0 for none), or as it is.
        vid: Option<u16>,
        /// At most so many bytes of it.
        max_len: Option<u32>,
    },
    /// Go on with the packet at a router's port.
    Route {
        /// By which it came.
        port: PortIndex,
        /// How far it is.
        stage: Stage,
    },
    /// Copy the packet to these mirrors of a port.
    Mirror {
        /// By which port it comes or goes.
        port: PortIndex,
        /// Which mirrors.
        set: MirrorSet,
    },
    /// Put an earlier state back, that actions can bring the packet back to.
    Undo(Box<State>),
    /// A detour ends.
    Join(Box<Detour>),
}

/// What a detour comes back to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Detour {
    state: State,
    emitted: Emitted,
    /// Where its actions begin.
    begin: usize,
}

/// A translation at work.
pub(super) struct Walk<'a> {
    pub(super) tables: &'a Tables,
    pub(super) work: Working,
    pub(super) out: Translation,
    sight: Sight,
    /// Answers about routes that this one is like (see [`super::router`]).
    pub(super) routed: u64,
    tasks: Vec<Task>,
    entries: usize,
    pub(super) trace: Option<&'a mut Trace>,
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
    let tasks = vec![Task::Enter(in_port)];
    Walk::new(tables, key, State::new(key), tasks, trace).run()
}

/// What happens to a packet from where translation stopped, with the `key` that its headers give
/// now.
#[must_use]
pub fn resume(
    tables: &Tables,
    key: &FlowKey,
    frozen: &Frozen,
    trace: Option<&mut Trace>,
) -> Translation {
    let rest = frozen.rest();
    if rest.epoch != tables.epoch {
        // Between the two halves the tables have changed, and with them what was still to be done.
        return Translation {
            mask: FlowMask::EXACT,
            drop: Some(DropReason::TablesChanged),
            ..Translation::default()
        };
    }
    let state = rest.state.with_headers(key);
    let mut walk = Walk::new(tables, key, state, rest.tasks.clone(), trace);
    walk.thaw();
    walk.run()
}

/// The same as [`translate`] of a packet that comes to a bridge by a port of this OpenFlow number,
/// even if the bridge has no such port. `None` when there is no such bridge.
#[must_use]
pub(super) fn translate_in(
    tables: &Tables,
    bridge: vswitch_dpapi::BridgeId,
    key: &FlowKey,
    in_port: OfPort,
    trace: Option<&mut Trace>,
) -> Option<Translation> {
    let at = tables.bridges().iter().position(|b| b.id == bridge)?;
    if let Some(index) = tables.bridges().get(at)?.port(in_port) {
        return Some(translate(tables, key, index, trace));
    }
    let mut state = State::new(key);
    state.bridge = at;
    let mut walk = Walk::new(tables, key, state, Vec::new(), trace);
    walk.work.begin(in_port, false);
    walk.name_bridge();
    walk.later(Task::ActionSet(walk.work.state.node));
    walk.later(Task::Look {
        table: 0,
        visit: Visit::Goto,
    });
    Some(walk.run())
}

/// What happens to a packet of a controller's: `actions` on a bridge, as if it had come in by
/// `in_port`, which may be a reserved number. `None` when there is no such bridge.
#[must_use]
pub fn translate_out(
    tables: &Tables,
    bridge: vswitch_dpapi::BridgeId,
    key: &FlowKey,
    in_port: OfPort,
    actions: &[Action],
    trace: Option<&mut Trace>,
) -> Option<Translation> {
    let at = tables.bridges().iter().position(|b| b.id == bridge)?;
    let mut state = State::new(key);
    state.bridge = at;
    state.in_port = tables.bridges().get(at)?.port(in_port);
    let mut walk = Walk::new(tables, key, state, Vec::new(), trace);
    walk.work.begin(in_port, true);
    walk.name_bridge();
    let node = walk.work.state.node;
    walk.later(Task::ActionSet(node));
    walk.later(Task::Act {
        list: List::Own(actions.into()),
        next: 0,
        place: Place {
            rule: None,
            table: 0,
            kind: Kind::PacketOut,
            node,
        },
    });
    Some(walk.run())
}

impl<'a> Walk<'a> {
    fn new(
        tables: &'a Tables,
        key: &FlowKey,
        state: State,
        tasks: Vec<Task>,
        trace: Option<&'a mut Trace>,
    ) -> Self {
        Self {
            tables,
            work: Working::new(key, state),
            out: Translation {
                cacheable: true,
                rules: Vec::with_capacity(TABLES_LIKELY),
                lookups: Vec::with_capacity(TABLES_LIKELY),
                ..Translation::default()
            },
            sight: Sight::default(),
            routed: 0,
            tasks,
            entries: 0,
            trace,
        }
    }

    fn run(mut self) -> Translation {
        while let Some(task) = self.tasks.pop() {
            if self.work.state.unknown != Unknown::Nothing && self.reads_unknown(&task) {
                self.tasks.push(task);
                let frozen = self.freeze();
                self.detail(|| "the packet's headers are read again here".to_owned());
                self.work.emit(DpAction::Recirculate(frozen));
                continue;
            }
            self.step(task);
            if self.work.actions.len() > MAX_ACTIONS {
                self.give_up(DropReason::TooMuchWork);
            }
        }
        self.finish()
    }

    fn step(&mut self, task: Task) {
        match task {
            Task::Enter(port) => self.enter(port),
            Task::Look { table, visit } => self.look(table, visit),
            Task::Act { list, next, place } => self.act(list, next, place),
            Task::After(place) => self.after(&place),
            Task::Rise => self.work.state.depth -= 1,
            Task::ActionSet(node) => self.action_set(node),
            Task::Bucket { group, at, place } => self.bucket(&group, at, place),
            Task::Emit { port, vid, max_len } => self.emit(port, vid, max_len),
            Task::Route { port, stage } => self.route_on(port, stage),
            Task::Mirror { port, set } => self.mirror(port, set),
            Task::Undo(state) => {
                let mirrored = self.work.state.mirrored;
                self.work.state = *state;
                // What a mirror has, it has.
                self.work.state.mirrored = mirrored;
            }
            Task::Join(detour) => self.join(*detour),
        }
    }

    /// Whether a task looks at what the packet's key does not show.
    fn reads_unknown(&self, task: &Task) -> bool {
        let all = self.work.state.unknown == Unknown::All;
        if self.work.state.unknown == Unknown::Outer {
            return match task {
                Task::Look { table, visit } => self.looks_at_differing(*table, *visit),
                Task::Act { list, next, .. } => {
                    let reads = list.get(*next).and_then(super::act::reads);
                    reads == Some(Unknown::Network)
                }
                _ => false,
            };
        }
        match task {
            Task::Look { .. } => true,
            Task::Act { list, next, .. } => list
                .get(*next)
                .and_then(super::act::reads)
                .is_some_and(|least| self.work.state.unknown >= least),
            Task::Emit { port, vid, .. } => {
                let port = self.tables.port(*port);
                let plain =
                    |port: &Arc<Port>| port.mirror_dst == 0 && matches!(port.link, Link::Device);
                let routes = |port: &Arc<Port>| port.link == Link::Router;
                port.is_some_and(routes)
                    || all && (vid.is_some() || !port.is_some_and(plain))
                    || port.is_some_and(|port| self.reads_headers(port))
            }
            Task::Mirror { .. } => all,
            _ => false,
        }
    }

    /// Whether sending by a port looks at more than the Ethernet header.
    fn reads_headers(&self, port: &Port) -> bool {
        port.link == Link::Tunnel || self.may_take_out(port)
    }

    /// Takes what is still to be done to this packet: everything up to where a detour, or a port
    /// with a tag of its own, goes back to an earlier packet.
    pub(super) fn rest(&mut self) -> Vec<Task> {
        let back = |task: &Task| matches!(task, Task::Undo(_) | Task::Join(_));
        let begin = self.tasks.iter().rposition(back).map_or(0, |at| at + 1);
        self.tasks.split_off(begin)
    }

    /// Stops here with `tasks` still to be done. Headers as they are now have to be emitted.
    pub(super) fn stop(&mut self, mut tasks: Vec<Task>) -> Arc<Frozen> {
        put_under(&mut tasks, Node::default());
        let state = self.work.state.clone().without_headers();
        self.intern(state, tasks)
    }

    /// The stop with this state and these tasks.
    pub(super) fn intern(&mut self, mut state: State, tasks: Vec<Task>) -> Arc<Frozen> {
        state.node = Node::default();
        let frozen = self.tables.stops().intern(Rest {
            epoch: self.tables.epoch,
            state,
            tasks,
        });
        if let Some(trace) = &mut self.trace {
            trace.stops(frozen.id, &self.work.state.key);
        }
        frozen
    }

    /// Goes on where it was stopped; a trace says where that is.
    fn thaw(&mut self) {
        self.name_bridge();
        let Some(trace) = &mut self.trace else { return };
        let node = self.work.state.node;
        put_under(&mut self.tasks, node);
        let thaw = trace.action(node, "thaw".to_owned());
        if let Some(Task::Look { table, .. }) = self.tasks.last() {
            trace.action(thaw, format!("Resuming from table {table}"));
        }
    }

    /// Puts what follows under the bridge's name, in a trace.
    fn name_bridge(&mut self) {
        if let (Some(bridge), Some(trace)) = (self.bridge(), &mut self.trace) {
            self.work.state.node = trace.bridge(self.work.state.node, &bridge.name);
        }
    }

    /// Puts aside what is still to be done to this packet.
    pub(super) fn freeze(&mut self) -> Arc<Frozen> {
        let tasks = self.rest();
        self.stop(tasks)
    }

    fn finish(mut self) -> Translation {
        self.out.actions = std::mem::take(&mut self.work.actions);
        self.out.mask = self.work.read;
        self.out.mask.set(Field::InPort, Field::InPort.info().max());
        self.out
            .mask
            .set(Field::RecircId, Field::RecircId.info().max());
        let last = self.out.actions.iter().rposition(DpAction::is_effect);
        self.out.actions.truncate(last.map_or(0, |last| last + 1));
        drop_open_saves(&mut self.out.actions);
        if self.out.actions.iter().any(DpAction::is_way_out) {
            self.out.drop = None;
        } else {
            self.out.drop.get_or_insert(DropReason::RuleDrop);
        }
        self.out.cacheable &= self.out.learn.is_empty();
        let seen = self.sight.seen(&self.out.actions, self.routed);
        self.out.seen = seen.and(&self.out.seen);
        if let Some(trace) = &mut self.trace {
            trace.end(self.work.key());
        }
        self.out
    }

    /// Notes why an output did not happen. The first reason is the one that is counted when there
    /// is no output at all.
    pub(super) fn note(&mut self, reason: DropReason) {
        self.out.drop.get_or_insert(reason);
        if let Some(trace) = &mut self.trace {
            trace.dropped(self.work.state.node, reason);
        }
    }

    /// Drops the packet whatever else was decided.
    pub(super) fn give_up(&mut self, reason: DropReason) {
        self.tasks.clear();
        self.work.actions.clear();
        self.out.learn.clear();
        self.out.effects.clear();
        self.out.drop = Some(reason);
        if let Some(trace) = &mut self.trace {
            trace.gives_up(self.work.state.node, reason);
        }
    }

    /// A detail of what an action did, for the trace, when there is one.
    pub(super) fn detail(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.detail(self.work.state.node, line());
        }
    }

    /// A remark of the trace, when there is one.
    pub(super) fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.remark(self.work.state.node, line());
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

    /// Counts a lookup or a bridge; false when there were too many.
    fn enters(&mut self) -> bool {
        self.entries += 1;
        let few = self.entries <= MAX_ENTRIES;
        if !few {
            self.give_up(DropReason::TooMuchWork);
        }
        few
    }

    /// Goes one deeper; false when that is too deep.
    pub(super) fn deepen(&mut self) -> bool {
        self.work.state.depth += 1;
        let few = self.work.state.depth <= MAX_DEPTH;
        if !few {
            self.give_up(DropReason::TooDeep);
        }
        few
    }

    fn enter(&mut self, index: PortIndex) {
        let Some(port) = self.tables.port(index) else {
            return self.note(DropReason::PortUnknown);
        };
        if !self.enters() {
            return;
        }
        let state = &mut self.work.state;
        state.bridge = port.bridge_at;
        state.in_port = Some(index);
        state.mirrored = 0;
        let crossed = self.work.state.depth > 0;
        self.work.begin(port.of_port, crossed);
        self.name_bridge();
        self.cross_port(port, Crossing::Rx);
        if port.config.down {
            return self.note(DropReason::PortConfig);
        }
        if port.config.no_recv != port.config.no_recv_stp {
            let stp = self.work.field(Field::EthDst) == STP_MAC;
            if stp && port.config.no_recv_stp || !stp && port.config.no_recv {
                return self.note(DropReason::PortConfig);
            }
        } else if port.config.no_recv {
            return self.note(DropReason::PortConfig);
        }
        if port.mirror_output {
            return self.note(DropReason::MirrorPort);
        }
        self.later(Task::ActionSet(self.work.state.node));
        self.later(Task::Look {
            table: 0,
            visit: Visit::Goto,
        });
        if port.mirror_src != 0 {
            self.later(Task::Mirror {
                port: index,
                set: port.mirror_src,
            });
        }
    }

    fn look(&mut self, table: u8, visit: Visit) {
        let Some(bridge) = self.bridge() else { return };
        if !self.enters() {
            return;
        }
        let handling = bridge.fragments();
        if handling == Fragments::Drop && self.work.is_fragment() {
            self.say(|| "fragments are dropped".to_owned());
            return self.note(DropReason::FragmentConfig);
        }
        let (key, written) = (self.work.key(), &self.work.state.written);
        // Another key than the packet's own.
        let mut shown = None;
        let mut ct_tuple = false;
        match visit {
            Visit::Goto => self.sight.look(key, written),
            Visit::Resubmit {
                port,
                ct_tuple: swap,
            } => {
                self.sight.look_from(key, written, OfPort(port));
                shown.insert(*key).set(Field::InPort, port.into());
                ct_tuple = swap;
            }
        }
        let mut mask = FlowMask::default();
        if ct_tuple {
            if !self.has_tuple() {
                return self.say(|| "resubmit(ct) with non-tracked or non-IP packet!".to_owned());
            }
            self.sight.blur(&super::track::exchanged());
            super::track::swap_tuples(shown.get_or_insert(*self.work.key()), &mut mask);
        }
        let ports = transport_ports();
        let hides = handling == Fragments::Normal && super::state::is_fragment(self.work.key());
        if hides {
            self.sight.blur(&ports);
            let key = shown.get_or_insert(*self.work.key());
            key.set(Field::TcpSrc, 0);
            key.set(Field::TcpDst, 0);
        }
        let key = shown.as_ref().unwrap_or(self.work.key());
        let found = bridge
            .table(table)
            .and_then(|table| table.lookup(key, &mut mask));
        if handling == Fragments::Normal && mask.meets(&ports) {
            // What was seen of ports depends on this, and of a fragment on nothing else.
            self.work.is_fragment();
            if hides {
                mask.remove(&ports);
            }
        }
        if let (true, Some(key)) = (ct_tuple, &mut shown) {
            super::track::swap_tuples(key, &mut mask);
        }
        self.work.read_all(&mask);
        self.out.lookups.push(Lookup {
            counters: Arc::clone(bridge.lookups()),
            table,
            matched: found.is_some(),
        });
        let Some(rule) = found else {
            if let Some(trace) = &mut self.trace {
                trace.no_match(self.work.state.node, table);
            }
            if visit == Visit::Goto {
                self.miss(table);
            }
            return;
        };
        let mut node = Node::default();
        if let Some(trace) = &mut self.trace {
            let above = self.work.state.node;
            node = trace.rule(above, rule);
            // The action set is told of under the first table.
            if visit == Visit::Goto
                && trace.is_bridge(above)
                && let Some(Task::ActionSet(line)) = self.tasks.last_mut()
                && *line == above
            {
                *line = node;
            }
        }
        self.out.rules.push(Arc::clone(rule));
        let rule = Same(Arc::clone(rule));
        if rule.flow().instructions.is_drop() {
            self.note(DropReason::RuleDrop);
        }
        let place = Place {
            rule: Some(rule.clone()),
            table,
            kind: Kind::Apply,
            node,
        };
        let instructions = &rule.flow().instructions;
        if instructions.clear
            || !instructions.write.is_empty()
            || instructions.metadata.is_some()
            || instructions.goto.is_some()
        {
            self.later(Task::After(place.clone()));
        }
        if !instructions.apply.is_empty() {
            self.later(Task::Act {
                list: List::Of(rule.clone()),
                next: 0,
                place,
            });
        }
        if let Some(id) = instructions.meter {
            if let Some(trace) = &mut self.trace {
                trace.action(node, format!("meter:{id}"));
            }
            self.pass_meter(id);
        }
    }

    /// The packet goes through a meter, which may drop it or mark it.
    pub(super) fn pass_meter(&mut self, id: u32) {
        // A flow whose meter has gone goes too.
        if let Some(meter) = self.bridge().and_then(|bridge| bridge.meter(id)) {
            let marks = meter
                .meter()
                .bands
                .iter()
                .any(|band| band.kind != BandKind::Drop);
            let meter = DpAction::Meter(Same(Arc::clone(meter)));
            if marks {
                // Whether it was marked, its headers say.
                self.work.emit_lasting(meter);
                let unknown = &mut self.work.state.unknown;
                *unknown = (*unknown).max(Unknown::Network);
            } else {
                self.work.emit(meter);
            }
        }
    }

    /// No flow matches: the packet is dropped, or shown to the controllers that want that.
    fn miss(&mut self, table: u8) {
        self.end_pipeline(false);
        let bridge = self.bridge();
        let quiet = self.in_port().is_some_and(|port| port.config.no_packet_in);
        if quiet || !bridge.is_some_and(|bridge| bridge.miss_to_controller()) {
            return self.note(DropReason::NoFlow);
        }
        let to = ToController {
            max_len: u16::MAX,
            id: 0,
            reason: Reason::NoMatch,
            userdata: Vec::new(),
            pause: false,
            meter: None,
        };
        let place = Place {
            rule: None,
            table,
            kind: Kind::Apply,
            node: self.work.state.node,
        };
        self.punt(&to, &place, true, None);
    }

    /// Ends the packet's way through this bridge, or this detour: what is still to be done up to
    /// there is forgotten, but not the action set, if `with_set`.
    pub(super) fn end_pipeline(&mut self, with_set: bool) {
        while let Some(task) = self.tasks.pop() {
            match task {
                Task::ActionSet(_) => {
                    if with_set {
                        self.tasks.push(task);
                    }
                    return;
                }
                Task::Undo(_) | Task::Join(_) => {
                    self.tasks.push(task);
                    return;
                }
                Task::Rise => self.work.state.depth -= 1,
                _ => {}
            }
        }
    }

    /// Instructions after the actions that are applied, in the order of OpenFlow 1.3.5 §5.9.
    fn after(&mut self, place: &Place) {
        let Some(rule) = &place.rule else { return };
        let instructions = &rule.flow().instructions;
        self.work.state.node = place.node;
        if instructions.clear {
            self.trace_line(|| "clear_actions".to_owned());
            self.tell_set("was");
            self.work.state.set = Arc::default();
        }
        if !instructions.write.is_empty() {
            self.trace_line(|| {
                let texts: Vec<_> = instructions.write.iter().map(Action::to_string).collect();
                format!("write_actions({})", texts.join(","))
            });
            Arc::make_mut(&mut self.work.state.set).extend(instructions.write.iter().cloned());
            self.tell_set("is");
        }
        if instructions.clear || !instructions.write.is_empty() {
            self.show_set_output();
        }
        if let Some((value, mask)) = instructions.metadata {
            self.trace_line(|| match mask {
                u64::MAX => format!("write_metadata:{value:#x}"),
                _ => format!("write_metadata:{value:#x}/{mask:#x}"),
            });
            let old = self.work.state.key.field(Field::Metadata) as u64;
            self.work.write_own(
                Field::Metadata,
                (old & !mask | value & mask).into(),
                mask.into(),
            );
        }
        if let Some(table) = instructions.goto {
            self.trace_line(|| format!("goto_table:{table}"));
            self.later(Task::Look {
                table,
                visit: Visit::Goto,
            });
        }
    }

    /// What a trace says of the action set.
    fn tell_set(&mut self, verb: &str) {
        if self.trace.is_none() {
            return;
        }
        let set = super::act::in_order(&self.work.state.set);
        let texts: Vec<_> = set.iter().map(Action::to_string).collect();
        self.detail(|| match texts.as_slice() {
            [] => format!("action set {verb} empty"),
            texts => format!("action set {verb}: {}", texts.join(",")),
        });
    }

    /// A line for an action.
    pub(super) fn trace_line(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.action(self.work.state.node, line());
        }
    }

    /// Keeps `actset_output` true: the port of the set's output, unless a group takes its place.
    fn show_set_output(&mut self) {
        let mut port = OfPort::UNSET;
        for action in self.work.state.set.iter() {
            match action {
                Action::Group(_) => {
                    port = OfPort::UNSET;
                    break;
                }
                Action::Output(to) => port = *to,
                _ => {}
            }
        }
        self.work.assign(Field::ActsetOutput, port.0.into());
    }

    fn action_set(&mut self, under: Node) {
        let set = std::mem::take(&mut self.work.state.set);
        let list = super::act::in_order(&set);
        if list.is_empty() {
            return;
        }
        let mut node = Node::default();
        if let Some(trace) = &mut self.trace {
            node = trace.set(under);
        }
        self.later(Task::Act {
            list: List::Own(list.into()),
            next: 0,
            place: Place {
                rule: None,
                table: 0,
                kind: Kind::Set,
                node,
            },
        });
    }

    fn act(&mut self, list: List, next: usize, place: Place) {
        let Some(action) = list.get(next) else {
            return;
        };
        self.work.state.node = place.node;
        if let Some(trace) = &mut self.trace {
            trace.performs(place.node, action);
        }
        let more = next + 1 < list.len();
        if more {
            self.later(Task::Act {
                list: list.clone(),
                next: next + 1,
                place: place.clone(),
            });
        }
        // An action that ends its list puts nothing else there.
        if !self.perform(action, &place) && more {
            self.tasks.pop();
        }
    }

    /// Carries a list of actions out on a copy of the packet.
    pub(super) fn detour(&mut self, actions: Arc<[Action]>, place: Place, with_set: bool) {
        if !self.begin_detour() {
            return;
        }
        if with_set {
            self.later(Task::ActionSet(place.node));
        }
        self.later(Task::Act {
            list: List::Own(actions),
            next: 0,
            place,
        });
    }

    fn bucket(&mut self, group: &super::group::GroupEntry, at: usize, mut place: Place) {
        let Some(bucket) = group.group().buckets.get(at) else {
            return;
        };
        if let Some(trace) = &mut self.trace {
            place.node = trace.bucket(place.node, bucket.id);
        }
        place.kind = Kind::Bucket;
        self.detour(super::act::in_order(&bucket.actions).into(), place, false);
    }

    /// The packet is put back as it is now when what is done next has been done. False when that is
    /// too deep.
    fn begin_detour(&mut self) -> bool {
        let detour = Detour {
            state: self.work.state.clone(),
            emitted: self.work.emitted.clone(),
            begin: self.work.actions.len(),
        };
        self.later(Task::Join(Box::new(detour)));
        self.deepen()
    }

    fn join(&mut self, detour: Detour) {
        let Detour {
            state,
            emitted,
            begin,
        } = detour;
        let work = &mut self.work;
        if work.emitted.lasting != emitted.lasting {
            let done = work.actions.get(begin..).unwrap_or_default();
            match done.iter().rposition(DpAction::is_effect) {
                Some(last) => {
                    work.actions.truncate(begin + last + 1);
                    work.actions.insert(begin, DpAction::Save);
                    work.actions.push(DpAction::Restore);
                }
                None => work.actions.truncate(begin),
            }
            work.emitted = emitted;
        }
        let (mirrored, bridge) = (work.state.mirrored, work.state.bridge);
        work.state = state;
        // What a mirror has, it has; but another bridge's mirrors are others.
        if bridge == work.state.bridge {
            work.state.mirrored = mirrored;
        }
    }

    /// Sends the packet by the ports that an OpenFlow number says.
    pub(super) fn output(&mut self, number: OfPort, max_len: Option<u32>) {
        let Some(bridge) = self.bridge() else { return };
        let in_port = self.work.state.in_port;
        match number {
            OfPort::NORMAL => self.normal(),
            OfPort::IN_PORT => match in_port {
                Some(port) => self.emit(port, None, max_len),
                None => self.note(DropReason::OutputUnknown),
            },
            OfPort::FLOOD | OfPort::ALL => {
                let mut any = false;
                for &port in bridge.ports().iter().rev() {
                    let takes = |p: &Arc<Port>| {
                        !p.mirror_output && (number == OfPort::ALL || !p.config.no_flood)
                    };
                    if Some(port) != in_port && self.tables.port(port).is_some_and(takes) {
                        self.later(Task::Emit {
                            port,
                            vid: None,
                            max_len,
                        });
                        any = true;
                    }
                }
                if !any {
                    self.note(DropReason::FloodNowhere);
                }
            }
            OfPort::TABLE => self.later(Task::Look {
                table: 0,
                visit: Visit::Goto,
            }),
            _ => match bridge.port(number) {
                None => self.note(DropReason::OutputUnknown),
                Some(port) if Some(port) == in_port => self.note(DropReason::OutputIngress),
                Some(port) => self.later(Task::Emit {
                    port,
                    vid: None,
                    max_len,
                }),
            },
        }
    }

    /// Sends the packet as it is now to controllers.
    pub(super) fn punt(
        &mut self,
        to: &ToController,
        place: &Place,
        implicit_miss: bool,
        continuation: Option<Arc<Frozen>>,
    ) {
        let Some(bridge) = self.bridge() else { return };
        let mut fields = (FlowKey::default(), FlowMask::default());
        let state = &self.work.state;
        for at in META_WORD..vswitch_flow::WORDS {
            let written = state.written.words[at];
            fields.0.words[at] = state.key.words[at] & written;
            fields.1.words[at] = written;
        }
        let flow = place.rule.as_ref().map(|rule| rule.flow());
        let punt = Punt {
            bridge: bridge.id,
            to: to.clone(),
            implicit_miss,
            table: place.table,
            cookie: flow.map_or(u64::MAX, |flow| flow.cookie),
            in_port: OfPort(state.key.field(Field::InPort) as u32),
            fields,
            continuation,
        };
        self.work.emit(DpAction::Controller(Arc::new(punt)));
    }

    /// Sends the packet by a port.
    fn emit(&mut self, index: PortIndex, vid: Option<u16>, max_len: Option<u32>) {
        let Some(port) = self.tables.port(index) else {
            return self.note(DropReason::PortUnknown);
        };
        if port.config.down || port.config.no_fwd {
            return self.note(DropReason::PortConfig);
        }
        if max_len.is_some() || !matches!(port.link, Link::Device) {
            if !self.begin_detour() {
                return;
            }
        } else {
            // Done last: forget the tag that only this port wanted.
            self.later(Task::Undo(Box::new(self.work.state.clone())));
        }
        if let Some(vid) = vid
            && !self.work.retag(vid)
        {
            return self.give_up(DropReason::VlanDepth);
        }
        if let Some(max_len) = max_len {
            self.work.emit_lasting(DpAction::Truncate(max_len));
        }
        if port.mirror_dst != 0 {
            self.later(Task::Mirror {
                port: index,
                set: port.mirror_dst,
            });
        }
        match port.link {
            Link::Device => self.deliver(port),
            Link::Tunnel => self.tunnel(port),
            Link::Patch(peer) => self.cross(index, peer),
            Link::Router => self.route(index),
        }
    }

    /// Has a port without a device count the packet.
    pub(super) fn cross_port(&mut self, port: &Port, way: Crossing) {
        if let Some(crossings) = &port.crossings {
            self.out.crossings.push((Arc::clone(crossings), way));
        }
    }

    /// Goes on at the other end of a patch.
    fn cross(&mut self, from: PortIndex, peer: Option<PortIndex>) {
        let connected = peer.filter(|peer| {
            self.tables
                .port(*peer)
                .is_some_and(|port| port.link == Link::Patch(Some(from)))
        });
        match connected {
            Some(peer) => {
                if let Some(port) = self.tables.port(from) {
                    self.cross_port(port, Crossing::Tx);
                }
                self.later(Task::Enter(peer));
            }
            None => self.note(DropReason::PatchUnconnected),
        }
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
                max_len: None,
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

    /// Records what the packet does to flows.
    pub(super) fn effect(&mut self, effect: Effect) {
        self.out.effects.push(Arc::new(effect));
    }
}

/// Lets a trace put what these tasks do under another line.
fn put_under(tasks: &mut [Task], line: Node) {
    for task in tasks {
        match task {
            Task::Act { place, .. } | Task::After(place) | Task::Bucket { place, .. } => {
                place.node = line;
            }
            Task::ActionSet(node) => *node = line,
            _ => {}
        }
    }
}

/// Where a key has the ports of all transports, which are also type and code of ICMP.
fn transport_ports() -> FlowMask {
    let mut bits = FlowMask::default();
    for field in [Field::TcpSrc, Field::TcpDst] {
        bits.set(field, field.info().max());
    }
    bits
}

/// Takes out every [`DpAction::Save`] whose copy nobody comes back to.
fn drop_open_saves(actions: &mut Vec<DpAction>) {
    let mut open = Vec::new();
    for (at, action) in actions.iter().enumerate() {
        match action {
            DpAction::Save => open.push(at),
            DpAction::Restore => drop(open.pop()),
            _ => {}
        }
    }
    for at in open.into_iter().rev() {
        actions.remove(at);
    }
}
