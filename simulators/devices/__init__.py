"""The four devices as TCP servers on this machine, speaking their own bytes to an edge agent."""
