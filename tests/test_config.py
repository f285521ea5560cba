"""Settings: precedence, names, types, ranges, and the way into artifacts and back."""

import ast
import inspect
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from npdraw import presets as presets_module
from npdraw.config import PIPELINE, SECTIONS, Config, ParseConfig, PriorConfig, as_dict
from npdraw.decoder_config import DecoderConfig
from npdraw.errors import UsageError
from npdraw.overrides import override, read_toml
from npdraw.presets import PRESETS, from_dict, preset


def test_settings_come_from_defaults_then_preset_then_file_then_command_line(
    tmp_path: Path,
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[prior]\nsteps = 7\nbatch_size = 9\n")
    config = override(preset("glyphs"), read_toml(file), source=str(file))
    config = override(config, {"prior": {"steps": 8}}, source="the command line")
    assert config.prior.steps == 8  # command line over file
    assert config.prior.batch_size == 9  # file over default
    assert config.prior.width == PRESETS["glyphs"].prior.width != PriorConfig().width  # preset
    assert config.prior.heads == PriorConfig().heads  # default
    assert config.parse == PRESETS["glyphs"].parse


def test_override_leaves_its_argument_alone() -> None:
    before = preset("mnist")
    override(before, {"parse": {"parts": 3}}, source="a test")
    assert before == preset("mnist")
    assert before.parse.parts == 50


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"prior": {"step": 1}}, "unknown setting prior.step in f.toml", "Did you mean 'steps'?"),
        ({"priors": {"steps": 1}}, "unknown section [priors] in f.toml", "Did you mean 'prior'?"),
        ({"parse": {"steps": 1}}, "unknown setting parse.steps in f.toml", "Known: "),
        ({"parse": 5}, "parse in f.toml is not a section of settings", ""),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest(
    changes: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        override(Config(), changes, source="f.toml")
    assert caught.value.message == message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("section", "name", "value", "expected"),
    [
        ("prior", "steps", "7", "int"),
        ("prior", "steps", 7.0, "int"),
        ("prior", "steps", True, "int"),
        ("prior", "learning_rate", "fast", "float"),
        ("prior", "learning_rate", True, "float"),
        ("parse", "snap", 3, "str"),
        ("decoder", "decoder_channels", 32, "list of integers"),
        ("decoder", "decoder_channels", [32, "64"], "list of integers"),
        ("decoder", "decoder_channels", [True], "list of integers"),
    ],
)
def test_a_value_of_another_type_is_an_error(
    section: str, name: str, value: Any, expected: str
) -> None:
    with pytest.raises(UsageError) as caught:
        override(Config(), {section: {name: value}}, source="f.toml")
    shown = tuple(value) if isinstance(value, list) else value
    assert caught.value.message == f"{section}.{name} in f.toml is {shown!r}, expected {expected}"


def test_whole_numbers_and_lists_are_taken_where_they_fit() -> None:
    changes = {"prior": {"learning_rate": 1}, "decoder": {"decoder_channels": [8, 16]}}
    config = override(Config(), changes, source="f.toml")
    assert type(config.prior.learning_rate) is float
    assert config.decoder.decoder_channels == (8, 16)


