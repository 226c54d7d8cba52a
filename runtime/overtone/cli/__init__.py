"""The command line `overtone`: its own commands, and those that other distributions plug in."""
