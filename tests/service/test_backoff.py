"""When a process that ended is started again."""

from durable.service.backoff import FIRST_DELAY, LONGEST_DELAY, PROVEN_AFTER, RestartBackoff


def test_the_first_failure_is_mended_at_once_and_a_crash_loop_slows_down() -> None:
    backoff = RestartBackoff()
    delays = [backoff.after_exit(lived=0.1, failed=True) for _ in range(12)]
    assert delays[:4] == [0.0, FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY


def test_a_process_that_proved_itself_begins_anew() -> None:
    backoff = RestartBackoff()
    for _ in range(5):
        backoff.after_exit(lived=0.1, failed=True)
    assert backoff.after_exit(lived=PROVEN_AFTER, failed=True) == 0.0


def test_a_clean_end_is_not_held_back() -> None:
    backoff = RestartBackoff()
    assert [backoff.after_exit(lived=0.1, failed=False) for _ in range(5)] == [0.0] * 5
