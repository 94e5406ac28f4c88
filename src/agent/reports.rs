//! The Report stream: what has changed with accounts by itself, in batches and within the credits that Fairlead grants.

use std::time::Duration;

use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tracing::warn;

use super::accounts::Keeper;
use super::link::Link;
use super::session::words;
use super::wire::{Detail, account};
use crate::wire::ReportRequest;
use crate::wire::agent_service_client::AgentServiceClient;

/// Changes that come together go together.
const GATHER: Duration = Duration::from_millis(100);
/// Bytes of one batch.
const BATCH: usize = 256 << 10;
/// Pause before a stream that broke is opened again on the same connection.
const REOPEN: Duration = Duration::from_secs(1);
/// Streams that break in a row until the connection is given up.
const BREAKS: u32 = 3;

/// What reporting needs.
pub(super) struct Reporting {
    pub(super) client: AgentServiceClient<Link>,
    pub(super) keeper: Keeper,
    pub(super) epoch: u64,
    /// Credits were agreed on.
    pub(super) credits: bool,
    /// Told that Fairlead was heard.
    pub(super) heard: mpsc::Sender<()>,
}

/// Reports; a stream that was reset is opened again. Ends with the reason when that does not help.
pub(super) async fn run(mut reporting: Reporting) -> String {
    let mut breaks = 0;
    loop {
        let (why, lived) = reporting.stream().await;
        breaks = if lived { 1 } else { breaks + 1 };
        if breaks >= BREAKS {
            return format!("the stream of reports cannot be kept open: {why}");
        }
        warn!("the stream of reports broke and is opened again: {why}");
        tokio::time::sleep(REOPEN).await;
        // What was on its way may be lost.
        reporting.keeper.report_all();
    }
}

impl Reporting {
    async fn stream(&mut self) -> (String, bool) {
        let (outbound, receiver) = mpsc::channel(2);
        let first = ReportRequest { epoch: self.epoch, accounts: Vec::new() };
        if outbound.send(first).await.is_err() {
            return ("it ended at once".to_owned(), false);
        }
        let mut inbound = match self.client.report(ReceiverStream::new(receiver)).await {
            Ok(response) => response.into_inner(),
            Err(status) => return (words(&status), false),
        };
        let mut credits: u64 = if self.credits { 0 } else { u64::MAX };
        let mut lived = false;
        // A batch that waits for its place or its credits.
        let mut ready: Option<ReportRequest> = None;
        loop {
            let affordable = ready.as_ref().is_some_and(|r| r.encoded_len() as u64 <= credits);
            tokio::select! {
                said = inbound.message() => match said {
                    Ok(Some(said)) => {
                        lived = true;
                        credits = credits.saturating_add(said.credit_bytes);
                        let _ = self.heard.try_send(());
                    }
                    Ok(None) => return ("Fairlead ended it".to_owned(), lived),
                    Err(status) => return (words(&status), lived),
                },
                permit = outbound.reserve(), if affordable => match (permit, ready.take()) {
                    (Ok(permit), Some(batch)) => {
                        credits = credits.saturating_sub(batch.encoded_len() as u64);
                        permit.send(batch);
                    }
                    _ => return ("it ended".to_owned(), lived),
                },
                () = self.keeper.has_news(), if ready.is_none() && credits > 0 => {
                    tokio::time::sleep(GATHER).await;
                    ready = self.batch(credits);
                }
            }
        }
    }

    /// What fits; at least one account, without its lists where it is too large with them.
    fn batch(&self, credits: u64) -> Option<ReportRequest> {
        let most = usize::try_from(credits).unwrap_or(usize::MAX).min(BATCH);
        let mut batch = ReportRequest { epoch: self.epoch, accounts: Vec::new() };
        let mut size = batch.encoded_len();
        self.keeper.news(|shown| {
            let mut message = account(&shown, Detail::Full);
            if message.encoded_len() > BATCH {
                message = account(&shown, Detail::Brief);
            }
            // A tag and a length before each.
            size += message.encoded_len() + 6;
            if !batch.accounts.is_empty() && size > most {
                return false;
            }
            batch.accounts.push(message);
            true
        });
        (!batch.accounts.is_empty()).then_some(batch)
    }
}
