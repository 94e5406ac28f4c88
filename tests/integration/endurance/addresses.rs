//! Clouddriver moves: its name leads to another address.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use super::origin::{Origin, before, until};
use crate::support::http::{self, Connection, Request};
use crate::support::process::{Fairlead, folder, free_port};

/// Gives its process an `/etc/hosts` of its own, which the test may write, and becomes the rest of its words.
const WITH_HOSTS: &str = r#"mount --bind "$0" /etc/hosts && exec "$@""#;

/// The words that start a program in a mount namespace of its own: as root, or as the root of a user namespace.
fn unshare() -> Option<Vec<&'static str>> {
    [vec!["unshare", "--mount"], vec!["unshare", "--map-root-user", "--mount"]]
        .into_iter()
        .find(|words| Command::new(words[0]).args(&words[1..]).arg("true").output().is_ok_and(|out| out.status.success()))
}

#[tokio::test]
async fn when_clouddrivers_name_leads_to_another_address_requests_follow_it() {
    let Some(mut words) = unshare() else {
        return println!("left out: this system lets nobody have an /etc/hosts of their own");
    };
    let port = free_port();
    let at = |last: u8| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port));
    let old = Origin::saying(at(21), "old").await;
    let name = format!("hosts-{port}");
    let hosts = folder(&name).join("hosts");
    let lead_to =
        |address: SocketAddr| std::fs::write(&hosts, format!("127.0.0.1 localhost\n{} clouddriver.test\n", address.ip())).unwrap();
    lead_to(old.address);
    let hosts_file = hosts.display().to_string();
    words.extend(["sh", "-c", WITH_HOSTS, &hosts_file]);
    let setup = before(old.address, "moves").with(&format!("services.clouddriver.baseUrl: http://clouddriver.test:{port}")).through(&words);
    let fairlead = Fairlead::start(setup).await;
    let mut client = Connection::open(fairlead.setup.port).await.unwrap();
    let get = Request::new("GET", "/where");
    assert_eq!(client.call(&get).await.unwrap().text(), "old");

    // The new one is there before the old one goes, as in any orderly change.
    let new = Origin::saying(at(22), "new").await;
    lead_to(new.address);
    drop(old);
    until("the kept connections to the old one are known to be closed", || async {
        http::get(fairlead.setup.port, "/where").await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    for _ in 0..20 {
        assert_eq!(client.call(&get).await.unwrap().text(), "new");
        assert_eq!(http::get(fairlead.setup.port, "/where").await.unwrap().text(), "new");
    }
}
