//! The columns of `kubesvc_accounts` as they are in this database.
//!
//! The table may have been made by another product: `dynamic` is a bit here and a boolean there, `definition` is text or JSON, and
//! there may be columns that we do not know and that must have a value. A [`Shape`] is learned at start and puts statements together
//! so that the rest of Fairlead sees numbers and texts only. It holds no value of anybody's input.

use std::borrow::Cow;

use super::db::Dialect;

/// What a column is to Fairlead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number.
    Int,
    /// A text.
    Text,
    /// Bytes, read and written as lower-case hexadecimal text.
    Hex,
}

/// Each column that Fairlead knows: its name, what it is to us, and its type where we add it (MySQL, PostgreSQL, SQLite).
pub(super) const COLUMNS: &[(&str, Kind, [&str; 3])] = &[
    ("name", Kind::Text, ["", "", ""]),
    ("last_updated", Kind::Int, ["bigint NULL", "bigint NULL", "integer NULL"]),
    ("kube_version", Kind::Text, ["varchar(255) NULL", "varchar(255) NULL", "text NULL"]),
    ("kube_host", Kind::Text, ["varchar(2048) NULL", "varchar(2048) NULL", "text NULL"]),
    ("cert_fingerprint", Kind::Hex, ["varbinary(64) NULL", "bytea NULL", "blob NULL"]),
    ("max_watch_age_seconds", Kind::Int, ["bigint NULL", "bigint NULL", "integer NULL"]),
    ("props", Kind::Text, ["longtext NULL", "text NULL", "text NULL"]),
    ("zone_id", Kind::Text, ["varchar(255) NULL", "varchar(255) NULL", "text NULL"]),
    ("dynamic", Kind::Int, ["boolean NULL", "boolean NULL", "integer NULL"]),
    ("status", Kind::Text, ["varchar(32) NULL", "varchar(32) NULL", "text NULL"]),
    ("definition", Kind::Text, ["longtext NULL", "text NULL", "text NULL"]),
    ("error_message", Kind::Text, ["text NULL", "text NULL", "text NULL"]),
    ("failed_count", Kind::Int, ["bigint NOT NULL DEFAULT 0", "bigint NOT NULL DEFAULT 0", "integer NOT NULL DEFAULT 0"]),
    ("connections", Kind::Int, ["bigint NOT NULL DEFAULT 0", "bigint NOT NULL DEFAULT 0", "integer NOT NULL DEFAULT 0"]),
    ("fl_origin", Kind::Text, ["varchar(16) NULL", "varchar(16) NULL", "text NULL"]),
    ("fl_inc", Kind::Int, ["bigint NULL", "bigint NULL", "integer NULL"]),
    ("fl_mode", Kind::Text, ["varchar(8) NULL", "varchar(8) NULL", "text NULL"]),
    ("fl_overlay", Kind::Text, ["longtext NULL", "text NULL", "text NULL"]),
    ("fl_generation", Kind::Int, ["bigint NOT NULL DEFAULT 0", "bigint NOT NULL DEFAULT 0", "integer NOT NULL DEFAULT 0"]),
    ("fl_rev", Kind::Int, ["bigint NOT NULL DEFAULT 0", "bigint NOT NULL DEFAULT 0", "integer NOT NULL DEFAULT 0"]),
    ("fl_wanted", Kind::Text, ["varchar(16) NULL", "varchar(16) NULL", "text NULL"]),
    ("fl_after_gap", Kind::Int, ["bigint NOT NULL DEFAULT 0", "bigint NOT NULL DEFAULT 0", "integer NOT NULL DEFAULT 0"]),
    ("fl_sent", Kind::Int, ["bigint NOT NULL DEFAULT 0", "bigint NOT NULL DEFAULT 0", "integer NOT NULL DEFAULT 0"]),
    ("fl_key_id", Kind::Text, ["varchar(32) NULL", "varchar(32) NULL", "text NULL"]),
    ("fl_created", Kind::Int, ["bigint NULL", "bigint NULL", "integer NULL"]),
    ("fl_due", Kind::Int, ["bigint NULL", "bigint NULL", "integer NULL"]),
    ("fl_since", Kind::Int, ["bigint NULL", "bigint NULL", "integer NULL"]),
    ("fl_operation", Kind::Text, ["varchar(26) NULL", "varchar(26) NULL", "text NULL"]),
    ("fl_owner", Kind::Text, ["varchar(26) NULL", "varchar(26) NULL", "text NULL"]),
    ("fl_zone_found", Kind::Int, ["bigint NOT NULL DEFAULT 0", "bigint NOT NULL DEFAULT 0", "integer NOT NULL DEFAULT 0"]),
    ("fl_identity", Kind::Text, ["varchar(512) NULL", "varchar(512) NULL", "text NULL"]),
];

