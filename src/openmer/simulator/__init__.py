"""Micro-expressions on parametric faces, with exact ground truth. Everything here is simulated, and says so."""
