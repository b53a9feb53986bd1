"""What detect.py is made of: which objects are wanted, the loops over images and videos, what is written, stopping."""
