"""Ours beside what one would use instead: the same load on both, in turns, and the ratio of what they gave."""
