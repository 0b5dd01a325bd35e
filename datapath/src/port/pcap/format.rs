//! The classic capture file format, as far as Ethernet goes.
//!
//! Reading takes both byte orders and both resolutions and refuses everything else in words: a file
//! is a stranger's bytes. Writing makes little-endian files with nanoseconds. The newer pcapng is
//! recognised, to say how to convert it.
//!
//! Spec: draft-ietf-opsawg-pcap (pcap savefile), pcap-savefile(5).

use std::io::{self, Read};
use std::time::Duration;

use vswitch_sys::memory::{CHUNK_SIZE, LARGE_SIZE};

use crate::buffer::HEADROOM;
use crate::port::ETHERNET_SIZE;

/// Bytes of a file that are kept in memory at most.
pub const FILE_SIZE_MAX: u64 = 1 << 30;

/// Bytes of a packet at most: what a chunk and a large frame take.
pub const PACKET_SIZE_MAX: usize = CHUNK_SIZE - HEADROOM + LARGE_SIZE;

const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
const MAGIC_PCAPNG: u32 = 0x0a0d_0d0a;
const LINK_ETHERNET: u32 = 1;
/// The link type without the bits that tell of frame check sequences.
const LINK_MASK: u32 = 0x03ff_ffff;
const FILE_HEADER_SIZE: usize = 24;
const RECORD_HEADER_SIZE: usize = 16;

