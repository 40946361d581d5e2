"""Benchmarks: load generators and the questions they answer; nothing here is a test."""
