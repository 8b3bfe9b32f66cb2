"""What the networks cost on this machine."""
