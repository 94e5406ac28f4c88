//! To come: intercept.