/// What kind of type the database gave a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Int,
    Bool,
    Bit,
    Text,
    Json,
    Blob,
    Time,
    /// Anything else, such as an enumeration of PostgreSQL.
    Other,
}

/// One column as the database describes it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub name: String,
    /// Lower-case base type.
    pub base: String,
    /// The type in full, as the database would write it in a cast.
    pub full: String,
    pub nullable: bool,
    /// It has a default, counts by itself, or is computed.
    pub filled: bool,
    pub max_chars: Option<i64>,
    pub max_bytes: Option<i64>,
    /// The first value of an enumeration.
    pub first_label: Option<String>,
}

impl Found {
    pub(super) fn class(&self) -> Class {
        match self.base.as_str() {
            "bool" | "boolean" => Class::Bool,
            "bit" | "varbit" => Class::Bit,
            "json" | "jsonb" => Class::Json,
            "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "int2" | "int4" | "int8" | "decimal" | "numeric"
            | "float" | "double" | "float4" | "float8" | "real" => Class::Int,
            "char" | "varchar" | "bpchar" | "text" | "tinytext" | "mediumtext" | "longtext" | "name" | "citext" | "set" => Class::Text,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "bytea" => Class::Blob,
            "timestamp" | "timestamptz" | "datetime" | "date" => Class::Time,
            _ => Class::Other,
        }
    }

    /// A value for a column that must have one and that we have none for; `None` where we know none.
    fn neutral(&self, dialect: Dialect) -> Option<String> {
        let pg = dialect == Dialect::Postgres;
        Some(match self.class() {
            Class::Int => "0".to_owned(),
            Class::Bool => if dialect == Dialect::Sqlite { "0" } else { "false" }.to_owned(),
            Class::Bit if pg => format!("B'0'::{}", self.full),
            Class::Bit => "b'0'".to_owned(),
            Class::Text if self.base == "set" => "''".to_owned(),
            Class::Text => "''".to_owned(),
            Class::Json if pg => format!("'{{}}'::{}", self.base),
            Class::Json => "'{}'".to_owned(),
            Class::Blob if pg => "''::bytea".to_owned(),
            Class::Blob => "''".to_owned(),
            Class::Time if pg => format!("'1970-01-02'::{}", self.base),
            Class::Time => "'1970-01-02'".to_owned(),
            Class::Other => {
                if let Some(label) = &self.first_label {
                    format!("'{}'", label.replace('\'', "''"))
                } else if self.base == "uuid" {
                    "'00000000-0000-0000-0000-000000000000'".to_owned()
                } else if self.base.starts_with('_') {
                    "'{}'".to_owned()
                } else {
                    return None;
                }
            }
        })
    }
}

/// The columns of `kubesvc_accounts` in this database, and how to write statements on them.
#[derive(Clone, Debug)]
pub struct Shape {
    dialect: Dialect,
    columns: Vec<Found>,
    select: String,
    definition_limit: usize,
}

/// A column that must have a value and for which none can be made up.
#[derive(Debug)]
pub(super) struct Unfillable {
    pub column: String,
    pub full: String,
}

