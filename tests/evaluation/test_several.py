"""Several networks that are evaluated on one reading of the images."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import Built, build, small_config

from lift_jax.cluster import placement
from lift_jax.evaluation.evaluator import Evaluator
from lift_jax.models.heads import Classifier, CosineHead, Head, LinearHead
from lift_jax.models.sites import no_tuners
from lift_jax.run import job, reading
from lift_jax.workdir.logs import Logs


class CountedPasses:
    """A loader that counts how often its images are read."""

    def __init__(self, loader: Any):
        self._loader, self.passes = loader, 0
        self.num_examples, self.num_views = loader.num_examples, loader.num_views

    def __iter__(self):
        self.passes += 1
        return iter(self._loader)


@pytest.fixture(scope="module")
def built(tiny_folder) -> Built:
    return build(small_config(tiny_folder, method="head_only"))


def test_each_network_is_evaluated_as_alone_and_images_are_read_once(built):
    network, resolution = built.network, built.network.input.resolution
    opposite = network.with_trained(jax.tree.map(lambda x: -x, network.parts.trainable))
    evaluator, logs = Evaluator(network.classifier, network.input), Logs(None, enabled=False)
    loader: Any = CountedPasses(built.data.test_loader(resolution, "plain"))
    params = [network.params, opposite.params]
    together = evaluator.of_several(params, loader, [logs, logs], "evaluation")
    assert loader.passes == 1
    for own, (counts, predictions) in zip(params, together, strict=True):
        alone_counts, alone = evaluator(own, loader, logs, "evaluation")
        jax.tree.map(np.testing.assert_array_equal, counts, alone_counts)
        for name in "index", "label", "prediction", "confidence":
            np.testing.assert_array_equal(getattr(predictions, name), getattr(alone, name))
    assert not np.array_equal(together[0][1].prediction, together[1][1].prediction)


class Means(nn.Module):
    """A backbone: the mean of each channel, times a number. It counts how often it is traced and run."""

    traced: ClassVar[int] = 0
    runs: ClassVar[int] = 0
    tuners: Any = no_tuners

    @nn.compact
    def __call__(self, images):
        Means.traced += 1
        jax.debug.callback(self.run)
        return self.param("factor", nn.initializers.ones, ()) * images.mean(axis=(1, 2))

    @staticmethod
    def run() -> None:
        Means.runs += 1


def test_one_backbone_is_traced_once_for_all_heads_and_run_once_for_networks_that_share_it(built):
    logs, image_input, mesh = Logs(None, enabled=False), built.network.input, placement.make_mesh()
    loader: Any = built.data.test_loader(image_input.resolution, "plain")
    batches = len(list(loader))

    def passes(head: Head, factors: list[float]) -> int:
        before = Means.runs
        backbones = {factor: placement.replicate({"factor": np.float32(factor)}, mesh) for factor in factors}
        kernel = head.init(jax.random.key(0), jnp.zeros((1, 3)))["params"]
        params = [{"backbone": backbones[factor], "head": placement.replicate(kernel, mesh)} for factor in factors]
        found = Evaluator(Classifier(Means(), head), image_input).of_several(params, loader, [logs] * len(params), "")
        jax.effects_barrier()
        assert all(len(rows.index) == len(built.data.test) for _, rows in found)
        return (Means.runs - before) // batches

    assert passes(LinearHead(10), [1.0]) == 1
    assert passes(CosineHead(10), [1.0, 1.0, 1.0]) == 1
    assert passes(CosineHead(10), [1.0, 2.0, 1.0]) == 2
    assert Means.traced == 1


@pytest.mark.parametrize(
    "changes, shared",
    [
        ({}, True),
        ({"tte.mode": "random"}, False),
        ({"tte.mode": "random", "tte.enabled": False}, True),
        ({"data.val_fraction": 0.2}, False),
    ],
)
def test_members_of_other_seeds_share_images_unless_the_seed_chooses_them(tiny_folder, changes, shared):
    jobs: list[Any] = []
    for seed in 0, 1:
        config = small_config(tiny_folder, seed=seed)
        config.update_from_flattened_dict(changes)
        jobs.append(OnlyConfig(job.check(config)))
    assert reading.shares_test_images(jobs) == shared
    assert reading.shares_test_images(jobs[:1] * 2)


class OnlyConfig:
    """What of a job says whether it shares its test images."""

    def __init__(self, config: Any):
        self.config = config
