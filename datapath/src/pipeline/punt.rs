//! Packets that wait to be told to controllers.
//!
//! Law: each bridge has a queue of its own, so one that sends everything to its controller takes no
//! room from another. What finds no room is lost and counted; the next packet that does says how
//! many were before it. Threads: workers put packets in, control takes them out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use vswitch_dpapi::PacketIn;
use vswitch_flow::field::Prerequisite;
use vswitch_flow::{Field, FlowKey, FlowMask, META_WORD, Match};

use super::{Frozen, Punt};

/// Packets of a bridge that may wait: with 64 KB each 16 MB.
const PUNTS_MAX: usize = 256;

/// A packet for controllers, and where it goes on if it waits for them.
#[derive(Debug)]
pub struct Waiting {
    /// What controllers are told. The continuation is not filled in.
    pub packet: PacketIn,
    /// Where it goes on.
    pub paused: Option<Arc<Frozen>>,
}

/// The packets of a bridge that wait to be told.
#[derive(Debug)]
pub struct Punts {
    packets: ArrayQueue<Waiting>,
    /// Packets lost since the last that was taken in.
    lost: AtomicU64,
}

impl Default for Punts {
    fn default() -> Self {
        Self {
            packets: ArrayQueue::new(PUNTS_MAX),
            lost: AtomicU64::new(0),
        }
    }
}

impl Punts {
    /// Puts a packet at the end; false when there is no room.
    pub fn push(&self, mut waiting: Waiting) -> bool {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        waiting.packet.lost += lost;
        let room = self.packets.push(waiting).is_ok();
        if !room {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
        room
    }

    /// The packet that waits longest.
    #[must_use]
    pub fn pop(&self) -> Option<Waiting> {
        self.packets.pop()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

impl Punt {
    /// What controllers are told of the frame `packet`, which came in with the fields `key`.
    #[must_use]
    pub fn packet_in(&self, key: &FlowKey, packet: Vec<u8>) -> PacketIn {
        PacketIn {
            bridge: self.bridge,
            reason: self.to.reason,
            implicit_miss: self.implicit_miss,
            table: self.table,
            cookie: self.cookie,
            controller: self.to.id,
            max_len: self.to.max_len,
            in_port: self.in_port,
            packet,
            fields: self.own_fields(key),
            userdata: self.to.userdata.clone(),
            continuation: None,
            lost: 0,
        }
    }

    /// The fields that no header says, where they are not zero.
    fn own_fields(&self, key: &FlowKey) -> Match {
        let (values, written) = &self.fields;
        let mut own = *key;
        let words = own.words.iter_mut().zip(&values.words).zip(&written.words);
        for ((own, value), written) in words.skip(META_WORD) {
            *own = *own & !written | value & written;
        }
        let mut mask = FlowMask::default();
        for field in Field::all() {
            let row = field.info();
            // Registers are named one by one, and what only a lookup needs is nobody's business.
            let wide = (Field::Xreg0 as usize..=Field::Xxreg3 as usize).contains(&(field as usize));
            let inner = matches!(
                field,
                Field::ConjId | Field::ActsetOutput | Field::DpHash | Field::TunTos | Field::TunTtl
            );
            if usize::from(row.word) >= META_WORD
                && !wide
                && !inner
                && own.field(field) != 0
                && row.prerequisite.holds(&own)
            {
                mask.set(field, row.max());
                if matches!(row.prerequisite, Prerequisite::Ct4 | Prerequisite::Ct6) {
                    // Nobody could read the address without knowing of which kind it is.
                    mask.set(Field::EthType, Field::EthType.info().max());
                }
            }
        }
        Match::new(&own, &mask)
    }
}