impl Shape {
    /// From what the database describes. Every column of [`COLUMNS`] must be among them.
    pub(super) fn new(dialect: Dialect, columns: Vec<Found>, packet: Option<i64>) -> Result<Self, Unfillable> {
        for c in &columns {
            if !c.nullable && !c.filled && c.neutral(dialect).is_none() && !COLUMNS.iter().any(|(n, ..)| c.name.eq_ignore_ascii_case(n)) {
                return Err(Unfillable { column: c.name.clone(), full: c.full.clone() });
            }
        }
        Ok(Self::to_read(dialect, columns, packet))
    }

    /// As [`Shape::new`] for a table that is only read: columns may be missing, and nothing is asked of the others.
    pub(super) fn to_read(dialect: Dialect, columns: Vec<Found>, packet: Option<i64>) -> Self {
        let mut shape = Self { dialect, columns, select: String::new(), definition_limit: 0 };
        shape.select = COLUMNS.iter().map(|(n, ..)| shape.read(n)).collect::<Vec<_>>().join(", ");
        // Beside the definition, a statement carries names and the rest; and a driver that sends more than the server takes is cut off
        // with no error that could be told from a broken line. So the bound is ours, and lies below.
        let packet = packet.map_or(usize::MAX, |p| usize::try_from(p).unwrap_or(usize::MAX).saturating_sub(64 * 1024));
        let column = shape
            .found("definition")
            .and_then(|c| c.max_bytes.or(c.max_chars))
            .map_or(usize::MAX, |b| usize::try_from(b).unwrap_or(usize::MAX));
        shape.definition_limit = packet.min(column).min(super::DEFINITION_MAX);
        shape
    }

    fn found(&self, column: &str) -> Option<&Found> {
        self.columns.iter().find(|c| c.name.eq_ignore_ascii_case(column))
    }

    fn kind(column: &str) -> Kind {
        COLUMNS.iter().find(|(n, ..)| *n == column).map_or(Kind::Text, |(_, k, _)| *k)
    }

    /// All known columns in the order of [`super::accounts`], cast to bigint and text: what stands between `SELECT` and `FROM`.
    pub fn select_list(&self) -> &str {
        &self.select
    }

    /// [`Shape::select_list`] with definitions above 64 KiB left empty.
    pub(super) fn list_of_pages(&self) -> String {
        let read = |name: &str| match name {
            "definition" => {
                let text = self.read(name);
                format!("CASE WHEN OCTET_LENGTH({text}) > 65536 THEN '' ELSE {text} END")
            }
            other => self.read(other),
        };
        COLUMNS.iter().map(|(n, ..)| read(n)).collect::<Vec<_>>().join(", ")
    }

    /// One column in a `SELECT`: a bigint or a text, whatever the table has.
    pub fn read(&self, column: &str) -> String {
        let Some(c) = self.found(column) else { return "NULL".to_owned() };
        let n = column;
        let kind = Self::kind(column);
        match (self.dialect, kind, c.class()) {
            (Dialect::MySql, Kind::Int, Class::Time) => format!("CAST(UNIX_TIMESTAMP({n}) * 1000 AS SIGNED)"),
            (Dialect::MySql, Kind::Int, _) => format!("CAST({n} AS SIGNED)"),
            (Dialect::MySql, Kind::Text, Class::Blob | Class::Json) => format!("CONVERT({n} USING utf8mb4)"),
            (Dialect::MySql, Kind::Hex, Class::Blob) => format!("LOWER(HEX({n}))"),
            (Dialect::MySql, ..) => format!("CAST({n} AS CHAR CHARACTER SET utf8mb4)"),
            (Dialect::Postgres, Kind::Int, Class::Bool | Class::Bit) => format!("{n}::int::bigint"),
            (Dialect::Postgres, Kind::Int, Class::Time) => format!("(extract(epoch from {n}) * 1000)::bigint"),
            (Dialect::Postgres, Kind::Int, _) => format!("{n}::bigint"),
            (Dialect::Postgres, Kind::Text, Class::Blob) => format!("convert_from({n}, 'UTF8')"),
            (Dialect::Postgres, Kind::Hex, Class::Blob) => format!("encode({n}, 'hex')"),
            (Dialect::Postgres, ..) => format!("{n}::text"),
            (Dialect::Sqlite, Kind::Int, _) => format!("CAST({n} AS INTEGER)"),
            (Dialect::Sqlite, Kind::Text, _) => format!("CAST({n} AS TEXT)"),
            (Dialect::Sqlite, Kind::Hex, _) => format!("CASE typeof({n}) WHEN 'blob' THEN lower(hex({n})) ELSE CAST({n} AS TEXT) END"),
        }
    }

