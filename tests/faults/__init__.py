"""Tests that kill, truncate, fill and poison."""
