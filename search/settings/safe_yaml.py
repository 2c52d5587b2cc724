"""YAML as people and programs write it, read without trust: no objects, no bombs, no key twice."""

from __future__ import annotations

from typing import Any, Final

import yaml

from trainables.sources.row_check import NESTED_TOO_DEEPLY, check_value

# Values that a file's aliases may stand for together: a few hundred bytes can stand for billions.
_MOST: Final = 100_000


class YamlError(ValueError):
    """A text is not YAML that is read here; the message says why, on one line."""


class _Loader(yaml.SafeLoader):
    """Refuses what YAML itself forbids, though PyYAML takes the last: a key that a mapping has twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here, and not where values are made of nodes: by then `<<` has mixed in another mapping's keys.
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise YamlError(f"line {line}: the key {key.value!r} stands in line {lines[name]} already")
            lines[name] = line
        return node

    def get_single_node(self) -> Any:
        # Before values are made: a merge of aliases grows while it is made.
        node = super().get_single_node()
        if node is not None:
            _check_size(node, {}, set())
        return node


def read_yaml(text: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        YamlError: It is no YAML, has a tag that would make an object, a key twice, or aliases that stand for
            too much, is nested too deeply, or holds what no text can.
    """
    try:
        value = yaml.load(text, _Loader)
    except YamlError:
        raise
    except RecursionError:
        raise YamlError(NESTED_TOO_DEEPLY) from None
    # Numbers of thousands of digits and dates that are none are plain errors of Python.
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise YamlError(f"not valid YAML: {' '.join(str(error).split())}") from None
    try:
        check_value(value)
    except ValueError as error:
        raise YamlError(str(error)) from None
    return value


def _check_size(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """Return how many values a node stands for, each alias counted as all that it repeats.

    Args:
        node: The node.
        known: Sizes of the nodes that were counted, by their identity.
        above: The nodes that this one lies in.

    Raises:
        YamlError: They are too many, or it lies within itself.
    """
    if id(node) in above:
        raise YamlError(NESTED_TOO_DEEPLY)
    if id(node) not in known:
        above.add(id(node))
        size = 1
        for each in node.value if isinstance(node, yaml.CollectionNode) else ():
            for inner in each if isinstance(each, tuple) else (each,):
                size += _check_size(inner, known, above)
        above.remove(id(node))
        if size > _MOST:
            raise YamlError(f"its lists and aliases stand for more than {_MOST:,} values")
        known[id(node)] = size
    return known[id(node)]
