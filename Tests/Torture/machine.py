"""A file system of our own in a file, and power cuts on it."""
import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import time

# FS_IOC_SHUTDOWN, _IOR('X', 125, __u32), of linux/fs.h; its flag "no log flush": what is not on the device now is lost.
SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2


def missing(kind):
    """Why there is none here; None when there is."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if not shutil.which("losetup") or subprocess.run(["losetup", "-f"], capture_output=True).returncode != 0:
        return "there are no loop devices"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        return "mounting is not allowed"
    if not shutil.which(f"mkfs.{kind}"):
        if os.environ.get("CI") == "true":
            raise RuntimeError(f"there is no mkfs.{kind}, and CI wants power cuts where they can be had")
        return f"there is no mkfs.{kind} (Debian: {'xfsprogs' if kind == 'xfs' else 'e2fsprogs'})"
    return None


def isolate():
    """This process and those it starts get a mount table of their own: whoever copies the machine's for itself would keep our disks alive, and ours
    go away with us, however we end."""
    clone_new_namespace, recursive, private = 0x20000, 0x4000, 1 << 18
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(clone_new_namespace) != 0 or libc.mount(b"none", b"/", None, recursive | private, None) != 0:
        raise OSError(ctypes.get_errno(), "no mount table of our own")


class Disk:
    """`kind` in the file `folder`/image, mounted at `folder`/mnt. Nothing but this mount is ever shut down."""

    def __init__(self, kind, folder, size):
        self.kind, self.image, self.path = kind, os.path.join(folder, "image"), os.path.join(folder, "mnt")
        os.makedirs(self.path, exist_ok=True)
        with open(self.image, "wb") as f:
            f.truncate(size)
        force = "-f" if kind == "xfs" else "-F"
        subprocess.run([f"mkfs.{kind}", "-q", force, self.image], check=True)
        self.is_mounted = False

    def mount(self):
        subprocess.run(["mount", "-t", self.kind, "-o", "loop", self.image, self.path], check=True)
        self.is_mounted = True

    def cut(self):
        """From now on nothing reaches the disk, and what was not flushed is gone with the next mount."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if os.fstat(descriptor).st_dev == os.stat(os.path.dirname(self.path)).st_dev:
                raise RuntimeError(f"{self.path} is no file system of its own")
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def unmount(self):
        """The loop device goes with the mount."""
        for _ in range(100):
            if subprocess.run(["umount", self.path], stderr=subprocess.DEVNULL).returncode == 0:
                self.is_mounted = False
                return
            time.sleep(0.05)
        raise RuntimeError(f"{self.path} cannot be unmounted")

    def remove(self):
        if self.is_mounted:
            subprocess.run(["umount", "-l", self.path], check=False)
            self.is_mounted = False
        if os.path.exists(self.image):
            os.remove(self.image)
