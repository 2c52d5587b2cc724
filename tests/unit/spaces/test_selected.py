"""What a subset and a layer range select of a model's parts: made ones, whole and fused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spaces.parts import Part, Slice
from spaces.roles import LANGUAGE, VISION
from spaces.selected import selected_parts
from spaces.subsets import SUBSETS, parse_subset, roles_of

WIDTH, INNER = 8, 12


def model(layers: int = 4, vision_layers: int = 2, *, fused: bool = False) -> tuple[Part, ...]:
    """Return the parts of a model with a vision tower, a projector and a language model."""
    parts = [Part("vision.patch", "vision.embed", None, (WIDTH, 3))]
    for layer in range(vision_layers):
        parts.append(Part(f"vision.{layer}.attn", "vision.attn", layer, (4 * WIDTH, WIDTH)))
        parts.append(Part(f"vision.{layer}.mlp", "vision.mlp", layer, (WIDTH, INNER)))
        parts.append(Part(f"vision.{layer}.norm", "vision.norm", layer, (WIDTH,)))
    parts.append(Part("projector", "projector", None, (WIDTH, WIDTH)))
    parts.append(Part("embed", "embed", None, (20, WIDTH)))
    for layer in range(layers):
        qkv = (3 * WIDTH, WIDTH)
        for index, role in enumerate(("attn.q", "attn.k", "attn.v")):
            if fused:  # two heads, each with its rows of q, k and v
                parts.append(Part(f"{layer}.qkv", role, layer, qkv, Slice(0, 2, 4 * index, 4 * index + 4)))
            else:
                parts.append(Part(f"{layer}.{role}", role, layer, (WIDTH, WIDTH)))
        parts.append(Part(f"{layer}.attn.o", "attn.o", layer, (WIDTH, WIDTH)))
        parts.append(Part(f"{layer}.attn.o.bias", "attn.o", layer, (WIDTH,)))
        for index, role in enumerate(("mlp.gate", "mlp.up")):
            if fused:  # three experts
                rows = Slice(1, 1, INNER * index, INNER * (index + 1))
                parts.append(Part(f"{layer}.experts", role, layer, (3, 2 * INNER, WIDTH), rows))
            else:
                parts.append(Part(f"{layer}.{role}", role, layer, (INNER, WIDTH)))
        down = (3, WIDTH, INNER) if fused else (WIDTH, INNER)
        parts.append(Part(f"{layer}.mlp.down", "mlp.down", layer, down))
        parts.append(Part(f"{layer}.norm", "norm", layer, (WIDTH,)))
    parts.append(Part("norm", "norm", None, (WIDTH,)))
    parts.append(Part("head", "head", None, (20, WIDTH)))
    return tuple(parts)


def size(parts: tuple[Part, ...]) -> int:
    return sum(part.count for part in parts)


class TestSubsets:
    @pytest.mark.parametrize("subset", [*SUBSETS, "sa_proj+gate_up", "llm-embed", "mlp.up"])
    @pytest.mark.parametrize("fused", [False, True])
    def test_selects_the_parts_of_its_roles(self, subset: str, fused: bool) -> None:
        parts = model(fused=fused)
        assert selected_parts(parts, subset) == tuple(p for p in parts if p.role in roles_of(subset))

    def test_that_matches_nothing(self) -> None:
        text = tuple(part for part in model(1, 0) if part.role in ("attn.q", "norm"))
        with pytest.raises(ValueError, match="matches no parameter") as caught:
            selected_parts(text, "vision")
        assert str(caught.value) == (
            "subset 'vision' matches no parameter of this model, whose roles are: attn.q, norm"
        )

    @pytest.mark.parametrize(
        ("subset", "name"), [("sa_proj+mlp.router", "mlp.router"), ("llm-position", "position")]
    )
    def test_a_name_that_matches_nothing_does_not_pass(self, subset: str, name: str) -> None:
        with pytest.raises(ValueError, match="matches no parameter of this model") as caught:
            selected_parts(model(), subset)
        assert str(caught.value).startswith(f"subset {subset!r}: {name!r} matches no parameter")


class TestLayers:
    @pytest.mark.parametrize(
        ("subset", "layers", "names"),
        [
            ("vo", "last:1", ["3.attn.v", "3.attn.o", "3.attn.o.bias"]),
            ("down", "0,2-3", ["0.mlp.down", "2.mlp.down", "3.mlp.down"]),
            ("norm", "first:1/2", ["0.norm", "1.norm"]),  # not the one behind the layers
            ("vision_mlp", "last:1/2", ["vision.1.mlp"]),
            ("vision_projector", "first:1", ["vision.0.attn", "vision.0.mlp", "vision.0.norm"]),
            ("norm+vo-attn.v", "last:1", ["3.attn.o", "3.attn.o.bias", "3.norm"]),
        ],
    )
    def test_limits_a_subset(self, subset: str, layers: str, names: list[str]) -> None:
        assert [part.name for part in selected_parts(model(), subset, layers)] == names

    @settings(max_examples=40)
    @given(
        st.sampled_from([name for name in SUBSETS if parse_subset(name).has_layers]),
        st.integers(2, 9),
        st.booleans(),
        st.data(),
    )
    def test_the_first_and_the_rest_partition_what_lies_in_the_layers(
        self, subset: str, layers: int, fused: bool, data: st.DataObject
    ) -> None:
        parts = model(layers, layers, fused=fused)
        first = data.draw(st.integers(1, layers - 1))
        head = selected_parts(parts, subset, f"first:{first}")
        rest = selected_parts(parts, subset, f"last:{layers - first}")
        stack = LANGUAGE if roles_of(subset) & set(LANGUAGE) else VISION
        within = [p for p in selected_parts(parts, subset) if p.layer is not None and p.role in stack]
        assert [*head, *rest] == within

    @pytest.mark.parametrize(
        ("subset", "layers", "message"),
        [
            ("sa_proj", "last:5", "layer range 'last:5' goes beyond the 4 layers of the language model"),
            (
                "vision",
                "0-2",
                "layer range '0-2' goes beyond the 2 layers of the vision tower, which are 0 t",
            ),
            (
                "projector",
                "last:1",
                "layer range 'last:1': 'projector' trains nothing that belongs to a la",
            ),
            ("sa_proj", "half", "'half' is no layer range: expected all, first:N, middle:N or last:N with N"),
        ],
    )
    def test_wrong(self, subset: str, layers: str, message: str) -> None:
        with pytest.raises(ValueError, match="layer range") as caught:
            selected_parts(model(), subset, layers)
        assert str(caught.value).startswith(message)

    def test_layers_without_what_is_wanted(self) -> None:
        parts = [part for part in model() if not (part.role == "mlp.down" and part.layer == 3)]
        with pytest.raises(
            ValueError, match="'down' matches no parameter of the layers last:1 of the language"
        ):
            selected_parts(parts, "down", "last:1")

    @pytest.mark.parametrize(
        ("subset", "name", "stack"),
        [
            ("attn.q+vision_attn", "vision_attn", "language model"),
            ("random(attn.q+projector)", "projector", "language model"),
            ("embed+norm", "embed", "language model"),
            ("vision_mlp+vision.embed", "vision.embed", "vision tower"),
        ],
    )
    def test_that_leave_nothing_of_an_added_name(self, subset: str, name: str, stack: str) -> None:
        with pytest.raises(ValueError, match="matches no parameter of the layers") as caught:
            selected_parts(model(), subset, "last:1")
        assert str(caught.value) == (
            f"subset {subset!r}: {name!r} matches no parameter of the layers last:1 of the {stack}"
        )

    def test_a_single_name_may_reach_beyond_the_layers(self) -> None:
        """And a name that is taken away again leaves nothing to look for."""
        within = tuple(part for part in model() if part.layer == 3 and part.role in LANGUAGE)
        assert selected_parts(model(), "full", "last:1") == within
        assert selected_parts(model(), "llm-embed", "last:1") == within
        assert selected_parts(model(), "llm+vision-vision", "last:1") == within


CONTROLLED = st.sampled_from(["sa_proj", "gate_up", "down", "vo", "norm", "qkv+norm", "vision_attn"])
RANGES = st.sampled_from(["all", "last:1/2"])


class TestRandomControls:
    @settings(max_examples=60)
    @given(CONTROLLED, RANGES, st.integers(0, 99), st.integers(2, 6), st.booleans())
    def test_is_as_large_as_its_subset_and_of_the_same_layers(
        self, subset: str, layers: str, seed: int, count: int, fused: bool
    ) -> None:
        parts = model(count, count, fused=fused)
        control = selected_parts(parts, f"random({subset},{seed})", layers)
        assert control == selected_parts(parts, f"random({subset},{seed})", layers)  # the seed decides
        wanted = selected_parts(parts, subset, layers)
        whole = {(part.name, part.role): part for part in parts}
        cut = [part for part in control if part != whole[part.name, part.role]]
        assert len(cut) <= 1
        # A row of two heads' slices or of three experts counts as one.
        assert abs(size(control) - size(wanted)) <= (3 if fused else 1) * max(WIDTH, INNER) / 2
        stack = VISION if subset == "vision_attn" else LANGUAGE
        inside = {part.layer for part in wanted if part.layer is not None}
        for part in control:
            assert part.role in stack
            assert len(part.shape) > 1
            assert layers == "all" or part.layer in inside
        keys = [(part.name, part.role) for part in control]
        assert keys == [key for key in whole if key in keys], "in the model's order, none twice"

    def test_seeds_differ(self) -> None:
        drawn = {selected_parts(model(8), f"random(sa_proj,{seed})") for seed in range(20)}
        assert len(drawn) == 20

    def test_the_seed_is_zero_unless_it_is_named(self) -> None:
        assert selected_parts(model(), "random(vo)") == selected_parts(model(), "random(vo,0)")

    def test_a_cut_matrix_gives_its_first_rows(self) -> None:
        # Two matrices of 6 rows of 4; a bias of 9 elements asks for 2.25 rows of one.
        parts = [Part(f"{layer}.w", "attn.q", layer, (6, 4)) for layer in range(2)]
        parts.append(Part("0.b", "norm", 0, (9,)))
        (control,) = selected_parts(parts, "random(norm)")
        assert control.slice == Slice(0, 1, 0, 2)
        assert control.count == 8

    @pytest.mark.parametrize(
        ("whole", "wanted", "kept"),
        [
            # Rows 3 to 8 of a matrix with rows of 5: 12 elements are 2.4 rows.
            (Part("w", "attn.q", 0, (9, 5), Slice(0, 1, 3, 9)), 12, Slice(0, 1, 3, 5)),
            # Rows 0 and 1 of each of 3 heads: 8 elements are 1.33 times a row of each head, 2 wide.
            (Part("w", "attn.q", 0, (12, 2), Slice(0, 3, 0, 2)), 8, Slice(0, 3, 0, 1)),
            # Columns 4 to 7 of 3 rows: 7 elements are 2.33 columns.
            (Part("w", "attn.q", 0, (3, 8), Slice(1, 1, 4, 8)), 7, Slice(1, 1, 4, 6)),
            # Two experts of 5 rows of 3: 14 elements are 2.33 times a row of each.
            (Part("w", "mlp.down", 0, (2, 5, 3)), 14, Slice(1, 1, 0, 2)),
        ],
    )
    def test_a_cut_slice_stays_within_it(self, whole: Part, wanted: int, kept: Slice) -> None:
        (control,) = selected_parts([whole, Part("b", "norm", 0, (wanted,))], "random(norm)")
        assert control.slice == kept
        row = math.prod(whole.shape) // whole.shape[kept.axis] * kept.repeats
        assert abs(control.count - wanted) <= row / 2

    def test_what_cannot_be_cut_is_drawn_whole_or_not_at_all(self) -> None:
        """Gate and up take turns, 32 elements each; down has four rows of 8."""
        experts = [
            Part("e", r, 0, (2, 4, 8), Slice(2, 4, i, i + 1)) for i, r in enumerate(("mlp.gate", "mlp.up"))
        ]
        parts = [*experts, Part("d", "mlp.down", 0, (4, 8)), Part("bias", "norm", 0, (16,))]
        # 16 elements are two rows of down, whichever comes first. 80 are two of the three, and half of down:
        # down whole and one of the others would leave 16 of the last.
        for seed in range(6):
            assert selected_parts(parts, f"random(norm,{seed})") == (
                Part("d", "mlp.down", 0, (4, 8), Slice(0, 1, 0, 2)),
            )
            more = [*parts[:3], Part("bias", "norm", 0, (80,))]
            assert selected_parts(more, f"random(norm,{seed})") == (
                *experts,
                Part("d", "mlp.down", 0, (4, 8), Slice(0, 1, 0, 2)),
            )

    def test_too_little_to_cut(self) -> None:
        parts = [Part("e", "mlp.gate", 0, (4, 8), Slice(1, 4, 0, 1)), Part("n", "norm", 0, (8,))]
        with pytest.raises(
            ValueError, match="8 elements can't be drawn to within a row: too few matrices can"
        ):
            selected_parts(parts, "random(norm)")

    def test_takes_no_bias_of_experts(self) -> None:
        bias = Part("experts.down_proj_bias", "mlp.down", 0, (2, 8))
        parts = [bias, Part("experts.down_proj", "mlp.down", 0, (2, 4, 8)), Part("n", "norm", 0, (64,))]
        for seed in range(6):
            assert selected_parts(parts, f"random(norm,{seed})") == (parts[1],)

    def test_more_than_the_layers_hold(self) -> None:
        # Of 8 x 8: q, k, v, o of one layer; of 12 x 8: gate, up, down. Embedding and head: 20 x 8 each.
        with pytest.raises(ValueError, match="can't be drawn") as caught:
            selected_parts(model(1), "random(llm)")
        assert str(caught.value) == (
            "subset 'random(llm)': 888 elements can't be drawn from the 544 in the layers' matrices "
            "of the language model"
        )

    def test_of_what_belongs_to_no_layer(self) -> None:
        with pytest.raises(ValueError, match=r"subset 'random\(projector\)': no control can be drawn"):
            selected_parts(model(), "random(projector)")
