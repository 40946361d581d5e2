"""Takes a fresh clone to a running service; the targets of the Makefile.

Runs under the system's Python before anything is installed. So it uses the standard library only, and its syntax is
that of Python 3.6, to be able to say that a Python is too old. Each step is skipped while its inputs are unchanged.
"""
