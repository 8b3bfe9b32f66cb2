"""Results in the formats of annotation programs, and people's annotations as timelines."""
