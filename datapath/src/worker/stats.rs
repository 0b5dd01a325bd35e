//! What a worker counts about itself.

use hdrhistogram::Histogram;

use crate::action::FragmentCounts;
use crate::counters::Drops;

/// The steps of a round, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Stage {
    /// Taking packets from ports.
    Rx,
    /// Headers to keys.
    Extract,
    /// Keys to cached decisions.
    Cache,
    /// Decisions worked out by the tables.
    Translate,
    /// Decisions carried out.
    Act,
    /// Handing packets to ports.
    Tx,
}

impl Stage {
    /// All steps, in order.
    pub const ALL: [Self; 6] = [
        Self::Rx,
        Self::Extract,
        Self::Cache,
        Self::Translate,
        Self::Act,
        Self::Tx,
    ];

    /// The name that dumps print.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rx => "rx",
            Self::Extract => "extract",
            Self::Cache => "cache",
            Self::Translate => "translate",
            Self::Act => "act",
            Self::Tx => "tx",
        }
    }
}

/// Work of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageCounters {
    /// Cycles of the time-stamp counter.
    pub cycles: u64,
    /// Packets.
    pub packets: u64,
    /// Batches that were not empty.
    pub batches: u64,
}

/// Plain counters, written by the worker alone.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Rounds that moved packets.
    pub busy_rounds: u64,
    /// Rounds that found nothing.
    pub idle_rounds: u64,
    /// Cycles of rounds that moved packets.
    pub busy_cycles: u64,
    /// Cycles of rounds that found nothing.
    pub idle_cycles: u64,
    /// Times that the worker slept.
    pub sleeps: u64,
    /// Packets received from ports.
    pub rx_packets: u64,
    /// Packets that we made ourselves (ICMP errors).
    pub answers: u64,
    /// Packets handed to the worker of their port.
    pub handed_over: u64,
    /// Packets taken over from other workers.
    pub taken_over: u64,
    /// Packets, or copies of them, for controllers.
    pub punted: u64,
    /// Packets that routers took: answered, understood, or waiting for a neighbour. One that goes on
    /// afterwards is an answer.
    pub taken: u64,
    /// Copies made, by floods and mirrors.
    pub copies: u64,
    /// Packets that became more than one (segments, fragments): how many more.
    pub split: u64,
    /// Packets that became part of others: segments that leave as a super-frame.
    pub merged: u64,
    /// The steps.
    pub stages: [StageCounters; Stage::ALL.len()],
    /// Fragments that waited for the rest of their datagrams.
    pub fragments: FragmentCounts,
    /// Dropped packets.
    pub drops: Drops,
    /// Cycles from the receive call to the end of the transmit calls, for each packet.
    pub residence: Histogram<u64>,
}

impl Stats {
    pub(super) fn new() -> Self {
        Self {
            busy_rounds: 0,
            idle_rounds: 0,
            busy_cycles: 0,
            idle_cycles: 0,
            sleeps: 0,
            rx_packets: 0,
            answers: 0,
            handed_over: 0,
            taken_over: 0,
            punted: 0,
            taken: 0,
            copies: 0,
            split: 0,
            merged: 0,
            stages: Default::default(),
            fragments: FragmentCounts::default(),
            drops: Drops::default(),
            // 1 cycle to 2^40 (minutes) with two significant digits: 60 KB, never resized.
            residence: Histogram::new_with_bounds(1, 1 << 40, 2).expect("the bounds are in order"),
        }
    }

    #[inline]
    pub(super) fn stage(&mut self, stage: Stage, cycles: u64, packets: usize) {
        let counters = &mut self.stages[stage as usize];
        counters.cycles += cycles;
        counters.packets += packets as u64;
        counters.batches += u64::from(packets > 0);
    }
}
