//! The messages that are alike in all versions: hello, its failure, and echo.

use vswitch_openflow::error::{ErrorKind, ErrorMessage};
use vswitch_openflow::hello::Hello;
use vswitch_openflow::{ErrorCode, Message, Version};

use super::link::OWN_XID;

/// The hello that we begin with.
pub fn ours() -> Vec<u8> {
    let hello = Message::Hello(Hello::new(&Version::ALL));
    written(&hello, Version::V15)
}

/// Asks the peer whether it is there.
pub fn probe(version: Version) -> Vec<u8> {
    written(&Message::EchoRequest(Vec::new()), version)
}

/// The version to speak after the peer's first message, or what to answer before the connection is
/// closed, and why.
pub fn agree(first: &[u8]) -> Result<Version, (Vec<u8>, String)> {
    let refuse = |version, message: ErrorMessage, why: String| {
        Err((written(&Message::Error(message), version), why))
    };
    match Message::decode(first) {
        Ok(decoded) => match decoded.message {
            Message::Hello(hello) => hello.agree(&Version::ALL).or_else(|error| {
                let theirs = hello.version;
                let text =
                    format!("OpenFlow 1.0, 1.3, 1.4 and 1.5 are spoken here, not version {theirs}");
                let message = ErrorMessage {
                    kind: ErrorKind::Known(error.code),
                    data: text.clone().into_bytes(),
                };
                refuse(decoded.version, message, text)
            }),
            other => {
                let message = ErrorMessage::refuse(first, ErrorCode::BrcBadType);
                let why = format!("it said {} where hello comes first", other.name());
                refuse(decoded.version, message, why)
            }
        },
        Err(error) => {
            let message = ErrorMessage::refuse(first, error.code);
            let why = format!("its first message was no hello: {}", error.about);
            refuse(Version::V10, message, why)
        }
    }
}

fn written(message: &Message, version: Version) -> Vec<u8> {
    // Hello, echo and errors can be written in every version.
    message.encode(version, OWN_XID).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hello of a version, with a bitmap or without.
    fn hello(version: u8, bitmap: Option<u32>) -> Vec<u8> {
        let mut bytes = vec![version, 0, 0, 8, 0, 0, 0, 9];
        if let Some(bitmap) = bitmap {
            bytes[3] = 16;
            bytes.extend([0, 1, 0, 8]);
            bytes.extend(bitmap.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn the_highest_common_version_is_spoken() {
        assert_eq!(agree(&hello(1, None)), Ok(Version::V10));
        assert_eq!(agree(&hello(4, None)), Ok(Version::V13));
        assert_eq!(agree(&hello(5, None)), Ok(Version::V14));
        assert_eq!(agree(&hello(7, None)), Ok(Version::V15));
        assert_eq!(agree(&hello(6, Some(0b1001_0010))), Ok(Version::V13));
        assert_eq!(ours()[..4], [6, 0, 0, 16]);
    }

    #[test]
    fn without_a_common_version_there_is_a_sentence() {
        let (answer, why) = agree(&hello(6, Some(0b1000_1100))).unwrap_err();
        assert!(why.contains("1.0, 1.3, 1.4 and 1.5"), "{why}");
        // OFPT_ERROR, OFPET_HELLO_FAILED, OFPHFC_INCOMPATIBLE.
        assert_eq!(answer[1], 1);
        assert_eq!(answer[8..12], [0, 0, 0, 0]);
        assert_eq!(&answer[12..], why.as_bytes());
    }

    #[test]
    fn what_is_no_hello_is_refused() {
        for first in [
            &[4, 2, 0, 8, 0, 0, 0, 1][..],
            &[4, 99, 0, 8, 0, 0, 0, 1],
            &[9, 14, 0, 8, 0, 0, 0, 1],
            b"GET / HTTP/1.1\r\n",
        ] {
            let (answer, _) = agree(first).unwrap_err();
            assert_eq!(answer[1], 1, "{first:?}");
        }
    }
}
