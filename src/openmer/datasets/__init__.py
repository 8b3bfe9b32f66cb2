"""From a folder of annotated recordings to samples."""
