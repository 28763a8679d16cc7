"""The operator's TLS certificate, read again when its files change. Shell.

Rules of this file: a broken certificate stops a start, and never a gateway that runs: it goes on with the old one.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import structlog

log = structlog.get_logger("smtp")

Stamp = tuple[tuple[int, int, int], ...]


class BadCertificate(Exception):
    """The certificate cannot be used; the message is one sentence that says the mend."""


class Certificate:
    """A certificate chain and its key, in PEM. Raises BadCertificate."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain = chain
        self._key = key
        self._stamp = self._look()
        self._context = self._read()

    def context(self) -> ssl.SSLContext:
        """For one more connection: of the files as they are now, or as they last were good."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._context = self._read()
                log.info("certificate read again", file=str(self._chain))
            except BadCertificate as error:
                log.error("the old certificate stays", cause=str(error))
        return self._context

    def _look(self) -> Stamp | None:
        """What changes when the files do; None while one is missing."""
        try:
            found = [path.stat() for path in (self._chain, self._key)]
        except OSError:
            return None
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)

    def _read(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            for path in (self._chain, self._key):
                path.open("rb").close()  # for an error that names the file
            # A key with a passphrase would ask for it on the terminal.
            context.load_cert_chain(self._chain, self._key, password="")
        except OSError as error:
            raise BadCertificate(self._sentence(error)) from error
        return context

    def _sentence(self, error: OSError) -> str:
        if not isinstance(error, ssl.SSLError):
            return f"{error.filename} cannot be read ({error.strerror}); look at smtp.tls_certificate and smtp.tls_key."
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"The key {self._key} (smtp.tls_key) is not the one of the certificate {self._chain}."
        return (
            f"{self._chain} and {self._key} are not a certificate chain and its key; write PEM without a passphrase "
            "into smtp.tls_certificate and smtp.tls_key."
        )
