//! A replica that has no descriptors left: it neither ends nor gives up.

use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::support::http;
use super::support::process::{Fairlead, Setup, folder};

#[tokio::test]
async fn a_replica_without_descriptors_waits_and_goes_on() {
    let clouddriver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = clouddriver.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = clouddriver.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(1..) = stream.read(&mut buffer).await {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
            });
        }
    });
    let setup = Setup::new("descriptors", port);
    let database = folder(&setup.name).join("fairlead.db");
    let mut fairlead = Fairlead::start(setup.with(&format!("fairlead.sqlite.path: {}", database.display()))).await;
    let id = fairlead.id().to_string();
    assert!(Command::new("prlimit").args(["--pid", &id, "--nofile=64"]).status().expect("util-linux has prlimit").success());

    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(TcpStream::connect(("127.0.0.1", fairlead.setup.port)).await.unwrap());
    }
    // It says so once, and tries on. (Its admin listener takes no connection either.)
    let start = Instant::now();
    while !fairlead.log_tail().contains("cannot accept connections") {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing is said of it:\n{}", fairlead.log_tail());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!fairlead.has_ended());
    drop(crowd);
    let answer = http::get(fairlead.setup.port, "/x").await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()));
    assert!(fairlead.metric("fairlead_proxy_accept_errors_total").await.is_some_and(|errors| errors > 0.0));
}
