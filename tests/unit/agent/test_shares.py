"""Entitlements and decayed usage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqse_agent.qpu.tasks.shares import ShareTree, decay_per_second
from openqse_agent.slurm.client import AccountShare

DAY = 86400.0


def site() -> ShareTree:
    shares = ShareTree(DAY)
    shares.update(
        {
            "physics": AccountShare("", 3),
            "ml": AccountShare("", 1),
            "hot": AccountShare("physics", 1),
            "crew": AccountShare("physics", None),
        },
        {("ml", "mia"): 1, ("hot", "hal"): 2, ("hot", "ann"): 6, ("crew", "cas"): 3},
        DAY,
    )
    return shares


@given(st.lists(st.floats(0.1, 1e5), min_size=1, max_size=20), st.floats(60.0, 1e6))
def test_usage_decays_as_slurm_lets_it_whatever_the_periods(
    spans: list[float], half_life: float
) -> None:
    shares = ShareTree(half_life)
    shares.charge("a", "u", 100.0, 0.0)
    now, expected = 0.0, 100.0
    for span in spans:  # slurmctld multiplies by (1 - 0.693 / half-life) ^ seconds each period
        now += span
        expected = expected * (1 - 0.693 / half_life) ** span + 1.0
        shares.charge("a", "u", 1.0, now)
    for key in (("user", "a", "u"), ("account", "a"), ()):
        assert shares.usage(key, now) == pytest.approx(expected)


def test_after_a_half_life_half_is_left() -> None:
    assert decay_per_second(DAY) ** DAY == pytest.approx(0.5, rel=1e-3)
    assert decay_per_second(None) == 1.0


def test_the_way_to_a_user_leads_through_its_accounts() -> None:
    assert list(site().path("", "hot", "hal")) == [
        ("reservation", ""),
        ("account", "physics"),
        ("account", "hot"),
        ("user", "hot", "hal"),
    ]


def test_members_of_an_account_without_shares_compete_a_level_above() -> None:
    assert list(site().path("", "crew", "cas"))[1:] == [
        ("account", "physics"),
        ("user", "crew", "cas"),
    ]
    rows = {(r.account, r.user): r for r in site().rows(0.0)}
    assert rows["crew", "cas"].norm_shares == pytest.approx(3 / 4)
    assert rows["hot", ""].norm_shares == pytest.approx(1 / 4)


def test_strangers_have_one_share_at_the_top() -> None:
    shares = site()
    assert list(shares.path("gone", "nobody", "x"))[1:] == [
        ("account", "nobody"),
        ("user", "nobody", "x"),
    ]
    assert shares.weight(("account", "nobody")) == 1.0


def test_nobody_has_no_weight_at_all() -> None:
    shares = ShareTree(None)
    shares.update({"none": AccountShare("", 0)}, {("none", "u"): 0}, None)
    assert shares.weight(("account", "none")) > 0
    assert shares.weight(("user", "none", "u")) > 0


def test_what_is_normalised_refers_to_the_siblings() -> None:
    shares = site()
    shares.charge("hot", "hal", 30.0, 0.0)
    shares.charge("ml", "mia", 10.0, 0.0)
    rows = {(r.account, r.user): r for r in shares.rows(0.0)}
    physics = rows["physics", ""]
    assert (physics.norm_shares, physics.raw_usage, physics.norm_usage) == (0.75, 30.0, 0.75)
    assert physics.level_fs == pytest.approx(1.0)
    assert rows["hot", "hal"].norm_shares == 0.25
    assert rows["hot", "hal"].norm_usage == 1.0
    assert rows["hot", "ann"].level_fs is None


def test_what_a_user_lacks_of_its_share() -> None:
    shares = site()
    assert shares.lack(("account", "ml"), 0.0) == 1.0
    shares.charge("ml", "mia", 1.0, 0.0)
    assert shares.lack(("account", "ml"), 0.0) == 0.0
    shares.charge("hot", "hal", 7.0, 0.0)
    assert shares.lack(("account", "ml"), 0.0) == pytest.approx(0.5)
    assert shares.lack(("account", "physics"), 0.0) == 0.0
    assert shares.lack(("reservation", ""), 0.0) == 0.0


def test_reservations_leave_something_to_the_others() -> None:
    shares = site()
    shares.reserve({"a": 0.75, "b": 0.75})
    assert shares.weight(("reservation", "a")) == shares.weight(("reservation", "b"))
    assert shares.weight(("reservation", "")) == pytest.approx(0.01)
    shares.reserve({})
    assert shares.weight(("reservation", "")) == 1.0


def test_an_account_above_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="above itself"):
        ShareTree().update({"a": AccountShare("b", 1), "b": AccountShare("a", 1)}, {}, None)
