"""Faults injected into the running cluster: nothing leaks and nothing is lost."""
