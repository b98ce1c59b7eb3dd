"""The environment variables that steer dcomp, read and checked in one place."""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from ._errors import SettingError

#: Every variable, with the values it takes; error messages and `python -m dcomp` print this table.
VARIABLES = {
    "DCOMP_CHECK": "collective (default), local or off",
    "DCOMP_TIMEOUT": "seconds (> 0) after which a wait raises DeadlockError; unset: never",
    "DCOMP_ENGINE": "auto (default); mpi; or shared: as auto, but an error where a node's memory cannot be shared",
    "DCOMP_HEAP": "memory for results shared by the ranks of a node, per rank, as 512M or 4G; unset: half the node's",
    "DCOMP_THREADS": "threads of each rank (>= 1), for numba, BLAS and OpenMP; unset: its share of the node's CPUs",
    "DCOMP_RANKS_PER_NODE": "ranks (>= 1) that make up one pretended node; unset: the real nodes",
    "DCOMP_RULES": "file from python -m dcomp tune, or shipped; unset: ~/.config/dcomp/rules.json, if it is there",
    "DCOMP_REPORT_SIGNAL": "signal that prints where every rank is: USR2 (default), another name, or off",
    "DCOMP_STOP_SIGNALS": "signals for stop_requested, but the report signal: USR1,TERM (default), others, or off",
    "DCOMP_STOP_BEFORE": "seconds (> 0) before a Slurm job ends at which stop_requested is true: 120 (default)",
}


#: Where `python -m dcomp tune` writes its rules, and they are looked for.
RULES = os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "dcomp", "rules.json")


@dataclass(frozen=True)
class Settings:
    """The settings of this process."""

    check: str = "collective"
    timeout: float | None = None
    engine: str = "auto"
    heap: int | None = None  # bytes
    threads: int | None = None
    ranks_per_node: int | None = None
    rules: str | None = None
    report_signal: int | None = signal.SIGUSR2
    stop_signals: tuple[int, ...] = (signal.SIGUSR1, signal.SIGTERM)
    stop_before: float = 120.0  # seconds

    @property
    def is_bare(self) -> bool:
        """Whether calls may go straight to MPI: nothing is checked, and no wait has an end."""
        return self.check == "off" and self.timeout is None


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the `DCOMP_` variables of `environment`.

    Raises
    ------
    SettingError     If a name is unknown or a value cannot be used; the message lists what is known.
    """
    unknown = sorted(name for name in environment if name.startswith("DCOMP_") and name not in VARIABLES)
    if unknown:
        known = "".join(f"\n  {name}: {values}" for name, values in VARIABLES.items())
        raise SettingError(f"{', '.join(unknown)}: no such setting. The known ones are:{known}")
    given = {}
    for field in fields(Settings):
        name = "DCOMP_" + field.name.upper()
        text = environment.get(name, "").strip()
        if text:
            try:
                given[field.name] = _PARSERS[field.name](text)
            except (ValueError, KeyError):
                raise SettingError(f"{name}={text}: must be {VARIABLES[name]}.") from None
    settings = Settings(**given)
    if settings.report_signal in settings.stop_signals:
        if "stop_signals" in given:
            name, text = "DCOMP_STOP_SIGNALS", environment["DCOMP_STOP_SIGNALS"]
            raise SettingError(f"{name}={text}: must be {VARIABLES[name]}.")
        others = tuple(one for one in settings.stop_signals if one != settings.report_signal)
        settings = replace(settings, stop_signals=others)
    return settings


def _one_of(*values: str):
    def parse(text: str) -> str:
        if text not in values:
            raise ValueError(text)
        return text

    return parse


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _bytes(text: str) -> int:
    unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1].upper(), 0)
    value = int(text[:-1]) * unit if unit else int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _signal(text: str) -> int | None:
    return None if text == "off" else _number_of(text)


def _signals(text: str) -> tuple[int, ...]:
    return () if text == "off" else tuple(_number_of(name.strip()) for name in text.split(","))


def _number_of(text: str) -> int:
    number = signal.Signals["SIG" + text.upper().removeprefix("SIG")]
    if number in (signal.SIGKILL, signal.SIGSTOP):
        raise ValueError(f"{text} cannot be handled")
    return int(number)


_PARSERS = {
    "check": _one_of("collective", "local", "off"),
    "timeout": _seconds,
    "engine": _one_of("auto", "mpi", "shared"),
    "heap": _bytes,
    "threads": _positive,
    "ranks_per_node": _positive,
    "rules": str,
    "report_signal": _signal,
    "stop_signals": _signals,
    "stop_before": _seconds,
}
