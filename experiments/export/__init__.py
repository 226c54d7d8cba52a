"""`overtone export`: a trained model as a package that runs without torch."""
