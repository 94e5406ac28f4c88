//! Takes `kubesvc_accounts` as it is: made here if there is none, else given the columns that it lacks, one at a time.
//!
//! Nothing is ever dropped or given another type. Each step looks again at what is there, so a start that failed in between is carried on by
//! the next, and a replica of the version before goes on working on the wider table.

use super::db::{Db, Dialect};
use super::migrate::{MigrateError, Report, step};
use super::shape::{Class, Found, Shape};
use super::{collation, introspect};

/// The key of `fairlead_meta` that says whether the table is of our making.
pub(super) const MADE_BY: &str = "kubesvc_accounts.made_by";

const fn create(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::MySql => include_str!("../../migrations/mysql/kubesvc_accounts.sql"),
        Dialect::Postgres => include_str!("../../migrations/postgres/kubesvc_accounts.sql"),
        Dialect::Sqlite => include_str!("../../migrations/sqlite/kubesvc_accounts.sql"),
    }
}

/// Makes or widens the table, gives rows of the original plugin an origin, and learns the shape.
pub(super) async fn run(db: &Db, report: &mut Report) -> Result<Shape, MigrateError> {
    let dialect = db.dialect();
    let mut columns = introspect::columns(db).await?;
    if columns.is_empty() {
        step(db, create(dialect), "CREATE", "kubesvc_accounts").await?;
        let own = match dialect {
            Dialect::MySql => "INSERT IGNORE INTO fairlead_meta (k, v) VALUES (?, 'fairlead')",
            _ => "INSERT INTO fairlead_meta (k, v) VALUES (?, 'fairlead') ON CONFLICT DO NOTHING",
        };
        db.exec(own, crate::args![MADE_BY]).await.map_err(|e| MigrateError::of(e, "INSERT", "fairlead_meta"))?;
        report.created = true;
        columns = introspect::columns(db).await?;
    }
    if columns.is_empty() {
        return Err(MigrateError::Hidden { database: db.label().to_owned() });
    }
    if !columns.iter().any(|c| c.name.eq_ignore_ascii_case("name")) {
        return Err(MigrateError::Column { database: db.label().to_owned(), problem: "it has no column name".to_owned() });
    }
    let kind = match dialect {
        Dialect::MySql => 0,
        Dialect::Postgres => 1,
        Dialect::Sqlite => 2,
    };
    for (name, _, types) in Shape::missing(&columns) {
        let sql = format!("ALTER TABLE kubesvc_accounts ADD COLUMN {name} {}", types[kind]);
        match step(db, &sql, "ALTER", "kubesvc_accounts").await {
            // Another start, on a server where the lock does not hold (a cluster), was quicker.
            Err(MigrateError::Database(e)) if e.says_column_exists() => {}
            other => other?,
        }
        report.added.push((*name).to_owned());
    }
    columns = introspect::columns(db).await?;
    let packet = introspect::packet(db).await?;
    let shape = Shape::new(dialect, columns.clone(), packet).map_err(|u| MigrateError::Column {
        database: db.label().to_owned(),
        problem: format!("column {} of type {} must have a value, and Fairlead knows none to give: give it a default", u.column, u.full),
    })?;
    give_origins(db, &shape).await?;
    give_indexes(db, &columns, report).await?;
    if !introspect::name_is_unique(db).await? {
        report.warn(format!(
            "{}: kubesvc_accounts has no unique index on name alone; add one, or another's writes may double a row",
            db.label()
        ));
    }
    Ok(shape)
}

/// Rows that Fairlead did not write: a dynamic one came from Clouddriver, a static one from an agent. Where the flag is unknown, a status tells:
/// the original had none before it had dynamic accounts. What was ever on its way to an agent counts as sent.
async fn give_origins(db: &Db, shape: &Shape) -> Result<(), MigrateError> {
    let (dynamic, status) = (shape.read("dynamic"), shape.read("status"));
    let origin = format!("CASE WHEN {dynamic} = 1 THEN 'migrated' WHEN {dynamic} = 0 OR {status} IS NULL THEN 'agent' ELSE 'migrated' END");
    let was_dynamic = format!("CASE WHEN {dynamic} IS NOT NULL THEN {dynamic} WHEN {status} IS NULL THEN 0 ELSE 1 END");
    // In this order, since MySQL reads what the same statement has already set.
    let sql = format!(
        "UPDATE kubesvc_accounts SET fl_origin = {origin}, fl_sent = CASE WHEN {status} IN ('INACTIVE', 'TO_MIGRATE') THEN 0 ELSE 1 END,
          dynamic = {}, status = {} WHERE fl_origin IS NULL",
        shape.write("dynamic").replace('?', &format!("({was_dynamic})")),
        shape.write("status").replace('?', &format!("COALESCE({status}, 'ACTIVE')")),
    );
    db.exec_dynamic(&sql, &[]).await.map_err(|e| MigrateError::of(e, "UPDATE", "kubesvc_accounts"))?;
    Ok(())
}

