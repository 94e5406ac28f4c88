//! Transactions.

use sqlx::AssertSqlSafe;

use super::sqlite_tx::SqliteTx;
use super::text::translate;
use super::value::bind_all;
use super::{Arg, Db, Result, Row};

/// The driver's own.
pub(super) enum TxInner {
    MySql(sqlx::Transaction<'static, sqlx::MySql>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
    Sqlite(SqliteTx),
}

/// A transaction; rolled back when dropped.
pub struct Tx<'a> {
    pub(super) db: &'a Db,
    pub(super) inner: TxInner,
}

impl Tx<'_> {
    /// Runs a statement inside the transaction.
    ///
    /// # Errors
    /// See [`Error`]; the transaction is of no more use then.
    pub async fn exec(&mut self, sql: &'static str, args: &[Arg]) -> Result<u64> {
        let text = self.db.text(sql);
        self.exec_text(&text, args).await
    }

    /// As [`Tx::exec`] for a statement put together at start.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn exec_dynamic(&mut self, sql: &str, args: &[Arg]) -> Result<u64> {
        let text = translate(self.db.dialect(), sql);
        self.exec_text(&text, args).await
    }

    async fn exec_text(&mut self, text: &str, args: &[Arg]) -> Result<u64> {
        let inner = &mut self.inner;
        self.db
            .bounded(async {
                Ok(match inner {
                    TxInner::MySql(t) => bind_all!(sqlx::query(AssertSqlSafe(text)), args).execute(&mut **t).await?.rows_affected(),
                    TxInner::Postgres(t) => bind_all!(sqlx::query(AssertSqlSafe(text)), args).execute(&mut **t).await?.rows_affected(),
                    TxInner::Sqlite(t) => bind_all!(sqlx::query(AssertSqlSafe(text)), args).execute(t.connection()).await?.rows_affected(),
                })
            })
            .await
    }

    /// Reads rows inside the transaction.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch(&mut self, sql: &'static str, args: &[Arg]) -> Result<Vec<Row>> {
        let text = self.db.text(sql);
        self.fetch_text(&text, args).await
    }

    /// As [`Tx::fetch`] for a statement put together at start.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch_dynamic(&mut self, sql: &str, args: &[Arg]) -> Result<Vec<Row>> {
        let text = translate(self.db.dialect(), sql);
        self.fetch_text(&text, args).await
    }

    async fn fetch_text(&mut self, text: &str, args: &[Arg]) -> Result<Vec<Row>> {
        let inner = &mut self.inner;
        self.db
            .bounded(async {
                Ok(match inner {
                    TxInner::MySql(t) => {
                        bind_all!(sqlx::query(AssertSqlSafe(text)), args).fetch_all(&mut **t).await?.into_iter().map(Row::MySql).collect()
                    }
                    TxInner::Postgres(t) => bind_all!(sqlx::query(AssertSqlSafe(text)), args)
                        .fetch_all(&mut **t)
                        .await?
                        .into_iter()
                        .map(Row::Postgres)
                        .collect(),
                    TxInner::Sqlite(t) => bind_all!(sqlx::query(AssertSqlSafe(text)), args)
                        .fetch_all(t.connection())
                        .await?
                        .into_iter()
                        .map(Row::Sqlite)
                        .collect(),
                })
            })
            .await
    }

    /// Commits.
    ///
    /// # Errors
    /// After [`Error::Unreachable`] and [`Error::Timeout`] it is not known whether the commit was done.
    pub async fn commit(self) -> Result<()> {
        let db = self.db;
        db.bounded(async {
            match self.inner {
                TxInner::MySql(t) => t.commit().await,
                TxInner::Postgres(t) => t.commit().await,
                TxInner::Sqlite(t) => t.commit().await,
            }
        })
        .await
    }

    /// Rolls back and waits for it.
    pub async fn rollback(self) {
        let _ = self
            .db
            .bounded(async {
                match self.inner {
                    TxInner::MySql(t) => t.rollback().await,
                    TxInner::Postgres(t) => t.rollback().await,
                    TxInner::Sqlite(t) => t.rollback().await,
                }
            })
            .await;
    }
}
