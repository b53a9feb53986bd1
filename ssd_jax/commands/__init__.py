"""What is run from the command line; may import everything."""
