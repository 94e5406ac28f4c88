//! HTTP/1.1 as bytes: heads are read for what a proxy has to know and pass on as they came, bodies are followed and not decoded.
//!
//! No input or output happens here, and nothing of a message is kept. What two readers could read in two ways is refused.

pub(super) mod chunked;
pub(super) mod head;
pub(super) mod request;
pub(super) mod response;

/// How a message's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Chunks, and trailers after them.
    Chunked,
    /// Whatever comes until the connection closes (answers only).
    UntilClose,
}

/// Follows a body through the bytes that carry it.
#[derive(Debug)]
pub(super) enum Body {
    /// Bytes to come.
    Length(u64),
    Chunked(chunked::Chunks),
    UntilClose,
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Length(0),
            Framing::Length(n) => Self::Length(n),
            Framing::Chunked => Self::Chunked(chunked::Chunks::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// How many of `bytes`, from their beginning, belong to the body.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Result<usize, chunked::Malformed> {
        match self {
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                Ok(taken)
            }
            Self::Chunked(chunks) => chunks.scan(bytes, |_| {}),
            Self::UntilClose => Ok(bytes.len()),
        }
    }

    /// Whether all of it was seen. A body that ends with its connection never says so.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.is_done(),
            Self::UntilClose => false,
        }
    }
}
