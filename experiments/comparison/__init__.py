"""`overtone compare` and `overtone select`: choose on val, score test once, publish."""
