//! What all header views have in common: how a field is read, written and named.
//!
//! A header file is a list of fields with their places, made into getters and setters here, plus
//! what the fields mean. Law: no bytes make a view panic. A getter past the end of the bytes reads
//! zero and a setter there does nothing, so that even an unchecked view is safe to print.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Why bytes are not the header they were taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Fewer bytes than the header has.
    Short,
    /// A length in the header contradicts its smallest size or the bytes that are there.
    Length,
    /// Another version or address family than the view is for.
    Version,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "too short",
            Self::Length => "impossible length",
            Self::Version => "wrong version",
        })
    }
}

impl std::error::Error for Malformed {}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it names a group of stations, all of them included.
    #[inline]
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// The address as a number, its first byte the highest of six.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A value with a fixed size in network byte order.
pub(crate) trait Wire: Sized {
    /// The value at byte `at`, or zero when the bytes end before.
    fn read(bytes: &[u8], at: usize) -> Self;
    /// Stores the value at byte `at`, unless the bytes end before.
    fn write(self, bytes: &mut [u8], at: usize);
}

impl<const N: usize> Wire for [u8; N] {
    #[inline]
    fn read(bytes: &[u8], at: usize) -> Self {
        match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(value) => *value,
            None => [0; N],
        }
    }

    #[inline]
    fn write(self, bytes: &mut [u8], at: usize) {
        if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *place = self;
        }
    }
}

macro_rules! wire {
    ($($type:ty, $size:literal, $from:expr, $to:expr;)*) => {
        $(impl Wire for $type {
            #[inline]
            fn read(bytes: &[u8], at: usize) -> Self {
                $from(<[u8; $size]>::read(bytes, at))
            }

            #[inline]
            fn write(self, bytes: &mut [u8], at: usize) {
                $to(self).write(bytes, at);
            }
        })*
    };
}

wire! {
    u8, 1, |[byte]: [u8; 1]| byte, |value| [value];
    u16, 2, Self::from_be_bytes, Self::to_be_bytes;
    u32, 4, Self::from_be_bytes, Self::to_be_bytes;
    MacAddr, 6, MacAddr, |value: Self| value.0;
    Ipv4Addr, 4, Self::from, |value: Self| value.octets();
    Ipv6Addr, 16, Self::from, |value: Self| value.octets();
}

/// Makes a view of a header out of the list of its fields: name, setter, type and first byte.
macro_rules! header {
    (
        $(#[$doc:meta])*
        $view:ident, size $size:literal;
        $( $(#[$field_doc:meta])* $field:ident, $set:ident: $type:ty = $at:literal; )*
    ) => {
        /// Bytes of the header without options.
        pub const HEADER_SIZE: usize = $size;

        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $view<T> {
            bytes: T,
        }

        impl<T: AsRef<[u8]>> $view<T> {
            /// A view of bytes that nobody has looked at, or that are yet to be written.
            #[inline]
            pub const fn new_unchecked(bytes: T) -> Self {
                Self { bytes }
            }

            /// A view of bytes that hold the whole header and agree with the lengths in it.
            /// Setters of those lengths void the check.
            ///
            /// # Errors
            /// What contradicts the bytes.
            #[inline]
            pub fn new_checked(bytes: T) -> Result<Self, $crate::header::Malformed> {
                let view = Self { bytes };
                if view.bytes().len() < HEADER_SIZE {
                    return Err($crate::header::Malformed::Short);
                }
                view.check()?;
                Ok(view)
            }

            /// The bytes behind the view.
            #[inline]
            pub fn into_inner(self) -> T {
                self.bytes
            }

            #[inline]
            fn bytes(&self) -> &[u8] {
                self.bytes.as_ref()
            }

            $(
                $(#[$field_doc])*
                #[inline]
                #[must_use]
                pub fn $field(&self) -> $type {
                    $crate::header::Wire::read(self.bytes(), $at)
                }
            )*
        }

        impl<T: AsRef<[u8]> + AsMut<[u8]>> $view<T> {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
                #[inline]
                pub fn $set(&mut self, value: $type) {
                    $crate::header::Wire::write(value, self.bytes.as_mut(), $at);
                }
            )*
        }
    };
}

pub(crate) use header;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_past_the_end_are_harmless() {
        let mut bytes = [1, 2, 3];
        assert_eq!(u16::read(&bytes, 1), 0x0203);
        assert_eq!(u16::read(&bytes, 2), 0);
        assert_eq!(u32::read(&bytes, usize::MAX), 0);
        0xffff_u16.write(&mut bytes, 2);
        0xff_u8.write(&mut bytes, 3);
        assert_eq!(bytes, [1, 2, 3]);
    }
}
