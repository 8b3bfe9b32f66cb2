"""From folders on disk to recordings with annotation: one reader a dataset."""
