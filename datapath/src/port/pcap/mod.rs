//! The capture-file port: plays a file in and writes what goes out to another.
//!
//! For repeating traffic that was seen elsewhere and for looking at what the switch sends. Not for
//! watching other ports; that is a mirror, which may well end here.
//!
//! Law: a file is read to its end when the port is made, so that a bad one is refused with a reason
//! and never met on the way. What is written is always whole: nothing is left to be summed or cut.
//!
//! Threads: one queue, one worker. Cost: a copy per packet each way, and a write per batch that
//! goes out. Time comes with the calls; the port asks no clock.

mod counters;
mod format;
mod rx;
mod tx;

use std::fs::File;
use std::time::{Duration, Instant, SystemTime};

pub use format::{FILE_SIZE_MAX, PACKET_SIZE_MAX, PcapError, Recording};

use super::{PortCounters, PortIndex, PortQueue, Readiness, RxStatus};
use crate::buffer::{Batch, FramePool, Packet, TAIL_LEN};
use crate::offload::Capabilities;

/// How fast a file is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as the switch takes it.
    Full,
    /// With the gaps of the recording.
    Recorded,
    /// So many packets a second.
    PerSecond(u32),
}

/// A file being played.
#[derive(Debug)]
struct Replay {
    recording: Recording,
    pace: Pace,
    repeat: bool,
    /// The packet that is next; the recording's length when it has ended.
    next: usize,
    /// When the first packet of this round was due. Set by the first call.
    began: Option<Instant>,
}

/// A file being written.
#[derive(Debug)]
struct Capture {
    file: File,
    /// Two clocks at one moment, to tell the file's time from the round's.
    clocks: (Instant, SystemTime),
    /// The records of one call; kept for its room.
    buffer: Vec<u8>,
    /// A write has failed, and the file may end inside a record: nothing more is written.
    has_failed: bool,
}

/// A port between two files.
#[derive(Debug)]
pub struct PcapQueue {
    port: PortIndex,
    capabilities: Capabilities,
    counters: PortCounters,
    replay: Option<Replay>,
    capture: Option<Capture>,
}

impl PcapQueue {
    /// A port that neither plays nor writes yet: it loses what it is given.
    #[must_use]
    pub fn new(port: PortIndex, mtu: u32) -> Self {
        Self {
            port,
            capabilities: Capabilities {
                csum: false,
                tso4: false,
                tso6: false,
                uso: false,
                tunnel: false,
                mtu,
                max_segments: 1 + TAIL_LEN,
            },
            counters: PortCounters::default(),
            replay: None,
            capture: None,
        }
    }

    /// Plays `recording`, beginning with the first call of `rx`; once, or for ever.
    #[must_use]
    pub fn with_replay(mut self, recording: Recording, pace: Pace, repeat: bool) -> Self {
        self.replay = Some(Replay {
            recording,
            pace,
            repeat,
            next: 0,
            began: None,
        });
        self
    }

    /// Writes what is sent to `file`, from its beginning on. `clocks` are both clocks at one moment.
    ///
    /// # Errors
    /// When the file's header cannot be written.
    pub fn with_capture(
        mut self,
        mut file: File,
        clocks: (Instant, SystemTime),
    ) -> std::io::Result<Self> {
        let mut buffer = Vec::new();
        format::write_header(&mut buffer);
        std::io::Write::write_all(&mut file, &buffer)?;
        self.capture = Some(Capture {
            file,
            clocks,
            buffer,
            has_failed: false,
        });
        Ok(self)
    }
}

impl PortQueue for PcapQueue {
    fn rx(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch) -> RxStatus {
        self.receive(now, pool, batch)
    }

    fn tx(&mut self, now: Instant, pool: &mut FramePool, packets: &mut Vec<Packet>) {
        self.transmit(now, pool, packets);
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn set_mtu(&mut self, mtu: u32) {
        self.capabilities.mtu = mtu;
    }

    fn readiness(&self) -> Readiness<'_> {
        match self.replay {
            Some(_) => Readiness::Always,
            None => Readiness::Never,
        }
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn close(self: Box<Self>, _pool: &mut FramePool) {}
}

impl Replay {
    /// When the next packet is due, counted from the beginning of this round.
    fn due(&self) -> Option<Duration> {
        let (time, _) = self.recording.packet(self.next)?;
        Some(match self.pace {
            Pace::Full => Duration::ZERO,
            Pace::Recorded => time,
            Pace::PerSecond(rate) => spacing(self.next, rate),
        })
    }

