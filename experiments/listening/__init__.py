"""`overtone listen`: a blind listening test, its votes and their statistics."""
