"""The architectures as networks and LightningModules, and the baselines they must beat."""
