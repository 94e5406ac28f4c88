//! As much of the two databases' protocols as tells which statement a client has under way. Without TLS.

use std::collections::HashMap;

/// What one connection's client has sent, and what it waits for.
#[derive(Default)]
pub struct Wire {
    /// By the driver's number or name for it.
    prepared: HashMap<Vec<u8>, String>,
    preparing: Option<String>,
    /// What the server carries out now; none while it only prepares, greets or is asked whether it is there.
    pub under_way: Option<String>,
    /// The client spoke first, as PostgreSQL's do, or the server did.
    postgres: Option<bool>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The text up to the next zero, and what follows it.
fn until_zero(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

impl Wire {
    /// Bytes of the client, as they were read: drivers send each of their messages in one piece.
    pub fn client_says(&mut self, bytes: &[u8]) {
        match self.postgres {
            None => self.postgres = Some(true),
            Some(true) => self.postgres(bytes),
            Some(false) => self.mysql(bytes),
        }
    }

    /// Bytes of the server.
    pub fn server_says(&mut self, bytes: &[u8]) {
        self.postgres.get_or_insert(false);
        // The answer to a preparation: a header, 0, and the number of the statement.
        if let (Some(false), Some(id), Some(statement)) = (self.postgres, bytes.get(5..9), self.preparing.take()) {
            self.prepared.insert(id.to_vec(), statement);
        }
    }

    fn mysql(&mut self, bytes: &[u8]) {
        // A command begins a new sequence; what follows it belongs to a greeting, or is more of a long one.
        let Some(([.., 0], [command, rest @ ..])) = bytes.split_at_checked(4) else { return };
        (self.under_way, self.preparing) = (None, None);
        match command {
            0x03 => self.under_way = Some(text(rest)),
            0x16 => self.preparing = Some(text(rest)),
            0x17 => self.under_way = rest.get(..4).and_then(|id| self.prepared.get(id)).cloned(),
            _ => {}
        }
    }

    fn postgres(&mut self, mut bytes: &[u8]) {
        while let Some((kind, length)) = bytes.first().zip(bytes.get(1..5)) {
            let length = usize::try_from(u32::from_be_bytes(length.try_into().expect("four bytes"))).expect("a length");
            let body = bytes.get(5..bytes.len().min(1 + length)).unwrap_or_default();
            match kind {
                b'Q' => self.under_way = Some(text(until_zero(body).0)),
                b'P' => {
                    let (name, rest) = until_zero(body);
                    self.prepared.insert(name.to_vec(), text(until_zero(rest).0));
                    self.under_way = None;
                }
                b'B' => self.under_way = self.prepared.get(until_zero(until_zero(body).1).0).cloned(),
                _ => {}
            }
            bytes = bytes.get(1 + length..).unwrap_or_default();
        }
    }
}
