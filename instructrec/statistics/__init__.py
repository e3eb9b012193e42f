"""Intervals, paired tests and corrections for many comparisons."""
