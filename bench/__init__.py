"""Benchmarks: one command each, ratios at the end. See docs/benchmarks.md."""
