"""Tests of the program form and of the OpenQASM reader."""
