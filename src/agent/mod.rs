//! The far end: the agent that runs in or near the clusters.
