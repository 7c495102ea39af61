"""Pure rules of the hub: frozen values in, values out, time as an argument."""
