"""How good a network is: splits without leaks, metrics, reports."""
