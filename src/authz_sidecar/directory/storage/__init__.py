"""The store of a directory: its tables, its files and databases, and changes that are whole."""
