//! What a device offers: driver, queues, XDP features. All in the calling thread's namespace.
//!
//! Spec: `include/uapi/linux/ethtool.h`, `include/uapi/linux/netdev.h`.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::net::netdevice::index_to_name;
use rustix::net::netlink::{GENERIC, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socket_with};

const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// `struct ethtool_channels`
#[repr(C)]
#[derive(Default)]
struct Channels {
    cmd: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// `struct ethtool_drvinfo`, of which name and bus matter here.
#[repr(C)]
struct DriverInfo {
    cmd: u32,
    driver: [u8; 32],
    versions: [u8; 64],
    bus: [u8; 32],
    rest: [u8; 64],
}

/// A device's driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Its name, such as `veth`.
    pub name: String,
    /// There is hardware behind it, or a virtual machine's idea of hardware.
    pub hardware: bool,
}

fn ethtool<T>(ifindex: u32, data: &mut T) -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let name = index_to_name(&socket, ifindex)?;
    // SAFETY: all-zero bytes are a value of `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(15).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(data).cast();
    // SAFETY: `data` is the struct of the command that its first word names (both callers are
    // below), and lives through the call.
    let result = unsafe {
        libc::ioctl(
            socket.as_fd().as_raw_fd(),
            libc::SIOCETHTOOL,
            std::ptr::from_mut(&mut request),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Asks for the device's driver.
///
/// # Errors
/// `ENODEV` when there is no such device, `EOPNOTSUPP` when it does not say.
pub fn driver(ifindex: u32) -> io::Result<Driver> {
    let mut info = DriverInfo {
        cmd: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        versions: [0; 64],
        bus: [0; 32],
        rest: [0; 64],
    };
    ethtool(ifindex, &mut info)?;
    let bus = text(&info.bus);
    Ok(Driver {
        name: text(&info.driver),
        // Software devices say nothing here, or one of these words in its place.
        hardware: !["", "N/A", "tap", "tun"].contains(&bus.as_str()),
    })
}

/// The text before the first zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// How many receive queues the device uses: one AF_XDP socket each.
///
/// # Errors
/// `ENODEV` when there is no such device. A device that does not say has one.
pub fn rx_queue_len(ifindex: u32) -> io::Result<u32> {
    let mut channels = Channels {
        cmd: ETHTOOL_GCHANNELS,
        ..Channels::default()
    };
    match ethtool(ifindex, &mut channels) {
        Ok(()) => Ok((channels.rx + channels.combined).max(1)),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(1),
        Err(error) => Err(error),
    }
}

/// What a driver does with XDP (`enum netdev_xdp_act`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpFeatures {
    /// Runs XDP programs itself, and redirects.
    pub native: bool,
    /// Reads and writes AF_XDP chunks itself.
    pub zero_copy: bool,
    /// Receives packets of several buffers.
    pub rx_multi_buffer: bool,
}

const ACT_BASIC: u64 = 1 << 0;
const ACT_REDIRECT: u64 = 1 << 1;
const ACT_XSK_ZEROCOPY: u64 = 1 << 3;
const ACT_RX_SG: u64 = 1 << 5;

/// Asks the kernel what the device's driver does with XDP.
///
/// # Errors
/// `ENOENT` from kernels before 6.3, `ENODEV` when there is no such device.
pub fn xdp_features(ifindex: u32) -> io::Result<XdpFeatures> {
    const CTRL: u16 = 0x10;
    const CTRL_GET_FAMILY: u8 = 3;
    const CTRL_ATTR_FAMILY_ID: u16 = 1;
    const CTRL_ATTR_FAMILY_NAME: u16 = 2;
    const NETDEV_DEV_GET: u8 = 1;
    const NETDEV_ATTR_IFINDEX: u16 = 1;
    const NETDEV_ATTR_XDP_FEATURES: u16 = 3;

    let answer = generic_netlink(CTRL, CTRL_GET_FAMILY, CTRL_ATTR_FAMILY_NAME, b"netdev\0")?;
    let family = attribute(&answer, CTRL_ATTR_FAMILY_ID)
        .and_then(|bytes| bytes.first_chunk())
        .map(|bytes| u16::from_ne_bytes(*bytes))
        .ok_or(io::ErrorKind::InvalidData)?;
    let index = ifindex.to_ne_bytes();
    let answer = generic_netlink(family, NETDEV_DEV_GET, NETDEV_ATTR_IFINDEX, &index)?;
    let bits = attribute(&answer, NETDEV_ATTR_XDP_FEATURES)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    Ok(XdpFeatures {
        native: bits & ACT_BASIC != 0 && bits & ACT_REDIRECT != 0,
        zero_copy: bits & ACT_XSK_ZEROCOPY != 0,
        rx_multi_buffer: bits & ACT_RX_SG != 0,
    })
}

/// One request with one attribute; answers the attributes of the first reply.
fn generic_netlink(family: u16, command: u8, kind: u16, value: &[u8]) -> io::Result<Vec<u8>> {
    const REQUEST: u16 = 1;
    const ERROR: u16 = 2;
    const HEADERS: usize = 16 + 4;
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(GENERIC),
    )?;
    rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    let size = HEADERS + (4 + value.len()).next_multiple_of(4);
    let mut message = Vec::with_capacity(size);
    message.extend_from_slice(&(size as u32).to_ne_bytes());
    message.extend_from_slice(&family.to_ne_bytes());
    message.extend_from_slice(&REQUEST.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[command, 1, 0, 0]);
    message.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(value);
    message.resize(size, 0);
    rustix::net::send(&socket, &message, SendFlags::empty())?;

    let mut reply = vec![0; 8192];
    let (size, _) = rustix::net::recv(&socket, &mut reply[..], RecvFlags::empty())?;
    reply.truncate(size);
    let short = || io::Error::from(io::ErrorKind::InvalidData);
    let header: [u8; 16] = *reply.first_chunk().ok_or_else(short)?;
    if u16::from_ne_bytes([header[4], header[5]]) == ERROR {
        let code: &[u8] = reply.get(16..20).ok_or_else(short)?;
        let code = i32::from_ne_bytes(code.try_into().map_err(|_| short())?);
        return Err(io::Error::from_raw_os_error(-code));
    }
    let end = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let attributes = reply.get(HEADERS..end.min(reply.len())).ok_or_else(short)?;
    Ok(attributes.to_vec())
}

