//! Which names bridges, ports, devices and mirrors may have.
//!
//! Spec: `dev_valid_name` in net/core/dev.c for devices. Bridges and ports are held to the same
//! rules, because each usually has a device of its name.

use super::refusal::ModelError;

/// Bytes of a device name (`IFNAMSIZ` less its terminating zero).
pub const NAME_LEN_MAX: usize = 15;

/// What a name is for, as a refusal calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A bridge, and its LOCAL device.
    Bridge,
    /// A port, and its device unless told otherwise.
    Port,
    /// A network device.
    Device,
    /// A mirror.
    Mirror,
    /// A router.
    Router,
}

impl Named {
    /// The word in texts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Port => "port",
            Self::Device => "device",
            Self::Mirror => "mirror",
            Self::Router => "router",
        }
    }
}

/// Refuses what the kernel would refuse, and what would not survive being printed in a list.
pub fn check(what: Named, name: &str) -> Result<(), ModelError> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_LEN_MAX {
        "it is longer than 15 bytes"
    } else if name == "." || name == ".." {
        "it means a directory"
    } else if name.contains(['/', ':', ',', '=', '%']) {
        "it contains one of / : , = %"
    } else if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "it contains white space or a control character"
    } else {
        return Ok(());
    };
    Err(ModelError::Name {
        what,
        name: name.into(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_takes_are_taken() {
        for name in ["br0", "a", "eth0.100", "exactly15bytes_", "veth-A", "äöü"] {
            assert_eq!(check(Named::Port, name), Ok(()), "{name}");
        }
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        let cases = [
            ("", "it is empty"),
            ("sixteen_bytes_16", "it is longer than 15 bytes"),
            ("..", "it means a directory"),
            ("a/b", "it contains one of / : , = %"),
            ("tap%d", "it contains one of / : , = %"),
            ("a b", "it contains white space or a control character"),
            ("a\nb", "it contains white space or a control character"),
        ];
        for (name, why) in cases {
            let refusal = check(Named::Bridge, name).unwrap_err().to_string();
            assert_eq!(
                refusal,
                format!("the bridge name {name:?} is not allowed: {why}")
            );
        }
    }
}
