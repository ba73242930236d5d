//! End-to-end tests on real servers: see the crate's description.
