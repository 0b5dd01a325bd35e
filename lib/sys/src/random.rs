//! Random numbers from the kernel, for keys of hashes.

use std::io;

/// A number that nobody outside can guess.
///
/// # Errors
/// What `getrandom(2)` answers.
pub fn seed() -> io::Result<u64> {
    let mut bytes = [0_u8; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(u64::from_ne_bytes(bytes))
}
