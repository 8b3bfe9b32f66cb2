"""From a video to a timeline: read, measure, spot, show."""
