"""Modules that methods share: no losses, no data. An encoder is a tokenizer and a trunk, or a convolutional network."""
