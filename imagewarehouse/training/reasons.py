"""What an exception of Keras, TensorFlow or LiteRT says, short and in whole sentences."""

from __future__ import annotations

import re

from imagewarehouse.text import LINE, one_line, printable

# Messages about operations that LiteRT lacks, of its converter ("TF Select ops: Erf, Roll", "Custom ops: MyOp") and by
# its interpreter ("unresolved custom op: FlexErf").
_MISSING = re.compile(r"(?:TF Select|Flex|Custom) ops: (.+)$|unresolved custom op: (?:Flex)?([\w-]+)", re.MULTILINE)
# While it traces a function, TensorFlow puts a line of each file on the way in front of the error.
_TRACED = re.compile(r"in user code:\n.*?\n\s+\w+(?:Error|Exception): ", re.DOTALL)
# Keras wraps an error once for each layer around the broken one, each time with all settings of that layer.
_WRAPPED = "Exception encountered: "
_ARGUMENTS = re.compile(r"\s*Arguments received by .*", re.DOTALL)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z<\"'])")
_BRACKETS = re.compile(r"\s*(\{[^{}]*\}|\[[^\[\]]*\]|\([^()]*\))")


def reason(err: Exception) -> str:
    """The cause in one line without a full stop: as many whole sentences as `LINE` has room for, at least one."""
    texts = [text for match in _MISSING.findall(str(err)) for text in match if text]
    if names := sorted({name.strip() for text in texts for name in text.split(",")}):
        return f"LiteRT has no {', '.join(names)}"
    text = _ARGUMENTS.sub("", printable(_TRACED.sub("", str(err), count=1)).rpartition(_WRAPPED)[2])
    first, *others = _SENTENCE_END.split(" ".join(text.split()))
    while len(first) > LINE and _BRACKETS.search(first):  # what stands in brackets are values
        first = _BRACKETS.sub("", first)
    result = first
    for sentence in others:
        if len(result) + 1 + len(sentence) > LINE:
            break
        result = f"{result} {sentence}"
    return one_line(result.rstrip(".") or err)
