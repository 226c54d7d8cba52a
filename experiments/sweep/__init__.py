"""`overtone sweep`; the only place that knows Optuna."""
