"""The example that links the library alone works as its page says."""

import subprocess

from cluster import ROOT, free_ports


def test_a_program_with_a_table_of_its_own_runs():
    port = free_ports(4)

    done = subprocess.run(
        [ROOT / "Examples" / "Reactions" / "run", str(port)],
        capture_output=True, text=True, timeout=900)

    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()[-4:]
    assert [line.split(":")[0] for line in lines[:3]] == ["library", "kitchen", "garden"]
    assert all(line.endswith("reactions 👍 2, 🎉 1") for line in lines[:3]), lines
    assert lines[3] == "reactions in all rooms: 9"
