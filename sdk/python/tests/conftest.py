"""Real VMs, for the tests that ask for them: NOID_TEST_BIN, NOID_TEST_KERNEL and NOID_TEST_ROOTFS (scripts/guest-env.sh)."""

import os
import shutil
import subprocess
import tempfile

import pytest

import noid


@pytest.fixture(scope="session")
def home():
    """A home of noid's own, with a kernel and a root file system; its path."""
    binary = os.environ["NOID_TEST_BIN"]
    path = tempfile.mkdtemp(prefix="noid-py.")
    with pytest.MonkeyPatch.context() as env:
        env.setenv("NOID", binary)
        env.setenv("NOID_HOME", path)
        env.setenv("NOID_DRIVER", "qemu")
        for key in "kernel", "rootfs":
            subprocess.run([binary, "config", "set", key, os.environ[f"NOID_TEST_{key.upper()}"]], check=True)
        yield path
        left = subprocess.run([binary, "list", "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout
        for vm in noid.list():
            vm.destroy(checkpoints=True)
    shutil.rmtree(path)
    assert "running" not in left, f"VMs were left: {left}"


@pytest.fixture(scope="session")
def client(home):
    with noid.Client() as c:
        yield c


@pytest.fixture(scope="session")
def vm(client):
    """A VM that tests share: each leaves it as it found it."""
    with client.run() as vm:
        yield vm
