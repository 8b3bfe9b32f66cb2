"""From clips to weights: losses, the loop, checkpoints."""
