from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.clusters import cluster_probe
from search.clusters.cluster_check import _left_for_a_moment, check_cluster, fix_of, judge

MINE = {"python": "3.11", "torch": "2.13.0", "transformers": "5.23.0", "project": "a1", "sees_file": False}
SHARED = Path("/shared/runs")


def node(**changes: Any) -> dict[str, Any]:
    return {**MINE, "sees_file": True, **changes}


def failed(nodes: dict[str, Any], output: Path | None = SHARED) -> dict[str, str]:
    """Return the checks that fail: name -> what they found."""
    answer = {"resources": {"CPU": 8.0, "GPU": 2.0}, "nodes": nodes}
    return {check.name: check.detail for check in judge("head:6379", answer, MINE, output) if not check.ok}


class TestJudge:
    def test_all_is_well(self) -> None:
        answer = {"resources": {"CPU": 8.0}, "nodes": {"10.0.0.2": node(), "10.0.0.3": node()}}
        found = {check.name: check.detail for check in judge("head:6379", answer, MINE, SHARED)}
        assert found == {
            "ray cluster": "head:6379: 8 CPU, 0 GPU on 2 nodes now",
            "versions": "the same on every node",
            "shared storage": "/shared/runs: seen by every node",
        }

    def test_a_node_that_does_not_see_the_file(self) -> None:
        nodes = {"10.0.0.2": node(), "10.0.0.3": node(sees_file=False)}
        assert failed(nodes) == {"shared storage": "/shared/runs: not the same folder on 10.0.0.3"}

    def test_one_node_shares_with_nobody(self) -> None:
        assert failed({"10.0.0.2": node(sees_file=False)}) == {}

    def test_storage_is_not_judged_unless_a_file_was_left(self) -> None:
        assert failed({"10.0.0.2": node(), "10.0.0.3": node(sees_file=False)}, output=None) == {}

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"python": "3.12"}, "10.0.0.3 has Python 3.12, here it is 3.11"),
            ({"torch": None}, "10.0.0.3 has PyTorch None, here it is 2.13.0"),
            ({"project": None}, "10.0.0.3 has no recipe-search"),
            ({"project": "b2"}, "10.0.0.3 has another version of recipe-search"),
        ],
    )
    def test_versions(self, changes: dict[str, Any], message: str) -> None:
        assert failed({"10.0.0.2": node(), "10.0.0.3": node(**changes)}) == {"versions": message}

    def test_a_silent_node_is_named_and_not_judged(self) -> None:
        assert failed({"10.0.0.2": node(), "10.0.0.3": "no answer in time"}) == {
            "nodes": "10.0.0.3: no answer in time"
        }


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("the authentication token is missing or not the cluster's", "RAY_AUTH_MODE=token"),
        ("Version mismatch: The cluster was started with: Ray: 2.59.0", "versions of the cluster's nodes"),
        ("nothing answers there: Connection refused", "start the cluster"),
    ],
)
def test_advice_follows_what_ray_said(message: str, advice: str) -> None:
    assert advice in fix_of(message)


class TestLeftFile:
    def test_nothing_is_left_behind(self, tmp_path: Path) -> None:
        with _left_for_a_moment(tmp_path / "a" / "b") as file:
            assert file is not None
            assert file.parent == tmp_path / "a" / "b"
            assert cluster_probe.look(str(file))["sees_file"]
        assert list(tmp_path.iterdir()) == []

    def test_what_was_there_stays(self, tmp_path: Path) -> None:
        (tmp_path / "study").mkdir()
        with _left_for_a_moment(tmp_path):
            pass
        assert [path.name for path in tmp_path.iterdir()] == ["study"]

    def test_a_folder_that_can_not_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with _left_for_a_moment(tmp_path / "file" / "runs") as file:
            assert file is None

    def test_what_another_study_wrote_meanwhile_stays(self, tmp_path: Path) -> None:
        with _left_for_a_moment(tmp_path / "a" / "runs"):
            (tmp_path / "a" / "runs" / "study").mkdir()
        assert [path.name for path in (tmp_path / "a" / "runs").iterdir()] == ["study"]

    def test_a_folder_that_another_check_removes_meanwhile(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        touch, removed = Path.touch, []

        def touch_late(file: Path) -> None:
            if not removed:
                file.parent.rmdir()
                removed.append(file.parent)
            touch(file)

        monkeypatch.setattr(Path, "touch", touch_late)
        with _left_for_a_moment(tmp_path / "runs") as file:
            assert removed == [tmp_path / "runs"]
            assert file is not None
            assert file.is_file()


def test_nodes_that_share_an_address_are_told_apart() -> None:
    alive = [
        {"NodeID": f"{letter * 28}", "NodeManagerAddress": f"10.0.0.{host}"}
        for letter, host in (("a", 1), ("b", 2), ("c", 2))
    ]
    assert cluster_probe.names(alive) == {
        "10.0.0.1": "a" * 28,
        "10.0.0.2 (bbbbbbbb)": "b" * 28,
        "10.0.0.2 (cccccccc)": "c" * 28,
    }


class TestLook:
    def test_the_digest_is_of_the_sources(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for package in cluster_probe.PACKAGES:
            (tmp_path / f"made_{package}").mkdir()
            (tmp_path / f"made_{package}" / "__init__.py").write_text("")
        monkeypatch.setattr(cluster_probe, "PACKAGES", tuple(f"made_{p}" for p in cluster_probe.PACKAGES))
        monkeypatch.syspath_prepend(tmp_path)
        before = cluster_probe.look(None)["project"]
        assert before == cluster_probe.look(None)["project"]
        (tmp_path / "made_search" / "cli.py").write_text("new = True")
        assert cluster_probe.look(None)["project"] not in (before, None)

    def test_a_package_that_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cluster_probe, "PACKAGES", ("search", "no_such_package"))
        assert cluster_probe.look(None)["project"] is None


@pytest.mark.parametrize("address", [None, "", "local"])
def test_no_cluster_is_asked_for(address: str | None) -> None:
    (check,) = check_cluster(address, 0)
    assert check.ok


def test_no_answer_is_waited_for_no_longer_than_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "silent.py"
    script.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(cluster_probe, "__file__", str(script))
    (check,) = check_cluster("10.0.0.1:6379", 0.5)
    assert not check.ok
    assert check.detail == "10.0.0.1:6379 did not answer in 0.5 s"


@pytest.mark.parametrize(
    ("address", "detail"),
    [
        ("127.0.0.1:1", "127.0.0.1:1: nothing answers there: Connection refused"),
        ("ray://127.0.0.1:1", "ray://127.0.0.1:1: nothing answers there: Connection refused"),
        ("ray://head", "ray://head: expected auto, host:port or ray://host:port"),
    ],
)
def test_an_address_at_which_nothing_listens(address: str, detail: str) -> None:
    (check,) = check_cluster(address, 60)
    assert (check.ok, check.detail) == (False, detail)
    assert check.fix == "start the cluster, correct RAY_ADDRESS, or unset it to run on this machine"
