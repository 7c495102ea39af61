"""A seeded, clock-driven world that answers in the devices' own bytes."""
