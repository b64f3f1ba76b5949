"""How tests are spread: unit tests over the cores, cluster tests one at a time."""

from __future__ import annotations

import os

import pytest


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Workers for ``-n auto``, which pyproject.toml sets: there is but one cluster."""
    one_at_a_time = any("cluster" in argument for argument in config.args)
    return 0 if one_at_a_time else os.cpu_count() or 1
