"""What a reader process may open at all: the kernel's Landlock, and a look at what it has open.

Paths are checked before they are opened, but a link may be swapped between the check and the
opening, and HDF5 opens the sources of a virtual dataset by itself, whenever it reads. So the
process gives up, before it reads anything, the right to open files outside of the allowed folders
(Linux 5.13 and later); and what it really has open is looked at before an answer leaves it.
"""

import ctypes
import os
import struct
import sys
import sysconfig
from collections.abc import Iterable, Iterator

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
PATH_BENEATH = 1
SET_NO_NEW_PRIVS = 38
# linux/landlock.h: all rights on files that its first version knows, and of TCP of its fourth.
ALL_FILE_RIGHTS = (1 << 13) - 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
ALL_TCP_RIGHTS, TCP_SINCE = 0b11, 4

LIBRARIES = tuple(
    os.path.join(os.path.realpath(sysconfig.get_path(name)), "")
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
SYSTEM = ("/usr", "/lib", "/lib64", "/etc", "/dev/null", "/dev/zero", "/dev/urandom", "/proc/self")


def confine(folders: Iterable[str]) -> bool:
    """Let this process and all of its threads read only below these folders and the system's own.

    Nothing can be written, and no TCP connection made. It cannot be undone. False if the kernel
    has no Landlock; OSError if it refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    attributes = struct.pack("=Q", ALL_FILE_RIGHTS)
    if version >= TCP_SINCE:
        attributes += struct.pack("=Q", ALL_TCP_RIGHTS)
    rules = _checked(libc.syscall(CREATE_RULESET, attributes, len(attributes), 0))
    try:
        for folder in {*folders, *SYSTEM, *LIBRARIES, sys.prefix, sys.base_prefix, *sys.path}:
            _allow(libc, rules, folder)
        _checked(libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(libc.syscall(RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)
    return True


def _allow(libc: ctypes.CDLL, rules: int, path: str) -> None:
    """Reading at and below a path; one that is not there now stays closed."""
    try:
        there = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    rights = READ_FILE | READ_DIR if os.path.isdir(path) else READ_FILE
    try:
        _checked(libc.syscall(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", rights, there), 0))
    finally:
        os.close(there)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock")
    return result


def open_files() -> Iterator[str]:
    """The real paths of the files that this process has open now, but for libraries."""
    for number in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue  # the one by which the list was read
        path = path.removesuffix(" (deleted)")
        if path.startswith("/") and not path.startswith(("/dev/", "/memfd:", "/proc/", *LIBRARIES)):
            yield path
