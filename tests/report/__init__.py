"""Tests of the report on generated run folders."""
