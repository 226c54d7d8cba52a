"""`overtone enhance`: files, folders and pipes."""
