"""What a recorded run holds: columns of numbers and strings, their file, and a Recording around them."""
