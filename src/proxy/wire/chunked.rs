//! Chunked coding (RFC 9112 §7.1), followed byte by byte and never repaired: what is not exactly right ends the message.

/// Longest line of a chunk's size with its extensions, and most bytes of trailers.
const MAX_LINE: usize = 4096;
const MAX_TRAILERS: usize = 64 * 1024;

/// A chunk or trailer that is not what RFC 9112 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed chunked coding")]
pub(in crate::proxy) struct Malformed;

/// A part of what is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Piece<'a> {
    /// Bytes of the body.
    Data(&'a [u8]),
    /// Bytes of the trailers, the end of the last line included.
    Trailer(&'a [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    DataEndLf,
    /// At the first byte of a trailer line, or of the empty line that ends everything.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    LastLf,
    Done,
}

/// Where in the coding we are.
#[derive(Debug)]
pub(in crate::proxy) struct Chunks {
    at: At,
    /// The size being read, then the bytes left of the chunk.
    size: u64,
    digits: u8,
    line: usize,
    trailers: usize,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Size, size: 0, digits: 0, line: 0, trailers: 0 }
    }
}

impl Chunks {
    pub(in crate::proxy) fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Follows the coding through `bytes` and says how many of them belong to it. `piece` is called with what is coded.
    pub(in crate::proxy) fn scan<'a>(&mut self, bytes: &'a [u8], mut piece: impl FnMut(Piece<'a>)) -> Result<usize, Malformed> {
        let mut i = 0;
        while i < bytes.len() && self.at != At::Done {
            if self.at == At::Data {
                let take = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - i);
                piece(Piece::Data(&bytes[i..i + take]));
                i += take;
                self.size -= take as u64;
                if self.size == 0 {
                    self.at = At::DataEnd;
                }
                continue;
            }
            let begun = i;
            if matches!(self.at, At::Trailer | At::TrailerName | At::TrailerValue | At::TrailerEnd) {
                while i < bytes.len() && matches!(self.at, At::Trailer | At::TrailerName | At::TrailerValue | At::TrailerEnd) {
                    self.step(bytes[i])?;
                    i += 1;
                }
                // The CR of the last, empty line is none of theirs.
                let end = if self.at == At::LastLf { i - 1 } else { i };
                if end > begun {
                    piece(Piece::Trailer(&bytes[begun..end]));
                }
                continue;
            }
            self.step(bytes[i])?;
            i += 1;
        }
        Ok(i)
    }

    fn step(&mut self, byte: u8) -> Result<(), Malformed> {
        self.at = match self.at {
            At::Size => match (byte as char).to_digit(16) {
                Some(digit) => {
                    if self.digits == 15 {
                        return Err(Malformed);
                    }
                    self.digits += 1;
                    self.size = self.size << 4 | u64::from(digit);
                    At::Size
                }
                None if self.digits == 0 => return Err(Malformed),
                None if byte == b'\r' => At::SizeEnd,
                None if byte == b';' => At::Extension,
                None => return Err(Malformed),
            },
            At::Extension => {
                self.line += 1;
                match byte {
                    b'\r' => At::SizeEnd,
                    _ if self.line > MAX_LINE || is_control(byte) => return Err(Malformed),
                    _ => At::Extension,
                }
            }
            At::SizeEnd => {
                (self.digits, self.line) = (0, 0);
                match byte {
                    b'\n' if self.size == 0 => At::Trailer,
                    b'\n' => At::Data,
                    _ => return Err(Malformed),
                }
            }
            At::DataEnd => expect(byte, b'\r', At::DataEndLf)?,
            At::DataEndLf => expect(byte, b'\n', At::Size)?,
            At::Trailer => match byte {
                b'\r' => At::LastLf,
                _ => self.name(byte)?,
            },
            At::TrailerName => match byte {
                b':' => At::TrailerValue,
                _ => self.name(byte)?,
            },
            At::TrailerValue => {
                self.count()?;
                match byte {
                    b'\r' => At::TrailerEnd,
                    _ if is_control(byte) => return Err(Malformed),
                    _ => At::TrailerValue,
                }
            }
            At::TrailerEnd => expect(byte, b'\n', At::Trailer)?,
            At::LastLf => expect(byte, b'\n', At::Done)?,
            At::Data | At::Done => return Err(Malformed),
        };
        Ok(())
    }

    fn name(&mut self, byte: u8) -> Result<At, Malformed> {
        self.count()?;
        if byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte) { Ok(At::TrailerName) } else { Err(Malformed) }
    }

    fn count(&mut self) -> Result<(), Malformed> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS { Err(Malformed) } else { Ok(()) }
    }
}

fn expect(byte: u8, wanted: u8, then: At) -> Result<At, Malformed> {
    if byte == wanted { Ok(then) } else { Err(Malformed) }
}

fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(coded: &[u8], step: usize) -> Result<(usize, Vec<u8>, Vec<u8>, bool), Malformed> {
        let (mut chunks, mut data, mut trailers, mut used) = (Chunks::default(), Vec::new(), Vec::new(), 0);
        for part in coded.chunks(step) {
            used += chunks.scan(part, |p| match p {
                Piece::Data(d) => data.extend_from_slice(d),
                Piece::Trailer(t) => trailers.extend_from_slice(t),
            })?;
        }
        Ok((used, data, trailers, chunks.is_done()))
    }

    #[test]
    fn a_body_is_read_alike_however_it_is_cut() {
        let coded = b"4;a=\"b\"\r\nwiki\r\n00B\r\npedia in \r\n\r\n0;last\r\nX-Sum: 1\r\nB:\r\n\r\nGET / HTTP/1.1\r\n";
        let body = coded.len() - b"GET / HTTP/1.1\r\n".len();
        for step in 1..=coded.len() {
            let (used, data, trailers, done) = read(coded, step).unwrap();
            assert_eq!((used, done), (body, true), "in steps of {step}");
            assert_eq!(data, b"wikipedia in \r\n");
            assert_eq!(trailers, b"X-Sum: 1\r\nB:\r\n");
        }
    }

    #[test]
    fn what_is_not_exactly_right_is_malformed() {
        let bad: &[&[u8]] = &[
            b"\r\n",
            b"x\r\n",
            b"0x4\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b" 4\r\n",
            b"4 \r\n",
            b"4\n",
            b"4;a\n",
            b"4;a\0\r\n",
            b"4\r\nwikix\r\n",
            b"4\r\nwiki\n",
            b"1000000000000000\r\n",
            b"0\r\nnot a header\r\n\r\n",
            b"0\r\n: x\r\n\r\n",
            b"0\r\na: b\n\r\n",
            b"0\r\n\n",
            b"0\r\n\rx",
        ];
        for coded in bad {
            for step in [1, coded.len()] {
                assert_eq!(read(coded, step), Err(Malformed), "{}", coded.escape_ascii());
            }
        }
    }

    #[test]
    fn lines_and_trailers_are_bounded() {
        let long = [b"1;".as_slice(), &vec![b'x'; MAX_LINE + 1]].concat();
        assert_eq!(read(&long, 100), Err(Malformed));
        let many = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(MAX_TRAILERS / 4 + 1)].concat();
        assert_eq!(read(&many, 100), Err(Malformed));
    }
}
