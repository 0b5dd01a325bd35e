//! A whole switch in one thread: workers driven round by round, memory ports, and the test's clock.
//!
//! Law: after every round of every worker,
//!
//! * packets received + answers made + copies + pieces = sent + refused by ports + told to
//!   controllers + dropped by reason + held (waiting for a round, for another worker, for a flow to
//!   be added or for other fragments), and
//! * every frame is free or in a packet that is held.
//!
//! [`Sim::run`] checks both, so every test that uses it proves conservation as it goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vswitch_datapath::buffer::{FramePool, SharedFrames};
use vswitch_datapath::conntrack::Conntrack;
use vswitch_datapath::conntrack::fragments::Freed;
use vswitch_datapath::control::{ChangeError, Ledger, removal};
use vswitch_datapath::counters::{DropReason, Drops};
use vswitch_datapath::gateway::Gateway;
use vswitch_datapath::neigh::Waiting;
use vswitch_datapath::offload::Capabilities;
use vswitch_datapath::pipeline::{Frozen, Gone, Tables};
use vswitch_datapath::port::memory::{MemoryQueue, MemoryWire, WirePacket};
use vswitch_datapath::port::{PortCounters, PortIndex};
use vswitch_datapath::tick::Tick;
use vswitch_datapath::tunnel::underlay::Underlay;
use vswitch_datapath::worker::{Inbox, PacketOut, QueueId, Resumed, Route, Upcalls, Worker};
use vswitch_dpapi::{
    BridgeId, BridgeSpec, Change, Desired, Event, Fragments, PacketIn, PortConfig, PortId,
    PortKind, PortSpec, RouteSpec, RouterId, RouterPortSpec, RouterSpec, UnderlayChange, VlanMode,
    VlanSpec,
};
use vswitch_flow::action::Reason;
use vswitch_flow::{Action, FlowRule, Match, OfPort, Prefix};
use vswitch_sys::memory::Frame;

/// Frames of a simulated switch. Its region stays mapped for the life of the process, so a test
/// that makes many switches hands one [`SharedFrames`] to all.
const CHUNKS: u32 = 2048;
const LARGES: u32 = 64;

/// Rounds without a packet after which nothing moves any more: a queue whose packets missed the cache is
/// passed over for at most 16.
const IDLE_ROUNDS: usize = 24;

/// What a memory port can take when a test does not care.
pub const PLAIN: Capabilities = Capabilities {
    csum: false,
    tso4: false,
    tso6: false,
    uso: false,
    mtu: 1500,
    max_segments: 18,
    tunnel: false,
};

/// Frames for any number of switches, one after the other.
#[must_use]
pub fn frames() -> Arc<SharedFrames> {
    SharedFrames::new(CHUNKS, LARGES).expect("memory for frames")
}

/// A bridge of a simulated switch.
#[must_use]
pub fn bridge(id: u32) -> BridgeSpec {
    BridgeSpec {
        id: BridgeId(id),
        name: format!("br{id}"),
        mac_table_size: 8192,
        mac_aging_time: 300,
        mirrors: Vec::new(),
        flow_limits: Vec::new(),
        miss_to_controller: false,
        fragments: Fragments::Normal,
    }
}

/// A port of a simulated switch; its datapath and OpenFlow numbers are the same.
#[must_use]
pub fn port(id: u32, bridge: u32) -> PortSpec {
    PortSpec {
        id: PortId(id),
        bridge: BridgeId(bridge),
        name: format!("p{id}"),
        of_port: OfPort(id),
        kind: PortKind::Tap,
        vlan: VlanSpec::default(),
        mtu: 1500,
        up: true,
        config: PortConfig::default(),
    }
}

/// A router of a simulated switch.
#[must_use]
pub fn router(id: u32) -> RouterSpec {
    RouterSpec {
        id: RouterId(id),
        name: format!("r{id}"),
        neighbours_max: 4096,
        errors_rate: 100,
        zone: 0xf000 + id as u16,
    }
}

