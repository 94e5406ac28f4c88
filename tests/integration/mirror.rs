//! Claims about mirror.
