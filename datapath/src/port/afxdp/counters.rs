//! What only the kernel counts.

use super::AfxdpQueue;

impl AfxdpQueue {
    pub(super) fn read_kernel_counters(&mut self) {
        // A socket answers as long as it is open, whatever has become of its device.
        if let Ok(statistics) = self.socket.statistics() {
            self.counters.rx_dropped = statistics.rx_lost();
        }
    }
}
