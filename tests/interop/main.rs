//! Interop tests with other implementations.