    /// One `?` for a column in `INSERT` or `SET`, cast to what the table has. A NULL becomes the neutral value where the column must
    /// have one.
    pub fn write(&self, column: &str) -> String {
        let Some(c) = self.found(column) else { return "?".to_owned() };
        let full = if c.class() == Class::Other { &c.full } else { &c.base };
        let value = match (self.dialect, Self::kind(column), c.class()) {
            (Dialect::MySql, Kind::Int, Class::Time) => "FROM_UNIXTIME(? / 1000)".to_owned(),
            (Dialect::MySql, Kind::Hex, Class::Blob) => "UNHEX(?)".to_owned(),
            (Dialect::Postgres, Kind::Int, Class::Bool) => "(? <> 0)".to_owned(),
            (Dialect::Postgres, Kind::Int, Class::Bit) => format!("(?)::int::{}", c.full),
            (Dialect::Postgres, Kind::Int, Class::Text) => "(?)::text".to_owned(),
            (Dialect::Postgres, Kind::Int, Class::Time) => "to_timestamp(?::double precision / 1000)".to_owned(),
            (Dialect::Postgres, Kind::Text, Class::Blob) => "convert_to(?, 'UTF8')".to_owned(),
            (Dialect::Postgres, Kind::Hex, Class::Blob) => "decode(?, 'hex')".to_owned(),
            (Dialect::Postgres, Kind::Text | Kind::Hex, Class::Json | Class::Other) => format!("?::{full}"),
            _ => "?".to_owned(),
        };
        match c.neutral(self.dialect) {
            Some(neutral) if !c.nullable => format!("COALESCE({value}, {neutral})"),
            _ => value,
        }
    }

    /// `INSERT INTO kubesvc_accounts (…) VALUES (…)` with one `?` for each of `columns`, in their order. Columns that must have a value
    /// and are not among them get a neutral one.
    pub fn insert(&self, columns: &[&str]) -> String {
        self.insert_many(columns, 1)
    }

    /// As [`Shape::insert`] for so many rows.
    pub(super) fn insert_many(&self, columns: &[&str], rows: usize) -> String {
        let mut names: Vec<Cow<'_, str>> = columns.iter().map(|c| Cow::Borrowed(*c)).collect();
        let mut values: Vec<String> = columns.iter().map(|c| self.write(c)).collect();
        for (name, literal) in self.owed(columns) {
            names.push(Cow::Owned(name));
            values.push(literal);
        }
        let row = format!("({})", values.join(", "));
        format!("INSERT INTO kubesvc_accounts ({}) VALUES {}", names.join(", "), super::db::listed(&row, rows))
    }

    /// `a = ?, b = ?` for these columns, in their order: what follows `UPDATE kubesvc_accounts SET`.
    pub fn assign(&self, columns: &[&str]) -> String {
        columns.iter().map(|c| format!("{c} = {}", self.write(c))).collect::<Vec<_>>().join(", ")
    }

    /// An `INSERT` that inserts nothing: it fails where a real one would, for a missing right or a column that wants a value.
    pub(super) fn probe_insert(&self) -> String {
        let owed = self.owed(&["name"]);
        let names: String = owed.iter().map(|(n, _)| format!(", {n}")).collect();
        let values: String = owed.iter().map(|(_, v)| format!(", {v}")).collect();
        format!("INSERT INTO kubesvc_accounts (name{names}) SELECT name{values} FROM kubesvc_accounts WHERE 1 = 0")
    }

