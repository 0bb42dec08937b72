"""Demands on their way out and in: taken from the user, spread, heard, offers beside them."""
