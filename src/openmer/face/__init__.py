"""From a frame to an aligned face: find, follow, align."""
