"""Where to compute, and the settings of the process that make it fast and repeatable."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from titrant.errors import TitrantError
from titrant.texts import say
from titrant.tricks.hardware import Hardware

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 1 << 25  # glibc refuses more, and would then map every temporary anew
_NEVER_TRIM = 1 << 30


def device_of(name: str) -> torch.device:
    """The device that a person names; auto is CUDA, else MPS, else the CPU.

    Raises:
        TitrantError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TitrantError(
            say("The device {name!r} cannot be used here ({reason}). Use auto or cpu.", name=name, reason=reason.rstrip("."))
        ) from None
    return device


def prepare(hardware: Hardware, device: torch.device) -> None:
    """Sets up this process: threads, precision, memory.

    Raises:
        TitrantError: bfloat16 is asked of a CPU that lacks the instructions, or half precision of any; or blocks are to be
            computed again by a network that is compiled.
    """
    if hardware.threads:
        torch.set_num_threads(hardware.threads)
    if device.type == "cuda" and hardware.precision == "auto":
        torch.set_float32_matmul_precision("high")
    if hardware.precision == "bf16" and device.type == "cpu" and not _has_bfloat16():
        raise TitrantError(
            say(
                "hardware.precision = bf16: this CPU has no bfloat16 instructions and would be 20 to 40 times slower. Use auto."
            )
        )
    if hardware.precision == "fp16" and device.type == "cpu":
        raise TitrantError(say("hardware.precision = fp16: half precision is for GPUs, on a CPU it is slower. Use auto."))
    if hardware.compile and hardware.checkpoint:
        raise TitrantError(
            say("hardware.checkpoint = true and hardware.compile = true: a compiled network decides itself what it "
                "computes again. Set one of them to false.")
        )  # fmt: skip
    keep_memory()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not hold something, on any device.

    Example:
        >>> out_of_memory(MemoryError()), out_of_memory(RuntimeError("shapes differ"))
        (True, False)
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)  # torch has no class for it


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free: of the device, or of this machine and the container that it is in; None where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    return min((free for free in (_free_here(), _left_to_group()) if free is not None), default=None)


def _free_here() -> int | None:
    """Bytes that the machine has free."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


_GROUPS = {  # by who controls: where groups stand, and what says how much they may take, have taken, and could give up
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def _left_to_group(system: Path = Path("/")) -> int | None:
    """Bytes that the control groups of this process may still take, which is how containers are limited; None without a limit.

    Source: the Linux kernel's documentation of control groups, versions 2 (`memory.max`) and 1 (`memory.limit_in_bytes`). Pages
    of files that nobody has used lately are given up first, and count as free.
    """
    found: list[int] = []
    with suppress(OSError, ValueError):
        for line in (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, place = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            root, most, taken, idle = _GROUPS["memory" if controllers else ""]
            group = Path(place.lstrip("/"))
            for folder in (group, *group.parents):  # a group is held to the limits of those that it is part of, too
                with suppress(OSError, ValueError):  # no limit, or not to be seen from here
                    inside = system / root / folder
                    limit, used = (int((inside / name).read_text(encoding="utf-8")) for name in (most, taken))
                    stated = (line.split() for line in (inside / "memory.stat").read_text(encoding="utf-8").splitlines())
                    given_up = sum(int(value) for name, value in stated if name == idle)
                    found.append(max(0, limit - used + given_up))
    return min(found, default=None)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Has torch use so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_memory() -> None:
    """Keeps freed memory in this process.

    glibc hands large freed blocks back to the system, so that every temporary of a step pays for its pages again; keeping them
    made whole steps 1.2 to 1.45 times faster on two CPU cores.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
            libc.mallopt(_M_TRIM_THRESHOLD, _NEVER_TRIM)


def _has_bfloat16() -> bool:
    capable = torch.backends.cpu.get_cpu_capability()
    flags = ""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123  # a kernel file, read as it is
        flags = file.read()
    return "AVX512" in capable and ("avx512_bf16" in flags or "amx_bf16" in flags)