/// Why a file cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// The file cannot be read.
    #[error("reading the capture file: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("this is no capture file: it begins with {0:#010x}, not with the magic of pcap")]
    NotPcap(u32),
    /// It is the newer format.
    #[error("this is a pcapng file; convert it with `editcap -F pcap IN OUT`")]
    PcapNg,
    /// The file ends inside its own header.
    #[error("this is no capture file: it has {0} bytes and a header would be {FILE_HEADER_SIZE}")]
    NoHeader(usize),
    /// The packets in it are not Ethernet's.
    #[error("the capture is of link type {0}; only Ethernet, type {LINK_ETHERNET}, can be played")]
    LinkType(u32),
    /// It does not fit in memory.
    #[error("the capture file is larger than {FILE_SIZE_MAX} bytes; cut it with `editcap -c`")]
    TooLarge,
    /// There is nothing to play.
    #[error("the capture file holds no packet")]
    Empty,
    /// A record makes no sense.
    #[error("packet {number} of the capture file, at byte {at}, {what}")]
    Record {
        /// From 1, as capture tools count.
        number: usize,
        /// Where in the file its record begins.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// A capture file in memory.
#[derive(Debug)]
pub struct Recording {
    bytes: Vec<u8>,
    packets: Vec<Recorded>,
}

#[derive(Clone, Copy, Debug)]
struct Recorded {
    /// Since the first packet.
    time: Duration,
    start: usize,
    end: usize,
}

impl Recording {
    /// Reads a file to its end.
    ///
    /// # Errors
    /// [`PcapError`].
    pub fn read(file: impl Read) -> Result<Self, PcapError> {
        let mut bytes = Vec::new();
        file.take(FILE_SIZE_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_SIZE_MAX {
            return Err(PcapError::TooLarge);
        }
        Self::parse(bytes)
    }

    /// Finds the packets in a file's bytes.
    ///
    /// # Errors
    /// [`PcapError`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, PcapError> {
        let Some(header) = bytes.first_chunk::<FILE_HEADER_SIZE>() else {
            return Err(PcapError::NoHeader(bytes.len()));
        };
        let magic = Order::Little.u32(header, 0);
        let (order, nanos) = match (magic, magic.swap_bytes()) {
            (MAGIC_MICROS, _) => (Order::Little, false),
            (MAGIC_NANOS, _) => (Order::Little, true),
            (_, MAGIC_MICROS) => (Order::Big, false),
            (_, MAGIC_NANOS) => (Order::Big, true),
            (MAGIC_PCAPNG, _) => return Err(PcapError::PcapNg),
            _ => return Err(PcapError::NotPcap(magic)),
        };
        let link = order.u32(header, 20) & LINK_MASK;
        if link != LINK_ETHERNET {
            return Err(PcapError::LinkType(link));
        }
        let mut packets: Vec<Recorded> = Vec::new();
        let mut first = None;
        let mut at = FILE_HEADER_SIZE;
        while at < bytes.len() {
            let bad = |what| PcapError::Record {
                number: packets.len() + 1,
                at,
                what,
            };
            let start = at + RECORD_HEADER_SIZE;
            let header = bytes
                .get(at..start)
                .ok_or_else(|| bad("ends inside its header"))?;
            let fraction = order.u32(header, 4);
            let fraction = if nanos {
                Duration::from_nanos(u64::from(fraction))
            } else {
                Duration::from_micros(u64::from(fraction))
            };
            let time = Duration::from_secs(u64::from(order.u32(header, 0))) + fraction;
            let size = order.u32(header, 8) as usize;
            if size > PACKET_SIZE_MAX {
                return Err(bad("is longer than any packet that the switch takes"));
            }
            if size < ETHERNET_SIZE {
                return Err(bad("is shorter than an Ethernet header"));
            }
            let end = start + size;
            if end > bytes.len() {
                return Err(bad("goes on behind the end of the file"));
            }
            // Clocks were set back while somebody captured: such a packet follows at once.
            let before = packets.last().map_or(Duration::ZERO, |p| p.time);
            let time = time.saturating_sub(*first.get_or_insert(time)).max(before);
            packets.push(Recorded { time, start, end });
            at = end;
        }
        if packets.is_empty() {
            return Err(PcapError::Empty);
        }
        Ok(Self { bytes, packets })
    }

    /// How many packets there are, at least one.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a recording is never empty")]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Packet `index`: when it came, counted from the first, and its bytes.
    #[must_use]
    pub fn packet(&self, index: usize) -> Option<(Duration, &[u8])> {
        let Recorded { time, start, end } = *self.packets.get(index)?;
        Some((time, self.bytes.get(start..end)?))
    }

    /// From the first packet to where the next round of the same packets would begin: the last
    /// packet's time and one mean gap.
    #[must_use]
    pub fn period(&self) -> Duration {
        let last = self.packets.last().map_or(Duration::ZERO, |p| p.time);
        match u32::try_from(self.packets.len() - 1) {
            Ok(gaps @ 1..) => last + last / gaps,
            _ => last,
        }
    }
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    /// The number at byte `at`, or zero behind the end.
    fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
        match (self, bytes) {
            (_, None) => 0,
            (Self::Little, Some(bytes)) => u32::from_le_bytes(*bytes),
            (Self::Big, Some(bytes)) => u32::from_be_bytes(*bytes),
        }
    }
}

/// Appends a file's header.
pub(super) fn write_header(out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC_NANOS.to_le_bytes());
    // Version 2.4; the time zone and its accuracy are zero in every file there is.
    out.extend_from_slice(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&(PACKET_SIZE_MAX as u32).to_le_bytes());
    out.extend_from_slice(&LINK_ETHERNET.to_le_bytes());
}

