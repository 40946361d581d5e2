"""An app with the object classes and the socket that only benchmarks need."""
