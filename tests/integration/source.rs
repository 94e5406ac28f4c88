//! Claims about source.
