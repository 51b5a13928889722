"""A Slurm cluster of one node on this machine, from a Linux distribution's packages, for tests and for trying out.

`python tests/long/slurm_cluster.py` starts one, prints how to use it, and ends it at Ctrl-C. Needs root and the
programs of Debian's packages slurm-wlm and munge.
"""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue")
START_SECONDS = 60.0

CONFIGURATION = """
ClusterName=skipbench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
# Slurm starts a requeued job when its old credential has expired: the default makes that two minutes.
AuthInfo=socket={folder}/munge.socket,cred_expire=10
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=10
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def reason_to_skip() -> str | None:
    """Why there can be no cluster here, or None."""
    # The daemons lie where the path of an ordinary user does not lead.
    missing = [name for name in PROGRAMS if find(name) is None]
    if missing:
        return f"no {missing[0]} here: apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    return None


def find(program: str) -> str | None:
    """Where a program lies, or None."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class SlurmCluster:
    """One node, its controller and munge, all in one temporary folder; ends with the context.

    Args:
        cpus: CPUs that the node declares.

    Attributes:
        environment: variables with which Slurm's tools find this cluster.
    """

    def __init__(self, cpus: int = 2) -> None:
        self.cpus = cpus
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.configuration = self.folder / "slurm.conf"
        self.environment = {**os.environ, "SLURM_CONF": str(self.configuration)}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "SlurmCluster":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        host = socket.gethostname().split(".")[0]
        self.configuration.write_text(
            CONFIGURATION.format(
                host=host,
                folder=self.folder,
                cpus=self.cpus,
                controller_port=free_port(),
                node_port=free_port(),
            )
        )
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        files = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        places = [f"--{option}={self.folder}/munge.{ending}" for option, ending in files.items()]
        self._daemon("munged", "--foreground", "--force", f"--key-file={key}", *places)
        self._wait("munge.socket", lambda: (self.folder / "munge.socket").exists())
        self._daemon("slurmctld", "-D")
        self._daemon("slurmd", "-D", "-N", host)
        self._wait("an idle node", lambda: "idle" in self.tool("sinfo", "--noheader", "--format=%T"))

    def _daemon(self, program: str, *words: str) -> None:
        with (self.folder / f"{program}.out").open("wb") as out:
            command = [find(program) or program, *words]
            self._daemons.append(subprocess.Popen(command, env=self.environment, stdout=out, stderr=out))

    def _wait(self, what: str, is_there) -> None:  # type: ignore[no-untyped-def]
        end = time.monotonic() + START_SECONDS
        while not is_there():
            if time.monotonic() > end:
                logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.out"))
                raise RuntimeError(f"no {what} after {START_SECONDS:g} s:\n{logs}")
            time.sleep(0.5)

    def tool(self, *words: str) -> str:
        """What one of Slurm's tools prints."""
        return subprocess.run(words, env=self.environment, capture_output=True, text=True).stdout

    def __exit__(self, *_: object) -> None:
        if self._daemons:
            self.tool("scancel", "--me")
            end = time.monotonic() + START_SECONDS
            while self.tool("squeue", "--noheader") and time.monotonic() < end:
                time.sleep(0.5)
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


if __name__ == "__main__":
    reason = reason_to_skip()
    if reason:
        raise SystemExit(f"error: {reason}")
    with SlurmCluster() as cluster:
        print(f"export SLURM_CONF={cluster.configuration}  # Ctrl-C here ends the cluster", flush=True)
        try:
            while True:
                time.sleep(60)
        except KeyboardInterrupt:
            print("ended")
