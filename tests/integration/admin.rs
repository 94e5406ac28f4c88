//! Claims about admin.
