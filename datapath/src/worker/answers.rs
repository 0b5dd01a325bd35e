//! Packets that we made: kept until they enter the pipeline, and for how long they may beget each other.
//!
//! An answer enters the pipeline like a packet from the port for which it speaks, and flows may do
//! anything to it: turn a reply into a request and bring it to another router, say, which answers it.
//! Nothing in such a packet counts down, as a TTL does between hosts, so each packet says how many
//! answers led to it ([`Packet::generation`]), whatever happens to it meanwhile.
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

impl Worker {
    /// Keeps a packet that was made, still of the generation of the one because of which it was; one
    /// for which there is no room is counted as made and dropped.
    pub(super) fn keep_answer(&mut self, mut packet: Packet) {
        let reason = if packet.generation >= GENERATIONS_MAX {
            DropReason::TooDeep
        } else if self.answers.len() >= ANSWERS_MAX {
            DropReason::RouterBusy
        } else {
            packet.generation += 1;
            return self.answers.push(packet);
        };
        self.stats.answers += 1;
        self.stats.drops.count(reason);
        self.pool.drop_packet(packet);
    }

    /// Keeps what actions made.
    pub(super) fn keep_answers(&mut self) {
        let mut answers = std::mem::take(&mut self.scratch.sink.answers);
        for answer in answers.drain(..) {
            self.keep_answer(answer);
        }
        self.scratch.sink.answers = answers;
    }

    /// Our own answers enter the pipeline like packets from the port for which they speak.
    pub(super) fn answer(&mut self, tick: Tick) -> usize {
        let mut batch = Batch::new();
        let mut answers = std::mem::take(&mut self.answers);
        let len = answers.len();
        self.stats.answers += len as u64;
        let mut left = answers.drain(..);
        loop {
            batch.extend(left.by_ref().take(BATCH_LEN));
            if batch.is_empty() {
                break;
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
