//! Holds nothing: the tests in `tests/it` are the package, and Cargo asks for a library beside them.
