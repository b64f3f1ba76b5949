"""Agents for tests: in this process, as processes, and made-up ones."""
