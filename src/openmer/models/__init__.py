"""Networks: MOL in three presets, the baselines it is compared with, and their weights."""
