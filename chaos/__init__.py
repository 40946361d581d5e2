"""The chaos instrument: the whole service under load and under faults, and a check of what every client was promised.

`python -m chaos` (or `make chaos`) runs it; docs/reliability.md says what is promised and how it is measured.
"""
