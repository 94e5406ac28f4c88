//! How a pool is opened in each of the three databases, and what each of its connections is told first.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::SqlitePoolOptions;

use super::{Pool, PoolConfig, Target};

/// A pool whose first statement connects; `ask`: whether a connection is asked for a sign of life before it is used again.
pub(super) fn pool(config: &PoolConfig, ask: bool) -> Pool {
    let (acquire, statement) = (config.acquire_timeout, config.statement_timeout);
    match &config.target {
        Target::MySql(options) => Pool::MySql(
            MySqlPoolOptions::new()
                .max_connections(config.max_connections)
                .acquire_timeout(acquire)
                .idle_timeout(Duration::from_secs(45))
                .test_before_acquire(ask)
                .after_connect(move |conn, _| {
                    Box::pin(async move {
                        sqlx::query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").execute(&mut *conn).await?;
                        // Whole seconds, and below the statement's own bound, so that a wait for a lock is told apart from a
                        // slow server. A value that does not fit must be an error on any server: without the strict mode it is cut.
                        let lock_wait = statement.as_secs().saturating_sub(1).max(1);
                        sqlx::query(AssertSqlSafe(format!(
                            "SET SESSION innodb_lock_wait_timeout = {lock_wait}, lock_wait_timeout = {lock_wait}, \
                             sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')"
                        )))
                        .execute(&mut *conn)
                        .await?;
                        // MariaDB's name for it; MySQL has another, and only for SELECT. The bound here counts in any case.
                        let _ = sqlx::query(AssertSqlSafe(format!("SET SESSION max_statement_time = {}", statement.as_secs_f64())))
                            .execute(&mut *conn)
                            .await;
                        Ok(())
                    })
                })
                .connect_lazy_with((**options).clone()),
        ),
        Target::Postgres(options) => {
            let ms = statement.as_millis();
            let options = (**options).clone().options([
                ("default_transaction_isolation", "read committed".to_owned()),
                ("statement_timeout", ms.to_string()),
                ("lock_timeout", (ms * 4 / 5).max(1).to_string()),
                ("idle_in_transaction_session_timeout", (2 * ms).to_string()),
            ]);
            Pool::Postgres(
                PgPoolOptions::new()
                    .max_connections(config.max_connections)
                    .acquire_timeout(acquire)
                    .idle_timeout(Duration::from_secs(45))
                    .test_before_acquire(ask)
                    .connect_lazy_with(options),
            )
        }
        Target::Sqlite(options) => {
            // The default lies in a folder that nobody made. If it cannot be made, the first statement says why.
            let _ = options.get_filename().parent().map(std::fs::create_dir_all);
            Pool::Sqlite(
                SqlitePoolOptions::new()
                    .max_connections(config.max_connections)
                    .acquire_timeout(acquire)
                    .idle_timeout(None)
                    .max_lifetime(None)
                    .test_before_acquire(false)
                    .connect_lazy_with((**options).clone().busy_timeout(statement)),
            )
        }
    }
}
