"""Results in the formats of the programs that people annotate with, and their annotations as timelines."""
