//! The only place that knows all parts.
