//! Where one message ends and the next begins: a line feed. JSON written by `serde_json` holds no
//! raw line feed, so the byte is free to be the border.
//!
//! Law: a message is at most [`MAX_MESSAGE_SIZE`] bytes. A longer one is an error at once, before
//! the rest is read, so a peer cannot make us hold more than that.
//!
//! [`Decoder`] does no I/O: whoever owns the socket pushes what arrived and takes what is complete.

use serde::Serialize;

/// The largest message in bytes, its line feed not counted. A dump of a full cache (65,536
/// megaflows of about 200 bytes) fits.
pub const MAX_MESSAGE_SIZE: usize = 16 << 20;

/// A line that would be longer than [`MAX_MESSAGE_SIZE`]. The stream has lost its borders and has
/// to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message is longer than the {} MiB allowed", MAX_MESSAGE_SIZE >> 20)]
pub struct TooLong;

/// Cuts a byte stream into lines.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes at the start of `buffer` that [`Decoder::next_message`] has already given out.
    taken: usize,
    /// Bytes from `taken` on that are known to hold no line feed.
    searched: usize,
}

impl Decoder {
    /// Takes in bytes as they came from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete message without its line feed, or `None` until more is pushed. Empty
    /// lines are skipped.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, TooLong> {
        loop {
            let rest = self.buffer.get(self.taken..).unwrap_or_default();
            let unseen = rest.get(self.searched..).unwrap_or_default();
            let Some(position) = unseen.iter().position(|&byte| byte == b'\n') else {
                self.searched = rest.len();
                return if rest.len() > MAX_MESSAGE_SIZE {
                    Err(TooLong)
                } else {
                    Ok(None)
                };
            };
            let size = self.searched + position;
            let start = self.taken;
            self.taken += size + 1;
            self.searched = 0;
            if size > MAX_MESSAGE_SIZE {
                return Err(TooLong);
            }
            if size > 0 {
                return Ok(self.buffer.get(start..start + size));
            }
        }
    }

    /// True when the stream may end here: no message has been begun.
    pub fn is_at_border(&self) -> bool {
        self.taken == self.buffer.len()
    }
}

/// A message as one line, ready to be written.
///
/// Fails with [`TooLong`] rather than send what the peer would have to refuse.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, TooLong> {
    let mut line = serde_json::to_vec(message)
        .expect("messages are maps with string keys and finite numbers, written to memory");
    if line.len() > MAX_MESSAGE_SIZE {
        return Err(TooLong);
    }
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_whole_however_the_stream_was_cut() {
        let stream = b"{\"id\":1}\n\n{\"id\":2}\n";
        for cut in 0..=stream.len() {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                decoder.push(part);
                while let Some(message) = decoder.next_message().unwrap() {
                    seen.push(message.to_vec());
                }
            }
            assert_eq!(
                seen,
                [b"{\"id\":1}".to_vec(), b"{\"id\":2}".to_vec()],
                "cut at {cut}"
            );
            assert!(decoder.is_at_border());
        }
    }

    #[test]
    fn an_unfinished_message_is_not_given_out() {
        let mut decoder = Decoder::default();
        decoder.push(b"{\"id\":1");
        assert_eq!(decoder.next_message(), Ok(None));
        assert!(!decoder.is_at_border());
    }

    #[test]
    fn the_largest_message_passes_and_one_byte_more_is_refused() {
        let mut decoder = Decoder::default();
        let mut line = vec![b'x'; MAX_MESSAGE_SIZE];
        line.push(b'\n');
        decoder.push(&line);
        assert_eq!(
            decoder.next_message().unwrap().map(<[u8]>::len),
            Some(MAX_MESSAGE_SIZE)
        );

        decoder.push(&vec![b'x'; MAX_MESSAGE_SIZE]);
        assert_eq!(decoder.next_message(), Ok(None));
        decoder.push(b"x");
        assert_eq!(
            decoder.next_message(),
            Err(TooLong),
            "refused before its end has come"
        );
    }

    #[test]
    fn a_line_feed_inside_a_string_is_escaped() {
        assert_eq!(encode(&"a\nb").unwrap(), b"\"a\\nb\"\n");
    }
}
