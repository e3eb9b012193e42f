"""Settings that every test of the package shares."""

from __future__ import annotations

import os

from hypothesis import settings

# TensorFlow reads these once, when it is imported: the numbers of a test must not depend on the processor's extras.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

# The same examples in each run, so that a failure repeats; "thorough" is for `make prove`, "search" draws new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("thorough", derandomize=True, deadline=None, max_examples=10_000)
settings.register_profile("search", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
