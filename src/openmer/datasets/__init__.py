"""From folders on disk to recordings with annotation: one reader per dataset."""