    fn owed(&self, given: &[&str]) -> Vec<(String, String)> {
        self.columns
            .iter()
            .filter(|c| !c.nullable && !c.filled && !given.iter().any(|g| c.name.eq_ignore_ascii_case(g)))
            .filter_map(|c| Some((quote(self.dialect, &c.name), c.neutral(self.dialect)?)))
            .collect()
    }

    /// Most bytes of a definition as stored (sealed) that this table and this server take.
    pub fn definition_limit(&self) -> usize {
        self.definition_limit
    }

    /// A text cut to what the column takes, at a character.
    pub fn fit<'a>(&self, column: &str, text: &'a str) -> &'a str {
        let Some(c) = self.found(column) else { return text };
        let mut end = text.len();
        if let Some(chars) = c.max_chars.and_then(|m| usize::try_from(m).ok()) {
            end = text.char_indices().nth(chars).map_or(end, |(i, _)| i);
        }
        if let Some(bytes) = c.max_bytes.and_then(|m| usize::try_from(m).ok()) {
            end = end.min(bytes);
        }
        text.get(..text.floor_char_boundary(end)).unwrap_or(text)
    }

    /// The contract's and our own columns that the table does not have yet.
    pub(super) fn missing(columns: &[Found]) -> impl Iterator<Item = &'static (&'static str, Kind, [&'static str; 3])> + '_ {
        COLUMNS.iter().filter(|(n, ..)| !columns.iter().any(|c| c.name.eq_ignore_ascii_case(n)))
    }
}

/// A column's name as the database has it, in its quotes.
pub(super) fn quote(dialect: Dialect, name: &str) -> String {
    match dialect {
        Dialect::MySql => format!("`{}`", name.replace('`', "``")),
        Dialect::Postgres | Dialect::Sqlite => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, base: &str, nullable: bool) -> Found {
        Found {
            name: name.to_owned(),
            base: base.to_owned(),
            full: base.to_owned(),
            nullable,
            filled: false,
            max_chars: (base == "varchar").then_some(4),
            max_bytes: (base == "text").then_some(5),
            first_label: None,
        }
    }

    #[test]
    fn columns_that_want_a_value_get_a_neutral_one_and_a_null_is_replaced() {
        let shape = Shape::new(
            Dialect::Postgres,
            vec![found("name", "varchar", false), found("dynamic", "bool", false), found("Their Own", "int4", false)],
            None,
        );
        let shape = shape.unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(
            shape.insert(&["name"]),
            "INSERT INTO kubesvc_accounts (name, \"dynamic\", \"Their Own\") VALUES (COALESCE(?, ''), false, 0)"
        );
        assert_eq!(shape.assign(&["dynamic"]), "dynamic = COALESCE((? <> 0), false)");
    }

    #[test]
    fn a_column_that_nothing_can_fill_is_refused_by_name() {
        let shape = Shape::new(Dialect::Postgres, vec![found("shape", "polygon", false)], None);
        assert_eq!(shape.err().map(|e| e.column).as_deref(), Some("shape"));
    }

    #[test]
    fn texts_are_cut_at_a_character() {
        let shape = Shape::new(Dialect::MySql, vec![found("status", "varchar", true), found("error_message", "text", true)], None);
        let shape = shape.unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(shape.fit("status", "äöüß€"), "äöüß");
        assert_eq!(shape.fit("error_message", "ab€€"), "ab€");
        assert_eq!(shape.fit("zone_id", "any"), "any");
    }

    #[test]
    fn a_definition_may_be_as_long_as_the_packet_and_the_column_let_it() {
        let of =
            |base: &str, packet| Shape::new(Dialect::MySql, vec![found("definition", base, true)], packet).map(|s| s.definition_limit());
        assert_eq!(of("text", Some(1 << 24)).ok(), Some(5));
        assert_eq!(of("longtext", Some(1 << 24)).ok(), Some((1 << 24) - 64 * 1024));
        assert_eq!(of("longtext", None).ok(), Some(super::super::DEFINITION_MAX));
    }
}