/// Appends a packet of these pieces, captured at `time` since the beginning of 1970.
pub(super) fn write_packet<'a>(
    out: &mut Vec<u8>,
    time: Duration,
    size: usize,
    pieces: impl Iterator<Item = &'a [u8]>,
) {
    let size = (size as u32).to_le_bytes();
    // The format's seconds end in 2106.
    out.extend_from_slice(&(time.as_secs() as u32).to_le_bytes());
    out.extend_from_slice(&time.subsec_nanos().to_le_bytes());
    out.extend_from_slice(&size);
    out.extend_from_slice(&size);
    for piece in pieces {
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as tcpdump writes it: microseconds, host order, two packets 1.5 s apart.
    fn file(order: fn(u32) -> [u8; 4], magic: u32) -> Vec<u8> {
        let mut bytes = order(magic).to_vec();
        bytes.extend(
            [
                order(0x0004_0002),
                order(0),
                order(0),
                order(262_144),
                order(1),
            ]
            .concat(),
        );
        for (seconds, fraction, size) in [(100, 250_000, 60u32), (101, 750_000, 14)] {
            bytes.extend([order(seconds), order(fraction), order(size), order(1514)].concat());
            bytes.extend(vec![size as u8; size as usize]);
        }
        bytes
    }

    #[test]
    fn files_of_both_byte_orders_and_resolutions_are_read() {
        for (order, magic, gap) in [
            (
                u32::to_le_bytes as fn(u32) -> [u8; 4],
                MAGIC_MICROS,
                1_500_000_000,
            ),
            (u32::to_be_bytes, MAGIC_MICROS, 1_500_000_000),
            (u32::to_le_bytes, MAGIC_NANOS, 1_000_500_000),
            (u32::to_be_bytes, MAGIC_NANOS, 1_000_500_000),
        ] {
            let recording = Recording::parse(file(order, magic)).expect("a capture");
            assert_eq!(recording.len(), 2);
            let first = recording.packet(0).expect("two");
            assert_eq!(first, (Duration::ZERO, &[60; 60][..]));
            let second = recording.packet(1).expect("two");
            assert_eq!(second, (Duration::from_nanos(gap), &[14; 14][..]));
            assert_eq!(recording.packet(2), None);
            assert_eq!(recording.period(), Duration::from_nanos(2 * gap));
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut bytes = Vec::new();
        write_header(&mut bytes);
        let time = Duration::new(1_700_000_000, 999_999_999);
        write_packet(&mut bytes, time, 15, [&[1; 7][..], &[2; 8]].into_iter());
        write_packet(
            &mut bytes,
            time + Duration::from_nanos(2),
            14,
            [&[3; 14][..]].into_iter(),
        );
        let recording = Recording::parse(bytes).expect("a capture");
        let first = [[1; 7].as_slice(), &[2; 8]].concat();
        assert_eq!(recording.packet(0), Some((Duration::ZERO, &first[..])));
        let second = recording.packet(1);
        assert_eq!(second, Some((Duration::from_nanos(2), &[3; 14][..])));
    }

    #[test]
    fn every_cut_of_a_file_is_refused_or_shorter() {
        let whole = file(u32::to_le_bytes, MAGIC_MICROS);
        for len in 0..whole.len() {
            match Recording::parse(whole[..len].to_vec()) {
                Err(PcapError::NoHeader(size)) => assert!(size == len && len < 24),
                Err(PcapError::Empty) => assert_eq!(len, 24),
                Err(PcapError::Record { number, at, .. }) => {
                    assert_eq!((number, at), if len < 100 { (1, 24) } else { (2, 100) });
                }
                Ok(recording) => assert_eq!((recording.len(), len), (1, 100)),
                Err(other) => panic!("{len}: {other}"),
            }
        }
    }

    #[test]
    fn other_formats_and_impossible_sizes_are_told_apart() {
        let mut bytes = file(u32::to_le_bytes, MAGIC_MICROS);
        bytes[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(
            Recording::parse(bytes.clone()),
            Err(PcapError::Record { number: 1, .. })
        ));
        bytes[20] = 113;
        let error = Recording::parse(bytes.clone()).expect_err("Linux cooked");
        assert!(matches!(error, PcapError::LinkType(113)));
        bytes[..4].copy_from_slice(&MAGIC_PCAPNG.to_le_bytes());
        assert!(matches!(
            Recording::parse(bytes.clone()),
            Err(PcapError::PcapNg)
        ));
        bytes[..4].copy_from_slice(b"\x7fELF");
        let error = Recording::parse(bytes).expect_err("a program");
        assert!(error.to_string().contains("0x464c457f"), "{error}");
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_turn_time_around() {
        let mut bytes = file(u32::to_le_bytes, MAGIC_MICROS);
        bytes[100] = 1;
        let recording = Recording::parse(bytes).expect("a capture");
        assert_eq!(recording.packet(1).map(|p| p.0), Some(Duration::ZERO));
    }
}
