//! How long something has been there: seconds and nanoseconds in 32 bits each.

use std::time::Duration;

use crate::error::OfError;
use crate::wire::{Reader, Writer};

/// A time span as OpenFlow writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Elapsed {
    /// Whole seconds.
    pub seconds: u32,
    /// Nanoseconds beyond them.
    pub nanoseconds: u32,
}

impl From<Duration> for Elapsed {
    fn from(span: Duration) -> Self {
        Self {
            // The highest number means that it is not known.
            seconds: u32::try_from(span.as_secs()).map_or(u32::MAX - 1, |s| s.min(u32::MAX - 1)),
            nanoseconds: span.subsec_nanos(),
        }
    }
}

impl From<Elapsed> for Duration {
    fn from(span: Elapsed) -> Self {
        Self::from_secs(span.seconds.into()) + Self::from_nanos(span.nanoseconds.into())
    }
}

impl Elapsed {
    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, OfError> {
        Ok(Self {
            seconds: from.u32()?,
            nanoseconds: from.u32()?,
        })
    }

    pub(crate) fn write(self, to: &mut Writer) {
        to.u32(self.seconds);
        to.u32(self.nanoseconds);
    }
}

/// Reads a span that a peer may not know, which all ones say.
pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Option<Elapsed>, OfError> {
    let span = Elapsed::read(from)?;
    Ok((span.seconds != u32::MAX).then_some(span))
}

/// Writes a span that may not be known.
pub(crate) fn encode(span: Option<Elapsed>, to: &mut Writer) {
    let unknown = Elapsed {
        seconds: u32::MAX,
        nanoseconds: u32::MAX,
    };
    span.unwrap_or(unknown).write(to);
}
