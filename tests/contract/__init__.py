"""One suite on two grounds: what holds in the test's own process holds with real processes and a real Redis."""
