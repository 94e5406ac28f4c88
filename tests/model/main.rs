//! The mirror's protocol as a model, searched.
