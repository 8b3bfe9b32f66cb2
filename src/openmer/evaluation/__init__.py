"""How good it is: splits without leaks, metrics, reports."""
