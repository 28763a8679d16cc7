"""Every answer to a mail client, in the order of a session: RFC 5321 4.2, with the enhanced codes of RFC 3463.

Rules of this file:
- 4xx: the client keeps the mail and comes again; 5xx: it tells its sender. What is our trouble is never a 5xx.
- An answer repeats nothing that the client wrote.
"""

from __future__ import annotations

from typing import Final

# Connecting
IDENT: Final = "PAL gateway"


def greeting(domain: str) -> str:
    """The first line that a client is told."""
    return f"220 {domain} {IDENT}"


CROWDED: Final = "421 4.7.0 Too many connections; please come again later"
CROWDED_FROM_THERE: Final = "421 4.7.0 Too many connections from your address; please come again later"

# Last words, after which the connection is closed
STOPPING: Final = "421 4.3.2 The gateway is stopping; please come again later"
SILENT: Final = "421 4.4.2 Nothing was said for too long"
SLOW: Final = "421 4.4.2 The mail took too long; please send it again later"
LONG: Final = "421 4.4.2 The connection has lasted too long; please connect again"
TALKATIVE: Final = "421 4.7.0 Too many commands; please connect again"
WRONG: Final = "421 4.7.0 Too many commands that were refused"
OVERRUN: Final = "421 4.3.4 Far more than the size that is allowed"

# Any command
OK: Final = "250 2.0.0 OK"
BYE: Final = "221 2.0.0 Bye"
UNKNOWN_COMMAND: Final = "500 5.5.1 There is no such command here"
BAD_LINE: Final = "500 5.5.2 This is not a command"
LONG_LINE: Final = "500 5.5.2 The command is too long"
BAD_ARGUMENT: Final = "501 5.5.4 The command is written differently; see RFC 5321"
UNKNOWN_PARAMETER: Final = "555 5.5.4 A parameter is not known here"
BAD_SEQUENCE: Final = "503 5.5.1 This command does not come now"
HELP: Final = "214 2.0.0 See RFC 5321"
NOT_SAID: Final = "252 2.5.0 Nobody is looked up here; send the mail"  # VRFY: the same for every address
READY_FOR_TLS: Final = "220 2.0.0 Ready to start TLS"
NO_TLS: Final = "454 4.7.0 There is no TLS here"
NOT_TRUSTED: Final = "550 5.7.1 Only a listed front server may say this"

# MAIL and RCPT
TOO_BIG: Final = "552 5.3.4 The mail is larger than the size that is allowed"
MALFORMED: Final = "553 5.1.3 This is not an address"
TOO_MANY_RECIPIENTS: Final = "452 4.5.3 Too many recipients; send it to the others in another mail"
FOREIGN: Final = "550 5.7.1 This gateway takes no mail for that domain"
NO_PAL: Final = "550 5.1.1 No PAL has this address"
NO_LETTER: Final = "550 5.1.1 No mail that is known here left with this sender"
ALONE: Final = "452 4.5.3 A report comes to its address alone; send it to the others in another mail"
RECIPIENT: Final = "250 2.1.5 OK"

# DATA
GO_AHEAD: Final = "354 End data with <CR><LF>.<CR><LF>"
REPORTS_ONLY: Final = "550 5.7.1 Only reports of delivery come to this address, with the null sender MAIL FROM:<>"
NOTED: Final = "250 2.0.0 Noted and written down as {id}"
TAKEN: Final = "250 2.0.0 Decided and written down as {id}"
LONG_CONTENT_LINE: Final = "554 5.6.0 The mail has a line that is too long"
AWAY: Final = "451 4.3.0 The gateway cannot write this down now; please send it again later"
FULL: Final = "452 4.3.1 The gateway has no room now; please send it again later"

# What aiosmtpd says by itself, and what is said here instead.
_INSTEAD: Final = {
    "250 OK": OK,
    "221 Bye": BYE,
    "220 Ready to start TLS": READY_FOR_TLS,
    "454 TLS not available": NO_TLS,
    "500 Error: bad syntax": BAD_LINE,
    "500 Command line too long": LONG_LINE,
    "501 Error": BAD_ARGUMENT,
    "501 Syntax": BAD_ARGUMENT,
    "502 5.5.1 Too many": WRONG,
    "503 Error": BAD_SEQUENCE,
    "500 Error": UNKNOWN_COMMAND,
    "552 Error": TOO_BIG,
    "553 5.1.3 Error": MALFORMED,
    "555 ": UNKNOWN_PARAMETER,
}


def in_our_words(status: str) -> str:
    """An answer of aiosmtpd's as one of ours: with its enhanced code, and without the client's words."""
    return next((ours for theirs, ours in _INSTEAD.items() if status.startswith(theirs)), status)
