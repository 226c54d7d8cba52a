"""`overtone train`: fitting, checkpoints and child processes."""
