//! The main job, told: each step asks the proxy for something, then shows the mirror as `GET /armory/accounts` has it.
//!
//! The steps check what they see, so that the demonstration fails where the main job does.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the mirror may take to show a change. It is there in milliseconds.
const MIRROR_PATIENCE: Duration = Duration::from_secs(10);
const LARGEST_ANSWER: usize = 1 << 20;
/// What stands for a kubeconfig in everything that is printed.
pub(super) const HIDDEN: &str = "***";
const NAME: &str = "prod-eu";

/// Why the story broke off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoryError {
    /// Nobody reads.
    #[error("the story cannot be written: {0}")]
    Write(#[from] io::Error),
    /// The proxy gave no answer.
    #[error("{request}: no answer: {reason}")]
    NoAnswer {
        /// Method and path.
        request: String,
        /// What happened.
        reason: String,
    },
    /// A step did not show what it should.
    #[error("{step}: {expected} was expected, {seen} was seen")]
    Unexpected {
        /// Which step.
        step: &'static str,
        /// What should have been.
        expected: String,
        /// What was.
        seen: String,
    },
}

/// One row of the mirror, as far as the table shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mirrored {
    name: String,
    status: String,
    namespaces: String,
    kubeconfig: String,
}

/// One chapter.
struct Step {
    title: &'static str,
    method: Method,
    path: String,
    body: Option<Value>,
    status: StatusCode,
    remark: &'static str,
    /// Name, status and namespaces of every row that the mirror should show.
    mirror: &'static [(&'static str, &'static str, &'static str)],
}

/// Runs the main job against the Fairlead at `proxy`, which stands in front of a fresh stand-in, and tells it to `out`.
///
/// # Errors
/// The first step that does not show what it should; what was told until then stays told.
///
/// Dropped half-way, it may leave the demonstration's account behind.
pub async fn run(proxy: SocketAddr, out: &mut impl Write) -> Result<(), StoryError> {
    writeln!(out, "The main job, end to end, on embedded defaults:\n")?;
    writeln!(out, "  curl ──> Fairlead {proxy} ──> {}", super::NOTICE)?;
    writeln!(out, "                     ├──> kubesvc_accounts, the mirror (SQLite here)")?;
    writeln!(out, "                     └──< fairlead-agent, the real one ──> {}\n", super::CLUSTER_NOTICE)?;
    shown(proxy, out, "before", &[]).await?;
    for step in &steps() {
        tell(proxy, out, step).await?;
    }
    Ok(())
}

/// Ends a story that went well: what to try next.
///
/// # Errors
/// Nobody reads.
pub fn end(out: &mut impl Write) -> Result<(), StoryError> {
    writeln!(out, "Every step showed what it should.\n")?;
    writeln!(out, "To play with it:   fairlead serve --demo      (in a checkout: cargo build --bins && cargo run -- serve --demo)")?;
    writeln!(out, "It keeps running, and says what to try.\n")?;
    writeln!(out, "With a real Clouddriver: README.md, and docs/README.md for standing in front of one.")?;
    Ok(())
}

/// Says what can be tried while the demonstration keeps running. `kubeconfig` leads to the stand-in for a cluster; `without_agent` says why no
/// agent runs, if none does.
///
/// # Errors
/// Nobody reads.
pub fn invite(
    proxy: SocketAddr,
    admin: SocketAddr,
    kubeconfig: &str,
    without_agent: Option<&str>,
    out: &mut impl Write,
) -> Result<(), StoryError> {
    writeln!(out, "Fairlead is in front of a {}.", super::NOTICE)?;
    match without_agent {
        None => writeln!(out, "A real fairlead-agent is connected; what it manages is a {}.", super::CLUSTER_NOTICE)?,
        Some(why) => writeln!(out, "No agent runs, so no account becomes ACTIVE: {why}")?,
    }
    writeln!(out, "It keeps running until Ctrl-C, and forgets everything then. In another terminal:\n")?;
    lines(out, &proxy.to_string(), &admin.to_string(), kubeconfig)?;
    out.flush()?;
    Ok(())
}

fn lines(out: &mut impl Write, proxy: &str, admin: &str, kubeconfig: &str) -> io::Result<()> {
    let definition = json!({"type": "kubernetes", "name": "mine", "kubeconfigContents": kubeconfig});
    let wish = r#"[{"name":"mine","state":"ACTIVE"}]"#;
    writeln!(out, "  curl {proxy}/credentials -H 'Content-Type: application/json' -d '{definition}'")?;
    writeln!(out, "  curl {proxy}/armory/accounts                 # the mirror")?;
    writeln!(out, "  curl -X PATCH {proxy}/armory/accounts -H 'Content-Type: application/json' -d '{wish}'")?;
    writeln!(out, "  curl {proxy}/armory/agents                   # who is connected")?;
    writeln!(out, "  curl {proxy}/credentials/type/kubernetes     # what is behind Fairlead")?;
    writeln!(out, "  curl -X DELETE {proxy}/credentials/mine")?;
    writeln!(out, "  curl {admin}/info")
}

