"""Watches the platform: observations, rules over them, and the incidents that people are notified of."""
