"""A Slurm cluster of one node on this machine, in a folder of its own, for as long as a test needs it.

Debian: ``apt-get install slurm-wlm munge``.  Two partitions share the node: jobs in ``high`` put those in ``low`` back
into the queue.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "srun", "scontrol", "scancel", "sinfo")
#: Daemons are here, and not always on the path of ordinary users.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])

CONFIGURATION = """
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
# A job that is requeued waits until its credential has expired: 5 s is the least, 120 s what it is otherwise.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 PreemptMode=REQUEUE State=UP
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF State=UP
"""


class CannotStartError(RuntimeError):
    """The cluster cannot be started here; the text says why."""


@contextmanager
def cluster(folder: Path) -> Iterator[Path]:
    """Start the cluster; yield its configuration, for ``SLURM_CONF``; stop it afterwards.

    ``folder`` must be empty, and short enough for the name of a socket.
    """
    if missing := [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]:
        raise CannotStartError(f"not installed: {', '.join(missing)}")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    host = socket.gethostname().split(".")[0]
    ports = {"controller_port": free_port(), "node_port": free_port()}
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(host=host, user=getpass.getuser(), folder=folder, **ports))
    environment = os.environ | {"SLURM_CONF": str(configuration), "PATH": PATH}
    munge = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"]
    munge += [f"--{kind}-file={folder}/munge.{kind}" for kind in ("pid", "log", "seed")]
    with ExitStack() as stack:
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", host]):
            stack.enter_context(daemon(command, folder, environment))
            if command is munge:
                wait_for((folder / "munge.socket").exists, folder)
        wait_for(lambda: "idle" in ask(["sinfo", "--noheader", "--format=%T"], environment), folder)
        try:
            yield configuration
        finally:
            ask(["scancel", f"--user={getpass.getuser()}"], environment)
            end = time.monotonic() + 20
            while ask(["squeue", "--noheader"], environment) and time.monotonic() < end:
                time.sleep(0.1)


@contextmanager
def daemon(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a program in the foreground, with a log in the folder."""
    program = shutil.which(command[0], path=PATH)
    with (folder / f"{command[0]}.out").open("w") as log:
        process = subprocess.Popen(
            [program, *command[1:]], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def ask(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()


def wait_for(condition: Callable[[], bool], folder: Path, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            logs = {path.name: path.read_text().strip().splitlines()[-1:] for path in sorted(folder.glob("*.out"))}
            raise CannotStartError(f"not ready after {seconds:.0f} s; last lines: {logs}")
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
