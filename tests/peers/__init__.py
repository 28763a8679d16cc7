"""Peers: programs that others wrote, on the far side of our messages. Where one is missing, its tests skip."""
