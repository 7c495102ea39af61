"""Thin code between the rules and the world: database, broker, mirror, notifications, solvers, travel times."""
