use fairlead::store::{MigrateError, Store};

use super::store;
use crate::support::databases::{SERVERS, Server, TestDatabase};

async fn with_accounts(server: Server) -> TestDatabase {
    let database = TestDatabase::create(server, "rights").await;
    database.make_accounts_table().await;
    database
}

fn open(database: &TestDatabase, user: &str) -> Store {
    store(database.pool_config_as(user), None)
}

#[tokio::test]
async fn the_documented_grants_are_enough_and_give_no_way_to_write_accounts() {
    for server in SERVERS {
        let mut database = with_accounts(server).await;
        let user = database.fairlead_user().await;
        let store = open(&database, &user);
        store.migrate().await.unwrap_or_else(|e| panic!("{server:?}: {e}"));
        store.migrate().await.unwrap_or_else(|e| panic!("{server:?}, again: {e}"));
        store.main().fetch("SELECT id FROM accounts", &[]).await.expect("it may read");
        for statement in [
            "INSERT INTO accounts (id, type, body, created_at, last_modified_at, last_modified_by) VALUES ('a', 'b', '{}', 1, 1, 'c')",
            "UPDATE accounts SET type = 'x'",
            "DELETE FROM accounts",
            "ALTER TABLE accounts ADD COLUMN x integer",
            "DROP TABLE accounts",
        ] {
            let e = store.main().exec_dynamic(statement, &[]).await.expect_err(statement);
            assert!(!e.is_transient(), "{server:?} {e}");
        }
        store.close().await;
        database.drop_now().await;
    }
}

#[tokio::test]
async fn a_missing_right_is_a_start_error_that_names_table_and_right() {
    for (revoked, right, table) in [
        ("select", "SELECT", "fairlead_names"),
        ("insert", "INSERT", "kubesvc_accounts"),
        ("update", "UPDATE", "fairlead_epochs"),
        ("delete", "DELETE", "fairlead_intents"),
    ] {
        for server in SERVERS {
            let mut database = with_accounts(server).await;
            let owner = store(database.pool_config(), None);
            owner.migrate().await.expect("migrated by the administrator");
            let user = database.new_user("poor").await;
            let all = "kubesvc_accounts fairlead_intents fairlead_names fairlead_epochs fairlead_tombstones fairlead_hand fairlead_lives fairlead_meta fairlead_migrations";
            for t in all.split(' ') {
                let rights = match (t == table, server) {
                    (true, Server::MariaDb) => without("select insert update delete create alter index", revoked),
                    (true, Server::Postgres) => without("select insert update delete", revoked),
                    (false, Server::MariaDb) => "select, insert, update, delete, create, alter, index".to_owned(),
                    (false, Server::Postgres) => "select, insert, update, delete".to_owned(),
                };
                let to =
                    if server == Server::MariaDb { format!("{}.{t} to '{user}'@'%'", database.name) } else { format!("{t} to {user}") };
                database.admin.exec(&format!("grant {rights} on {to}")).await;
            }
            if server == Server::Postgres {
                database.admin.exec(&format!("grant usage, create on schema public to {user}")).await;
            }
            let e = open(&database, &user).migrate().await.expect_err("a right is missing");
            assert!(matches!(&e, MigrateError::Right { table: t, .. } if t == table), "{server:?} {revoked}: {e}");
            let text = e.to_string();
            assert!(text.contains(right) && text.contains(table) && text.contains("docs/database.md"), "{server:?} {revoked}: {text}");
            assert!(!e.is_transient());
            owner.close().await;
            database.drop_now().await;
        }
    }
}

fn without(all: &str, one: &str) -> String {
    all.split(' ').filter(|r| *r != one).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn a_user_who_may_not_make_or_widen_tables_is_told_so_and_can_be_helped() {
    for server in SERVERS {
        let mut database = with_accounts(server).await;
        let user = database.new_user("reader").await;
        match server {
            Server::MariaDb => database.admin.exec(&format!("grant select on {}.accounts to '{user}'@'%'", database.name)).await,
            Server::Postgres => database.admin.exec(&format!("grant usage on schema public to {user}")).await,
        };
        let store = open(&database, &user);
        let e = store.migrate().await.expect_err("may not create");
        assert!(matches!(&e, MigrateError::Right { right: "CREATE", table, .. } if table.starts_with("fairlead_")), "{server:?}: {e}");
        // The rights come, and the same process carries on.
        match server {
            Server::MariaDb => {
                database.admin.exec(&format!("grant all on {}.* to '{user}'@'%'", database.name)).await;
            }
            Server::Postgres => {
                database.admin.exec(&format!("grant create on schema public to {user}")).await;
                database.admin.exec("create table kubesvc_accounts (name varchar(255) primary key)").await;
                database.admin.exec(&format!("grant select, insert, update, delete on kubesvc_accounts to {user}")).await;
                let e = store.migrate().await.expect_err("may not widen another's table");
                assert!(matches!(&e, MigrateError::Right { right: "ALTER", table, .. } if table == "kubesvc_accounts"), "{e}");
                database.admin.exec(&format!("alter table kubesvc_accounts owner to {user}")).await;
            }
        }
        store.migrate().await.unwrap_or_else(|e| panic!("{server:?}: {e}"));
        store.close().await;
        database.drop_now().await;
    }
}

#[tokio::test]
async fn a_wrong_password_or_database_is_told_and_waiting_does_not_help() {
    for server in SERVERS {
        let database = with_accounts(server).await;
        let url = database.url_as("nobody_knows");
        let e = store(crate::support::databases::pool_config(&url), None).migrate().await;
        if server == Server::MariaDb {
            let e = e.expect_err("no such user");
            assert!(!e.is_transient() && !e.to_string().contains("password=nobody"), "{e}");
        }
        let url = format!("{}/no_such_database", server.url());
        let e = store(crate::support::databases::pool_config(&url), None).migrate().await.expect_err("no such database");
        assert!(!e.is_transient() && e.to_string().contains("no_such_database"), "{server:?}: {e}");
        database.drop_now().await;
    }
}
