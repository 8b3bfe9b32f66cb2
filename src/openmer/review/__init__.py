"""Candidates become annotations: what coders decide about a result, kept beside it and never in it."""
