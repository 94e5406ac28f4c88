//! Claims about intercept.
