"""Names of series: which an expression reads, and which anybody has heard of."""

import re
from pathlib import Path

# Prometheus writes these itself.
BUILT_IN_METRICS = {"ALERTS", "up"}
HISTOGRAM_SUFFIXES = ("_bucket", "_sum", "_count")
# Cumulative series that recording rules hold.
CUMULATIVE_RULES = {"account:earnings:sum", "account:points:sum", "account:attempts:sum", "network:paid:sum"}
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
WORDS = {"bool", "by", "without", "on", "ignoring", "group_left", "group_right", "or", "and", "unless", "offset"}


def metrics_of(expr: str) -> set[str]:
    """The names of series in a PromQL expression; its functions, labels and variables left out."""
    bare = re.sub(r"\$\w+|\$\{[^}]*\}", "1", STRING.sub('""', expr))
    bare = GROUPING.sub(" ", bare)
    bare = re.sub(r"\{[^}]*\}", "{}", bare)
    bare = re.sub(r"\[[^\]]*\]", "[1]", bare)
    found = set()
    for match in re.finditer(r"(?<![\w:.])[a-zA-Z_:][\w:]*", bare):
        rest = bare[match.end() :].lstrip()
        is_function = rest.startswith("(")
        if not is_function and match.group() not in WORDS:
            found.add(match.group())
    return found


def records(rules: Path) -> set[str]:
    """What recording rules record. Read line by line: the SDK brings no YAML parser, and `record:` stands alone."""
    texts = [path.read_text() for path in rules.glob("*.yml")]
    return {name for text in texts for name in re.findall(r"^\s*-?\s*record:\s*['\"]?([\w:]+)", text, re.MULTILINE)}


def documented(metrics: Path) -> set[str] | None:
    """The first column's names of docs/metrics.md; None while there is no such file."""
    if not metrics.exists():
        return None
    cells = re.findall(r"^\|([^|]*)\|", metrics.read_text(), re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([a-zA-Z_:][\w:]*)", cell)}


def is_counter(name: str) -> bool:
    return name.endswith(("_total", *HISTOGRAM_SUFFIXES)) or name in CUMULATIVE_RULES


class Names:
    def __init__(self, root: Path) -> None:
        self.recorded = records(root / "prometheus" / "rules")
        self.documented = documented(root / "docs" / "metrics.md")

    def unknown(self, name: str) -> bool:
        if name in BUILT_IN_METRICS or name in self.recorded:
            return False
        if ":" in name:
            return True
        if self.documented is None:
            return not name.startswith("pictor_")
        family = next((name.removesuffix(end) for end in HISTOGRAM_SUFFIXES if name.endswith(end)), name)
        return not {name, family} & self.documented
