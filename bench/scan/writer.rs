//! Who else writes the table: Clouddriver, one change after the other.

use std::time::Instant;

use sqlx::AssertSqlSafe;

use crate::link::{Database, Link};

pub struct Writer {
    link: Link,
    rows: usize,
    chance: fastrand::Rng,
}

impl Writer {
    pub async fn open(database: &Database, rows: usize) -> Self {
        Self { link: database.link().await, rows, chance: fastrand::Rng::with_seed(1) }
    }

    /// So many changes of rows here and there, a transaction each; how many seconds they took.
    pub async fn writes(&mut self, times: usize) -> f64 {
        let began = Instant::now();
        for _ in 0..times {
            // No row that a pattern takes, so that a scan has no more to do than without the writer.
            let n = self.chance.usize(1..=self.rows) / 3 * 3 + 1;
            let (sql, name) = (SQL, format!("test-account-{n:08}"));
            let touched = match &mut self.link {
                Link::MariaDb(link) => sqlx::query(sql).bind(&name).execute(link).await.expect("written").rows_affected(),
                Link::Postgres(link) => {
                    let sql = sql.replace('?', "$1");
                    sqlx::query(AssertSqlSafe(sql)).bind(&name).execute(link).await.expect("written").rows_affected()
                }
            };
            assert!(touched <= 1, "{name}");
        }
        began.elapsed().as_secs_f64()
    }
}

const SQL: &str = "update accounts set last_modified_at = last_modified_at + 1, last_modified_by = 'writer' where id = ?";
