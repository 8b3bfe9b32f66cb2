"""What the network saw: where and when a decision comes from, and what moved there."""