/// A port of a router on a bridge, in a VLAN.
#[must_use]
pub fn router_port(id: u32, bridge: u32, router: u32, vlan: u16, addresses: &[&str]) -> PortSpec {
    let own = RouterPortSpec {
        router: RouterId(router),
        mac: router_mac(id),
        addresses: addresses
            .iter()
            .map(|own| own.parse().expect("an address and its network's length"))
            .collect(),
        proxy_arp: false,
        advertise: None,
        dhcp: None,
        dhcpv6: false,
        dns: Vec::new(),
        snat: Vec::new(),
        dnat: Vec::new(),
    };
    PortSpec {
        kind: PortKind::Router(Box::new(own)),
        vlan: VlanSpec {
            mode: VlanMode::Access,
            tag: vlan,
            trunks: Vec::new(),
        },
        ..port(id, bridge)
    }
}

/// The address of a router's port on its bridge.
#[must_use]
pub fn router_mac(id: u32) -> [u8; 6] {
    let [_, _, high, low] = id.to_be_bytes();
    [2, 0, 0xff, 0, high, low]
}

/// The one flow of a learning switch.
#[must_use]
pub fn normal() -> FlowRule {
    FlowRule {
        matches: Match::any(),
        instructions: vec![Action::Output(OfPort::NORMAL)].into(),
        ..FlowRule::default()
    }
}

/// Frames that a test keeps from the switch.
#[derive(Debug)]
pub struct Held(Vec<Frame>);

/// What a controller was told of a packet: bridge, table, why, and the packet's port.
pub type Told = (BridgeId, u8, Reason, OfPort);

/// A switch under a test's hands.
pub struct Sim {
    workers: Vec<Worker>,
    frames: Arc<SharedFrames>,
    frames_at_start: (usize, usize),
    conntrack: Arc<Conntrack>,
    gateway: Arc<Gateway>,
    ledger: Ledger,
    upcalls: Arc<Upcalls>,
    events: Vec<Event>,
    paused: Vec<Arc<Frozen>>,
    desired: Desired,
    wires: BTreeMap<u32, MemoryWire>,
    /// Slot numbers by port, for readiness.
    slots: BTreeMap<u32, (usize, u32)>,
    origin: Instant,
    tick: Tick,
    drops_seen: Drops,
    punted: Vec<(Told, Vec<u8>)>,
    /// Packets that ended in ports that were removed since.
    gone: u64,
    /// What control gave up, and how much of it routers had taken.
    drops: Drops,
    returned: u64,
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim")
            .field("workers", &self.workers)
            .field("tick", &self.tick)
            .finish_non_exhaustive()
    }
}

