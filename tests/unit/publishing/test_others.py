"""What somebody else wrote between the batches of a relay is known by its offsets, and no offset beyond it is kept."""

from services.publishing.others import Others
from services.runtime.settings import Settings


def relay(ends: dict[int, int] | None = None) -> Others:
    return Others(Settings(kafka="k:1"), "log", ends or {})


def test_batches_one_behind_the_other_leave_nothing_between() -> None:
    others = relay({0: 10, 1: 5})

    others.acknowledged({0: (10, 20), 1: (5, 6)})
    others.acknowledged({0: (20, 21)})

    assert (others.between, others.sure([0, 1])) == ({}, {0: 21, 1: 6})


def test_what_others_wrote_lies_between_and_is_kept_for_a_look_from_its_beginning() -> None:
    others = relay({0: 10})

    others.acknowledged({0: (12, 20)})
    others.acknowledged({0: (25, 30)})

    assert others.between == {0: (10, 25)}
    assert others.sure([0]) == {0: 10}


def test_of_a_partition_that_nobody_has_published_to_before_nothing_is_known() -> None:
    others = relay()

    others.acknowledged({3: (7, 9)})

    assert (others.between, others.sure([3])) == ({}, {3: 9})


def test_what_lay_between_is_gone_with_a_topic_that_was_made_anew() -> None:
    others = relay({0: 1_000})
    others.acknowledged({0: (1_200, 1_210)})

    others.acknowledged({0: (3, 5)})

    assert (others.between, others.sure([0])) == ({}, {0: 5})
