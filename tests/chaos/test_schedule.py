"""The schedule depends on the seed and on nothing else."""

from chaos.faults import FAULTS
from chaos.schedule import LEAD_SECONDS, plan

COSTS = {name: kind.cost for name, kind in FAULTS.items()}


def test_the_same_seed_makes_the_same_schedule() -> None:
    assert plan(COSTS, seed=7, seconds=600) == plan(dict(reversed(COSTS.items())), seed=7, seconds=600)


def test_another_seed_makes_another() -> None:
    one, other = plan(COSTS, seed=1), plan(COSTS, seed=2)
    assert [step.fault for step in one.steps] != [step.fault for step in other.steps]


def test_without_a_time_every_fault_comes_once() -> None:
    schedule = plan(COSTS, seed=3)
    assert sorted(step.fault for step in schedule.steps) == sorted(FAULTS)
    assert schedule.seconds == LEAD_SECONDS + sum(COSTS.values())
    assert schedule.left_out == ()


def test_with_much_time_every_fault_comes_in_every_round() -> None:
    schedule = plan({"a": 1, "b": 2}, seed=1, seconds=LEAD_SECONDS + 9)
    names = [step.fault for step in schedule.steps]
    assert [sorted(names[start : start + 2]) for start in (0, 2, 4)] == [["a", "b"]] * 3


def test_what_does_not_fit_is_left_out_and_named() -> None:
    schedule = plan({"long": 50, "short": 1}, seed=1, seconds=10)
    assert {step.fault for step in schedule.steps} == {"short"}
    assert schedule.left_out == ("long",)


def test_no_two_faults_overlap() -> None:
    schedule = plan(COSTS, seed=5, seconds=900)
    for step, following in zip(schedule.steps, schedule.steps[1:], strict=False):
        assert following.at >= step.at + COSTS[step.fault] - 0.001
    assert schedule.steps[-1].at + COSTS[schedule.steps[-1].fault] <= 900
