"""Pure decisions: nothing here waits, reads a clock or opens a file."""
