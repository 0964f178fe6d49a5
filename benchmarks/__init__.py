"""Measures speed and cost of the program and `trainq`, and of the alternatives: `make bench`."""
