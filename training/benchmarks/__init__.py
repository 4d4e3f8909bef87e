"""Readers of the public benchmarks' own annotation files, one module each."""
