"""What memory is free, also inside containers."""

from pathlib import Path

import pytest
import torch

from titrant.train import hardware


def machine(root: Path, own: str, **files: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(own)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("own", "files", "left"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"memory.max": "max\n", "memory.current": "5\n", "memory.stat": ""}, None),
        ("0::/\n", {"memory.max": "900\n", "memory.current": "500\n", "memory.stat": "anon 1\ninactive_file 40\n"}, 440),
        # The group above allows less.
        (
            "0::/a/b\n",
            {
                "a__b__memory.max": "900\n", "a__b__memory.current": "500\n", "a__b__memory.stat": "",
                "a__memory.max": "800\n", "a__memory.current": "700\n", "a__memory.stat": "",
            },
            100,
        ),
        # Of a container the folder that it is named by may not be seen.
        ("0::/docker/12\n", {"memory.max": "900\n", "memory.current": "950\n", "memory.stat": ""}, 0),
        (
            "3:cpu:/\n4:memory:/a\n0::/\n",
            {
                "memory__a__memory.limit_in_bytes": "900\n", "memory__a__memory.usage_in_bytes": "500\n",
                "memory__a__memory.stat": "total_inactive_file 7\n",
            },
            407,
        ),
        ("nonsense", {}, None),
    ],
)  # fmt: skip
def test_a_control_group_leaves_what_it_has_not_given(
    own: str, files: dict[str, str], left: int | None, tmp_path: Path
) -> None:
    assert hardware._left_to_group(machine(tmp_path, own, **files)) == left


def test_a_system_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert hardware._left_to_group(tmp_path) is None


def test_the_tighter_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(hardware, "_free_here", lambda: 100)
    for left, free in ((70, 70), (1 << 60, 100), (None, 100)):
        monkeypatch.setattr(hardware, "_left_to_group", lambda left=left: left)
        assert hardware.free_memory(cpu) == free
    assert hardware.free_memory(torch.device("meta")) is None
