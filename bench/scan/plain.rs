//! The plain client: reads the same rows in pages of the same size, all with their definitions, and does nothing with them.

use sqlx::Row as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::link::{Database, Link};

/// One connection.
pub struct Client(Link);

/// One that reads until it is stopped.
pub struct Reader {
    stop: watch::Sender<bool>,
    reads: JoinHandle<()>,
}

/// What is read of a row.
type Columns = (String, String, String, i64, i64);

/// Statements of the first page and of the next ones.
macro_rules! statements {
    ($body:literal, $first:literal, $second:literal) => {
        (
            concat!("select id, type, ", $body, ", created_at, last_modified_at from accounts order by id limit ", $first),
            concat!(
                "select id, type, ",
                $body,
                ", created_at, last_modified_at from accounts where id > ",
                $first,
                " order by id limit ",
                $second
            ),
        )
    };
}

macro_rules! page {
    ($link:expr, $statements:expr, $after:expr, $limit:expr) => {{
        let (first, next) = $statements;
        let rows = match $after {
            Some(after) => sqlx::query(next).bind(after).bind($limit).fetch_all($link).await,
            None => sqlx::query(first).bind($limit).fetch_all($link).await,
        };
        rows.expect("a page").iter().map(|r| (r.get(0), r.get(1), r.get(2), r.get(3), r.get(4))).collect()
    }};
}

impl Client {
    pub async fn open(database: &Database) -> Self {
        Self(database.link().await)
    }

    async fn page(&mut self, after: Option<&str>, limit: i64) -> Vec<Columns> {
        match &mut self.0 {
            Link::MariaDb(link) => page!(&mut *link, statements!("body", "?", "?"), after, limit),
            Link::Postgres(link) => page!(&mut *link, statements!("body::text", "$1", "$2"), after, limit),
        }
    }

    /// Reads all rows; how many there were.
    pub async fn read_all(&mut self, limit: i64) -> usize {
        let (mut rows, mut after) = (0, None::<String>);
        loop {
            let page = self.page(after.as_deref(), limit).await;
            rows += page.len();
            match page.into_iter().next_back() {
                Some(last) => after = Some(last.0),
                None => return rows,
            }
        }
    }

    /// Reads again and again.
    pub fn read_on(database: &Database, limit: i64) -> Reader {
        let (stop, stopped) = watch::channel(false);
        let database = database.clone();
        let reads = tokio::spawn(async move {
            let (mut client, mut after) = (Self::open(&database).await, None::<String>);
            while !*stopped.borrow() {
                after = client.page(after.as_deref(), limit).await.into_iter().next_back().map(|last| last.0);
            }
        });
        Reader { stop, reads }
    }
}

impl Reader {
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        self.reads.await.expect("no panic");
    }
}
