//! Where one JSON object ends and the next begins, in a stream that has no other borders.
//!
//! Only brackets, strings and escapes are looked at, each byte once; whether an object is JSON is
//! for the parser to say. Law: an object is at most [`MAX_OBJECT_SIZE`] bytes, and one that is
//! longer is an error before the rest of it is read.

/// The largest request in bytes: a packet of 64 KiB in hexadecimal, several times.
pub const MAX_OBJECT_SIZE: usize = 1 << 20;

/// A stream that cannot be cut into objects any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsplittable {
    /// Something else than an object.
    #[error("an object begins with {{, not with {:?}", char::from(*.0))]
    NoObject(u8),
    /// More than [`MAX_OBJECT_SIZE`].
    #[error("an object is longer than the {} KiB allowed", MAX_OBJECT_SIZE >> 10)]
    TooLong,
}

/// Cuts a byte stream into objects.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Bytes at the start of `buffer` that have been given out or skipped.
    taken: usize,
    /// Bytes of `buffer` that have been looked at.
    seen: usize,
    /// Brackets that are open.
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Splitter {
    /// Takes in bytes as they came from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.seen -= self.taken;
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete object, or `None` until more is pushed. After an error the stream has to
    /// be closed.
    pub fn next_object(&mut self) -> Result<Option<&[u8]>, Unsplittable> {
        while let Some(&byte) = self.buffer.get(self.seen) {
            self.seen += 1;
            if self.depth == 0 {
                match byte {
                    b'{' => self.depth = 1,
                    _ if byte.is_ascii_whitespace() => self.taken = self.seen,
                    _ => return Err(Unsplittable::NoObject(byte)),
                }
                continue;
            }
            if self.seen - self.taken > MAX_OBJECT_SIZE {
                return Err(Unsplittable::TooLong);
            }
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
            if self.depth == 0 {
                let start = std::mem::replace(&mut self.taken, self.seen);
                return Ok(self.buffer.get(start..self.seen));
            }
        }
        Ok(None)
    }

    /// True when the stream may end here: no object has been begun.
    pub fn is_at_border(&self) -> bool {
        self.depth == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(pieces: &[&[u8]]) -> Result<Vec<String>, Unsplittable> {
        let mut splitter = Splitter::default();
        let mut objects = Vec::new();
        for piece in pieces {
            splitter.push(piece);
            while let Some(object) = splitter.next_object()? {
                objects.push(String::from_utf8_lossy(object).into_owned());
            }
        }
        Ok(objects)
    }

    #[test]
    fn objects_are_found_however_the_stream_was_cut() {
        let stream = br#"{"a":"}\"{"} {"b":[{"c":"\\"},[]]}{}"#;
        let expected = [r#"{"a":"}\"{"}"#, r#"{"b":[{"c":"\\"},[]]}"#, "{}"];
        for cut in 0..=stream.len() {
            let (left, right) = stream.split_at(cut);
            assert_eq!(objects(&[left, right]).unwrap(), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(objects(&bytes).unwrap(), expected);
    }

    #[test]
    fn an_unfinished_object_is_not_given_out() {
        let mut splitter = Splitter::default();
        splitter.push(b" {\"a\":[");
        assert_eq!(splitter.next_object(), Ok(None));
        assert!(!splitter.is_at_border());
        splitter.push(b"]} \n");
        assert_eq!(splitter.next_object(), Ok(Some(&b"{\"a\":[]}"[..])));
        assert_eq!(splitter.next_object(), Ok(None));
        assert!(splitter.is_at_border());
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        assert_eq!(objects(&[b"[1]"]), Err(Unsplittable::NoObject(b'[')));
        assert_eq!(objects(&[b"{}x"]), Err(Unsplittable::NoObject(b'x')));
    }

    #[test]
    fn the_largest_object_passes_and_one_byte_more_is_refused() {
        let object = |size: usize| {
            let filling = "x".repeat(size - br#"{"":0}"#.len());
            format!("{{\"{filling}\":0}}").into_bytes()
        };
        let largest = object(MAX_OBJECT_SIZE);
        assert_eq!(objects(&[&largest, &largest]).unwrap().len(), 2);
        assert_eq!(
            objects(&[&object(MAX_OBJECT_SIZE + 1)]),
            Err(Unsplittable::TooLong)
        );
        let mut unfinished = object(MAX_OBJECT_SIZE + 2);
        unfinished.truncate(MAX_OBJECT_SIZE + 1);
        assert_eq!(objects(&[&unfinished]), Err(Unsplittable::TooLong));
    }
}
