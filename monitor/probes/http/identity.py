"""The certificate that a probe shows to the target, when that asks for one."""

from __future__ import annotations

import ssl

from monitor.fields import Model


class ClientCertificate(Model):
    """PEM files; the key must not be encrypted."""

    cert_file: str
    """The certificate, followed by those that lead to its authority."""
    key_file: str
    """PEM file with its private key."""

    def __call__(self, context: ssl.SSLContext) -> None:
        """Show it to whoever asks a connection of `context`.

        Raises:
            ValueError: when a file cannot be read, or they do not belong together.
        """
        try:
            context.load_cert_chain(self.cert_file, self.key_file, password=_no_password)
        except OSError as error:
            problem = error.strerror or "not a certificate with its own unencrypted key"
            msg = f"client_certificate: cannot load {self.cert_file} and {self.key_file}: {problem}"
            raise ValueError(msg) from error


def _no_password() -> bytes:
    """Answer for OpenSSL, which would ask the terminal."""
    return b""
