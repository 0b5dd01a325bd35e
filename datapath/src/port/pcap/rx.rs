//! From the file into the switch.

use std::time::Instant;

use super::PcapQueue;
use crate::buffer::{Batch, FramePool, HEADROOM};
use crate::offload::Offload;
use crate::port::{RxStatus, spill};

impl PcapQueue {
    /// Plays what is due. `Down` when the file has ended.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        pool: &mut FramePool,
        batch: &mut Batch,
    ) -> RxStatus {
        let Some(replay) = &mut self.replay else {
            return RxStatus::Drained;
        };
        let began = replay.began.get_or_insert(now);
        let mut brought = 0;
        let mut status = RxStatus::More;
        let mut began = *began;
        while !batch.is_full() {
            let Some(due) = replay.due() else {
                if !replay.repeat {
                    status = RxStatus::Down;
                    break;
                }
                began += replay.period();
                replay.next = 0;
                continue;
            };
            if now.saturating_duration_since(began) < due || now < began {
                status = RxStatus::Drained;
                break;
            }
            let Some((_, bytes)) = replay.recording.packet(replay.next) else {
                break;
            };
            // Without frames the packet waits.
            let Some(mut head) = pool.chunk() else { break };
            let room = &mut head.bytes_mut()[HEADROOM..];
            let (front, rest) = bytes.split_at(bytes.len().min(room.len()));
            room[..front.len()].copy_from_slice(front);
            let mut large = None;
            if !rest.is_empty() {
                let Some(mut frame) = pool.large() else {
                    pool.free(head);
                    break;
                };
                frame.bytes_mut()[..rest.len()].copy_from_slice(rest);
                large = Some(frame);
            }
            let whole = |_| Some(Offload::default());
            let size = bytes.len();
            let packet = spill::assemble(self.port, head, HEADROOM, &mut large, size, whole, pool);
            replay.next += 1;
            match packet {
                Some(packet) => {
                    self.counters.rx_packets += 1;
                    self.counters.rx_bytes += size as u64;
                    brought += 1;
                    batch.push(packet);
                }
                None => self.counters.rx_errors += 1,
            }
        }
        replay.began = Some(began);
        self.counters.rx_batches += u64::from(brought > 0);
        status
    }
}
