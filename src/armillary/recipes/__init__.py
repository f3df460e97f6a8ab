"""Recipes: functions that return a `Run`, one file per paper or family. Names are unique over all files."""
