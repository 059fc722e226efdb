"""Options, recipes, learning rates and the optimizer of the training script."""

from dataclasses import fields

import mxnet as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from training_harness import bright_data, settings

from bnn_tvm.errors import InputError
from bnn_tvm.zoo import get_model
from training.network import build_network
from training.options import make_parser, settings_of
from training.radam import RAdam, rectify
from training.schedules import learning_rate
from training.settings import RECIPES, Settings

NO_DENSE = dict.fromkeys(("block_config", "reduction", "growth_rate", "init_features"))


def parse(*words) -> Settings:
    return settings_of(make_parser("").parse_args(words))


def test_every_setting_is_an_option():
    shown = make_parser("").format_help()
    assert all("--" + field.name.replace("_", "-") in shown for field in fields(Settings))


def test_options_have_the_types_of_the_settings():
    found = parse("--bits-a=4", "--reduction=2,2.5", "--no-dilated", "--wd=1e-4", "--lr-steps=3,9")
    assert (found.bits_a, found.reduction, found.dilated) == (4, (2.0, 2.5), False)
    assert (found.wd, found.lr_steps) == (1e-4, (3.0, 9.0))
    assert parse() == Settings()


def test_options_go_before_a_recipe_and_a_recipe_before_the_defaults():
    recipe = parse("--recipe=imagenet-meliusnet59")
    assert (recipe.optimizer, recipe.lr, recipe.initial_layers) == ("adam", 0.003, "grouped_stem")
    changed = parse("--recipe=imagenet-meliusnet59", "--learning-rate=0.1", "--validation=0")
    assert (changed.lr, changed.validation, changed.epochs) == (0.1, 0.0, 120)


@pytest.mark.parametrize("name", RECIPES)
def test_the_network_of_a_recipe_can_be_built(name):
    recipe = RECIPES[name]
    assert get_model(recipe.model, **recipe.network_options())
    assert learning_rate(recipe, recipe.epochs - 0.5) < recipe.lr / 10


def test_published_recipes():
    found = RECIPES["imagenet-resnete18"]
    assert (found.optimizer, found.lr, found.epochs, found.lr_mode) == (
        "radam",
        0.002,
        120,
        "cosine",
    )
    assert (found.clip_threshold, found.augmentation, found.wd) == (1.3, "medium", 0)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": -1}, {"limit": -1}])
def test_impossible_numbers_are_errors(wrong):
    with pytest.raises(InputError, match=r"is not possible\. Give"):
        Settings(**wrong)


def test_only_options_that_are_set_go_to_the_network():
    chosen = Settings(slices=2).network_options()
    assert chosen["slices"] == 2 and "growth_rate" not in chosen and chosen["bits"] == 1


def test_the_first_weights_follow_the_initialization():
    spreads = {}
    for name in ("gaussian", "default", "msraprelu_avg", "msraprelu_in", "lenet"):
        net = build_network(settings(initialization=name), bright_data(), [mx.cpu()])
        weight = net.collect_params()["densenet_stage1_qconv0_weight"].data().asnumpy()
        spreads[name] = float(weight.std())
        assert abs(weight.mean()) < 0.1 * weight.std()
    inputs = 32 * 9
    assert spreads["gaussian"] == pytest.approx((2 / inputs) ** 0.5, rel=0.05)
    assert spreads["default"] == pytest.approx((2 / inputs / 3) ** 0.5, rel=0.05)
    assert spreads["lenet"] == pytest.approx((2.24 / inputs / 3) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("mode", "epochs", "rates"),
    [
        ("cosine", (0, 5, 10), (1.0, 0.5, 0.0)),
        ("poly", (0, 5, 10), (1.0, 0.25, 0.0)),
        ("step", (0, 3.9, 4, 7.9, 8, 10), (1.0, 1.0, 0.5, 0.5, 0.25, 0.25)),
    ],
)
def test_learning_rates(mode, epochs, rates):
    schedule = Settings(epochs=10, lr=1.0, lr_mode=mode, lr_steps=(4, 8), lr_factor=0.5)
    assert_allclose([learning_rate(schedule, epoch) for epoch in epochs], rates, atol=1e-12)


def test_the_warm_up_is_linear_and_the_rest_starts_at_its_end():
    schedule = Settings(epochs=12, lr=1.0, warmup_epochs=2, warmup_lr=0.2)
    found = [learning_rate(schedule, epoch) for epoch in (0, 1, 2, 7, 12)]
    assert_allclose(found, (0.2, 0.6, 1.0, 0.5, 0.0), atol=1e-12)


def expected_radam(weight, grads, rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """The algorithm of arXiv:1908.03265, line by line, in double precision."""
    mean, variance = np.zeros_like(weight), np.zeros_like(weight)
    longest = 2 / (1 - beta2) - 1
    for t, grad in enumerate(grads, 1):
        mean = beta1 * mean + (1 - beta1) * grad
        variance = beta2 * variance + (1 - beta2) * grad**2
        corrected = mean / (1 - beta1**t)
        length = longest - 2 * t * beta2**t / (1 - beta2**t)
        if length > 5:
            adaptive = np.sqrt((1 - beta2**t) / (variance + epsilon**2))
            ratio = (length - 4) * (length - 2) * longest
            ratio /= (longest - 4) * (longest - 2) * length
            weight = weight - rate * np.sqrt(ratio) * corrected * adaptive
        else:
            weight = weight - rate * corrected
    return weight


def test_radam_follows_the_paper():
    rng = np.random.default_rng(0)
    start, grads = rng.standard_normal(7), rng.standard_normal((12, 7))
    optimizer = RAdam(learning_rate=0.1, rescale_grad=0.5)
    weight = mx.nd.array(start)
    state = optimizer.create_state(0, weight)
    for grad in grads:
        optimizer.update(0, weight, mx.nd.array(2 * grad), state)
    assert_allclose(weight.asnumpy(), expected_radam(start, grads, 0.1), rtol=1e-4, atol=1e-5)


def test_radam_leaves_the_root_out_of_its_first_steps():
    assert [rectify(step, 0.999) is None for step in (1, 5, 6)] == [True, True, False]
    assert rectify(100_000, 0.999) == pytest.approx(1)


def test_radam_decays_and_clips():
    for options, expected in (({"wd": 0.5}, 1 - 0.1 * (3 + 0.5)), ({"clip_gradient": 2}, 1 - 0.2)):
        optimizer = RAdam(learning_rate=0.1, **options)
        weight = mx.nd.ones(1)
        optimizer.update(0, weight, 3 * mx.nd.ones(1), optimizer.create_state(0, weight))
        assert_allclose(weight.asnumpy(), [expected], rtol=1e-6)


def test_a_network_for_small_images_gets_a_stem_that_keeps_their_size():
    net = build_network(settings(model="resnet18_e1", **NO_DENSE), bright_data(), [mx.cpu()])
    shapes = {name: p.shape for name, p in net.collect_params().items()}
    assert shapes["resnete1_conv0_weight"] == (64, 3, 3, 3)
    assert shapes["resnete1_dense0_weight"] == (2, 512)


def test_the_same_seed_gives_the_same_first_weights():
    first, second = (build_network(settings(), bright_data(), [mx.cpu()]) for _ in range(2))
    for name, parameter in first.collect_params().items():
        assert_array_equal(
            parameter.data().asnumpy(), second.collect_params()[name].data().asnumpy()
        )
