//! Comes with the next delivery.
