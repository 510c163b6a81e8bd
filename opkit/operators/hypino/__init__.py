"""HyPINO: a hypernetwork that maps a linear PDE to a network for its solution."""
