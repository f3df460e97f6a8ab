"""Methods that learn from single images."""
