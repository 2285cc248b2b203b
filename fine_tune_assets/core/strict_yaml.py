"""YAML in which no key stands twice: the library keeps the last of two and loses the first without a word.

Owns refusing repeated keys at every depth. Does not know what the keys mean.
"""

from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"


class RepeatedKeyError(ValueError):
    """A mapping names a key twice. The message quotes the key: where keys may hold what nobody should see, don't show it."""


class _NoRepeatedKeys:
    def construct_mapping(self: Any, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value if key.tag != _MERGE]  # a merged mapping is there to be overridden
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)  # type: ignore[misc]
        seen = set()
        for key_node in keys:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise RepeatedKeyError(f"line {key_node.start_mark.line + 1} names the key {key} again")
            seen.add(key)
        return mapping


# libyaml's parser takes a tenth of the time. PyYAML has it in its wheels, not in every build.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseLoader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class _ValueLoader(_NoRepeatedKeys, _SafeLoader):
    pass


class _TextLoader(_NoRepeatedKeys, _BaseLoader):
    pass


def load_values(text: str) -> Any:
    """What the YAML says, with numbers and dates as such. Raises yaml.YAMLError, RepeatedKeyError, or another ValueError."""
    return yaml.load(text, _ValueLoader)


def load_texts(text: str) -> Any:
    """The same with every value as it is written: else the patient id 0123 is the octal number 83."""
    return yaml.load(text, _TextLoader)
