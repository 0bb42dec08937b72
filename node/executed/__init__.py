"""The job itself, on whatever executor there is."""
