"""Limiter."""