impl Sim {
    /// A switch with this state; ports are spread over `workers` in turn, and `caps` says what each
    /// can take.
    #[must_use]
    pub fn new(
        desired: Desired,
        workers: usize,
        frames: Arc<SharedFrames>,
        caps: impl Fn(PortId) -> Capabilities,
    ) -> Self {
        let mut ledger = Ledger::new(7).expect("nothing is sound");
        let gone = ledger.set_desired(&desired, Tick(0));
        assert!(gone.expect("the desired state is sound").is_empty());
        let upcalls = Arc::<Upcalls>::default();
        upcalls.set_listened(true);
        let conntrack = Arc::new(Conntrack::new(7));
        let gateway = Arc::<Gateway>::default();
        let inboxes: Vec<_> = (0..workers).map(|_| Inbox::new(None)).collect();
        let frames_at_start = frames.free_len();
        let mut sim = Self {
            workers: (0..workers)
                .map(|id| {
                    Worker::new(
                        id as u32,
                        Arc::clone(&frames),
                        Arc::clone(ledger.tables()),
                        Arc::clone(&conntrack),
                        11 + id as u64,
                        Arc::clone(&inboxes[id]),
                        inboxes.clone(),
                    )
                    .with_upcalls(Arc::clone(&upcalls))
                    .with_gateway(Arc::clone(&gateway))
                })
                .collect(),
            frames,
            frames_at_start,
            conntrack,
            gateway,
            ledger,
            upcalls,
            events: Vec::new(),
            paused: Vec::new(),
            wires: BTreeMap::new(),
            slots: BTreeMap::new(),
            #[expect(
                clippy::disallowed_methods,
                reason = "the port trait wants an instant to begin with; the test's clock adds to it"
            )]
            origin: Instant::now(),
            tick: Tick(0),
            drops_seen: Drops::default(),
            punted: Vec::new(),
            gone: 0,
            drops: Drops::default(),
            returned: 0,
            desired: Desired::default(),
        };
        let mut next = 0;
        for spec in &desired.ports {
            if matches!(
                spec.kind,
                PortKind::Patch { .. } | PortKind::Tunnel(_) | PortKind::Router(_)
            ) {
                continue;
            }
            let index = PortIndex(spec.id.0);
            let (mut queue, wire) = MemoryQueue::new(index, caps(spec.id));
            if matches!(spec.kind, PortKind::Uplink | PortKind::Socket) {
                queue = queue.carrying_tunnels();
            }
            let id = QueueId {
                port: index,
                queue: 0,
            };
            let slot = sim.workers[next].add_queue(id, Box::new(queue));
            sim.wires.insert(spec.id.0, wire);
            sim.slots.insert(spec.id.0, (next, slot));
            next = (next + 1) % workers;
        }
        sim.desired = desired;
        sim.tell_workers();
        sim
    }

    fn tell_workers(&mut self) {
        let len = self
            .slots
            .keys()
            .last()
            .map_or(0, |last| *last as usize + 1);
        for (number, worker) in self.workers.iter_mut().enumerate() {
            let mut routes = vec![Route::None; len];
            for (port, (owner, _)) in &self.slots {
                routes[*port as usize] = if *owner == number {
                    Route::Own(QueueId {
                        port: PortIndex(*port),
                        queue: 0,
                    })
                } else {
                    Route::Peer(*owner as u32)
                };
            }
            worker.set_routes(routes);
        }
    }

    /// Gives every queue its turn in every round, whatever its packets cost.
    pub fn pass_over_nobody(&mut self) {
        for worker in &mut self.workers {
            worker.pass_over_nobody();
        }
    }

    /// Decides every packet by the tables alone from now on.
    pub fn disable_caches(&mut self) {
        for worker in &mut self.workers {
            worker.disable_cache();
        }
    }

    /// Replaces the flows of a bridge; its groups and meters stay.
    pub fn set_flows(&mut self, bridge: u32, flows: Vec<FlowRule>) {
        let id = BridgeId(bridge);
        let at = self.tables().bridge(id).expect("the bridge is there");
        let groups = at.groups().iter().map(|g| g.group().clone()).collect();
        let meters = at.meters().iter().map(|m| m.meter().clone()).collect();
        let gone = self.ledger.set_tables(id, flows, groups, meters, self.tick);
        self.publish(gone.expect("the bridge is there"));
    }

    /// Changes a bridge.
    ///
    /// # Errors
    /// Why that cannot be; nothing has changed then.
    pub fn change(&mut self, bridge: u32, changes: Vec<Change>) -> Result<(), ChangeError> {
        let gone = self.ledger.change(BridgeId(bridge), changes, self.tick)?;
        self.publish(gone);
        Ok(())
    }

    /// Changes a bridge in a way that is sound.
    pub fn mod_flows(&mut self, bridge: u32, changes: Vec<Change>) {
        let changed = self.change(bridge, changes);
        changed.expect("the changes can be made");
    }

    /// Replaces the desired state; ports with queues stay as they are.
    pub fn set_desired(&mut self, desired: Desired) {
        let before = Arc::clone(self.ledger.tables());
        let gone = self.ledger.set_desired(&desired, self.tick);
        self.desired = desired;
        self.publish(gone.expect("the desired state is sound"));
        let waiting = self.ledger.tables().forget_neighbours(&before);
        self.give_up(waiting);
    }

    /// Gives a router these routes and no others.
    pub fn set_routes(&mut self, router: u32, routes: &[RouteSpec]) {
        let set = self.ledger.set_routes(RouterId(router), routes);
        set.expect("the router is there");
        self.publish(Vec::new());
    }

    /// Changes routes of a router.
    pub fn change_routes(
        &mut self,
        router: u32,
        remove: &[(Prefix, Option<Prefix>)],
        add: &[RouteSpec],
    ) {
        let changed = self.ledger.change_routes(RouterId(router), remove, add);
        changed.expect("the router is there");
        self.publish(Vec::new());
    }

    /// What routers' ports remember.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The switch's time.
    #[must_use]
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// Frees packets whose neighbours are not asked for any more, as control does.
    fn give_up(&mut self, waiting: Vec<Waiting>) {
        let mut pool = FramePool::new(Arc::clone(&self.frames));
        for waiting in waiting {
            // It was taken when it began to wait.
            self.returned += 1;
            self.drops.count(DropReason::NeighbourFailed);
            pool.drop_packet(waiting.packet);
        }
    }

    /// The desired state in force.
    #[must_use]
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// Says what is known of the network that carries tunnels.
    pub fn set_underlay(&mut self, all: &vswitch_dpapi::Underlay) {
        self.ledger.set_underlay(Underlay::from(all));
        self.publish(Vec::new());
    }

    /// Changes what is known of it.
    pub fn change_underlay(&mut self, changes: &[UnderlayChange]) {
        let after = self.tables().underlay().after(changes);
        self.ledger.set_underlay(after);
        self.publish(Vec::new());
    }

    /// Gives the newest tables to all workers, and notes what controllers are told of what went.
    fn publish(&mut self, gone: Vec<Gone>) {
        for worker in &mut self.workers {
            worker.publish(Arc::clone(self.ledger.tables()));
            worker.credit_rules();
        }
        let told = gone.iter().filter_map(|gone| removal(gone, self.tick));
        self.events.extend(told);
    }

    /// Has nobody listen to packets for controllers.
    pub fn be_deaf(&mut self) {
        self.upcalls.set_listened(false);
    }

    /// Does what packets ask of control; answers whether there was something to do.
    fn look(&mut self) -> bool {
        self.upcalls.look();
        let mut gone = Vec::new();
        let mut tickets = vec![0; self.workers.len()];
        while let Some(wish) = self.upcalls.pop() {
            tickets[wish.worker as usize] = wish.ticket;
            let told = self.ledger.grant(&wish.effect, self.tick, &mut gone);
            self.events.extend(told);
        }
        let mut moved = tickets.iter().any(|ticket| *ticket > 0);
        if moved {
            self.publish(gone);
        }
        let now = self.now();
        for (worker, ticket) in self.workers.iter_mut().zip(tickets) {
            worker.release(ticket, now, self.tick);
        }
        for bridge in self.ledger.tables().bridges() {
            while let Some(waiting) = bridge.punts().pop() {
                moved = true;
                let mut packet = waiting.packet;
                let told = (packet.bridge, packet.table, packet.reason, packet.in_port);
                self.punted.push((told, packet.packet.clone()));
                if let Some(frozen) = waiting.paused {
                    packet.continuation = Some(vec![self.paused.len() as u8]);
                    self.paused.push(frozen);
                }
                self.events.push(Event::PacketIn(Box::new(packet)));
            }
        }
        moved
    }

    /// Does a controller's actions to its packet, on the first worker.
    pub fn packet_out(
        &mut self,
        bridge: u32,
        in_port: OfPort,
        packet: Vec<u8>,
        actions: Vec<Action>,
    ) {
        let job = PacketOut {
            bridge: BridgeId(bridge),
            in_port,
            packet,
            actions,
        };
        let now = self.now();
        self.workers[0].packet_out(&job, now, self.tick);
        self.run();
    }

    /// Lets a packet go on that an event told of.
    pub fn resume(&mut self, event: &PacketIn) {
        let at = event.continuation.as_ref().expect("the packet waits")[0];
        let job = Resumed {
            frozen: Arc::clone(&self.paused[usize::from(at)]),
            packet: event.packet.clone(),
            fields: event.fields.clone(),
        };
        let now = self.now();
        self.workers[0].resume(&job, now, self.tick);
        self.run();
    }

    fn now(&self) -> Instant {
        self.origin + Duration::from_millis(self.tick.0)
    }

    /// What has happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Takes a port's device away for good; what it counted stays in the books.
    pub fn remove_port(&mut self, port: u32) {
        let Some((worker, _)) = self.slots.remove(&port) else {
            return;
        };
        let id = QueueId {
            port: PortIndex(port),
            queue: 0,
        };
        let queue = self.workers[worker].queue(id).expect("the slot has it");
        self.gone += ended(queue.counters());
        self.workers[worker].close_queue(id);
        self.wires.remove(&port);
        self.tell_workers();
    }

    /// The tables in force.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        self.ledger.tables()
    }

    /// The connections, to be looked at.
    #[must_use]
    pub fn conntrack(&self) -> &Conntrack {
        &self.conntrack
    }

    /// A worker, to be looked at.
    #[must_use]
    pub fn worker(&self, number: usize) -> &Worker {
        &self.workers[number]
    }

    /// The far end of a port.
    #[must_use]
    pub fn wire(&self, port: u32) -> &MemoryWire {
        &self.wires[&port]
    }

    /// Puts a frame on the way in and moves it as far as it goes.
    pub fn send(&mut self, port: u32, frame: Vec<u8>) -> BTreeMap<u32, Vec<WirePacket>> {
        self.wires[&port].push(frame);
        self.run();
        self.take()
    }

    /// What every port has sent since the last call; silent ports are left out.
    #[must_use]
    pub fn take(&self) -> BTreeMap<u32, Vec<WirePacket>> {
        let taken = self.wires.iter().map(|(port, wire)| (*port, wire.take()));
        taken.filter(|(_, packets)| !packets.is_empty()).collect()
    }

    /// Lets time pass.
    pub fn advance(&mut self, by: Duration) {
        self.tick = Tick(self.tick.0 + by.as_millis() as u64);
        for bridge in self.ledger.tables().bridges() {
            bridge.fdb.expire(self.tick);
        }
        self.conntrack.sweep(self.tick, usize::MAX);
        let mut freed = Freed::new();
        while self.conntrack.fragments().is_due(self.tick) {
            self.conntrack.fragments().expire(self.tick, &mut freed);
        }
        self.free(freed);
        self.credit_rules();
        let gone = self.ledger.expire(self.tick);
        self.publish(gone);
    }

    /// Frees fragments that waited in vain, as control does.
    fn free(&mut self, freed: Freed) {
        let mut pool = FramePool::new(Arc::clone(&self.frames));
        for (packet, reason) in freed {
            self.drops.count(reason);
            pool.drop_packet(packet);
        }
    }

    /// Rounds until nothing moves, with the books checked after each.
    pub fn run(&mut self) {
        self.wake();
        let mut idle = 0;
        while idle < IDLE_ROUNDS {
            idle = if self.round() == 0 { idle + 1 } else { 0 };
        }
    }

    /// Has workers look at all their queues in the next round.
    pub fn wake(&mut self) {
        for (worker, slot) in self.slots.values() {
            self.workers[*worker].mark_ready(*slot);
        }
    }

    /// One round of every worker, with the books checked after each. Answers how much moved.
    pub fn round(&mut self) -> usize {
        let mut moved = 0;
        for number in 0..self.workers.len() {
            let now = self.now();
            moved += self.workers[number].round(now, self.tick);
            self.check();
        }
        moved += usize::from(self.look());
        self.check();
        moved
    }

    /// Rounds of one worker alone until nothing moves there.
    pub fn run_worker(&mut self, number: usize) {
        self.wake();
        let now = self.now();
        let mut idle = 0;
        while idle < IDLE_ROUNDS {
            let moved = self.workers[number].round(now, self.tick);
            self.check();
            idle = if moved == 0 { idle + 1 } else { 0 };
        }
    }

    /// What controllers were told since the last call: bridge, table, why, the packet's port, and
    /// the packet.
    pub fn new_punted(&mut self) -> Vec<(Told, Vec<u8>)> {
        std::mem::take(&mut self.punted)
    }

    /// Tells all flows of the traffic so far.
    pub fn credit_rules(&mut self) {
        for worker in &mut self.workers {
            worker.credit_rules();
        }
    }

    /// Takes all free chunks but `left` away from the switch.
    pub fn hold_frames_but(&mut self, left: usize) -> Held {
        for worker in &mut self.workers {
            worker.drain_pool();
        }
        let mut pool = FramePool::new(Arc::clone(&self.frames));
        let len = self.frames.free_len().0 - left;
        let held: Vec<_> = std::iter::from_fn(|| pool.chunk()).take(len).collect();
        drop(pool);
        self.frames_at_start.0 -= held.len();
        Held(held)
    }

    /// Gives frames back that were held.
    pub fn release_frames(&mut self, held: Held) {
        let mut pool = FramePool::new(Arc::clone(&self.frames));
        self.frames_at_start.0 += held.0.len();
        for frame in held.0 {
            pool.free(frame);
        }
    }

    /// Packets dropped since the last call, by reason.
    pub fn new_drops(&mut self) -> Vec<(DropReason, u64)> {
        let mut sum = self.drops;
        for worker in &self.workers {
            sum.add(&worker.stats().drops);
        }
        let rows: Vec<_> = sum
            .iter()
            .map(|(reason, count)| (reason, count - self.drops_seen.of(reason)))
            .filter(|(_, count)| *count > 0)
            .collect();
        self.drops_seen = sum;
        rows
    }

    /// Checks that no packet and no frame is lost.
    fn check(&self) {
        let (mut came, mut went) = (self.returned, self.gone + self.drops.total());
        let mut held = (0, 0);
        let (mut aside, mut released) = (0, self.drops.total() - self.returned);
        let mut free = self.frames.free_len();
        let (mut handed, mut taken) = (0, 0);
        for worker in &self.workers {
            let stats = worker.stats();
            came += stats.rx_packets + stats.answers + stats.copies + stats.split;
            went += stats.drops.total() + stats.punted + stats.taken + stats.merged;
            went += worker.parked_len() as u64;
            aside += stats.fragments.held;
            released += stats.fragments.released;
            handed += stats.handed_over;
            taken += stats.taken_over;
            for id in worker.queue_ids() {
                let queue = worker.queue(id).expect("it has the queue");
                went += ended(queue.counters());
            }
            let pool = worker.pool().free_len();
            free = (free.0 + pool.0, free.1 + pool.1);
            let waiting = worker.held_frames();
            held = (held.0 + waiting.0, held.1 + waiting.1);
        }
        let waiting = aside - released;
        assert_eq!(
            came,
            went + waiting + handed - taken,
            "a packet has no end or two"
        );
        let fragments = self.conntrack.fragments().len();
        assert_eq!(waiting, fragments as u64, "a fragment is lost");
        // Each lies in a chunk of its own.
        held.0 += fragments;
        for router in self.ledger.tables().routers() {
            let waiting = router.neighbours.held_frames();
            held = (held.0 + waiting.0, held.1 + waiting.1);
        }
        // Frames on their way between workers are in no place where one could count them.
        if handed == taken {
            assert_eq!(
                self.frames_at_start,
                (free.0 + held.0, free.1 + held.1),
                "a frame is lost"
            );
        }
    }
}

/// Packets that came to an end in a port.
fn ended(counters: &PortCounters) -> u64 {
    counters.tx_packets + counters.tx_no_room + counters.tx_down + counters.tx_errors
}

impl Drop for Sim {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            for id in worker.queue_ids() {
                worker.close_queue(id);
            }
            worker.finish();
        }
        let tables = Arc::clone(self.ledger.tables());
        for router in tables.routers() {
            self.give_up(router.neighbours.flush(|_| true).1);
        }
        let mut freed = Freed::new();
        self.conntrack.fragments().clear(&mut freed);
        self.free(freed);
        if !std::thread::panicking() {
            assert_eq!(self.frames.free_len(), self.frames_at_start);
        }
    }
}
