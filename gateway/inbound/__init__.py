"""The way in for mail: SMTP and LMTP connections, their limits, and TLS. What a mail means is decided elsewhere.

- `answers`: every answer, in the order of a session. `dialogue`: one connection, command by command.
- `edge`: the ports that are open, how many may be connected, and closing them.
- `content`: the bytes after DATA. `peers`: who is at the other end. `certificate`: TLS.
"""