/// Indexes of ours, for what is asked all the time: which rows are due, and which wait for a zone. Without them it works, slowly.
const INDEXES: [(&str, &[&str], &str); 3] = [
    ("fairlead_due", &["fl_due"], " WHERE fl_due IS NOT NULL"),
    ("fairlead_zone", &["zone_id"], ""),
    // For the figures, so that counting reads no definition, and for what waits for a scan.
    ("fairlead_figures", &["status", "fl_origin", "dynamic"], ""),
];

async fn give_indexes(db: &Db, columns: &[Found], report: &mut Report) -> Result<(), MigrateError> {
    for (name, keys, only) in INDEXES {
        let sql = match db.dialect() {
            Dialect::MySql => {
                let known = "SELECT CAST(1 AS SIGNED) FROM information_schema.statistics
                     WHERE table_schema = DATABASE() AND table_name = 'kubesvc_accounts' AND index_name = ? LIMIT 1";
                if !db.fetch(known, crate::args![name]).await?.is_empty() {
                    continue;
                }
                // CREATE INDEX would ask for a right of its own. A long text is too long for an index in full.
                let key = |column: &&str| {
                    let text = columns.iter().find(|c| c.name == *column).filter(|c| c.class() == Class::Text);
                    text.map_or((*column).to_owned(), |c| format!("{column}({})", c.max_chars.unwrap_or(191).min(191)))
                };
                let keys = keys.iter().map(key).collect::<Vec<_>>().join(", ");
                format!("ALTER TABLE kubesvc_accounts ADD INDEX {name} ({keys})")
            }
            // Asked first: even "if not exists" is for the table's owner only.
            Dialect::Postgres
                if !db
                    .fetch(
                        "SELECT 1::bigint FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                         WHERE i.indrelid = to_regclass('kubesvc_accounts') AND c.relname = ?",
                        crate::args![name],
                    )
                    .await?
                    .is_empty() =>
            {
                continue;
            }
            Dialect::Postgres | Dialect::Sqlite => {
                format!("CREATE INDEX IF NOT EXISTS {name} ON kubesvc_accounts ({}){only}", keys.join(", "))
            }
        };
        match step(db, &sql, "ALTER", "kubesvc_accounts").await {
            Ok(()) => {}
            Err(e) if e.is_transient() => return Err(e),
            Err(e) => report.warn(format!(
                "{}: kubesvc_accounts has no index on {}, so looking for what is due is slow: {e}",
                db.label(),
                keys.join(", ")
            )),
        }
    }
    Ok(())
}

/// Whether rights and columns let Fairlead work: statements that touch no row.
pub(super) async fn probe(db: &Db, shape: &Shape) -> Result<(), MigrateError> {
    let keys = [
        ("fairlead_intents", "id"),
        ("fairlead_names", "name_key"),
        ("fairlead_epochs", "id"),
        ("fairlead_tombstones", "name_key"),
        ("fairlead_hand", "name_key"),
        ("fairlead_lives", "id"),
        ("fairlead_meta", "k"),
        ("kubesvc_accounts", "name"),
    ];
    for (table, key) in keys {
        let insert = if table == "kubesvc_accounts" {
            shape.probe_insert()
        } else {
            let all = match table {
                "fairlead_intents" => "id, method, epoch, created_ms, pre_state",
                "fairlead_names" => "name_key, gen, touched_ms",
                "fairlead_epochs" => "id, replica, opened_ms, ok_until_ms, alive_ms, state",
                "fairlead_tombstones" => "name_key, generation, created_ms",
                "fairlead_hand" => "name_key, wanted, at_ms",
                "fairlead_lives" => "id, replica, opened_ms, alive_ms",
                _ => "k, v",
            };
            format!("INSERT INTO {table} ({all}) SELECT {all} FROM {table} WHERE 1 = 0")
        };
        for (right, sql) in [
            ("SELECT", format!("SELECT {key} FROM {table} WHERE 1 = 0")),
            ("INSERT", insert),
            ("UPDATE", format!("UPDATE {table} SET {key} = {key} WHERE 1 = 0")),
            ("DELETE", format!("DELETE FROM {table} WHERE 1 = 0")),
        ] {
            step(db, &sql, right, table).await?;
        }
    }
    Ok(())
}

/// See [`collation`].
pub(super) async fn collate(db: &Db, source: Option<&collation::Collation>, report: &mut Report) -> Result<(), MigrateError> {
    collation::align(db, source, report).await
}
