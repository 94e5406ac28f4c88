//! Fairlead's own tables, on MariaDB/MySQL, PostgreSQL or SQLite.

pub mod db;

pub use db::{Db, Error, Result};
