//! What the file's fate means for the counters.

use super::PcapQueue;
use super::tx::Outcome;
use crate::buffer::Packet;

impl PcapQueue {
    /// Counts a batch that was to be written.
    pub(super) fn count_tx(&mut self, packets: &[Packet], outcome: Outcome) {
        let len = packets.len() as u64;
        match outcome {
            Outcome::Sent => {
                self.counters.tx_packets += len;
                self.counters.tx_bytes += packets.iter().map(|p| p.len() as u64).sum::<u64>();
            }
            Outcome::Failed => self.counters.tx_errors += len,
            Outcome::Stopped => self.counters.tx_down += len,
        }
    }
}
