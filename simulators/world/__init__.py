"""The world as pure functions of scenario time and a seed: rooms, vans, pallets, tags."""
