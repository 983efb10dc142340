//! A `libnvidia-ml.so.1` for tests.
