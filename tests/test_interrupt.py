"""Stopping in a single process; of several processes see tests/test_distributed.py."""

import os
import signal

import pytest

from ssd_jax.commands.interrupt import StopSignal


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_answered_at_the_next_look_and_names_the_status(number, status, capfd):
    with StopSignal() as stop:
        assert not stop.agreed() and stop.status == 0
        os.kill(os.getpid(), number)
        assert stop.requested and stop.agreed() and stop.status == status
    assert "stopping after this step" in capfd.readouterr().err


def test_a_second_signal_interrupts_at_once_but_not_while_saving():
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        stop.saving = True
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.agreed() and stop.status == 143  # the first one counts
        stop.saving = False
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_afterwards_signals_mean_what_they_meant_before():
    before = [signal.getsignal(number) for number in StopSignal.SIGNALS]
    with StopSignal():
        assert [signal.getsignal(number) for number in StopSignal.SIGNALS] != before
    assert [signal.getsignal(number) for number in StopSignal.SIGNALS] == before
