//! What packets ask of control, and what controllers do to packets.
//!
//! Law: bridges take turns, so one whose packets all go to controllers does not keep another's
//! waiting; and requests take turns with packets, a [`PACKETS_MAX`] of them at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use mio::Waker;
use vswitch_dpapi::Event;
use vswitch_dpapi::message::Reply;
use vswitch_flow::Match;

use super::{Control, Refusal};
use crate::pipeline::Frozen;
use crate::port::PortIndex;
use crate::worker::{Command, PacketOut, Resumed};

/// Packets of one bridge that are told at a time.
const PACKETS_MAX: usize = 64;

/// Effects that are made at a time: they share one publication.
const WISHES_MAX: usize = 256;

/// Packets that may wait for controllers; the oldest go.
const PAUSED_MAX: usize = 4096;

/// Packets that wait for controllers to let them go on.
#[derive(Debug, Default)]
pub(super) struct Paused {
    waiting: VecDeque<(u64, Arc<Frozen>)>,
    last: u64,
}

impl Paused {
    /// Keeps where a packet stopped; answers the name under which it is found again.
    fn keep(&mut self, frozen: Arc<Frozen>) -> Vec<u8> {
        if self.waiting.len() >= PAUSED_MAX {
            self.waiting.pop_front();
        }
        self.last += 1;
        self.waiting.push_back((self.last, frozen));
        self.last.to_le_bytes().to_vec()
    }

    /// Where a packet stopped, which waits no longer.
    fn take(&mut self, name: &[u8]) -> Option<Arc<Frozen>> {
        let name = u64::from_le_bytes(name.try_into().ok()?);
        let at = self.waiting.iter().position(|(id, _)| *id == name)?;
        Some(self.waiting.remove(at)?.1)
    }
}

impl Control {
    /// Says how workers wake the control thread.
    pub(super) fn wake_by(&self, waker: Waker) {
        self.upcalls.set_waker(waker);
    }

    /// Does what packets have asked for meanwhile.
    pub(super) fn look(&mut self) {
        self.upcalls.look();
        if let Err(refusal) = self.grant() {
            tracing::error!(why = refusal.to_string(), "flows could not be learned");
        }
        let tables = Arc::clone(self.ledger.tables());
        for bridge in tables.bridges() {
            let mut left = PACKETS_MAX;
            while left > 0
                && let Some(waiting) = bridge.punts().pop()
            {
                left -= 1;
                let mut packet = waiting.packet;
                if self.listeners == 0 {
                    continue;
                }
                packet.continuation = waiting.paused.map(|frozen| self.paused.keep(frozen));
                self.tell(Event::PacketIn(Box::new(packet)));
            }
            if !bridge.punts().is_empty() {
                self.upcalls.wake();
            }
        }
    }

    /// Makes the flows that packets learn, and lets the packets go on.
    fn grant(&mut self) -> Result<(), Refusal> {
        let before = Arc::clone(self.ledger.tables());
        let now = self.now();
        let mut gone = Vec::new();
        let mut tickets = vec![0; self.workers.len()];
        let mut left = WISHES_MAX;
        while left > 0
            && let Some(wish) = self.upcalls.pop()
        {
            left -= 1;
            if let Some(ticket) = tickets.get_mut(wish.worker as usize) {
                *ticket = wish.ticket;
            }
            if let Some(event) = self.ledger.grant(&wish.effect, now, &mut gone) {
                self.tell(event);
            }
        }
        if left == 0 {
            self.upcalls.wake();
        }
        self.publish(before)?;
        for (worker, ticket) in self.workers.iter().zip(tickets) {
            if ticket > 0 {
                self.ask(worker, |done| Command::Release(ticket, done))?;
            }
        }
        self.tell_gone(&gone)
    }

    /// Does a controller's actions to its packet. What the packet does to flows is done, too.
    pub(super) fn packet_out(&mut self, job: PacketOut) -> Result<Reply, Refusal> {
        // The worker that serves the port keeps the packet in order with the port's own.
        let port = self.bridge(job.bridge)?.port(job.in_port);
        let serves = port.and_then(|PortIndex(id)| self.held.get(&vswitch_dpapi::PortId(id)));
        let worker = serves.and_then(|held| held.workers.first()).copied();
        self.hand(worker, |done| Command::PacketOut(Box::new(job), done))?;
        Ok(Reply::Done)
    }

    /// Lets a packet go on that waited for a controller.
    pub(super) fn resume(
        &mut self,
        packet: Vec<u8>,
        fields: Match,
        continuation: &[u8],
    ) -> Result<Reply, Refusal> {
        let frozen = self.paused.take(continuation).ok_or(Refusal::NotPaused)?;
        let job = Resumed {
            frozen,
            packet,
            fields,
        };
        self.hand(None, |done| Command::Resume(Box::new(job), done))?;
        Ok(Reply::Done)
    }

    /// Has a worker carry out a command, and does what came of it.
    fn hand(
        &mut self,
        worker: Option<u32>,
        command: impl FnOnce(crossbeam::channel::Sender<()>) -> Command,
    ) -> Result<(), Refusal> {
        let worker = worker.unwrap_or_default() as usize;
        if let Some(worker) = self.workers.get(worker).or(self.workers.first()) {
            self.ask(worker, command)?;
        }
        self.look();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continuation_that_was_not_given_is_not_found() {
        let mut paused = Paused::default();
        assert!(paused.take(&1_u64.to_le_bytes()).is_none());
        assert!(paused.take(b"").is_none());
        assert!(paused.take(&[0; 100]).is_none());
    }
}
