"""What belongs to a stack and lies elsewhere: in memory where there is room, and gone with the stack."""

from pathlib import Path

from deploy.local.folders import disk_in_memory, folder_outside, remove


def test_whatever_belongs_to_a_stack_elsewhere_is_removed_with_it(tmp_path: Path) -> None:
    stack = tmp_path / "stack"
    stack.mkdir()
    for outside in [folder_outside(stack, tmp_path) for _ in range(2)]:
        assert outside.stat().st_mode & 0o777 == 0o711, "others may enter it, and see nothing"
        (outside / "data").touch()

    remove(stack)

    assert list(tmp_path.iterdir()) == []


def test_data_lie_in_memory_only_where_that_is_and_has_room(tmp_path: Path) -> None:
    assert disk_in_memory(tmp_path, 0) == tmp_path
    assert disk_in_memory(tmp_path, 2**60) is None
    assert disk_in_memory(tmp_path / "nowhere", 0) is None
