//! Bundles: changes that are collected, then made together or not at all.
//!
//! Spec: OpenFlow 1.4.1 §7.3.9; the ONF's extension 230 in 1.3. A bundle that its peer leaves alone
//! for [`IDLE`] is discarded, as by Open vSwitch.

use std::time::Duration;

use tokio::time::Instant;
use vswitch_openflow::bundle::BundleFlags;
use vswitch_openflow::{ErrorCode, Message};

use super::link::Head;
use super::session::Session;

/// How long a bundle is kept that nothing is said of.
pub const IDLE: Duration = Duration::from_secs(10);

/// Bundles of a peer at a time.
const BUNDLES_MAX: usize = 64;

/// Bytes of the messages in all bundles of a peer.
const SIZE_MAX: usize = 256 << 20;

/// A bundle.
#[derive(Debug)]
pub struct Bundle {
    flags: BundleFlags,
    closed: bool,
    size: usize,
    touched: Instant,
    /// What it holds: the beginning of each message, and what it says.
    pub messages: Vec<(Head, Message)>,
}

impl Bundle {
    fn new(flags: BundleFlags) -> Self {
        Self {
            flags,
            closed: false,
            size: 0,
            touched: Instant::now(),
            messages: Vec::new(),
        }
    }
}

impl Session {
    /// Opens a bundle.
    pub fn open_bundle(&mut self, id: u32, flags: BundleFlags) -> Result<(), ErrorCode> {
        if self.bundles.remove(&id).is_some() {
            return Err(ErrorCode::BfcBadId);
        }
        if self.bundles.len() >= BUNDLES_MAX {
            return Err(ErrorCode::BfcOutOfBundles);
        }
        self.bundles.insert(id, Bundle::new(flags));
        Ok(())
    }

    /// Takes no more messages into a bundle.
    pub fn close_bundle(&mut self, id: u32, flags: BundleFlags) -> Result<(), ErrorCode> {
        let bundle = self.bundles.get_mut(&id).ok_or(ErrorCode::BfcBadId)?;
        let wrong = if bundle.closed {
            ErrorCode::BfcBundleClosed
        } else if bundle.flags != flags {
            ErrorCode::BfcBadFlags
        } else {
            bundle.closed = true;
            bundle.touched = Instant::now();
            return Ok(());
        };
        self.bundles.remove(&id);
        Err(wrong)
    }

    /// Takes a bundle's messages, to make them.
    pub fn take_bundle(
        &mut self,
        id: u32,
        flags: BundleFlags,
    ) -> Result<Vec<(Head, Message)>, ErrorCode> {
        let bundle = self.bundles.remove(&id).ok_or(ErrorCode::BfcBadId)?;
        if bundle.flags != flags {
            return Err(ErrorCode::BfcBadFlags);
        }
        Ok(bundle.messages)
    }

    /// Forgets a bundle.
    pub fn discard_bundle(&mut self, id: u32) -> Result<(), ErrorCode> {
        self.bundles
            .remove(&id)
            .map(|_| ())
            .ok_or(ErrorCode::BfcBadId)
    }

    /// Puts a message into a bundle, which is opened if there is none. `size` is its bytes.
    pub fn add_to_bundle(
        &mut self,
        id: u32,
        flags: BundleFlags,
        head: Head,
        message: Message,
        size: usize,
    ) -> Result<(), ErrorCode> {
        let possible = matches!(
            message,
            Message::FlowMod(_)
                | Message::GroupMod(_)
                | Message::MeterMod(_)
                | Message::PortMod(_)
                | Message::PacketOut(_)
        );
        if !possible {
            return Err(ErrorCode::BfcMsgUnsup);
        }
        if !self.bundles.contains_key(&id) {
            self.open_bundle(id, flags)?;
        }
        let held: usize = self.bundles.values().map(|bundle| bundle.size).sum();
        let bundle = self.bundles.get_mut(&id).ok_or(ErrorCode::BfcBadId)?;
        let wrong = if bundle.closed {
            ErrorCode::BfcBundleClosed
        } else if bundle.flags != flags {
            ErrorCode::BfcBadFlags
        } else if held + size > SIZE_MAX {
            ErrorCode::BfcMsgTooMany
        } else {
            bundle.size += size;
            bundle.touched = Instant::now();
            bundle.messages.push((head, message));
            return Ok(());
        };
        self.bundles.remove(&id);
        Err(wrong)
    }

    /// When the first bundle has been left alone for too long.
    pub fn bundles_due(&self) -> Option<Instant> {
        self.bundles
            .values()
            .map(|bundle| bundle.touched + IDLE)
            .min()
    }

    /// Forgets bundles that were left alone for too long; their numbers.
    pub fn expire_bundles(&mut self) -> Vec<u32> {
        let old = self
            .bundles
            .extract_if(.., |_, bundle| bundle.touched.elapsed() >= IDLE);
        old.map(|(id, _)| id).collect()
    }
}
