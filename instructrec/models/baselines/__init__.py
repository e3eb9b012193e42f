"""Baselines: recommenders that read no instruction."""
