"""Takes rights away from the current process, before it reads a stranger's file: files, network, other processes, memory, time.

Uses what the kernel grants without privileges: Landlock (Linux 5.13), a system call filter, and its own user and network
namespaces. Each means is tried; `Confinement` says which are in force. Call `confine` before the process starts threads.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fine_tune_assets.core.paths import PACKAGE_DIR, PROJECT_DIR

_PASSED_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "TESSDATA_PREFIX")
_SYSTEM_FOLDERS = ("/usr", "/bin", "/lib", "/lib64", "/opt/conda", "/nix/store")
_SYSTEM_FILES = (
    "/etc/ld.so.cache",
    "/etc/fonts",
    "/etc/localtime",
    "/etc/mime.types",
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
)


class Means(StrEnum):
    """A means of confinement that a kernel may have."""

    LANDLOCK = "landlock"
    """Only named files and folders are accessible."""
    SECCOMP = "seccomp"
    """No sockets, no access to other processes, no kernel keyrings, no mounts."""
    NAMESPACES = "namespaces"
    """A user without rights outside, and a network without interfaces."""


@dataclass(frozen=True)
class Confinement:
    """The means in force in a process."""

    means: frozenset[Means]

    @property
    def hides_files(self) -> bool:
        return Means.LANDLOCK in self.means

    @property
    def hides_network(self) -> bool:
        return bool(self.means & {Means.SECCOMP, Means.NAMESPACES})

    @property
    def is_complete(self) -> bool:
        return self.hides_files and self.hides_network


@dataclass(frozen=True)
class Access:
    """What a confined process may open, in addition to Python, this package and the system's libraries."""

    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    """Folders in which it may create, change and remove files."""
    makes_links: bool = False
    """Whether it may create symbolic links there. If so, the caller must not follow them."""


def include_hub_blobs(path: Path) -> tuple[str, ...]:
    """`path`, and where its links lead if it is a snapshot in a Hugging Face cache. Links to other places stay closed: a
    stranger's folder could contain one to a key."""
    root = path.resolve()
    blobs = (str(root.parent.parent / "blobs"),) if root.parent.name == "snapshots" else ()
    return (str(path), str(root), *blobs)


@dataclass(frozen=True)
class ResourceLimits:
    memory_bytes: int
    """Address space."""
    file_bytes: int = 0
    """Size of a file that it writes."""
    open_files: int = 256


