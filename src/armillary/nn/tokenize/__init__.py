"""Tokenizers: raw data to tokens with coordinates. Here a modality ends; everything behind is the same for all."""
