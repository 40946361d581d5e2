"""Tests of several real processes around one real Redis."""
