"""Settings that every test of the package shares."""

from __future__ import annotations

import os

# TensorFlow reads these once, when it is imported: the numbers of a test must not depend on the processor's extras.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
