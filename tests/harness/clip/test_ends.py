"""Where texts end, as the device and the host know it, and the places that follow from that without waiting."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.clip.ends import Ends, as_ends
from harness.clip.packing import own_places, pack_texts, true_places
from harness.machine.operators import refuse_waiting

SHARED, REST = 2, 6
END = st.integers(SHARED, SHARED + REST - 1)


def known(ends: list[int]) -> Ends:
    return Ends(torch.tensor(ends), tuple(sorted(ends, reverse=True)))


@given(st.lists(END, min_size=1, max_size=6), st.integers(0, 3), st.integers(1, 3))
def test_what_the_host_knows_gives_the_places_that_it_would_have_read(ends: list[int], by: int, times: int) -> None:
    ours = known(ends).moved(by).repeated(times)
    theirs = as_ends((torch.tensor(ends) + by).repeat(times))
    assert torch.equal(ours.positions, theirs.positions)
    expected = own_places(theirs, SHARED, SHARED + REST + by)
    with refuse_waiting():
        found = own_places(ours, SHARED, SHARED + REST + by)
    assert torch.equal(found, expected)


@given(st.lists(END, min_size=2, max_size=6), st.data())
def test_chosen_texts_have_as_many_places_as_the_longest_ones(ends: list[int], data: st.DataObject) -> None:
    number = data.draw(st.integers(1, len(ends)))
    rows = torch.tensor(data.draw(st.permutations(range(len(ends))))[:number])
    whole = known(ends)
    with refuse_waiting():
        found = own_places(whole.of(rows), SHARED, SHARED + REST)
    longest = sorted(ends, reverse=True)[:number]
    assert len(found) == sum(end + 1 - SHARED for end in longest)
    assert torch.equal(found, found.unique())
    assert int(found.max()) < number * REST
    wanted = {row * REST + place for row, text in enumerate(rows.tolist()) for place in range(ends[text] + 1 - SHARED)}
    assert wanted <= set(found.tolist())


@given(st.lists(END, min_size=2, max_size=5))
def test_together_each_token_sees_what_is_shared_and_its_own_text_up_to_itself(ends: list[int]) -> None:
    length = max(ends) + 1
    x = torch.zeros(len(ends), length, 1)
    packing = pack_texts(x, known(ends), SHARED, 1, drop_padding=True)
    mask = packing.mask_together(x)
    tokens = [(-1, place) for place in range(SHARED)]
    tokens += [(row, place) for row, end in enumerate(ends) for place in range(SHARED, end + 1)]
    expected = [[(r in (-1, row)) and p <= place for r, p in tokens] for row, place in tokens]
    assert packing.is_together
    assert torch.equal(mask == 0, torch.tensor(expected))
    assert bool((mask[mask != 0] == float("-inf")).all())


def test_places_of_truth_values() -> None:
    values = torch.tensor([False, True, True, False, True])
    assert true_places(values, 3).tolist() == [1, 2, 4]
