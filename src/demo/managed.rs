//! The story's second half: an agent comes, and what the mirror holds is managed. Everything is real but the cluster.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::agent::{AGENT, AgentProcess, ZONE};
use super::cluster::Cluster;
use super::story::{StoryError, ask, call};

/// How long an account may take from one state to the next. Reaching the stand-in takes milliseconds; the longest wait is the grace period.
const PATIENCE: Duration = Duration::from_secs(30);
const NAME: &str = "prod-eu";
/// A token that the stand-in does not let in.
const EXPIRED: &str = "a-token-that-has-expired";

/// What the story plays with.
pub struct Stage<'a> {
    /// Where Fairlead's proxy listens.
    pub proxy: SocketAddr,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The token that it lets in.
    pub token: &'a str,
    /// Not started yet.
    pub agent: &'a mut AgentProcess,
}

/// One row, as far as the table shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Managed {
    name: String,
    status: String,
    zone: String,
    version: String,
    error: String,
}

impl Stage<'_> {
    /// Tells it to `out`. The mirror has to be empty; it is at the end.
    ///
    /// # Errors
    /// The first step that does not show what it should; what was told until then stays told.
    pub async fn run(&mut self, out: &mut impl Write) -> Result<(), StoryError> {
        let (post, put, patch, delete) = (Method::POST, Method::PUT, Method::PATCH, Method::DELETE);
        let good = self.cluster.kubeconfig(self.token);
        let bad = self.cluster.kubeconfig(EXPIRED);
        let wish = json!([{"name": NAME, "state": "ACTIVE"}]);

        self.starts(out, "an agent comes")?;
        self.connected(out).await?;

        self.asks(out, "create again", &post, "/credentials", Some(&definition(&good)), StatusCode::OK).await?;
        self.shows(out, "create again", "As before: INACTIVE until somebody activates it.", |r| r.status == "INACTIVE").await?;

        self.asks(out, "activate", &patch, "/armory/accounts", Some(&wish), StatusCode::ACCEPTED).await?;
        let remark = "Offered to the agents that are there; one reached its cluster, and has told what it is.";
        self.shows(out, "activate", remark, |r| r.status == "ACTIVE" && r.zone == ZONE && r.version.contains("stand-in")).await?;

        self.asks(out, "credentials that do not work", &put, "/credentials", Some(&definition(&bad)), StatusCode::OK).await?;
        let remark = "The agent has the new definition, and the cluster does not let it in.";
        self.shows(out, "credentials that do not work", remark, |r| r.status == "FAILED" && r.error.contains("401")).await?;

        self.asks(out, "credentials that do", &put, "/credentials", Some(&definition(&good)), StatusCode::OK).await?;
        let remark = "A changed definition is tried at once; nobody has to activate it again.";
        self.shows(out, "credentials that do", remark, |r| r.status == "ACTIVE" && r.error.is_empty()).await?;

        writeln!(out, "THE AGENT IS KILLED\n  $ kill -9 {AGENT}")?;
        self.agent.kill();
        let remark = "No agent has it any more, for longer than the grace period (2 s here, 30 s as shipped).";
        self.shows(out, "the agent is killed", remark, |r| r.status == "ORPHANED").await?;

        self.starts(out, "and comes back")?;
        self.shows(out, "and comes back", "It is given its accounts again.", |r| r.status == "ACTIVE").await?;

        self.asks(out, "delete again", &delete, &format!("/credentials/{NAME}"), None, StatusCode::OK).await?;
        writeln!(out, "  Gone behind Fairlead; the agent lets go first, then the row goes.")?;
        self.until(out, "delete again", "an empty mirror", |rows| rows.is_empty()).await
    }

    fn starts(&mut self, out: &mut impl Write, step: &'static str) -> Result<(), StoryError> {
        writeln!(out, "{}\n  $ fairlead-agent --config armory-agent.yml", step.to_uppercase())?;
        Ok(self.agent.start()?)
    }

    async fn asks(
        &self,
        out: &mut impl Write,
        step: &'static str,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        status: StatusCode,
    ) -> Result<(), StoryError> {
        ask(self.proxy, out, step, method, path, body, status).await
    }

    /// Waits until the agent is connected, and shows it.
    async fn connected(&self, out: &mut impl Write) -> Result<(), StoryError> {
        let start = Instant::now();
        loop {
            let (_, body) = call(self.proxy, &Method::GET, "/armory/agents", None).await?;
            let agents: Value = serde_json::from_slice(&body).unwrap_or_default();
            if let Some(agent) = agents.as_array().and_then(|a| a.iter().find(|a| a["agentId"] == AGENT)) {
                writeln!(out, "  It connects out to Fairlead, and is in a zone of its own choice.")?;
                writeln!(out, "  $ curl http://{}/armory/agents", self.proxy)?;
                let zone = agent["zoneId"].as_str().unwrap_or_default();
                writeln!(out, "    AGENT       ZONE\n    {AGENT}  {zone}\n")?;
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(self.unexpected("an agent comes", format!("{AGENT} among the agents"), agents.to_string()));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the account is as it should be, and shows it.
    async fn shows(
        &self,
        out: &mut impl Write,
        step: &'static str,
        remark: &str,
        holds: impl Fn(&Managed) -> bool,
    ) -> Result<(), StoryError> {
        writeln!(out, "  {remark}")?;
        self.until(out, step, "an account that has got there", |rows| rows.len() == 1 && rows[0].name == NAME && holds(&rows[0])).await
    }

    async fn until(
        &self,
        out: &mut impl Write,
        step: &'static str,
        expected: &str,
        holds: impl Fn(&[Managed]) -> bool,
    ) -> Result<(), StoryError> {
        let start = Instant::now();
        loop {
            let rows = self.rows().await?;
            if holds(&rows) {
                writeln!(out, "  $ curl http://{}/armory/accounts", self.proxy)?;
                return Ok(table(out, &rows)?);
            }
            if start.elapsed() > PATIENCE {
                return Err(self.unexpected(step, expected.to_owned(), format!("{rows:?}")));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn unexpected(&self, step: &'static str, expected: String, seen: String) -> StoryError {
        let seen = format!("{seen}, and the agent said:\n{}", self.agent.last_words());
        StoryError::Unexpected { step, expected, seen }
    }

    async fn rows(&self) -> Result<Vec<Managed>, StoryError> {
        let path = "/armory/accounts";
        let (status, body) = call(self.proxy, &Method::GET, path, None).await?;
        let list: Value = serde_json::from_slice(&body).unwrap_or_default();
        let Some(items) = list["items"].as_array() else {
            return Err(StoryError::NoAnswer { request: format!("GET {path}"), reason: format!("{status}, and no list of accounts") });
        };
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let row = |i: &Value| Managed {
            name: text(&i["name"]),
            status: text(&i["status"]),
            zone: text(&i["zoneId"]),
            version: text(&i["kubeVersion"]),
            error: text(&i["errorMessage"]),
        };
        Ok(items.iter().map(row).collect())
    }
}

fn definition(kubeconfig: &str) -> Value {
    json!({"type": "kubernetes", "name": NAME, "kubeconfigContents": kubeconfig})
}

fn table(out: &mut impl Write, rows: &[Managed]) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "    (the mirror is empty)\n");
    }
    writeln!(out, "    {:8}  {:8}  {:9}  CLUSTER'S VERSION", "NAME", "STATUS", "ZONE")?;
    for r in rows {
        writeln!(out, "    {:8}  {:8}  {:9}  {}", r.name, r.status, r.zone, r.version)?;
        if !r.error.is_empty() {
            writeln!(out, "    {}", r.error)?;
        }
    }
    writeln!(out)
}