/// The value of the first attribute `kind`.
fn attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let header: [u8; 4] = *bytes.first_chunk()?;
        let size = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = bytes.get(4..size)?;
        // The two highest bits are flags.
        if u16::from_ne_bytes([header[2], header[3]]) & 0x3fff == kind {
            return Some(value);
        }
        bytes = bytes.get(size.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_behind_padded_ones() {
        let bytes = [5, 0, 7, 0, 0xaa, 0, 0, 0, 6, 0, 9, 0, 1, 2, 0, 0];
        assert_eq!(attribute(&bytes, 9), Some(&[1, 2][..]));
        assert_eq!(attribute(&bytes, 7), Some(&[0xaa][..]));
        assert_eq!(attribute(&bytes, 8), None);
    }

    #[test]
    fn broken_attributes_end_the_search() {
        assert_eq!(attribute(&[0, 0, 9, 0, 1, 2], 9), None);
        assert_eq!(attribute(&[200, 0, 9, 0, 1, 2], 9), None);
        assert_eq!(attribute(&[4, 0, 9], 9), None);
    }

    #[test]
    fn the_loopback_device_has_one_queue_and_no_native_xdp() {
        assert_eq!(rx_queue_len(1).expect("exists"), 1);
        assert!(!xdp_features(1).expect("answers").native);
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        assert_eq!(
            rx_queue_len(0x7fff_0000).unwrap_err().raw_os_error(),
            Some(libc::ENODEV)
        );
    }
}
