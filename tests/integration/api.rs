//! Claims about api.