    /// How long a round lasts.
    fn period(&self) -> Duration {
        match self.pace {
            Pace::Full => Duration::ZERO,
            Pace::Recorded => self.recording.period(),
            Pace::PerSecond(rate) => spacing(self.recording.len(), rate),
        }
    }
}

/// The time of `count` packets at `rate` a second; no rate is one a second.
fn spacing(count: usize, rate: u32) -> Duration {
    let nanos = count as u128 * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::SharedFrames;
    use crate::offload::Offload;

    #[expect(
        clippy::disallowed_methods,
        reason = "a clock begins somewhere; the test moves it from there"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    /// Packets of 60 bytes, the first byte their number, a second apart.
    fn recording(len: u8) -> Recording {
        let mut bytes = Vec::new();
        format::write_header(&mut bytes);
        for i in 0..len {
            let time = Duration::from_secs(1_700_000_000 + u64::from(i));
            format::write_packet(&mut bytes, time, 60, [&[i; 60][..]].into_iter());
        }
        Recording::parse(bytes).expect("a capture")
    }

    fn numbers(queue: &mut PcapQueue, now: Instant, pool: &mut FramePool) -> (Vec<u8>, RxStatus) {
        let mut batch = Batch::new();
        let status = queue.rx(now, pool, &mut batch);
        let mut seen = Vec::new();
        for packet in batch {
            seen.push(packet.head()[0]);
            pool.drop_packet(packet);
        }
        (seen, status)
    }

    #[test]
    fn a_recording_is_played_with_its_gaps_by_the_clock_it_is_given() {
        let mut pool = FramePool::new(SharedFrames::new(64, 0).expect("memory"));
        let mut queue =
            PcapQueue::new(PortIndex(1), 1500).with_replay(recording(3), Pace::Recorded, false);
        let start = start();
        let mut at = |millis| numbers(&mut queue, start + Duration::from_millis(millis), &mut pool);
        assert_eq!(at(0), (vec![0], RxStatus::Drained));
        assert_eq!(at(999), (vec![], RxStatus::Drained));
        assert_eq!(at(1000), (vec![1], RxStatus::Drained));
        assert_eq!(at(5000), (vec![2], RxStatus::Down));
        assert_eq!(at(9000), (vec![], RxStatus::Down));
    }

    #[test]
    fn a_repeated_recording_keeps_its_rhythm() {
        let mut pool = FramePool::new(SharedFrames::new(64, 0).expect("memory"));
        let mut queue =
            PcapQueue::new(PortIndex(1), 1500).with_replay(recording(3), Pace::PerSecond(10), true);
        let start = start();
        let mut at = |millis| numbers(&mut queue, start + Duration::from_millis(millis), &mut pool);
        assert_eq!(at(0), (vec![0], RxStatus::Drained));
        assert_eq!(at(250), (vec![1, 2], RxStatus::Drained));
        assert_eq!(at(300), (vec![0], RxStatus::Drained));
        assert_eq!(at(900), (vec![1, 2, 0, 1, 2, 0], RxStatus::Drained));
    }

    #[test]
    fn at_full_pace_every_call_brings_a_batch() {
        let mut pool = FramePool::new(SharedFrames::new(64, 0).expect("memory"));
        let mut queue =
            PcapQueue::new(PortIndex(1), 1500).with_replay(recording(40), Pace::Full, false);
        let start = start();
        let (seen, status) = numbers(&mut queue, start, &mut pool);
        assert_eq!((seen.len(), status), (32, RxStatus::More));
        let (seen, status) = numbers(&mut queue, start, &mut pool);
        assert_eq!((seen.len(), status), (8, RxStatus::Down));
        assert_eq!(queue.counters.rx_packets, 40);
    }

    #[test]
    fn what_is_sent_is_in_the_file_with_its_time() {
        let mut pool = FramePool::new(SharedFrames::new(64, 2).expect("memory"));
        let path = tempfile::NamedTempFile::new().expect("a file");
        let (start, wall) = (start(), SystemTime::UNIX_EPOCH + Duration::from_secs(1000));
        let mut queue = PcapQueue::new(PortIndex(1), 1500)
            .with_capture(path.reopen().expect("open"), (start, wall))
            .expect("a header");
        for millis in [0, 1500] {
            let mut head = pool.chunk().expect("free");
            head.bytes_mut()[256..300].fill(7);
            let mut packet = Packet::new(head, 256..300, PortIndex(2), Offload::default());
            let mut large = pool.large().expect("free");
            large.bytes_mut()[..100].fill(8);
            packet
                .push_tail(crate::buffer::Segment::new(large, 0..100), &mut pool)
                .expect("room");
            let now = start + Duration::from_millis(millis);
            queue.tx(now, &mut pool, &mut vec![packet]);
        }
        assert_eq!(queue.counters.tx_packets, 2);
        assert_eq!(queue.counters.tx_bytes, 288);
        let file = std::fs::read(path.path()).expect("written");
        assert_eq!(file[24..32], [0xe8, 3, 0, 0, 0, 0, 0, 0]);
        let recording = Recording::parse(file).expect("a capture");
        let (time, bytes) = recording.packet(1).expect("two packets");
        assert_eq!(time, Duration::from_millis(1500));
        assert_eq!(bytes, [[7; 44].as_slice(), &[8; 100]].concat());
    }

    #[test]
    fn a_file_that_cannot_be_written_any_more_stops_the_capture_not_the_switch() {
        let mut pool = FramePool::new(SharedFrames::new(64, 2).expect("memory"));
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let writer = File::from(std::os::fd::OwnedFd::from(writer));
        let mut queue = PcapQueue::new(PortIndex(1), 1500)
            .with_capture(writer, (start(), SystemTime::UNIX_EPOCH))
            .expect("a header");
        drop(reader);
        for _ in 0..2 {
            let head = pool.chunk().expect("free");
            let packet = Packet::new(head, 256..316, PortIndex(2), Offload::default());
            queue.tx(start(), &mut pool, &mut vec![packet]);
        }
        let counters = queue.counters;
        assert_eq!((counters.tx_errors, counters.tx_down), (1, 1));
        assert_eq!(counters.tx_packets, 0);
    }
}
