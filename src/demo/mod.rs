//! To come: demo.
