"""Worlds to act in: our own, batched, and an adapter to Gymnasium."""
