"""Upkeep of the lake tables beside the running stream: fewer, larger files, and none that nobody needs."""