OUT_OF_RANGE = [
    (ParseConfig, "image_size", [3, 257]),
    (ParseConfig, "channels", [0, 2, 3]),
    (ParseConfig, "part_size", [0, 29]),
    (ParseConfig, "stride", [0, 29, 6]),
    (ParseConfig, "jitter", [0, 7, 65]),
    (ParseConfig, "parts", [0, 4097]),
    (ParseConfig, "finer", [(0,), (2,)]),  # without ink there is one layer
    (ParseConfig, "inks", [-1, 1025, 8]),  # binary images have no ink
    (ParseConfig, "contrasts", [0, 65]),
    (ParseConfig, "canvas_size", [-1, 3, 15, 56]),
    (ParseConfig, "snap", ["median"]),
    (ParseConfig, "compositing", ["min"]),
    (ParseConfig, "threshold", [-0.1]),
    (ParseConfig, "sweeps", [0, 1001]),
    (ParseConfig, "shift", [-1, 5]),
    (PriorConfig, "width", [0, 65_537]),
    (PriorConfig, "depth", [0, 129]),
    (PriorConfig, "heads", [0, 1025]),
    (PriorConfig, "head_width", [0, 1025]),
    (PriorConfig, "mlp_width", [0, 65_537]),
    (PriorConfig, "dropout", [-0.1, 1.0]),
    (DecoderConfig, "prior", ["both"]),
    (DecoderConfig, "encoder_channels", [0, 65_537]),
    (DecoderConfig, "encoder_depth", [-1, 129]),
    (DecoderConfig, "decoder_channels", [(), (8, 0), (65_537,), (8,) * 9]),
    (DecoderConfig, "decoder_depth", [-1, 17]),
    (DecoderConfig, "decoder_patch", [-1, 129]),
    (DecoderConfig, "encoder_learning_rate", [0.0]),
    (DecoderConfig, "temperature", [0.0]),
    (DecoderConfig, "final_temperature", [0.0]),
    (DecoderConfig, "parse_weight", [-1.0]),
    (DecoderConfig, "final_parse_weight", [-1.0]),
    (DecoderConfig, "hard_fraction", [-0.1, 1.1]),
    (DecoderConfig, "decoder_alone", [-1, 101]),
    (DecoderConfig, "parse_until", [-0.1, 1.1]),
    (DecoderConfig, "deform", [-0.1, 0.6]),
    (DecoderConfig, "canvas_weight", [-1.0]),
    (DecoderConfig, "stroke_weight", [-1.0]),
    (DecoderConfig, "kl_weight", [-1.0]),
    (DecoderConfig, "wake", [-0.1, 1.1]),
    (DecoderConfig, "wake_samples", [0, 4097]),
    (DecoderConfig, "wake_canvas_weight", [-1.0]),
    (DecoderConfig, "wake_rate", [0.0, -1.0]),
    (DecoderConfig, "encoder_gain", [-1.0, float("nan")]),
    *[
        (kind, name, values)
        for kind in (PriorConfig, DecoderConfig)
        for name, values in (
            ("steps", [0, 1_000_000_001]),
            ("batch_size", [0, 16_385]),
            ("learning_rate", [0.0, float("nan")]),
            ("weight_decay", [-0.1]),
            ("warmup", [-0.1, 1.0]),
            ("ema", [-0.1, 1.0]),
            ("patience", [-1, 101]),
        )
    ],
]


