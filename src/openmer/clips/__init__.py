"""From aligned frames to motion and model input."""
