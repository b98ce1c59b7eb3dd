"""The environment variables."""

import signal
from dataclasses import fields

import pytest

import dcomp as dc
from dcomp._settings import VARIABLES, Settings, read_settings


def test_nothing_set():
    assert read_settings({}) == Settings()
    assert read_settings({"PATH": "/bin", "DCOMP": "x", "XDCOMP_CHECK": "y"}) == Settings()


def test_every_setting_is_in_the_table():
    assert {"DCOMP_" + field.name.upper() for field in fields(Settings)} <= set(VARIABLES)


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("DCOMP_CHECK", "off", "check", "off"),
        ("DCOMP_CHECK", "local", "check", "local"),
        ("DCOMP_CHECK", "collective", "check", "collective"),
        ("DCOMP_CHECK", "", "check", "collective"),
        ("DCOMP_CHECK", " off ", "check", "off"),
        ("DCOMP_TIMEOUT", "2.5", "timeout", 2.5),
        ("DCOMP_TIMEOUT", "", "timeout", None),
        ("DCOMP_ENGINE", "mpi", "engine", "mpi"),
        ("DCOMP_RANKS_PER_NODE", "2", "ranks_per_node", 2),
        ("DCOMP_REPORT_SIGNAL", "off", "report_signal", None),
        ("DCOMP_REPORT_SIGNAL", "USR1", "report_signal", signal.SIGUSR1),
        ("DCOMP_REPORT_SIGNAL", "SIGUSR1", "report_signal", signal.SIGUSR1),
        ("DCOMP_REPORT_SIGNAL", "usr1", "report_signal", signal.SIGUSR1),
        ("DCOMP_REPORT_SIGNAL", "USR1", "stop_signals", (signal.SIGTERM,)),
        ("DCOMP_STOP_SIGNALS", "INT, SIGHUP", "stop_signals", (signal.SIGINT, signal.SIGHUP)),
        ("DCOMP_STOP_SIGNALS", "off", "stop_signals", ()),
        ("DCOMP_STOP_BEFORE", "600", "stop_before", 600.0),
    ],
)
def test_values(name, text, field, value):
    assert getattr(read_settings({name: text}), field) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DCOMP_CHECK", "on"),
        ("DCOMP_CHECK", "OFF"),
        ("DCOMP_TIMEOUT", "0"),
        ("DCOMP_TIMEOUT", "-1"),
        ("DCOMP_TIMEOUT", "soon"),
        ("DCOMP_TIMEOUT", "inf"),
        ("DCOMP_TIMEOUT", "nan"),
        ("DCOMP_ENGINE", "fast"),
        ("DCOMP_RANKS_PER_NODE", "0"),
        ("DCOMP_RANKS_PER_NODE", "-2"),
        ("DCOMP_RANKS_PER_NODE", "two"),
        ("DCOMP_REPORT_SIGNAL", "HELLO"),
        ("DCOMP_REPORT_SIGNAL", "_DFL"),
        ("DCOMP_STOP_SIGNALS", "KILL"),
        ("DCOMP_STOP_SIGNALS", "USR1,"),
        ("DCOMP_STOP_SIGNALS", "USR2"),  # the report's
        ("DCOMP_STOP_BEFORE", "0"),
    ],
)
def test_bad_values_name_the_good_ones(name, text):
    with pytest.raises(dc.SettingError) as caught:
        read_settings({name: text})
    assert f"{name}={text}" in str(caught.value)
    assert VARIABLES[name] in str(caught.value)


def test_unknown_names_are_told_the_known_ones():
    with pytest.raises(dc.SettingError) as caught:
        read_settings({"DCOMP_CHEK": "off", "DCOMP_TIMEOUT": "5", "DCOMP_ZZZ": ""})
    told = str(caught.value)
    assert told.startswith("DCOMP_CHEK, DCOMP_ZZZ: ")
    for name, values in VARIABLES.items():
        assert name in told
        assert values in told


def test_is_a_value_error():
    assert issubclass(dc.SettingError, ValueError)
    assert issubclass(dc.SettingError, dc.DcompError)