@pytest.mark.parametrize(("kind", "name", "values"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_an_error_that_names_the_setting(
    kind: type, name: str, values: list[Any]
) -> None:
    for value in values:
        with pytest.raises(UsageError, match="impossible settings") as caught:
            kind(**{name: value})
        assert name in caught.value.message


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (ParseConfig, {"parts": 0}, "parse.parts is 0, must be between 1 and 4,096"),
        (ParseConfig, {"snap": "median"}, "parse.snap is 'median', must be mean or medoid"),
        (ParseConfig, {"part_size": 0}, "parse.part_size is 0, must be at least 1"),
        (PriorConfig, {"ema": 1.0}, "prior.ema is 1.0, must be at least 0 and below 1"),
        (DecoderConfig, {"wake_rate": 0.0}, "decoder.wake_rate is 0.0, must be above 0"),
        (
            DecoderConfig,
            {"decoder_channels": (8, 0)},
            "decoder.decoder_channels is 0, must be between 1 and 65,536",
        ),
    ],
)
def test_the_error_says_which_values_are_allowed(
    kind: type, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        kind(**changes)
    assert caught.value.message == f"impossible settings: {message}"
    assert caught.value.hint == "Change it in the --config file or with its flag."


def test_a_grid_has_a_largest_number_of_cells() -> None:
    assert ParseConfig(image_size=256, stride=4).stride == 4
    with pytest.raises(UsageError, match="canvas of 256 pixels and stride 3 make 7396 cells, more"):
        ParseConfig(image_size=256, stride=3)
    assert ParseConfig(image_size=256, canvas_size=128, stride=3).canvas_side == 128


def test_colour_is_not_binary() -> None:
    assert ParseConfig(channels=3, binarize=False).levels == 256
    with pytest.raises(UsageError, match="binary pixels with 3 channels"):
        ParseConfig(channels=3)


def test_squares_of_the_decoder_are_no_larger_than_images() -> None:
    assert DecoderConfig(decoder_channels=(8,) * 4, decoder_patch=32)
    with pytest.raises(UsageError, match=r"decoder\.decoder_patch is 33, must be at most 32"):
        DecoderConfig(decoder_channels=(8,) * 4, decoder_patch=33)


def test_decoders_of_large_images_fold_larger_squares() -> None:
    free, fixed = DecoderConfig(decoder_patch=0), DecoderConfig(decoder_patch=3)
    for side, patch in ((8, 2), (28, 2), (32, 2), (33, 4), (64, 4), (90, 6), (128, 8), (256, 16)):
        parse = ParseConfig(image_size=side)
        assert Config(parse=parse, decoder=free).decoder_patch == patch
        assert Config(parse=parse, decoder=fixed).decoder_patch == 3


def test_every_setting_has_a_range() -> None:
    checked = {(kind, name) for kind, name, _ in OUT_OF_RANGE}
    for kind in (ParseConfig, PriorConfig, DecoderConfig):
        ranged = {field.name for field in fields(kind) if field.default is not True}
        assert {(kind, name) for name in ranged} <= checked


def test_every_setting_says_what_it_means() -> None:
    for kind in (ParseConfig, PriorConfig, DecoderConfig):
        for field in fields(kind):
            assert field.metadata["meaning"], field.name


def test_each_default_is_written_once() -> None:
    """Our rows repeat no default; a published row says what was published, whatever we default."""
    kinds = {kind.__name__: kind for kind in (ParseConfig, PriorConfig, DecoderConfig)}
    tree = ast.parse(inspect.getsource(presets_module))
    table = next(
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "PRESETS"
    )
    assert isinstance(table, ast.Dict)
    rows = {ast.literal_eval(key): row for key, row in zip(table.keys, table.values, strict=True)}
    assert rows.keys() == PRESETS.keys()
    papers = [row for name, row in rows.items() if name.endswith("-paper")]
    papers += [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("_PAPER")
    ]
    published = {id(node) for paper in papers for node in ast.walk(paper)}
    repeated = [
        (call.lineno, keyword.arg)
        for call in ast.walk(tree)
        if id(call) not in published
        if isinstance(call, ast.Call) and ast.unparse(call.func) in kinds
        for keyword in call.keywords
        if ast.literal_eval(keyword.value) == getattr(kinds[ast.unparse(call.func)](), keyword.arg)
    ]
    assert repeated == []


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_named_after_themselves_and_survive_an_artifact(name: str) -> None:
    config = preset(name)
    assert config.preset == name
    stored = json.loads(json.dumps(as_dict(config)))
    assert from_dict(stored, data=config.data, source="x.safetensors") == config


def test_an_unknown_preset_is_an_error_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown preset 'mnst'") as caught:
        preset("mnst")
    assert "Did you mean 'mnist'?" in caught.value.hint


def test_as_dict_holds_the_sections_asked_for_and_never_the_path_of_the_data() -> None:
    config = Config(data="folder:/home/someone/pictures")
    assert as_dict(config, ("parse",)).keys() == {"preset", "parse"}
    assert as_dict(config).keys() == {"preset", *PIPELINE}
    assert as_dict(config, SECTIONS).keys() == {"preset", *SECTIONS}
    assert "someone" not in json.dumps(as_dict(config))


def test_sections_an_artifact_lacks_come_from_its_preset() -> None:
    config = override(preset("glyphs"), {"parse": {"parts": 7}}, source="a test")
    again = from_dict(as_dict(config, ("parse",)), data="npz", source="parse.safetensors")
    assert again.parse.parts == 7
    assert again.prior == preset("glyphs").prior
    assert again.data == "npz"


def test_an_artifact_with_an_unknown_setting_is_named() -> None:
    with pytest.raises(UsageError, match=r"unknown setting parse\.part in parse\.safetensors"):
        stored = {"preset": "glyphs", "parse": {"part": 1}}
        from_dict(stored, data="glyphs", source="parse.safetensors")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot read"), (b"[prior\n", "not a TOML file"), (b"\xff", "not a TOML file")],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "settings.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=reason) as caught:
        read_toml(file)
    assert str(file) in caught.value.message
    assert "\n" not in caught.value.message


def test_an_endless_file_is_refused() -> None:
    with pytest.raises(UsageError, match="/dev/zero has more than 1,048,576 bytes of settings"):
        read_toml(Path("/dev/zero"))


def test_a_file_that_is_nested_too_deeply_is_named(tmp_path: Path) -> None:
    (tmp_path / "deep.toml").write_text("a = " + "[" * 5000)
    with pytest.raises(UsageError, match=r"deep\.toml is not a TOML file"):
        read_toml(tmp_path / "deep.toml")


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 10**400])
def test_a_setting_is_finite(value: float) -> None:
    with pytest.raises(UsageError, match=r"decoder\.canvas_weight in here"):
        override(preset("glyphs"), {"decoder": {"canvas_weight": value}}, source="here")
