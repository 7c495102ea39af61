"""Everything on one machine: database, broker, hub, API, agents and a simulated world, started and stopped by one command."""
