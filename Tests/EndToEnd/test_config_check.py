"""`chatd config check` tells everything that is wrong, at once, and starts nothing."""

import datetime
import os
import subprocess

import pytest

from clocks import off_by
from test_operators import check

GOOD = {"SHARD_CATALOG": "host=127.0.0.1 dbname=catalog"}


def certificate(folder, name, days, made=0):
    """A certificate that lasts for so many days, with its key; `made` is days from now."""
    files = folder / f"{name}.crt", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=chat.example", "-keyout", files[1], "-out", files[0], "-days", str(days)],
        check=True, capture_output=True, env=os.environ | (off_by(made) if made else {}))
    return {"CHATD_TLS_CERT": str(files[0]), "CHATD_TLS_KEY": str(files[1])}


@pytest.fixture
def places(tmp_path):
    """Where a server could write."""
    return GOOD | {
        "CHATD_SPOOL_DIR": str(tmp_path / "spool"),
        "CHATD_TOPOLOGY_FILE": str(tmp_path / "topology.json")}


def test_all_that_is_wrong_is_told_at_once(tmp_path, places):
    (tmp_path / "receipts").write_text("no key\n")
    (tmp_path / "keys").write_text("hs256:\n")

    code, output = check(**places | {
        "CHATD_BIND": "nowhere:at:all", "CHATD_DRAIN_TIME": "long", "CHATD_USER_RATE": "0",
        "CHATD_LOG_LEVEL": "loud", "CHATD_AUTH": "jwt", "CHATD_JWT_KEYS": str(tmp_path / "keys"),
        "CHATD_RECEIPT_KEYS": str(tmp_path / "receipts"), "CHATD_SPOOL_DIR": "/dev/null/spool",
        "CHATD_TLS_CERT": "/nowhere", "CHATD_TLS_KEY": "/nowhere"})

    assert code == 64, output
    for word in [
        "CHATD_BIND", "CHATD_DRAIN_TIME", "CHATD_USER_RATE", "CHATD_LOG_LEVEL", str(tmp_path / "keys"),
        str(tmp_path / "receipts"), "/nowhere"
    ]:
        assert output.count(word) >= 1, (word, output)
    assert len(output.splitlines()) >= 7


def test_good_files_are_no_news(tmp_path, places):
    (tmp_path / "receipts").write_text("ab" * 32 + "\n")
    (tmp_path / "receipts").chmod(0o600)
    (tmp_path / "keys").write_text("hs256:" + "s" * 44 + "\n")
    (tmp_path / "keys").chmod(0o600)

    code, output = check(**places | certificate(tmp_path, "good", 90) | {
        "CHATD_AUTH": "jwt", "CHATD_JWT_KEYS": str(tmp_path / "keys"),
        "CHATD_RECEIPT_KEYS": str(tmp_path / "receipts")})

    assert code == 0, output
    assert "chatd:" not in output
    # Nothing is left of what was tried.
    assert {file.name for file in tmp_path.iterdir()} == {"receipts", "keys", "good.crt", "good.key"}


def test_a_key_of_another_certificate_is_found(tmp_path, places):
    settings = certificate(tmp_path, "one", 90)
    settings["CHATD_TLS_KEY"] = certificate(tmp_path, "other", 90)["CHATD_TLS_KEY"]

    code, output = check(**places | settings)

    assert code == 64 and settings["CHATD_TLS_KEY"] in output


@pytest.mark.parametrize("days, made, code, word", [
    (5, 0, 0, "ends soon"), (5, -9, 1, "has ended"), (90, 3, 1, "not valid before"),
])
def test_dates_of_certificates_are_looked_at(tmp_path, places, days, made, code, word):
    answer, output = check(**places | certificate(tmp_path, "dated", days, made))

    assert answer == code, output
    assert word in output and str(datetime.date.today().year)[:2] in output


@pytest.mark.parametrize("settings, code, word", [
    ({"CHATD_SPOOL_DIR": "/dev/null/spool"}, 1, "/dev/null"),
    # Where root has all rights, and nothing can be made.
    ({"CHATD_SPOOL_DIR": "/proc/chatd/spool"}, 1, "no folder can be made in /proc"),
    ({"CHATD_TOPOLOGY_FILE": "/proc/chatd/topology"}, 0, "no folder can be made in /proc"),
    ({"CHATD_TOPOLOGY_FILE": "/dev/null/topology"}, 0, "topology"),
    ({"CHATD_ADMIN_BIND": "127.0.0.1:8080"}, 1, "CHATD_ADMIN_BIND"),
    ({"CHATD_USER_SOCKETS": "9", "CHATD_ROOM_SOCKETS": "8"}, 0, "CHATD_ROOM_SOCKETS"),
    ({"CHATD_USER_RATE": "9", "CHATD_ROOM_RATE": "8"}, 0, "CHATD_ROOM_RATE"),
    ({"CHATD_BIND": "0.0.0.0:80", "CHATD_ALLOW_OPEN": "1"}, 0, "Redis"),
])
def test_what_does_not_go_together_is_told(places, settings, code, word):
    answer, output = check(**places | settings)

    assert answer == code, output
    assert word in output


def test_secrets_that_all_can_read_are_a_warning(tmp_path, places):
    (tmp_path / "keys").write_text("hs256:" + "s" * 44 + "\n")
    (tmp_path / "keys").chmod(0o644)

    code, output = check(**places | {
        "CHATD_AUTH": "jwt", "CHATD_JWT_KEYS": str(tmp_path / "keys")})

    assert code == 0
    assert "warning" in output and "chmod 600" in output and "ssss" not in output
