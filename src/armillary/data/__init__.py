"""Data sets as indexable batches: image folders, Parquet, point clouds and stores of episodes."""
