//! Messages for a peer that nobody there asked for: packet-ins, port status, flow removed.
//!
//! Law: what waits for a slow peer is bounded. Packets are dropped beyond `PACKETS_SIZE`, which the
//! peer is owed nothing for; of all else nothing may be missing, so a peer that lets
//! `ALL_SIZE` pile up is cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

/// Bytes that may wait before packets are dropped: a hundred frames that fill a TAP's super-frame
/// are more, a thousand of Ethernet's size are less.
const PACKETS_SIZE: usize = 2 << 20;

/// Bytes that may wait before the peer is cut off: some 50,000 removed flows.
const ALL_SIZE: usize = 8 << 20;

/// The end that messages go into.
#[derive(Clone, Debug)]
pub struct Pusher {
    sender: mpsc::UnboundedSender<Option<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
}

/// The end that a connection takes them from.
#[derive(Debug)]
pub struct Pushed {
    receiver: mpsc::UnboundedReceiver<Option<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
}

/// A queue for one connection.
pub fn queue() -> (Pusher, Pushed) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let pusher = Pusher {
        sender,
        waiting: Arc::clone(&waiting),
    };
    (pusher, Pushed { receiver, waiting })
}

impl Pusher {
    /// A packet; false when it was dropped.
    pub fn packet(&self, message: Vec<u8>) -> bool {
        self.waiting.load(Ordering::Relaxed) <= PACKETS_SIZE && self.send(message)
    }

    /// A message that must not be missing.
    pub fn message(&self, message: Vec<u8>) {
        if self.waiting.load(Ordering::Relaxed) > ALL_SIZE {
            let _ = self.sender.send(None);
        } else {
            self.send(message);
        }
    }

    fn send(&self, message: Vec<u8>) -> bool {
        self.waiting.fetch_add(message.len(), Ordering::Relaxed);
        self.sender.send(Some(message)).is_ok()
    }
}

impl Pushed {
    /// The next message; `None` when the peer is to be cut off. Giving up the wait loses nothing.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        let message = self.receiver.recv().await.flatten()?;
        self.waiting.fetch_sub(message.len(), Ordering::Relaxed);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn packets_are_dropped_and_other_messages_end_the_connection() {
        let (pusher, mut pushed) = queue();
        let mut taken = 0;
        while pusher.packet(vec![0; 1 << 16]) {
            taken += 1;
        }
        assert_eq!(taken, (PACKETS_SIZE >> 16) + 1);
        pusher.message(vec![1]);
        for _ in 0..taken {
            assert_eq!(
                pushed.next().await.map(|message| message.len()),
                Some(1 << 16)
            );
        }
        assert!(pusher.packet(vec![2]), "there is room again");
        assert_eq!(pushed.next().await, Some(vec![1]));
        assert_eq!(pushed.next().await, Some(vec![2]));
        for _ in 0..=(ALL_SIZE >> 16) + 1 {
            pusher.message(vec![0; 1 << 16]);
        }
        let mut len = 0;
        while pushed.next().await.is_some() {
            len += 1;
        }
        assert_eq!(len, (ALL_SIZE >> 16) + 1);
    }
}
