"""The page: people see what happens, and act on it, in a browser. Doors.

Rules of this package:
- All of it is served from here; the page's policy lets a browser ask no other host and run nothing inline. `assets/`
  has htmx 2 (0BSD) and Pico CSS 2 (MIT) as their authors publish them, and what is ours.
- A visitor is an API key (`session`); they see and do what its account may see and do over HTTP, by the same code.
- What others wrote is text: Jinja2 escapes it, and `views` makes its invisible characters visible.
- A page asks the store a few questions that an index answers, over connections that hold up no writer.
- What is live asks every two seconds whether it is still as shown; 204 says that it is.
"""
