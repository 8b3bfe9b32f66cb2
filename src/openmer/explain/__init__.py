"""What the network saw: where and when a decision came from, and what moved there."""
