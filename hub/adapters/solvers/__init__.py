"""The engines behind `hub.domain.routing`, each in a module that imports its library only when a worker process asks for it."""
