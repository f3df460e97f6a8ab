"""What a frozen representation holds: features in, a report with an interval out."""
