"""The built-in comparators, one a file: two arrays of one shape and kind, and bounds, to a distance and a reason."""
