"""A chatd that speaks TLS, and its certificates."""

import socket
import ssl
import subprocess

from cluster import ChatServer


class Certificates:
    """A certificate for 127.0.0.1 that can be replaced."""

    def __init__(self, folder):
        folder.mkdir(exist_ok=True)
        self.certificate = folder / "cert.pem"
        self.key = folder / "key.pem"
        self.renew()

    def renew(self):
        fresh = [file.with_suffix(".new") for file in (self.certificate, self.key)]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", "/CN=chatd", "-addext",
             "subjectAltName=IP:127.0.0.1", "-out", fresh[0], "-keyout", fresh[1]],
            check=True, capture_output=True)
        # The key first: in between the two do not fit, and the server must bear it.
        for file, new in reversed(list(zip((self.certificate, self.key), fresh))):
            new.replace(file)

    @property
    def settings(self):
        return {"CHATD_TLS_CERT": str(self.certificate), "CHATD_TLS_KEY": str(self.key)}

    @property
    def der(self):
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text())

    def context(self):
        return ssl.create_default_context(cafile=str(self.certificate))


class SecureServer(ChatServer):
    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def status(self, path):
        return 200 if self.presented() else None

    def presented(self, **versions):
        """The certificate that a new connection gets; None when nobody answers."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        for name, version in versions.items():
            setattr(context, name, version)
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                with context.wrap_socket(connection) as secure:
                    return secure.getpeercert(binary_form=True)
        except ConnectionRefusedError:
            return None
