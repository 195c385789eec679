"""Troubles one by one in a running stack: how long until people are notified, and until it is over."""
