"""The ledger: nothing appears or is lost, whatever is asked twice, refused, or interrupted between two ledgers."""

import asyncio

import pytest

from durable import RemoteError
from durable.testing import LocalObjects
from examples.ledger import Ledger


@pytest.fixture
async def bank(local: LocalObjects) -> Ledger:
    return await funded("north")


async def funded(name: str) -> Ledger:
    """A ledger in which Ada has 100 and Bob nothing."""
    ledger = Ledger.namespace.get_by_name(name)
    for account in ("ada", "bob"):
        await ledger.open_account(account)
    await ledger.post("deposit", {"ada": 100, "outside:cash": -100})
    return ledger


async def balances(ledger: Ledger, *accounts: str) -> list[int]:
    return [await ledger.balance(account) for account in accounts]


async def refusal(posting: object) -> str:
    """Why a posting was refused."""
    with pytest.raises(RemoteError) as caught:
        await posting  # type: ignore[misc]
    assert caught.value.error_type == "RefusedError"
    reason: str = caught.value.fields["reason"]
    return reason


async def test_a_posting_moves_money_and_stands_in_both_statements(local: LocalObjects, bank: Ledger) -> None:
    assert await bank.post("rent", {"ada": -30, "bob": 30}) is True
    assert await balances(bank, "ada", "bob", "outside:cash") == [70, 30, -100]
    now = local.clock.now()
    first, second = await bank.statement("ada")
    assert (first[1:], second[1:]) == (("deposit", 100, now), ("rent", -30, now))
    assert await bank.statement("ada", after=first[0]) == [second]
    assert await bank.statement("nobody") == []


async def test_a_posting_that_is_asked_for_twice_counts_once(bank: Ledger) -> None:
    asked = await asyncio.gather(*(bank.post("rent", {"ada": -30, "bob": 30}) for _ in range(5)))
    assert sorted(asked) == [False, False, False, False, True]
    assert await balances(bank, "ada", "bob") == [70, 30]
    assert await refusal(bank.post("rent", {"ada": -31, "bob": 31})) == "reference_used"


@pytest.mark.parametrize(
    ("amounts", "reason"),
    [
        ({"bob": -1, "ada": 1}, "overdrawn"),
        ({"ada": -101, "bob": 101}, "overdrawn"),
        ({"ada": -1, "cyd": 1}, "no_account"),
        ({"ada": -2, "bob": 1}, "unbalanced"),
        ({"ada": 0}, "unbalanced"),
        ({}, "unbalanced"),
    ],
)
async def test_a_refused_posting_leaves_nothing(bank: Ledger, amounts: dict[str, int], reason: str) -> None:
    assert await refusal(bank.post("bad", amounts)) == reason
    assert await balances(bank, "ada", "bob") == [100, 0]
    assert len(await bank.statement("ada")) == 1
    assert await bank.post("bad", {"ada": -1, "bob": 1}) is True  # the reference was not used up


async def test_of_concurrent_withdrawals_only_those_succeed_that_are_covered(bank: Ledger) -> None:
    asked = (bank.post(f"w{n}", {"ada": -30, "outside:cash": 30}) for n in range(10))
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert results.count(True) == 3
    assert await bank.balance("ada") == 10


async def test_in_a_batch_a_refusal_touches_no_other_posting(bank: Ledger) -> None:
    assert await bank.post_many(
        {
            "one": {"ada": -60, "bob": 60},
            "two": {"bob": 10, "ada": -60, "outside:cash": 50},
            "deposit": {"ada": 100, "outside:cash": -100},
            "three": {"ada": -40, "bob": 40},
        }
    ) == {"one": "posted", "two": "overdrawn", "deposit": "known", "three": "posted"}
    assert await balances(bank, "ada", "bob") == [0, 100]


async def test_a_posting_whose_owner_dies_before_it_answers_is_made_once(
    local: LocalObjects, bank: Ledger
) -> None:
    local.commits.hold()
    posting = asyncio.create_task(bank.post("rent", {"ada": -30, "bob": 30}))
    await local.commits.waiting()
    local.commits.pass_through()
    await local.crash()
    assert await posting is True  # the first answer, though asked again
    await local.evict(bank)
    assert await balances(bank, "ada", "bob") == [70, 30]


async def test_what_is_sent_arrives_once_in_the_other_ledger(local: LocalObjects, bank: Ledger) -> None:
    other = await funded("south")
    for _ in range(2):
        await bank.send("gift", "ada", "south", "bob", 25)
    assert await balances(bank, "ada", "outside:south") == [75, 25]
    await local.run_alarm(bank)
    assert (await other.balance("bob"), await bank.in_transit()) == (25, 0)
    assert await other.receive("north", "gift", "bob", 25) is False  # as a repeated delivery would
    assert await balances(other, "bob", "outside:north") == [25, -25]
    assert local.alarm(bank) is None


async def test_what_is_sent_survives_a_crash_before_its_delivery(local: LocalObjects, bank: Ledger) -> None:
    other = await funded("south")
    await bank.send("gift", "ada", "south", "bob", 25)
    await local.crash()
    await local.run_alarm(bank)
    assert (await bank.balance("ada"), await other.balance("bob")) == (75, 25)


@pytest.mark.parametrize("commits", [1, 2])  # before it is sent, when it is received but nobody knows
async def test_a_delivery_that_loses_its_owner_is_made_again_and_counts_once(
    local: LocalObjects, bank: Ledger, commits: int
) -> None:
    other = await funded("south")
    await bank.send("gift", "ada", "south", "bob", 25)
    local.commits.hold()
    await local.worker.wake_due()
    await local.commits.waiting()
    for _ in range(commits - 1):
        local.commits.release()
        local.commits.hold()
        await local.commits.waiting()
    local.commits.pass_through()
    await local.crash()
    await local.advance(10)
    assert (await bank.balance("ada"), await other.balance("bob"), await bank.in_transit()) == (75, 25, 0)


async def test_what_the_other_ledger_refuses_comes_back(local: LocalObjects, bank: Ledger) -> None:
    await funded("south")
    await bank.send("gift", "ada", "south", "nobody", 25)
    await local.run_alarm(bank)
    assert await balances(bank, "ada", "outside:south") == [100, 0]
    assert [row[1] for row in await bank.statement("ada")] == ["deposit", "gift", "gift/returned"]


async def test_nothing_can_be_sent_that_is_not_there(bank: Ledger) -> None:
    assert await refusal(bank.send("gift", "ada", "south", "bob", 101)) == "overdrawn"
    assert await refusal(bank.send("gift", "ada", "south", "bob", -1)) == "unbalanced"
    assert await refusal(bank.send("gift", "ada", "north", "bob", 1)) == "unbalanced"
    assert await bank.in_transit() == 0


async def test_two_ledgers_that_deliver_to_each_other_at_once_both_finish(
    local: LocalObjects, bank: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "patience", 0.05)
    other = await funded("south")
    await bank.send("there", "ada", "south", "bob", 25)
    await other.send("back", "ada", "north", "bob", 40)
    await local.advance(0)  # both at once
    for _ in range(100):  # seconds
        if not await bank.in_transit() + await other.in_transit():
            break
        await local.advance(1)
    assert await bank.in_transit() == await other.in_transit() == 0
    assert await balances(bank, "ada", "bob") == [75, 40]
    assert await balances(other, "ada", "bob") == [60, 25]