fn definition(namespaces: &[&str]) -> Value {
    json!({"type": "kubernetes", "name": NAME, "namespaces": namespaces, "kubeconfigContents": "apiVersion: v1\nkind: Config\n"})
}

fn steps() -> [Step; 6] {
    [
        Step {
            title: "create",
            method: Method::POST,
            path: "/credentials".into(),
            body: Some(definition(&[])),
            status: StatusCode::OK,
            remark: "Stored behind Fairlead, and mirrored: INACTIVE until somebody activates it.",
            mirror: &[(NAME, "INACTIVE", "all")],
        },
        Step {
            title: "update",
            method: Method::PUT,
            path: "/credentials".into(),
            body: Some(definition(&["billing", "shop"])),
            status: StatusCode::OK,
            remark: "The mirror's definition follows.",
            mirror: &[(NAME, "INACTIVE", "billing, shop")],
        },
        Step {
            title: "refused",
            method: Method::POST,
            path: "/credentials".into(),
            body: Some(definition(&["kube-system"])),
            status: StatusCode::BAD_REQUEST,
            remark: "The name is taken: what was refused leaves no trace.",
            mirror: &[(NAME, "INACTIVE", "billing, shop")],
        },
        Step {
            title: "another type",
            method: Method::POST,
            path: "/credentials".into(),
            body: Some(json!({"type": "aws", "name": "aws-prod"})),
            status: StatusCode::OK,
            remark: "Stored behind Fairlead; the mirror holds Kubernetes accounts only.",
            mirror: &[(NAME, "INACTIVE", "billing, shop")],
        },
        Step {
            title: "another spelling",
            method: Method::PUT,
            path: format!("/%63redentials/{NAME}"),
            body: Some(definition(&["shop"])),
            status: StatusCode::OK,
            remark: "A server decodes the path, so Fairlead does too: no way round it.",
            mirror: &[(NAME, "INACTIVE", "shop")],
        },
        Step {
            title: "delete",
            method: Method::DELETE,
            path: format!("/credentials/{NAME}"),
            body: None,
            status: StatusCode::OK,
            remark: "Gone behind Fairlead, gone from the mirror.",
            mirror: &[],
        },
    ]
}

async fn tell(proxy: SocketAddr, out: &mut impl Write, step: &Step) -> Result<(), StoryError> {
    ask(proxy, out, step.title, &step.method, &step.path, step.body.as_ref(), step.status).await?;
    writeln!(out, "  {}", step.remark)?;
    shown(proxy, out, step.title, step.mirror).await
}

/// Asks the proxy for something and shows the command and what came back.
pub(super) async fn ask(
    proxy: SocketAddr,
    out: &mut impl Write,
    step: &'static str,
    method: &Method,
    path: &str,
    body: Option<&Value>,
    expected: StatusCode,
) -> Result<(), StoryError> {
    writeln!(out, "{}", step.to_uppercase())?;
    let mut command = format!("curl -X {method} http://{proxy}{path}");
    if let Some(body) = body {
        let mut shown = body.clone();
        if let Some(secret) = shown.get_mut("kubeconfigContents") {
            *secret = HIDDEN.into();
        }
        command = format!("{command} -H 'Content-Type: application/json' -d '{shown}'");
    }
    writeln!(out, "  $ {command}")?;
    let (status, answer) = call(proxy, method, path, body).await?;
    // A definition that comes back holds the kubeconfig in clear, so only an error's message is shown.
    let message = serde_json::from_slice::<Value>(&answer).ok().and_then(|v| v.get("message")?.as_str().map(str::to_owned));
    writeln!(out, "  {status}{}", message.map(|m| format!(": {m}")).unwrap_or_default())?;
    if status == expected {
        return Ok(());
    }
    Err(StoryError::Unexpected { step, expected: expected.to_string(), seen: status.to_string() })
}

