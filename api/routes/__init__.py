"""One module a noun: its JSON shapes and its routes."""
