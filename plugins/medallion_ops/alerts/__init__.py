"""Alerts to people: what they say, how they look, and how they get out even when a mail server is down."""
