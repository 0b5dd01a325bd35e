//! Messages for a peer that nobody there asked for: packet-ins, port status, flow removed, and news
//! of flows.
//!
//! Law: what waits for a slow peer is bounded. Packets are dropped beyond `PACKETS_SIZE`, which the
//! peer is owed nothing for; of all else nothing may be missing, so a peer that lets
//! `ALL_SIZE` pile up is cut off. News of flows stops by itself when [`Pusher::news_waiting`] is much,
//! but for flows that go: beyond `NEWS_SIZE` the peer is cut off too.
//!
//! News of flows has a queue of its own, because its order matters: an answer that tells of flows says
//! how much of it comes first ([`super::link::Part::News`]), and the rest waits for the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc;

/// Bytes that may wait before packets are dropped: a hundred frames that fill a TAP's super-frame
/// are more, a thousand of Ethernet's size are less.
const PACKETS_SIZE: usize = 2 << 20;

/// Bytes that may wait before the peer is cut off: some 50,000 removed flows.
const ALL_SIZE: usize = 8 << 20;

/// Bytes of news of flows that may wait before the peer is cut off: some 250,000 flows that were
/// removed at once.
const NEWS_SIZE: usize = 32 << 20;

/// The end that messages go into.
#[derive(Clone, Debug)]
pub struct Pusher {
    sender: mpsc::UnboundedSender<Option<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
    news: mpsc::UnboundedSender<Vec<u8>>,
    state: Arc<NewsState>,
    /// Messages that were put into `news`.
    told: u64,
}

/// The end that a connection takes them from.
#[derive(Debug)]
pub struct Pushed {
    receiver: mpsc::UnboundedReceiver<Option<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
}

/// The end that a connection takes news of flows from.
#[derive(Debug)]
pub struct News {
    receiver: mpsc::UnboundedReceiver<Vec<u8>>,
    state: Arc<NewsState>,
    /// Messages that were taken.
    taken: u64,
}

#[derive(Debug, Default)]
struct NewsState {
    /// Bytes in the queue.
    waiting: AtomicUsize,
    /// There is a pause, which ends when the peer has taken everything.
    paused: AtomicBool,
}

/// The queues for one connection.
pub fn queues() -> (Pusher, Pushed, News) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (news, taker) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let state = Arc::new(NewsState::default());
    let pusher = Pusher {
        sender,
        waiting: Arc::clone(&waiting),
        news,
        state: Arc::clone(&state),
        told: 0,
    };
    let news = News {
        receiver: taker,
        state,
        taken: 0,
    };
    (pusher, Pushed { receiver, waiting }, news)
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

    /// News of flows; [`Pusher::told`] counts them.
    pub fn news(&mut self, message: Vec<u8>) {
        if self.news_waiting() > NEWS_SIZE {
            let _ = self.sender.send(None);
            return;
        }
        self.state
            .waiting
            .fetch_add(message.len(), Ordering::Relaxed);
        self.told += 1;
        let _ = self.news.send(message);
    }

    /// Bytes of news that wait.
    pub fn news_waiting(&self) -> usize {
        self.state.waiting.load(Ordering::Relaxed)
    }

    /// How many messages of news there were.
    pub fn told(&self) -> u64 {
        self.told
    }

    /// Has the connection say when the peer has taken everything.
    pub fn pause(&self) {
        self.state.paused.store(true, Ordering::Relaxed);
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

impl News {
    /// The next message. Giving up the wait loses nothing.
    pub async fn next(&mut self) -> Vec<u8> {
        match self.receiver.recv().await {
            Some(message) => self.take(message),
            // Nobody tells any more: the connection is about to be closed.
            None => std::future::pending().await,
        }
    }

    /// The next message, if it is one of the first `count`.
    pub fn next_of(&mut self, count: u64) -> Option<Vec<u8>> {
        if self.taken >= count {
            return None;
        }
        let message = self.receiver.try_recv().ok()?;
        Some(self.take(message))
    }

    fn take(&mut self, message: Vec<u8>) -> Vec<u8> {
        self.taken += 1;
        self.state
            .waiting
            .fetch_sub(message.len(), Ordering::Relaxed);
        message
    }

    /// Whether there is a pause that may end: nothing waits. It is said once.
    pub fn ends_pause(&self) -> bool {
        self.receiver.is_empty() && self.state.paused.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn news_is_counted_and_its_pause_ends_when_all_is_taken() {
        let (mut pusher, mut pushed, mut news) = queues();
        for size in 1..=3 {
            pusher.news(vec![0; size]);
        }
        assert_eq!((pusher.told(), pusher.news_waiting()), (3, 6));
        pusher.pause();
        assert!(!news.ends_pause(), "some of it waits");
        assert_eq!(news.next_of(2), Some(vec![0]));
        assert_eq!(news.next_of(2), Some(vec![0; 2]));
        assert_eq!(news.next_of(2), None);
        assert_eq!(news.next().await, [0; 3]);
        assert_eq!(pusher.news_waiting(), 0);
        assert!(news.ends_pause());
        assert!(!news.ends_pause(), "it was said");
        while pusher.news_waiting() <= NEWS_SIZE {
            pusher.news(vec![0; 1 << 20]);
        }
        pusher.news(vec![0]);
        assert_eq!(pushed.next().await, None, "the peer is cut off");
    }

    #[tokio::test]
    async fn packets_are_dropped_and_other_messages_end_the_connection() {
        let (pusher, mut pushed, _news) = queues();
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
