"""Copies of tenants and keys end as one, in whatever order hosts hear of each other; what was revoked stays revoked."""

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from spillway.admission.contract import Limits
from spillway.admission.identity.records import Snapshot, StoredKey, StoredTenant, by_id, merge, news

SMALL = st.integers(0, 3)
TENANTS = st.builds(
    StoredTenant,
    id=st.sampled_from("abc"),
    tier=st.sampled_from(["gold", "bronze"]),
    limits=st.builds(Limits, requests_per_minute=st.none() | st.integers(1, 2)),
    enabled=st.booleans(),
    switched=SMALL,
    changed=SMALL,
)
KEYS = st.builds(
    StoredKey,
    id=st.sampled_from("KLM"),
    tenant_id=st.sampled_from("abc"),
    digest=st.sampled_from([b"1", b"2"]),
    last4=st.just("abcd"),
    created_at=st.just(0.0),
    revoked_at=st.none() | st.floats(1, 3),
)
SNAPSHOTS = st.builds(
    lambda tenants, keys, version: Snapshot(tenants=by_id(tenants), keys=by_id(keys), version=version),
    st.lists(TENANTS, max_size=3),
    st.lists(KEYS, max_size=3),
    SMALL,
)


@given(SNAPSHOTS, SNAPSHOTS, SNAPSHOTS)
def test_the_order_of_merging_does_not_matter_nor_how_often(one: Snapshot, two: Snapshot, three: Snapshot) -> None:
    assert merge(one, two) == merge(two, one)
    assert merge(merge(one, two), three) == merge(one, merge(two, three))
    assert merge(one, one) == one
    assert merge(merge(one, two), two) == merge(one, two)


@given(SNAPSHOTS, SNAPSHOTS)
def test_copies_with_the_same_rows_have_the_same_digest_and_others_have_not(one: Snapshot, two: Snapshot) -> None:
    assert merge(one, two).digest() == merge(two, one).digest()
    assert (one.digest() == two.digest()) == ((one.tenants, one.keys) == (two.tenants, two.keys))


@given(st.lists(SNAPSHOTS, min_size=1, max_size=4))
def test_nothing_is_forgotten_and_no_key_is_un_revoked(copies: list[Snapshot]) -> None:
    merged = reduce(merge, copies)

    for copy in copies:
        assert copy.tenants.keys() <= merged.tenants.keys()
        for key in copy.keys.values():
            if key.revoked_at is not None:
                revoked_at = merged.keys[key.id].revoked_at
                assert revoked_at is not None
                assert revoked_at <= key.revoked_at
        for tenant in copy.tenants.values():
            assert merged.tenants[tenant.id].changed >= tenant.changed
            switched = merged.tenants[tenant.id].switched
            assert switched >= tenant.switched
            if not tenant.enabled and switched == tenant.switched:
                assert not merged.tenants[tenant.id].enabled


@given(SNAPSHOTS, SNAPSHOTS)
def test_news_are_just_the_rows_that_are_other(known: Snapshot, found: Snapshot) -> None:
    merged = merge(known, found)

    told = {tenant.id for tenant in news(known.tenants, merged.tenants)}

    assert told == {name for name, tenant in merged.tenants.items() if known.tenants.get(name) != tenant}
