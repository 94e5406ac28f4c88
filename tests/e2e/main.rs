//! The main job on real Clouddrivers. `docs/testing.md` says how to run it.
#[path = "../support/mod.rs"]
mod support;
use support::databases::*;
#[tokio::main]
async fn main() {
    for s in SERVERS {
        let mut d = TestDatabase::create(s, "smoke").await;
        d.make_accounts_table().await;
        let cd = d.clouddriver_user().await;
        let fl = d.fairlead_user().await;
        let _ = cd;
        let c = d.admin.clone();
        println!(
            "{:?}",
            c.exec(&format!("insert into accounts values ({}, 'kubernetes', '{{\"a\":1}}', 1, 2, 'x')", c.quoted("a'b\\c"))).await
        );
        let f = Sql::open(&d.url_as(&fl));
        println!("{:?}", f.rows("select id, body, created_at, null from accounts").await);
        println!("{:?}", f.try_exec("update accounts set type='x'").await);
        println!("{:?}", f.try_exec("create table kubesvc_accounts (name varchar(255) primary key)").await);
        println!("{:?}", f.number("select count(*) from accounts").await);
        d.drop_now().await;
    }
}
