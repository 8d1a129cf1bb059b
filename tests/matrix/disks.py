"""Filesystems of their own, in files."""

import contextlib
import subprocess

import rig

FOLDER = rig.FOLDER / "disks"


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def disk(name, make=("mkfs.ext4", "-q"), mount=("mount",), megabytes=600, at=None, owner=(999, 999)):
    """A mounted one; the path that it is mounted at."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    image, at = FOLDER / f"{name}.img", at or FOLDER / name
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    run(*make, image)
    at.mkdir(parents=True, exist_ok=True)
    device = run("losetup", "--find", "--show", image).strip()
    try:
        run(*mount, device, at)
    except AssertionError:
        run("losetup", "--detach", device)
        raise
    try:
        if owner:  # of `lost+found` as well, which Cassandra looks into
            run("chown", "-R", ":".join(map(str, owner)), at)
        yield at
    finally:
        run("umount", at)
        run("losetup", "--detach", device)
        image.unlink()