/// Waits until the mirror shows the rows, and shows them.
async fn shown(
    proxy: SocketAddr,
    out: &mut impl Write,
    step: &'static str,
    expected: &[(&'static str, &'static str, &'static str)],
) -> Result<(), StoryError> {
    let start = Instant::now();
    loop {
        let rows = mirror(proxy).await?;
        let agrees = rows.len() == expected.len()
            && rows.iter().zip(expected).all(|(r, e)| (r.name.as_str(), r.status.as_str(), r.namespaces.as_str()) == *e);
        if agrees {
            writeln!(out, "  $ curl http://{proxy}/armory/accounts")?;
            return Ok(table(out, &rows)?);
        }
        if start.elapsed() > MIRROR_PATIENCE {
            return Err(StoryError::Unexpected { step, expected: format!("a mirror of {expected:?}"), seen: format!("{rows:?}") });
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn table(out: &mut impl Write, rows: &[Mirrored]) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "    (the mirror is empty)\n");
    }
    let head = ["NAME", "STATUS", "NAMESPACES", "KUBECONFIG"].map(str::to_owned);
    let cells: Vec<[String; 4]> =
        std::iter::once(head).chain(rows.iter().cloned().map(|r| [r.name, r.status, r.namespaces, r.kubeconfig])).collect();
    let widths: [usize; 4] = std::array::from_fn(|i| cells.iter().map(|c| c[i].chars().count()).max().unwrap_or_default());
    for [name, status, namespaces, kubeconfig] in &cells {
        let [a, b, c, _] = widths;
        writeln!(out, "    {name:a$}  {status:b$}  {namespaces:c$}  {kubeconfig}")?;
    }
    writeln!(out)
}

async fn mirror(proxy: SocketAddr) -> Result<Vec<Mirrored>, StoryError> {
    let path = "/armory/accounts";
    let (status, body) = call(proxy, &Method::GET, path, None).await?;
    let odd = || StoryError::NoAnswer { request: format!("GET {path}"), reason: format!("{status}, and no list of accounts") };
    let list: Value = serde_json::from_slice(&body).map_err(|_| odd())?;
    let items = list.get("items").and_then(Value::as_array).ok_or_else(odd)?;
    let text = |v: Option<&Value>| v.and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(items
        .iter()
        .map(|item| {
            let definition = item.get("definition");
            let namespaces: Vec<&str> = definition
                .and_then(|d| d.get("namespaces"))
                .and_then(Value::as_array)
                .map(|n| n.iter().filter_map(Value::as_str).collect())
                .unwrap_or_default();
            Mirrored {
                name: text(item.get("name")),
                status: text(item.get("status")),
                namespaces: if namespaces.is_empty() { "all".to_owned() } else { namespaces.join(", ") },
                kubeconfig: if definition.and_then(|d| d.get("kubeconfigContents")).is_some() { HIDDEN } else { "" }.to_owned(),
            }
        })
        .collect())
}

pub(super) async fn call(proxy: SocketAddr, method: &Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Bytes), StoryError> {
    let failed = |reason: String| StoryError::NoAnswer { request: format!("{method} {path}"), reason };
    let answered = async {
        let stream = TcpStream::connect(proxy).await.map_err(|e| e.to_string())?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        // Ends with the sender, at the end of this call.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(HOST, proxy.to_string());
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(|b| Bytes::from(b.to_string())).unwrap_or_default();
        let request = request.body(Full::new(bytes)).map_err(|e| e.to_string())?;
        let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await.map_err(|e| e.to_string())?;
        Ok::<_, String>((status, body.to_bytes()))
    };
    match timeout(PATIENCE, answered).await {
        Ok(answer) => answer.map_err(failed),
        Err(_) => Err(failed(format!("not within {PATIENCE:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned_by_characters() {
        let row = |name: &str, namespaces: &str| Mirrored {
            name: name.into(),
            status: "INACTIVE".into(),
            namespaces: namespaces.into(),
            kubeconfig: HIDDEN.into(),
        };
        let mut out = Vec::new();
        table(&mut out, &[row("ü", "all"), row("prod-eu", "a, b")]).expect("written");
        let text = String::from_utf8(out).expect("text");
        let columns: Vec<usize> =
            text.lines().filter_map(|l| l.chars().collect::<Vec<_>>().windows(2).position(|w| w == [' ', 'I'])).collect();
        assert_eq!(columns.len(), 2);
        assert_eq!(columns[0], columns[1], "{text}");
    }

    #[test]
    fn the_invitation_names_the_addresses_that_are_listened_on() {
        let mut out = Vec::new();
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        invite(at(7002), at(7003), "a kubeconfig", Some("the reason"), &mut out).expect("written");
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("a kubeconfig") && text.contains("the reason") && text.contains("127.0.0.1:7002/armory/agents"), "{text}");
        assert!(text.contains("127.0.0.1:7002/credentials") && text.contains("127.0.0.1:7003/info") && text.contains(super::super::NOTICE));
    }
}