def confined_environment(access: Access) -> dict[str, str]:
    """All variables of a confined process: nothing of the parent's, which may name keys and databases."""
    passed = {name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ}
    search = [str(PROJECT_DIR), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    scratch = {"TMPDIR": access.writable[0]} if access.writable else {}
    return {**passed, **scratch, "PYTHONPATH": os.pathsep.join(search), "OMP_NUM_THREADS": "1"}


def confine(access: Access, limits: ResourceLimits, wanted: frozenset[Means] = frozenset(Means)) -> Confinement:
    """Confine this process and its children for the rest of their lives, with those `wanted` means that the system has."""
    _limit_resources(limits)
    if sys.platform != "linux":
        return Confinement(frozenset())
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    steps = {
        Means.NAMESPACES: _enter_namespaces,
        Means.LANDLOCK: lambda: _restrict_files(access),
        Means.SECCOMP: _filter_system_calls,
    }
    in_force = set()
    for means, step in steps.items():
        try:
            if means in wanted:
                step()
                in_force.add(means)
        except OSError:  # the kernel, its settings or a container forbid it
            continue
    return Confinement(frozenset(in_force))


def limit_cpu_time(seconds: int) -> None:
    """End this process when it has used that many more seconds of CPU time, unless it is called again before."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


def _limit_resources(limits: ResourceLimits) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits.open_files, limits.open_files))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would contain the file


def _call(name: str, *arguments: object) -> int:
    """Call a function of the C library. Raises OSError."""
    result = int(getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


# Namespaces: linux/sched.h
_CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000


def _enter_namespaces() -> None:
    _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC)


# Landlock: linux/landlock.h. The numbers of the system calls are the same on all architectures.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_LINKS = 1 << 12
_REMOVE_AND_MAKE = sum(1 << bit for bit in (4, 5, 7, 8))
"""Files and folders, but no links, sockets or devices."""
_FILE_RIGHTS_BY_VERSION = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_TRUNCATE, _DEVICE_CONTROL = 1 << 14, 1 << 15
_NETWORK_VERSION, _NETWORK_RIGHTS = 4, 0b11
"""TCP bind and connect."""
_SCOPE_VERSION, _SCOPES = 6, 0b11
"""Abstract Unix sockets, and signals."""


def _restrict_files(access: Access) -> None:
    version = _call("syscall", _CREATE_RULESET, None, 0, _VERSION_FLAG)
    rights = sum(bits for since, bits in _FILE_RIGHTS_BY_VERSION.items() if since <= version)
    network = _NETWORK_RIGHTS if version >= _NETWORK_VERSION else 0
    scopes = _SCOPES if version >= _SCOPE_VERSION else 0
    # An older kernel refuses unknown fields only if they are not 0.
    attributes = struct.pack("QQQ", rights, network, scopes)
    ruleset = _call("syscall", _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        read = _EXECUTE | _READ_FILE | _READ_DIR
        for path in _readable_paths(access):
            _allow(ruleset, path, read & rights)
        _allow(ruleset, "/dev/null", (_READ_FILE | _WRITE_FILE) & rights)
        for path in access.writable:
            links = _MAKE_LINKS if access.makes_links else 0
            _allow(ruleset, path, (read | _WRITE_FILE | _REMOVE_AND_MAKE | links | _TRUNCATE) & rights)
        _call("syscall", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _readable_paths(access: Access) -> Iterator[str]:
    yield from (*_SYSTEM_FOLDERS, *_SYSTEM_FILES, str(PACKAGE_DIR), sys.prefix, sys.base_prefix, *access.readable)
    # A folder above the project would include its data and keys.
    yield from (path for path in sys.path if path and not PROJECT_DIR.is_relative_to(Path(path).resolve()))


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # it does not exist here
        return
    try:
        if not os.path.isdir(path):
            rights &= _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _DEVICE_CONTROL
        rule = struct.pack("=Qi", rights, descriptor)
        _call("syscall", _ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)


# The system call filter: linux/seccomp.h, linux/filter.h, linux/audit.h
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2
_KILL, _ALLOW, _DENY = 0x80000000, 0x7FFF0000, 0x00050000 | 13
"""Denied calls fail with EACCES."""
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET = 0, 4
_FIRST_X32_CALL = 0x40000000
_ARCHITECTURES: dict[str, tuple[int, tuple[int, ...]]] = {
    # socket, ptrace, process_vm_readv, process_vm_writev, add_key, request_key, keyctl, unshare, setns, mount, bpf,
    # perf_event_open
    "x86_64": (0xC000003E, (41, 101, 310, 311, 248, 249, 250, 272, 308, 165, 321, 298)),
    "aarch64": (0xC00000B7, (198, 117, 270, 271, 217, 218, 219, 97, 268, 40, 280, 241)),
}
_COMMON_DENIED = (425, 438)
"""io_uring_setup, which could open sockets, and pidfd_getfd."""


def _filter_system_calls() -> None:
    known = _ARCHITECTURES.get(platform.machine())
    if known is None:
        raise OSError("no list of system calls for this architecture")
    program = _build_filter(known[0], (*known[1], *_COMMON_DENIED))
    buffer = ctypes.create_string_buffer(program)
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    _call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0)


def _build_filter(architecture: int, denied: Sequence[int]) -> bytes:
    """Programs of another architecture are killed: their calls have other numbers."""
    count = len(denied)
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE_OFFSET),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
        (_AT_LEAST, count + 1, 0, _FIRST_X32_CALL),
        *((_EQUAL, count - index, 0, number) for index, number in enumerate(denied)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
