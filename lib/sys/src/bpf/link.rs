//! Attachments of programs to devices.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::call::{Command, LinkCreate, LinkUpdate, bpf, bpf_fd};
use super::prog::{Program, ProgramKind};

/// `BPF_XDP` of `enum bpf_attach_type`
pub(super) const ATTACH_XDP: u32 = 37;
/// `BPF_TCX_INGRESS` of `enum bpf_attach_type`
pub(super) const ATTACH_TCX_INGRESS: u32 = 46;
/// `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE` of linux/if_link.h
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// Where on a device an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver, before the kernel has made a packet of its own.
    Native,
    /// In the kernel's stack, for drivers that know nothing of XDP.
    Generic,
}

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// The one XDP program of a device.
    Xdp(XdpMode),
    /// Ingress of a device, in front of other tcx programs that are there already.
    TcxIngress,
}

/// An attached program. It is detached when the last descriptor of the link is closed, or when
/// the device goes; the descriptor then stays, without effect.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// Attaches `program` to the device `ifindex` of the calling thread's network namespace.
    ///
    /// # Errors
    /// `EINVAL` when the program is of another kind than the place, or the kernel older than 6.6
    /// (tcx) or 5.9 (XDP); `EBUSY` or `EEXIST` when another XDP program is attached; `EOPNOTSUPP`
    /// when the driver has no native XDP; `ENODEV` when there is no such device.
    pub fn attach(program: &Program, ifindex: u32, to: Attach) -> io::Result<Self> {
        let (kind, attach_type, flags) = match to {
            Attach::Xdp(XdpMode::Native) => (ProgramKind::Xdp, ATTACH_XDP, XDP_FLAGS_DRV_MODE),
            Attach::Xdp(XdpMode::Generic) => (ProgramKind::Xdp, ATTACH_XDP, XDP_FLAGS_SKB_MODE),
            Attach::TcxIngress => (ProgramKind::TcxIngress, ATTACH_TCX_INGRESS, 0),
        };
        if program.kind() != kind {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut attr = LinkCreate {
            prog_fd: program.as_fd().as_raw_fd() as u32,
            target_ifindex: ifindex,
            attach_type,
            flags,
        };
        // SAFETY: the struct is the part of LINK_CREATE's that these attach types read; it holds
        // no address, and the command makes a descriptor.
        unsafe { bpf_fd(Command::LinkCreate, &mut attr) }.map(Self)
    }

    /// Puts `program` in the place of the attached one, with no packet in between.
    ///
    /// # Errors
    /// `EINVAL` when it is of another kind, `ENOLINK` when the device is gone.
    pub fn replace(&self, program: &Program) -> io::Result<()> {
        let mut attr = LinkUpdate {
            link_fd: self.0.as_raw_fd() as u32,
            new_prog_fd: program.as_fd().as_raw_fd() as u32,
            ..LinkUpdate::default()
        };
        // SAFETY: the struct is that of LINK_UPDATE and holds no address.
        unsafe { bpf(Command::LinkUpdate, &mut attr) }.map(drop)
    }

    /// Ends the handle, keeps the attachment with the descriptor.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Link {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}
