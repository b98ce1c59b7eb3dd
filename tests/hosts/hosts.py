"""Hosts of their own on one machine: network namespaces with names, cables between them, and ssh.

    python tests/hosts/hosts.py 2 --rate 1gbit -- mpirun -n 4 python program.py

runs a command on the first of two hosts. Needs root, and Debian's iproute2 and openssh-server. Everything is in
namespaces, so it disturbs no one, and it is gone with the processes that are in them.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

_SSHD = "/usr/sbin/sshd"
_NETWORK = "10.77.0"
_BURST = "64kb"  # that a cable of limited rate takes at once


def why_not() -> str:
    """Why there can be no hosts here; empty if there can."""
    if os.geteuid() != 0:
        return "takes root: namespaces and their network"
    missing = [name for name in ("ip", "tc", "unshare", "nsenter", _SSHD, "ssh-keygen") if shutil.which(name) is None]
    if missing:
        return f"takes {', '.join(missing)} (Debian: iproute2, openssh-server)"
    script = "ip link add switch type bridge && ip link add one type veth peer name other"
    tried = subprocess.run(
        ["unshare", "--net", "--uts", "--mount", "sh", "-c", script], capture_output=True, text=True
    )  # fmt: skip
    return f"no namespaces with a network here: {tried.stderr.strip()}" if tried.returncode else ""


class Hosts:
    """`n` hosts, node1 to node`n`, at a switch; each has a cable of `rate`, as tc writes it, or of no limit."""

    def __init__(self, n: int, rate: str | None = None) -> None:
        self.names = [f"node{number}" for number in range(1, n + 1)]
        self._rate = rate
        self._folder = Path(tempfile.mkdtemp(prefix="hosts-"))
        self._processes: list[subprocess.Popen] = []
        self._networks: list[str] = []

    def __enter__(self) -> "Hosts":
        try:
            self._make_keys()
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd wants it
            self._switch = self._hold("sleep", "infinity")
            self._do(self._switch, "ip link add switch type bridge", "ip link set switch up", "ip link set lo up")
            self._hosts = [self._plug_in(number, name) for number, name in enumerate(self.names, 1)]
            self._wait_for_ssh()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for entry in Path("/proc").glob("[0-9]*"):
            if _network_of(int(entry.name)) in self._networks:
                with suppress(ProcessLookupError):
                    os.kill(int(entry.name), signal.SIGKILL)
        for process in self._processes:
            process.kill()
            process.wait()
        shutil.rmtree(self._folder)

    @property
    def ssh(self) -> Path:
        """What starts a command on another host: for mpirun."""
        return self._folder / "ssh"

    def on(self, index: int, *command: str | os.PathLike) -> list[str]:
        """A command as it is started on a host from outside."""
        target = str(self._hosts[index])
        enter = ["nsenter", "--target", target, "--net", "--uts", "--mount"]
        return [*enter, "taskset", "--cpu-list", self._cores(index), *map(os.fspath, command)]

    def _cores(self, index: int) -> str:
        """The cores of a host: the machine's are shared out, or several hosts share one."""
        cores = sorted(os.sched_getaffinity(0))
        mine = cores[index % len(self.names) :: len(self.names)] or [cores[index % len(cores)]]
        return ",".join(map(str, mine))

    def mpirun(
        self, mpi: str, launcher: str | os.PathLike, ranks_per_host: int, env: dict[str, str] | None = None
    ) -> list[str]:
        """How the first host starts a job on all: to be followed by a program. `mpi`: "MPICH" or "Open MPI"."""
        env = env or {}
        ranks = str(ranks_per_host * len(self.names))
        if mpi == "MPICH":
            hosts = ["-launcher", "ssh", "-launcher-exec", str(self.ssh), "-hosts", ",".join(self.names)]
            env = {"UCX_TLS": "tcp"} | env  # else it finds that the hosts are one machine, and shares its memory
            told = [word for name, value in env.items() for word in ("-genv", name, value)]
            return self.on(0, launcher, *hosts, "-ppn", str(ranks_per_host), *told, "-n", ranks)
        told = [word for name, value in env.items() for word in ("-x", f"{name}={value}")]
        slots = ",".join(f"{name}:{ranks_per_host}" for name in self.names)
        prefix = str(Path(launcher).parent.parent)
        options = [
            "--prtemca",
            "plm_ssh_agent",
            str(self.ssh),
            "--prefix",
            prefix,
            "--host",
            slots,
            "--bind-to",
            "none",
        ]
        yields = ["--mca", "mpi_yield_when_idle", "true"]  # a host may have fewer cores than ranks
        return self.on(0, launcher, *options, *yields, *told, "-n", ranks)

    def cut(self, index: int) -> None:
        """Cut the cable of a host."""
        self._do(self._switch, f"ip link set port{index + 1} down")

    def mend(self, index: int) -> None:
        """Undo `cut`."""
        self._do(self._switch, f"ip link set port{index + 1} up")

    def _hold(self, *command: str) -> int:
        """The number of a process in namespaces of its own, which live as long as anyone is in them."""
        process = subprocess.Popen(["unshare", "--net", "--uts", "--mount", *command], stdin=subprocess.DEVNULL)
        self._processes.append(process)
        while (net := _network_of(process.pid)) == _network_of(os.getpid()):
            if process.poll() is not None:
                raise RuntimeError(f"unshare: exit status {process.returncode}")
            time.sleep(1e-3)
        self._networks.append(net)
        return process.pid

    def _do(self, pid: int, *commands: str) -> None:
        for command in commands:
            words = ["nsenter", "--target", str(pid), "--net", *shlex.split(command)]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")

    def _plug_in(self, number: int, name: str) -> int:
        """A host with a cable to the switch, on which sshd runs."""
        script = (
            f"hostname {name}; mount --bind {self._folder}/hosts /etc/hosts; mount -t tmpfs tmpfs /dev/shm; "
            f"until ip address show dev eth0 2>/dev/null | grep -q {_NETWORK}; do sleep 0.01; done; "
            f"exec taskset --cpu-list {self._cores(number - 1)} {_SSHD} -D -e -f {self._folder}/sshd_config"
        )
        host = self._hold("sh", "-c", script)
        self._do(
            self._switch,
            f"ip link add port{number} type veth peer name eth0 netns {host}",
            f"ip link set port{number} master switch up",
            *self._limit(f"port{number}"),
        )
        self._do(
            host,
            "ip link set lo up",
            f"ip address add {_NETWORK}.{number}/24 dev eth0",
            "ip link set eth0 up",
            *self._limit("eth0"),
        )
        return host

    def _limit(self, device: str) -> list[str]:
        if self._rate is None:
            return []
        return [f"tc qdisc add dev {device} root tbf rate {self._rate} burst {_BURST} latency 100ms"]

    def _make_keys(self) -> None:
        folder = self._folder
        for name in ("host_key", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        addresses = [f"{_NETWORK}.{number} {name}\n" for number, name in enumerate(self.names, 1)]
        (folder / "hosts").write_text("".join(["127.0.0.1 localhost\n", *addresses]))
        (folder / "sshd_config").write_text(
            f"HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/key.pub\nPidFile none\nStrictModes no\n"
            "PermitRootLogin yes\nUsePAM no\nLogLevel ERROR\nMaxStartups 100\n"
        )
        (folder / "ssh_config").write_text(
            f"IdentityFile {folder}/key\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n"
        )
        self.ssh.write_text(f'#!/bin/sh\nexec ssh -F {folder}/ssh_config "$@"\n')
        self.ssh.chmod(0o755)

    def _wait_for_ssh(self) -> None:
        end = time.monotonic() + 10
        for name in self.names:
            command = self.on(0, self.ssh, name, "true")
            while (tried := subprocess.run(command, capture_output=True, text=True)).returncode:
                if time.monotonic() > end:
                    raise RuntimeError(f"ssh {name}: {tried.stderr}")
                time.sleep(0.05)


def _network_of(pid: int) -> str:
    """The network namespace of a process; empty if it has ended."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hosts", type=int)
    parser.add_argument("--rate", help="of every cable, as tc writes it: 1gbit")
    parser.add_argument("command", nargs="+", help="what the first host runs")
    arguments = parser.parse_args()
    if fault := why_not():
        raise SystemExit(fault)
    with Hosts(arguments.hosts, arguments.rate) as hosts:
        return subprocess.run(hosts.on(0, *arguments.command)).returncode


if __name__ == "__main__":
    sys.exit(main())
