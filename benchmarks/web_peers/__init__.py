"""Other projects' environments on the same pages; each runs in the Python it is installed for."""
