"""One training loop and what it stands on: optimizer, precision, checkpoints, log, several processes."""
