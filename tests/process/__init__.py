"""Gateways in processes of their own, and what is done to them: killed, stopped, starved of disk, clock and store."""
