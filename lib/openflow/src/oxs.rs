//! Counters of flows as OpenFlow 1.5 writes them: a list of fields with headers like those of
//! matches (OXS).
//!
//! Spec: OpenFlow 1.5.1 §7.2.4. The number of a field that is not known here, and any experimenter's,
//! is passed over, as Open vSwitch does.

use crate::elapsed::Elapsed;
use crate::error::{ErrorCode, OfError};
use crate::wire::{Reader, Writer, require};

/// The class of basic counters (`OFPXSC_OPENFLOW_BASIC`).
const BASIC: u16 = 0x8002;

const DURATION: u8 = 0;
const IDLE_TIME: u8 = 1;
const FLOW_COUNT: u8 = 3;
const PACKET_COUNT: u8 = 4;
const BYTE_COUNT: u8 = 5;

const BAD_LEN: OfError = ErrorCode::BmcBadLen.about("a flow's counters");

/// Counters, as far as a peer says them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// How long it has been there.
    pub(crate) duration: Option<Elapsed>,
    /// Seconds since a packet matched.
    pub(crate) idle: Option<u32>,
    /// How many flows.
    pub(crate) flows: Option<u32>,
    /// Packets that matched.
    pub(crate) packets: Option<u64>,
    /// Bytes of these.
    pub(crate) bytes: Option<u64>,
}

impl Counters {
    /// Reads them with the header of their list and the zeros behind it.
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut list = Reader::new(from.peek(), BAD_LEN);
        list.skip(2)?;
        let size = usize::from(list.u16()?);
        let mut list = list.part(size.checked_sub(4).ok_or(BAD_LEN)?)?;
        from.part_with(size.next_multiple_of(8), BAD_LEN)
            .map_err(|_| BAD_LEN)?;
        let mut found = Self::default();
        while !list.is_empty() {
            let (class, number, size) = (list.u16()?, list.u8()?, list.u8()?);
            let mut value = list.part(usize::from(size))?;
            let known = (class, number >> 1, size);
            match known {
                (BASIC, DURATION, 8) => found.duration = Some(Elapsed::read(&mut value)?),
                (BASIC, IDLE_TIME, 8) => found.idle = Some(Elapsed::read(&mut value)?.seconds),
                (BASIC, FLOW_COUNT, 4) => found.flows = Some(value.u32()?),
                (BASIC, PACKET_COUNT, 8) => found.packets = Some(value.u64()?),
                (BASIC, BYTE_COUNT, 8) => found.bytes = Some(value.u64()?),
                (0xffff, _, size) => {
                    require(size >= 4, BAD_LEN.code, BAD_LEN.about)?;
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Writes them with the header of their list and the zeros behind it.
    pub(crate) fn encode(&self, to: &mut Writer) {
        let start = to.size();
        to.zeros(2);
        let length = to.length();
        let header = |to: &mut Writer, number: u8, size: u8| {
            to.u16(BASIC);
            to.u8(number << 1);
            to.u8(size);
        };
        if let Some(duration) = self.duration {
            header(to, DURATION, 8);
            duration.write(to);
        }
        if let Some(seconds) = self.idle {
            header(to, IDLE_TIME, 8);
            let nanoseconds = 0;
            Elapsed {
                seconds,
                nanoseconds,
            }
            .write(to);
        }
        for (number, count) in [(PACKET_COUNT, self.packets), (BYTE_COUNT, self.bytes)] {
            if let Some(count) = count {
                header(to, number, 8);
                to.u64(count);
            }
        }
        if let Some(flows) = self.flows {
            header(to, FLOW_COUNT, 4);
            to.u32(flows);
        }
        to.fill_length(length, start, "a flow's counters");
        to.pad8(start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Open vSwitch 3.1 sends of two flows with 3 packets of 126 bytes (`OFPST_AGGREGATE`).
    const TWO_FLOWS: [u8; 40] = [
        0, 0, 0, 36, //
        0x80, 2, 8, 8, 0, 0, 0, 0, 0, 0, 0, 3, //
        0x80, 2, 10, 8, 0, 0, 0, 0, 0, 0, 0, 126, //
        0x80, 2, 6, 4, 0, 0, 0, 2, //
        0, 0, 0, 0,
    ];

    fn read(bytes: &[u8]) -> Result<Counters, OfError> {
        let mut from = Reader::new(bytes, ErrorCode::BrcBadLen.about("a test"));
        let found = Counters::decode(&mut from)?;
        from.finish()?;
        Ok(found)
    }

    #[test]
    fn counters_are_a_list_of_fields() {
        let counters = Counters {
            flows: Some(2),
            packets: Some(3),
            bytes: Some(126),
            ..Counters::default()
        };
        assert_eq!(read(&TWO_FLOWS), Ok(counters));
        let mut to = Writer::new();
        counters.encode(&mut to);
        assert_eq!(to.finish().unwrap(), TWO_FLOWS);
    }

    #[test]
    fn unknown_counters_are_passed_over_and_wrong_lengths_refused() {
        let unknown = [0, 0, 0, 14, 0x80, 3, 0, 2, 9, 9, 0xff, 0xff, 0, 4];
        let unknown = [&unknown[..], &[0, 0, 0x23, 0x20]].concat();
        let mut right = unknown.clone();
        right[3] = 18;
        right.resize(24, 0);
        assert_eq!(read(&right), Ok(Counters::default()));
        for bytes in [
            &[0, 0, 0][..],
            &[0, 0, 0, 3, 0, 0, 0, 0],
            &unknown,
            &TWO_FLOWS[..36],
        ] {
            assert_eq!(
                read(bytes).unwrap_err().code,
                ErrorCode::BmcBadLen,
                "{bytes:?}"
            );
        }
    }
}
