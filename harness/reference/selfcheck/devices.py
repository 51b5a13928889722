"""Which devices there are, and whether somebody else uses them."""

import torch

from harness.machine.device import IDLE_MIB, device_use, free_mib, used_mib
from harness.reference.selfcheck.findings import Asked, Finding, Say

SECTION = "devices"
UNKNOWN = "unknown"


def check(asked: Asked, say: Say) -> list[Finding]:
    """What runs would find out about devices before they start. Nothing is judged."""
    gpus = torch.cuda.device_count()
    with device_use(asked.device) as use:
        alone = {True: "yes", False: "no", None: f"{UNKNOWN}: {use.problem}"}[use.alone]
    found = [
        Finding(SECTION, "machine", "GPUs that torch shows", gpus),
        Finding(SECTION, "machine", "threads that torch uses", torch.get_num_threads()),
        Finding(SECTION, str(asked.device), "no other run uses it", alone),
    ]
    for index in range(gpus):
        used, free = used_mib(index), free_mib(index)
        state = UNKNOWN if used is None else "busy" if used > IDLE_MIB else "idle"
        found += [
            Finding(SECTION, f"cuda:{index}", f"state, busy above {IDLE_MIB} MiB", state),
            Finding(SECTION, f"cuda:{index}", "memory in use", UNKNOWN if used is None else used, "MiB"),
            Finding(SECTION, f"cuda:{index}", "free memory", UNKNOWN if free is None else free, "MiB"),
        ]
    return found
