"""The hub: facts come in over MQTT, are committed, judged by rules and turned into alerts, stock and routes."""
