//! A transaction on SQLite, which never leaves a connection behind that is in another state than the driver believes.
//!
//! SQLite ends a transaction by itself where it runs out of room. The driver's own transaction then rolls back what is no more, takes
//! the error for one in the transaction that it counts, and no later one can begin on that connection. So here a connection goes back
//! to its pool only when SQLite has confirmed the end; otherwise it is closed, which rolls back whatever is left.

use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqlitePool;
use sqlx::{Sqlite, SqliteConnection};

/// Rolled back when dropped.
pub(super) struct SqliteTx {
    conn: PoolConnection<Sqlite>,
    open: bool,
}

impl SqliteTx {
    /// Begins as a writer, so that it never has to become one half-way.
    pub(super) async fn begin(pool: &SqlitePool) -> Result<Self, sqlx::Error> {
        // Open before it is: dropped half-way, it may have begun.
        let mut tx = Self { conn: pool.acquire().await?, open: true };
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *tx.conn).await?;
        Ok(tx)
    }

    /// The connection, for statements inside.
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.conn
    }

    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.end("COMMIT").await
    }

    pub(super) async fn rollback(self) -> Result<(), sqlx::Error> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, how: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(how).execute(&mut *self.conn).await?;
        self.open = false;
        Ok(())
    }
}

impl Drop for SqliteTx {
    fn drop(&mut self) {
        if self.open {
            self.conn.close_on_drop();
        }
    }
}
