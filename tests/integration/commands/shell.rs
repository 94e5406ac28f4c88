//! What a shell sees: exit codes, pipes, signals, terminals.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpListener;

use super::rig::{Place, SOON, program, say, yaml};
use crate::support::databases::{SERVERS, Server};

/// A point would not take the end of a line.
const KEYS: &str = "kubesvc.dynamicAccounts.namePatterns: ['[^|]*']";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_in_the_configuration_is_told_as_config_check_tells_it_and_nothing_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bad.yml");
    std::fs::write(&path, "kubesvc.dynamicAccounts: { namePatterns: ['(?=a)'], scanBatchSize: none }\nserver.port: 99999\n")
        .expect("a file");
    let file = path.to_str().expect("a path");
    let check = say(program(&["config", "check", "--config", file])).await;
    let mistakes: Vec<&str> = check.out.lines().filter_map(|l| l.strip_prefix("mistake: ")).collect();
    assert_eq!((check.code, mistakes.len()), (64, 3), "{}", check.out);
    for words in [&["scan", "--dry-run"][..], &["scan", "--once"], &["drift"]] {
        let mut command = program(words);
        command.args(["--config", file]);
        let said = say(command).await;
        assert_eq!((said.code, said.out.as_str()), (64, ""), "{words:?}");
        for mistake in &mistakes {
            assert!(said.err.contains(mistake), "{words:?}: {mistake} is not in {}", said.err);
        }
    }
    for words in [&["scan"][..], &["scan", "--once", "--dry-run"], &["scan", "--once", "--all"], &["drift", "--output", "xml"]] {
        assert_eq!(say(program(words)).await.code, 2, "{words:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_refuses_or_says_nothing_ends_a_command_with_2_and_its_name() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("an address").port();
    // Connections are taken by the system, and nobody answers. A port of nobody's refuses.
    for (port, scheme) in [(port, "mysql"), (port, "postgresql"), (1, "mysql"), (1, "postgresql")] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("fairlead.yml");
        let more = format!("{KEYS}\nfairlead.sql.statementTimeout: 1s");
        let pool =
            yaml(&format!("jdbc:{scheme}://127.0.0.1:{port}/x"), "u", &more).replace("user: u,", "user: u, connectionTimeoutMs: 1000,");
        std::fs::write(&path, pool).expect("a file");
        for words in [&["scan", "--dry-run"][..], &["scan", "--once"], &["drift"]] {
            let mut command = program(words);
            command.arg("--config").arg(&path);
            let said = say(command).await;
            assert_eq!((said.code, said.out.as_str()), (2, ""), "{scheme} {port} {words:?}: {}", said.err);
            assert!(said.err.contains("sql.connectionPools.default"), "{scheme} {port} {words:?}: {}", said.err);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_a_command_though_the_database_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fairlead.yml");
    let more = format!("{KEYS}\nfairlead.sql.statementTimeout: 600s");
    let pool = yaml(&format!("jdbc:mysql://127.0.0.1:{port}/x"), "u", &more).replace("user: u,", "user: u, connectionTimeoutMs: 600000,");
    std::fs::write(&path, pool).expect("a file");
    for (words, signal, code) in [
        (&["scan", "--dry-run"][..], "INT", 130),
        (&["drift"], "TERM", 143),
        (&["scan", "--once"], "TERM", 143),
        (&["scan", "--once"], "INT", 130),
    ] {
        let mut command = program(words);
        let mut child = command.arg("--config").arg(&path).spawn().expect("the program runs");
        // It asks the database: by then it hears signals.
        let (connection, _) = tokio::time::timeout(SOON, silent.accept()).await.expect("it connects").expect("a connection");
        let id = child.id().expect("it runs").to_string();
        std::process::Command::new("kill").args(["-s", signal, &id]).status().expect("kill");
        let status = tokio::time::timeout(SOON, child.wait()).await.expect("it ends").expect("a status");
        assert_eq!(status.code(), Some(code), "{words:?}");
        let mut err = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut err).await.expect("text");
        assert!(err.contains(&format!("stopped by SIG{signal}")), "{words:?}: {err}");
        drop(connection);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_leaves_ends_a_command_quietly_and_a_pipe_sees_no_progress() {
    let p = Place::new(Server::MariaDb, "pipe").await;
    p.sql()
        .exec(
            "insert into accounts select concat('account-', seq, repeat('x', 100)), 'kubernetes', '{\"type\": \"kubernetes\"}', 1000, 1000, 'x' \
             from seq_1_to_5000",
        )
        .await;
    let path = p.config(&p.user, KEYS);
    for output in ["table", "json"] {
        let mut command = program(&["scan", "--dry-run", "--output", output]);
        let mut child = command.arg("--config").arg(&path).stdout(Stdio::piped()).spawn().expect("the program runs");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line).await.expect("a line");
        assert!(!line.is_empty());
        drop(out);
        let ended = tokio::time::timeout(SOON, child.wait_with_output()).await.expect("it ends").expect("a status");
        assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(141), ""), "{output}");
        // Read to the end, all of it is there, in order, and nothing else is said.
        let mut command = program(&["scan", "--dry-run", "--output", output]);
        command.arg("--config").arg(&path);
        let said = say(command).await;
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        assert_eq!(said.out.lines().filter(|l| l.contains("account-")).count(), 5_000);
    }
    p.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_would_move_a_terminal_are_written_out_and_wide_ones_stay_aligned() {
    for server in SERVERS {
        let p = Place::new(server, "names").await;
        let names = ["plain", "esc\u{1b}[2Jape", "new\nline", "日本語", "turn\u{202e}ed", "back\\slash"];
        for name in names {
            p.put(name, "v1", 1_000).await;
        }
        let table = p.run(KEYS, &["scan", "--dry-run"]).await;
        assert_eq!(table.code, 0, "{}", table.err);
        assert!(!table.out.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{:?}", table.out);
        for shown in ["esc\\u{1b}[2Jape", "new\\u{a}line", "日本語", "turn\\u{202e}ed", "back\\\\slash"] {
            assert!(table.out.contains(shown), "{shown}: {}", table.out);
        }
        let json = p.run(KEYS, &["scan", "--dry-run", "-o", "json"]).await;
        assert!(!json.out.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{:?}", json.out);
        let mut wanted: Vec<&str> = names.to_vec();
        wanted.sort_unstable();
        assert_eq!(json.by_name().keys().map(String::as_str).collect::<Vec<_>>(), wanted, "{server:?}");
        p.done().await;
    }
}
