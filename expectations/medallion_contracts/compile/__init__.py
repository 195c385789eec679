"""Compilers from contracts to one target each."""
