"""A rendered dataset that needs no files."""
