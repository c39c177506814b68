"""The parts of networks and the whole networks. Each kind is imported by its registry when it is first asked for."""
