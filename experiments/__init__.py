"""Names, paths, tracking and commands: the only package that knows them."""
