//! From the switch out to the file.

use std::io::Write;
use std::iter;
use std::time::{Duration, Instant, SystemTime};

use super::{Capture, PcapQueue, format};
use crate::buffer::{FramePool, Packet, Segment};

impl PcapQueue {
    pub(super) fn transmit(
        &mut self,
        now: Instant,
        pool: &mut FramePool,
        packets: &mut Vec<Packet>,
    ) {
        self.counters.tx_batches += u64::from(!packets.is_empty());
        let outcome = match &mut self.capture {
            Some(capture) => capture.write(now, packets),
            None => Outcome::Sent,
        };
        self.count_tx(packets, outcome);
        for packet in packets.drain(..) {
            pool.drop_packet(packet);
        }
    }
}

/// What became of a batch.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    Sent,
    /// The write failed just now.
    Failed,
    /// It failed before.
    Stopped,
}

impl Capture {
    fn write(&mut self, now: Instant, packets: &[Packet]) -> Outcome {
        if self.has_failed {
            return Outcome::Stopped;
        }
        let time = self.wall_time(now);
        self.buffer.clear();
        for packet in packets {
            let tail = packet.tail_segments().iter().map(Segment::bytes);
            let pieces = iter::once(packet.head()).chain(tail);
            format::write_packet(&mut self.buffer, time, packet.len(), pieces);
        }
        match self.file.write_all(&self.buffer) {
            Ok(()) => Outcome::Sent,
            Err(error) => {
                tracing::warn!(%error, "a capture has ended: its file cannot be written any more");
                self.has_failed = true;
                Outcome::Failed
            }
        }
    }

    /// The round's time since the beginning of 1970.
    fn wall_time(&self, now: Instant) -> Duration {
        let (instant, wall) = self.clocks;
        let since = wall.duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap_or_default() + now.saturating_duration_since(instant)
    }
}
