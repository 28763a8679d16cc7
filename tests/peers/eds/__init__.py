"""Evolution's calendar server (evolution-data-server, EDS) on a D-Bus of its own: an independent iTIP engine."""
