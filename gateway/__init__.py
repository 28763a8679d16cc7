"""The front desk of a PAL: mail comes in, one decision is made, replies go out, people and programs ask over HTTP.

Rules of this room:
- It may import `scheduler`; `scheduler` never imports it.
- Pure modules (`address`, `ics`, `zone_names`, `binding`, `itip`, `platforms`, `pals`, `senders`, `verdict`,
  `wording`, `reply`, `mime`, `decide`, `documents`, `keys`) take values and return values; the instant is always an
  argument.
- Doors (`inbound`, `smtp`, `intake`, `outbox`, `web`, `api`, `sandbox`, `replay`, `store`) do I/O and decide nothing.
- `app` puts the parts together and is the only file that knows all of them.
"""

__version__ = "0.1.0"
