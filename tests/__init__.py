"""Tests: unit tests, tests in the container cluster, typing tests, fuzz targets."""
