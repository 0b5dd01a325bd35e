//! From the device into the switch.
//!
//! One read per packet into [header | rest of a chunk | a large frame]. Almost every packet fits
//! the chunk; the large frame then stays for the next read, and goes back to the pool at the end of
//! the call, so that a port that does nothing holds no memory.

use std::io::IoSliceMut;

use rustix::io::Errno;
use vswitch_sys::memory::Frame;
use vswitch_sys::tap::VNET_HDR_SIZE;

use super::TapQueue;
use crate::buffer::{Batch, FramePool, HEADROOM};
use crate::port::{RxStatus, spill, vnet_hdr};

/// Bytes after which a call ends though the batch has room: what was read is written while it is still in
/// the core's own cache. A batch of super-frames is two megabytes.
const BYTES_MAX: usize = 256 << 10;

impl TapQueue {
    pub(super) fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch) -> RxStatus {
        let before = batch.len();
        let mut spill = None;
        let mut status = RxStatus::More;
        let mut bytes = 0;
        while !batch.is_full() && bytes < BYTES_MAX {
            // Without a chunk, what waits in the device's queue stays there until frames come back.
            let Some(mut head) = pool.chunk() else { break };
            if spill.is_none() {
                spill = pool.large();
            }
            let mut header = [0; VNET_HDR_SIZE];
            let size = match self.read(&mut header, &mut head, spill.as_mut()) {
                Ok(size) => size.saturating_sub(VNET_HDR_SIZE),
                Err(error) => {
                    pool.free(head);
                    status = self.count_rx_error(error);
                    break;
                }
            };
            let room = head.size() - HEADROOM + spill.as_ref().map_or(0, Frame::size);
            if size >= room {
                // Cut by the kernel, which does not say so: the frames were full.
                self.counters.rx_dropped += 1;
                pool.free(head);
                continue;
            }
            let offload = |in_head| vnet_hdr::decode(&header, in_head).ok();
            match spill::assemble(self.port, head, HEADROOM, &mut spill, size, offload, pool) {
                Some(packet) => {
                    self.counters.rx_packets += 1;
                    self.counters.rx_bytes += size as u64;
                    bytes += size;
                    batch.push(packet);
                }
                None => self.counters.rx_errors += 1,
            }
        }
        if let Some(frame) = spill {
            pool.free(frame);
        }
        self.counters.rx_batches += u64::from(batch.len() > before);
        status
    }

    fn read(
        &self,
        header: &mut [u8; VNET_HDR_SIZE],
        head: &mut Frame,
        spill: Option<&mut Frame>,
    ) -> Result<usize, Errno> {
        let spill = spill.map_or(&mut [][..], Frame::bytes_mut);
        rustix::io::readv(
            &self.fd,
            &mut [
                IoSliceMut::new(header),
                IoSliceMut::new(&mut head.bytes_mut()[HEADROOM..]),
                IoSliceMut::new(spill),
            ],
        )
    }
}
