"""Micro-expressions on parametric faces, with exact truth. Everything here is simulated, and says so."""
