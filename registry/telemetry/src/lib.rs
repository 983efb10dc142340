//! How the registry and the agent log, and how their spans make one trace.
