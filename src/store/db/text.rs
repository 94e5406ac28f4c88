//! A statement in the words of one database.

use super::Dialect;

/// `unit` so many times: the rows of `VALUES`, or the marks of `IN`.
pub(crate) fn listed(unit: &str, count: usize) -> String {
    let mut all = String::with_capacity((unit.len() + 2) * count);
    for i in 0..count {
        if i > 0 {
            all.push_str(", ");
        }
        all.push_str(unit);
    }
    all
}

/// `?` to `$n` on PostgreSQL, and the tokens of the module page.
pub(super) fn translate(dialect: Dialect, sql: &str) -> String {
    let (now, update) = match dialect {
        Dialect::MySql => ("CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)", "FOR UPDATE"),
        Dialect::Postgres => ("(extract(epoch from clock_timestamp()) * 1000)::bigint", "FOR UPDATE"),
        Dialect::Sqlite => ("CAST(unixepoch('subsec') * 1000 AS INTEGER)", ""),
    };
    let sql = sql.replace("{now}", now).replace("{update}", update);
    if dialect != Dialect::Postgres {
        return sql;
    }
    let mut out = String::with_capacity(sql.len() + 16);
    let (mut n, mut quoted) = (0, false);
    for c in sql.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                out.push(c);
            }
            '?' if !quoted => {
                n += 1;
                out.push('$');
                out.push_str(&n.to_string());
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_marks_become_numbered_on_postgres_only_outside_quotes() {
        assert_eq!(translate(Dialect::Postgres, "select '?' where a = ? and b = ?"), "select '?' where a = $1 and b = $2");
        assert_eq!(translate(Dialect::Sqlite, "select '?' where a = ?"), "select '?' where a = ?");
    }
}
