//! Packets that we made: what they are kept as until they enter the pipeline, and for how long they may
//! beget each other.
//!
//! An answer enters the pipeline like a packet from the port for which it speaks, and flows may do
//! anything to it: turn a reply into a request and bring it to another router, say, which answers it.
//! Nothing in such a packet counts down, as a TTL does between hosts, so it is counted here.
//!
//! Law: an answer to a packet from a port is of the first generation, an answer to an answer one
//! further; past [`GENERATIONS_MAX`] none is kept. At most [`ANSWERS_MAX`] wait for the next round.

use super::Worker;
use crate::action::ANSWERS_MAX;
use crate::buffer::{BATCH_LEN, Batch, Packet};
use crate::counters::DropReason;
use crate::tick::Tick;

/// Answers to answers to answers: routers that look for each other need three.
pub(super) const GENERATIONS_MAX: u8 = 16;

/// A packet that we made.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) packet: Packet,
    /// How many answers led to it, itself included.
    generation: u8,
}

impl Worker {
    /// Keeps a packet that was made because of what is being decided. A packet for which there is no
    /// room is given back, with the reason why it is dropped.
    pub(super) fn keep_answer(&mut self, packet: Packet) -> Result<(), (Packet, DropReason)> {
        if self.generation >= GENERATIONS_MAX {
            return Err((packet, DropReason::TooDeep));
        }
        if self.answers.len() >= ANSWERS_MAX {
            return Err((packet, DropReason::RouterBusy));
        }
        self.answers.push(Answer {
            packet,
            generation: self.generation + 1,
        });
        Ok(())
    }

    /// The same; one that is not kept is counted as made and dropped.
    pub(super) fn keep_answer_or_drop(&mut self, packet: Packet) {
        if let Err((packet, reason)) = self.keep_answer(packet) {
            self.stats.answers += 1;
            self.stats.drops.count(reason);
            self.pool.drop_packet(packet);
        }
    }

    /// Our own answers enter the pipeline like packets from the port for which they speak, those of one
    /// generation together.
    pub(super) fn answer(&mut self, tick: Tick) -> usize {
        let mut batch = Batch::new();
        let mut answers = std::mem::take(&mut self.answers);
        let len = answers.len();
        self.stats.answers += len as u64;
        let mut left = answers.drain(..).peekable();
        while let Some(first) = left.next() {
            self.generation = first.generation;
            batch.push(first.packet);
            while batch.len() < BATCH_LEN
                && let Some(next) = left.next_if(|next| next.generation == self.generation)
            {
                batch.push(next.packet);
            }
            self.decide(&mut batch, tick);
        }
        drop(left);
        // What routers said to each other meanwhile waits for the next round; the vector is kept.
        answers.append(&mut self.answers);
        self.answers = answers;
        len
    }
}
