"""What every Quartermaster process says: pure values and rules, no sockets, files, clocks or databases."""
