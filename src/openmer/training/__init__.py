"""From clips to weights: losses, training loop, checkpoints."""
