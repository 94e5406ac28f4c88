//! Claims about proxy.
