//! The privileged half: sockets, map, program and attachment for one device.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use super::device::{Driver, XdpFeatures, driver, rx_queue_len, xdp_features};
use crate::bpf::steer::{self, SteerTable};
use crate::bpf::{Attach, Link, LoadError, XdpMode, XskMap, programs};

/// What a socket may have in flight, in the kernel's measure of some 1 KiB a small packet. The
/// default of 208 KiB stalls a burst; the completion ring is the bound that we want.
const SEND_BUFFER_SIZE: usize = 32 << 20;

/// How frames come from the device to us, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// XDP in the driver, which reads and writes our chunks itself.
    ZeroCopy,
    /// XDP in the driver; the kernel copies.
    Native,
    /// XDP in the kernel's stack; the kernel copies.
    Generic,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroCopy => "zerocopy",
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// Which of a device's frames are for the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All of them: the device is the switch's.
    All,
    /// What a table names ([`steer`]), nothing at first: the host goes on using the device.
    Steered,
}

/// All that the unprivileged half needs.
#[derive(Debug)]
pub struct Prepared {
    /// One socket for each queue, queue 0 first. They are for one user once: whoever passes them
    /// on closes its own descriptors, since a socket lives, and keeps its queue and the memory of
    /// its user, until the last one is closed. A later user gets new ones from [`create_socket`].
    pub sockets: Vec<OwnedFd>,
    /// Where the sockets are to be put when bound. May be kept for later users.
    pub map: XskMap,
    /// The attachment. While it is open, frames of a queue that has no socket go to the kernel's
    /// stack. May be kept for later users.
    pub link: Link,
    /// What is for the sockets, where that is not everything.
    pub table: Option<SteerTable>,
    /// The mode chosen. A driver may refuse zero-copy when it comes to binding;
    /// [`super::Socket::zero_copy`] has the last word.
    pub mode: Mode,
    /// What the driver said that it does.
    pub features: XdpFeatures,
    /// Why this mode: a sentence for people.
    pub reason: String,
}

/// Why a device cannot be used by AF_XDP.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The mode asked for is not to be had on the device.
    #[error("AF_XDP in mode {0} was asked for, but {1}")]
    Mode(Mode, String),
    /// No mode is to be had.
    #[error("AF_XDP is not possible: {0}")]
    None(String),
    /// More or fewer sockets than the device has queues.
    #[error("{asked} queues were asked for, but the device has {has}; set them with ethtool -L")]
    Queues {
        /// What was asked for.
        asked: u32,
        /// What there is.
        has: u32,
    },
    /// The redirect program was not loaded.
    #[error(transparent)]
    Program(#[from] LoadError),
    /// The program was not attached.
    #[error("attaching XDP to interface {ifindex} failed: {error}; {hint}")]
    Attach {
        /// The device.
        ifindex: u32,
        /// What the kernel answered.
        error: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// Another step.
    #[error("{step} failed: {error}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// What the kernel answered.
        error: io::Error,
    },
}

fn step(step: &'static str) -> impl FnOnce(io::Error) -> PrepareError {
    move |error| PrepareError::Step { step, error }
}

/// A raw AF_XDP socket in the calling thread's namespace, with a large send buffer.
///
/// # Errors
/// `EPERM` without `CAP_NET_RAW` (the socket) or `CAP_NET_ADMIN` (its buffer), `EAFNOSUPPORT`
/// when the kernel has no AF_XDP.
pub fn create_socket() -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::XDP,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_send_buffer_size_force(&socket, SEND_BUFFER_SIZE)?;
    Ok(socket)
}

/// Makes what AF_XDP on the device `ifindex` of the calling thread's namespace needs, and attaches
/// the program that redirects to the sockets once they are in the map. `queues` is to be the
/// number of the device's queues; without it, that number is asked for. `mode` is the one wanted;
/// without it, the best one that the device can do without loss is taken.
///
/// # Errors
/// A sentence that says what was wanted, what there is and what to do.
pub fn prepare(
    ifindex: u32,
    queues: Option<u32>,
    mode: Option<Mode>,
    share: Share,
) -> Result<Prepared, PrepareError> {
    let has = rx_queue_len(ifindex).map_err(step("counting the device's queues"))?;
    let queues = queues.unwrap_or(has);
    if queues != has {
        // A queue without a socket would let a share of the packets past the switch.
        return Err(PrepareError::Queues { asked: queues, has });
    }
    let map = XskMap::new(has).map_err(step("creating the map of sockets"))?;
    let (program, table) = match share {
        Share::All => (programs::xsk_redirect(&map)?, None),
        Share::Steered => {
            let table = SteerTable::new().map_err(step("creating the table of what is ours"))?;
            (steer::program(&map, &table)?, Some(table))
        }
    };
    let sockets = (0..has)
        .map(|_| create_socket())
        .collect::<io::Result<_>>()
        .map_err(step("creating AF_XDP sockets"))?;

    // Kernels before 6.3 do not tell; the attachment will.
    let features = xdp_features(ifindex).ok();
    let driver = driver(ifindex).unwrap_or_else(|_| Driver {
        name: "unknown".to_owned(),
        hardware: false,
    });
    let (mode, reason) = choose(mode, features, &driver)?;
    let place = match mode {
        Mode::ZeroCopy | Mode::Native => XdpMode::Native,
        Mode::Generic => XdpMode::Generic,
    };
    let link = Link::attach(&program, ifindex, Attach::Xdp(place)).map_err(|error| {
        PrepareError::Attach {
            ifindex,
            hint: attach_hint(&error),
            error,
        }
    })?;
    Ok(Prepared {
        sockets,
        map,
        link,
        table,
        mode,
        features: features.unwrap_or_default(),
        reason,
    })
}

