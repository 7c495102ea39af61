"""The agent beside the devices."""
