"""The output of an attempt: what becomes a result, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.attempts import World
from trainq.protocol import layout
from trainq.worker.outcome import Outcome
from trainq.worker.training import TrainingTask


@pytest.mark.parametrize("link", ["relative", "absolute", "through a link", "a sibling", "the folder"])
def test_a_link_that_leaves_the_output_is_refused_with_its_name(
    world: Callable[..., World], tmp_path_factory: pytest.TempPathFactory, link: str
) -> None:
    """A worker's private key would be stored with the result, and fetched by a submitter."""
    elsewhere = tmp_path_factory.mktemp("home")
    (elsewhere / "id_rsa").write_text("key")

    def train(task: TrainingTask) -> None:
        (task.output / "deep").mkdir()
        name = task.output / "deep" / "model"
        if link == "relative":
            name.symlink_to(Path("../" * 20 + str(elsewhere / "id_rsa").lstrip("/")))
        elif link == "absolute":
            name.symlink_to(elsewhere / "id_rsa")
        elif link == "through a link":
            (task.folder / "between").symlink_to(elsewhere)
            name.symlink_to(task.folder / "between" / "id_rsa")
        elif link == "a sibling":
            name.symlink_to("../../shards/d/0")
        else:
            (task.output / "deep").rmdir()
            task.output.rmdir()
            (task.folder / "output").symlink_to(elsewhere)

    one = world()
    one.run(train)
    assert one.attempt.outcome is Outcome.FAILED
    (reason,) = one.failures
    assert reason.startswith("the output cannot be stored: ")
    assert reason.endswith("/output' is a link" if link == "the folder" else "'deep/model' is a link out of the folder")
    assert not any(b"key" in body for body in one.store.objects.values())
    assert (elsewhere / "id_rsa").exists()


def test_a_link_within_the_output_is_stored_with_the_content_of_its_file(world: Callable[..., World]) -> None:
    def train(task: TrainingTask) -> None:
        (task.output / "model-3").write_text("3")
        (task.output / "best").symlink_to("model-3")
        (task.output / "last").symlink_to(task.output / "model-3")

    one = world()
    one.run(train)
    (result,) = one.records(layout.results("j"))
    assert [each["path"] for each in result["files"]] == ["best", "last", "model-3"]
    assert one.store.below(result["output"]) == {"best": b"3", "last": b"3", "model-3": b"3"}
