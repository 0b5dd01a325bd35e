//! What control may ask of a running worker. A command is carried out between two rounds; its
//! answer therefore means that every later packet is treated accordingly.

use std::sync::Arc;

use crossbeam::channel::Sender;
use vswitch_flow::Match;

use super::jobs::{PacketOut, Resumed, Traced};
use super::ports::{QueueId, Route};
use super::run::WaitPolicy;
use super::stats::Stats;
use crate::cache::{CacheCounters, CacheLen};
use crate::pipeline::{DpAction, Rule, Tables};
use crate::port::{PortCounters, PortQueue};
use crate::tick::Tick;

/// A request to a worker. Each is answered on its channel once it is in force.
pub enum Command {
    /// Use these tables from now on.
    Publish(Arc<Tables>, Sender<()>),
    /// Serve a port queue.
    AddQueue(QueueId, Box<dyn PortQueue>, Sender<()>),
    /// Stop serving a queue; its frames go back to the pool.
    RemoveQueue(QueueId, Sender<()>),
    /// How to reach every port from this worker.
    SetRoutes(Vec<Route>, Sender<()>),
    /// A port's MTU has changed.
    SetMtu(QueueId, u32, Sender<()>),
    /// Tell the rules of all traffic so far.
    CreditRules(Sender<()>),
    /// Do a controller's actions to its packet.
    PacketOut(Box<PacketOut>, Sender<()>),
    /// Let a packet go on that waited for a controller.
    Resume(Box<Resumed>, Sender<()>),
    /// Do to a traced frame what was decided; the answer is [`super::Worker::walk`]'s.
    Walk(Box<Traced>, Sender<Vec<(u32, Vec<u8>)>>),
    /// Let packets go on that waited for flows to be added, up to the one with this ticket.
    Release(u64, Sender<()>),
    /// Counters.
    Snapshot(Sender<Snapshot>),
    /// Cached decisions.
    Megaflows(Sender<Vec<Megaflow>>),
    /// How to wait from now on.
    SetWait(WaitPolicy, Sender<()>),
    /// Close all ports and end.
    Stop(Sender<Stopped>),
}

/// A worker's counters at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The worker's own.
    pub stats: Stats,
    /// Its cache's.
    pub cache: CacheCounters,
    /// How full the cache is.
    pub cache_len: CacheLen,
    /// Its queues, with their traffic and the cycles spent receiving from and deciding for them.
    pub queues: Vec<(QueueId, PortCounters, u64)>,
    /// The core it runs on.
    pub core: Option<usize>,
    /// Cycles of the time-stamp counter in a second, measured since the worker began.
    pub cycles_per_second: f64,
}

/// A cached decision.
#[derive(Clone, Debug)]
pub struct Megaflow {
    /// Which packets; `in_port` is a datapath port number.
    pub matches: Match,
    /// Their way.
    pub actions: Vec<DpAction>,
    /// The flows that it came from, in the order they were met.
    pub rules: Vec<Arc<Rule>>,
    /// Packets decided.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// When the last one came.
    pub used: Tick,
}

/// What is left of a stopped worker: frames that ports could not give back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Queues closed.
    pub queues: usize,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Publish(..) => "Publish",
            Self::AddQueue(..) => "AddQueue",
            Self::RemoveQueue(..) => "RemoveQueue",
            Self::SetRoutes(..) => "SetRoutes",
            Self::SetMtu(..) => "SetMtu",
            Self::CreditRules(..) => "CreditRules",
            Self::PacketOut(..) => "PacketOut",
            Self::Resume(..) => "Resume",
            Self::Walk(..) => "Walk",
            Self::Release(..) => "Release",
            Self::Snapshot(..) => "Snapshot",
            Self::Megaflows(..) => "Megaflows",
            Self::SetWait(..) => "SetWait",
            Self::Stop(..) => "Stop",
        })
    }
}
