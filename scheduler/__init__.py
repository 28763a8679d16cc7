"""The calendar and the clock of a PAL: what an event is, when it occurs, which joins are owed, carrying them out.

Rules of this room:
- It never imports `gateway`. A `Join` is a complete order, so nothing here has to ask the front desk.
- Pure modules (`recurrence`, `zones`, `event`, `occurrences`, `joins`, `retry`) take values and return values;
  the instant is always an argument. Shell modules (`database`, `store`, `clock`, `dispatch`, `platform`) do I/O
  and decide nothing.
- The joins table is the truth; APScheduler only rings.
"""
