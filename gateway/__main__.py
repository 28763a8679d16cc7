"""The command `pal-gateway`; `python -m gateway` is the same."""

from gateway.cli import main

if __name__ == "__main__":
    main()
