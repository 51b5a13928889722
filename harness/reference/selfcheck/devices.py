"""Which devices there are, which slots runs get, and whether it is noticed that somebody else uses a device."""

import torch

from harness.machine.device import IDLE_MIB, device_use, free_mib, used_mib
from harness.machine.units import MIB
from harness.reference.selfcheck.findings import Asked, Finding, Say

SECTION = "devices"
UNKNOWN = "unknown"


def check(asked: Asked, say: Say) -> list[Finding]:
    """What runs would find out about devices before they start; wrong is what they would not notice."""
    gpus = torch.cuda.device_count()
    with device_use(asked.device) as use:
        alone = {True: "yes", False: "no", None: f"{UNKNOWN}: {use.problem}"}[use.alone]
        with device_use(asked.device) as other:
            noticed = {True: "no", False: "yes", None: f"{UNKNOWN}: {other.problem}"}[other.alone]
    found = [
        Finding(SECTION, "machine", "GPUs that torch shows", gpus),
        Finding(SECTION, "machine", "threads that torch uses", torch.get_num_threads()),
        Finding(SECTION, str(asked.device), "no other run uses it", alone),
        Finding(SECTION, str(asked.device), "a second run on it is noticed", noticed, "", "yes", noticed == "yes"),
        *(Finding(SECTION, "scheduler", f"slot {number}", slot) for number, slot in enumerate(asked.slots, 1)),
    ]
    for index in range(gpus):
        used, free = used_mib(index), free_mib(index)
        state = UNKNOWN if used is None else "busy" if used > IDLE_MIB else "idle"
        found += [
            Finding(SECTION, f"cuda:{index}", f"state, busy above {IDLE_MIB} MiB", state),
            Finding(SECTION, f"cuda:{index}", "memory in use", UNKNOWN if used is None else used, "MiB"),
            Finding(SECTION, f"cuda:{index}", "free memory", UNKNOWN if free is None else free, "MiB"),
        ]
    if asked.is_gpu:
        found.append(busy_is_seen(asked.device))
    return found


def busy_is_seen(device: torch.device) -> Finding:
    """Whether the driver tells that memory of a GPU is in use: runs rely on it before they start."""
    taken = torch.ones((IDLE_MIB + 64) * MIB, dtype=torch.uint8, device=device)
    used = used_mib(device.index or 0)
    del taken
    torch.cuda.empty_cache()
    told = f"{UNKNOWN}: no nvidia-smi" if used is None else used
    # Where there is no driver to ask, runs are told so, and ask nobody.
    ok = used is None or used > IDLE_MIB
    return Finding(SECTION, str(device), "memory in use while some is taken", told, "MiB", f"over {IDLE_MIB} MiB", ok)
