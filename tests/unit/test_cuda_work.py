"""A step's attention as tasks: every query meets every key once, whatever the mix; and other pure parts of the step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway_engine.cuda.graphs import choose_size, graph_extent, graph_sizes
from spillway_engine.cuda.inputs import Extent, Inputs, carve
from spillway_engine.cuda.tiles import ProductTiles, num_parts, part_depth, power_of_two
from spillway_engine.cuda.work import plan_tasks

SPLIT, TILE = 32, 4
shares = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 20)), max_size=8)


@given(shares, st.integers(0, 40))
def test_every_query_meets_every_split_once(shares: list[tuple[int, int]], max_parts: int) -> None:
    starts, counts = np.array(shares, np.int32).reshape(-1, 2).T
    rows = np.arange(len(shares), dtype=np.int32) + 7
    tasks = plan_tasks(starts, counts, rows, tile_tokens=TILE, split_keys=SPLIT, max_parts=max_parts)
    met: dict[tuple[int, int], list[int]] = {}
    records = []
    for index in range(len(tasks.token)):
        splits = range(tasks.split[index], tasks.split[index] + tasks.splits[index])
        for token in range(tasks.token[index], tasks.token[index] + tasks.count[index]):
            met.setdefault((int(tasks.row[index]), token), []).extend(splits)
        if tasks.part[index] >= 0:
            assert tasks.count[index] == tasks.splits[index] == 1
            records.append(int(tasks.part[index]))
    first = 0
    for index, (start, count) in enumerate(shares):
        for offset in range(count):
            last_of_tile = start + min(offset // TILE * TILE + TILE, count) - 1
            assert met.pop((index + 7, first + offset)) == list(range(last_of_tile // SPLIT + 1))
        first += count
    assert not met
    assert sorted(records) == list(range(len(records)))
    assert len(records) <= max_parts
    merged = [range(first, first + n) for first, n in zip(tasks.merge_part, tasks.merge_parts, strict=True)]
    assert sorted(record for span in merged for record in span) == sorted(records)


@given(st.integers(1, 600))
def test_every_batch_has_a_graph_with_little_room_to_spare(most: int) -> None:
    sizes = graph_sizes(most)
    assert sizes[-1] == most
    assert choose_size(sizes, most + 1) is None
    for tokens in range(1, most + 1):
        size = choose_size(sizes, tokens)
        assert size is not None
        assert tokens <= size < tokens + 8


def test_a_graph_has_room_for_all_that_its_decodes_may_need() -> None:
    extent = graph_extent(4, max_splits=10, max_parts=1000)
    assert extent.holds(Extent(4, 4, 40, 4, 4))
    assert not extent.holds(Extent(5, 4, 40, 4, 4))
    assert graph_extent(4, max_splits=10, max_parts=3).tasks == 7  # whoever finds no record goes through in one task


sizes = st.integers(0, 9)


@given(st.builds(Extent, sizes, sizes, sizes, sizes, sizes))
def test_a_stretch_is_carved_without_overlap_at_aligned_places(extent: Extent) -> None:
    stretch = np.full(extent.words, -1, np.int32)
    views: Inputs[np.ndarray[tuple[int], np.dtype[np.int32]]] = carve(stretch, extent)
    for number, view in enumerate(views):
        assert (view == -1).all()
        assert (view.ctypes.data - stretch.ctypes.data) % 16 == 0
        view[:] = number
    assert [set(view.tolist()) for view in views] == [{n} if len(view) else set() for n, view in enumerate(views)]
    assert len(views.task_part) == extent.tasks
    assert len(views.update_blocks) == extent.updates


@given(st.integers(1, 30_000), st.integers(1, 30_000))
def test_parts_cover_a_products_inputs_and_hang_on_the_weights_shape_alone(outputs: int, inputs: int) -> None:
    tiles = ProductTiles(rows=64, outputs=64, depth=128, warps=4, stages=4)
    parts = num_parts(outputs, inputs, tiles)
    depth = part_depth(inputs, parts, tiles)
    assert depth % tiles.depth == 0
    assert parts * depth >= inputs
    assert parts == 1 or depth >= 256


@pytest.mark.parametrize(("size", "power"), [(1, 1), (2, 2), (3, 4), (64, 64), (65, 128)])
def test_the_next_power_of_two(size: int, power: int) -> None:
    assert power_of_two(size) == power