/// Chooses the mode, and says why.
fn choose(
    asked: Option<Mode>,
    features: Option<XdpFeatures>,
    Driver { name, hardware }: &Driver,
) -> Result<(Mode, String), PrepareError> {
    // Before kernel 6.3 native XDP is tried without being announced, and zero-copy is not.
    let known = features.unwrap_or(XdpFeatures {
        native: true,
        ..XdpFeatures::default()
    });
    let no_zero_copy = format!("driver {name} offers no zero-copy AF_XDP");
    let no_native = format!("driver {name} runs no XDP programs");
    // The kernel ends aggregation on receive (GRO, LRO) when a program is attached, but a virtual
    // device hands on what another stack has sent.
    let no_generic = (!hardware).then(|| {
        format!(
            "driver {name} is a virtual device's, which may bring super-frames, and generic mode \
             delivers those without their segment size; use native mode or a packet port"
        )
    });
    match asked {
        Some(Mode::ZeroCopy) if !known.zero_copy => {
            Err(PrepareError::Mode(Mode::ZeroCopy, no_zero_copy))
        }
        Some(Mode::Native) if !known.native => Err(PrepareError::Mode(Mode::Native, no_native)),
        Some(Mode::Generic) if let Some(why) = no_generic => {
            Err(PrepareError::Mode(Mode::Generic, why))
        }
        Some(mode) => Ok((mode, "asked for".to_owned())),
        None if known.native && known.zero_copy => Ok((
            Mode::ZeroCopy,
            format!("driver {name} offers zero-copy AF_XDP"),
        )),
        None if known.native => Ok((Mode::Native, no_zero_copy)),
        None => match no_generic {
            None => Ok((Mode::Generic, no_native)),
            Some(why) => Err(PrepareError::None(why)),
        },
    }
}

fn attach_hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => {
            "another XDP program is attached, remove it with `ip link set DEV xdp off`"
        }
        Some(libc::ENOSPC) => {
            "a veth needs at least as many receive queues as its peer has transmit queues, set \
             them with `ethtool -L`"
        }
        Some(libc::ERANGE) => "the MTU is larger than the driver's XDP allows",
        Some(libc::EOPNOTSUPP) => "the driver runs no XDP programs, use generic mode",
        Some(libc::EPERM) => "it needs CAP_NET_ADMIN and CAP_BPF",
        _ => "see the kernel's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(native: bool, zero_copy: bool) -> Option<XdpFeatures> {
        Some(XdpFeatures {
            native,
            zero_copy,
            rx_multi_buffer: false,
        })
    }

    fn driver(name: &str) -> Driver {
        Driver {
            name: name.to_owned(),
            hardware: name != "veth",
        }
    }

    #[test]
    fn the_best_mode_is_chosen_and_explained() {
        let best = |features, name| choose(None, features, &driver(name)).expect("a mode");
        assert_eq!(best(features(true, true), "mlx5_core").0, Mode::ZeroCopy);
        let (mode, reason) = best(features(true, false), "veth");
        assert_eq!(mode, Mode::Native);
        assert_eq!(reason, "driver veth offers no zero-copy AF_XDP");
        assert_eq!(best(features(false, false), "e1000").0, Mode::Generic);
        assert_eq!(best(None, "e1000").0, Mode::Native);
    }

    #[test]
    fn a_mode_that_loses_packets_or_is_not_there_is_refused() {
        let refused = |mode, features, name| {
            choose(mode, features, &driver(name))
                .expect_err("refused")
                .to_string()
        };
        let why = refused(Some(Mode::Generic), features(true, false), "veth");
        assert!(why.contains("super-frames"), "{why}");
        let why = refused(None, features(false, false), "veth");
        assert!(why.contains("super-frames"), "{why}");
        let why = refused(Some(Mode::ZeroCopy), features(true, false), "veth");
        assert!(why.contains("zero-copy"), "{why}");
        let why = refused(Some(Mode::Native), features(false, false), "e1000");
        assert!(why.contains("no XDP"), "{why}");
    }
}
